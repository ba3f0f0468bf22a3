"""Candidates for a match: one query for many criteria, sorted out here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mappings.codecs import vat_key
from mappings.names import normal_name, search_names
from sync_worker.connectors.base import Criteria, Record
from sync_worker.connectors.intacct.query import CREATED, CUSTOMER, Columns, Filter, QueryService, record_of, stamp_of

AT_MOST = 20  # candidates per criteria
PER_QUERY = 25  # criteria that share a query
IDS_PER_QUERY = 200  # such that ask for nothing but customer ids: one filter holds all of them
MIN_START = 3  # letters: a shorter beginning is everybody's
EMAIL = "contacts.default.email1"

Wanted = dict[str, dict[str, str]]  # column -> folded value -> the value as given


def find_customers(
    queries: QueryService,
    columns: Columns,
    criteria: Sequence[Criteria],
    correlated_id: Callable[[str], str | None],
    tax_column: str,
) -> list[list[Record]]:
    """For each criteria the customers that match any of its parts, and were created since, where it says so."""
    out: list[list[Record]] = [[] for _ in criteria]
    # a vendor-side limit on the time holds for the whole query, so the ones with a limit go together
    every = [_wanted(c, correlated_id, tax_column, columns.missing) for c in criteria]
    for limited, only_ids in ((False, True), (False, False), (True, False)):
        size = IDS_PER_QUERY if only_ids else PER_QUERY
        group = [
            n
            for n, c in enumerate(criteria)
            if (c.created_since is not None) == limited and (limited or (every[n].keys() <= {"id"}) == only_ids)
        ]
        for start in range(0, len(group), size):
            chunk = group[start : start + size]
            wanted = [every[n] for n in chunk]
            since = min((criteria[n].created_since or 0.0 for n in chunk), default=0.0) if limited else None
            by_id: dict[str, list[int]] = {}
            for i, one in enumerate(wanted if only_ids else ()):
                for value in one.get("id", ()):
                    by_id.setdefault(value, []).append(i)
            for record in _ask(queries, columns, wanted, since):
                for i in by_id.get(_folded(record.ref), ()) if only_ids else range(len(chunk)):
                    n = chunk[i]
                    if len(out[n]) < AT_MOST and _matches(record, wanted[i], criteria[n].created_since):
                        out[n].append(record)
    return out


def _wanted(c: Criteria, correlated_id: Callable[[str], str | None], tax_column: str, missing: set[str]) -> Wanted:
    ids = [c.ref, correlated_id(c.correlation) if c.correlation else None]
    pairs: list[tuple[str, Sequence[str | None]]] = [
        ("id", ids),
        ("name", search_names(c.name) if c.name and c.created_since is None else [c.name]),
        (EMAIL, [c.email]),
        (tax_column, _tax_forms(c.tax_number)),
    ]
    values = {column: {_folded(v): v.strip() for v in asked if v and v.strip()} for column, asked in pairs}
    return {column: some for column, some in values.items() if column and some and column not in missing}


def _ask(queries: QueryService, columns: Columns, wanted: Sequence[Wanted], since: float | None) -> list[Record]:
    together: Wanted = {}
    for one in wanted:
        for column, values in one.items():
            together.setdefault(column, {}).update(values)
    filters: list[Filter] = [{"$in": {"id": sorted(together.pop("id").values())}}] if "id" in together else []
    starts = [name for name in together.get("name", {}).values() if since is None and len(name) >= MIN_START]
    filters += [{"$eq": {column: value}} for column, values in together.items() for value in values.values()]
    filters += [{"$startsWith": {"name": name}} for name in starts]  # the same name with another legal form
    if not filters:
        return []
    expression = " or ".join(str(n + 1) for n in range(len(filters)))
    if since is not None:
        filters.append({"$gte": {CREATED: stamp_of(since)}})
        expression = f"({expression}) and {len(filters)}"
    page = queries.page("find customer", CUSTOMER, columns, filters, expression=expression, case_sensitive=False)
    asked = columns.current()
    return [record_of(row, asked) for row in page.rows]


def _matches(record: Record, wanted: Wanted, since: float | None) -> bool:
    if since is not None and record.created_at is not None and record.created_at < int(since):
        return False
    shown: Mapping[str, Any] = {**record.native, "id": record.ref}
    if any(_folded(str(shown.get(column) or "")) in values for column, values in wanted.items()):
        return True
    alike = {normal_name(name) for name in wanted.get("name", {}).values()} if since is None else set()
    return normal_name(str(shown.get("name") or "")) in alike - {""}


def _tax_forms(number: str | None) -> list[str]:
    """How the same tax number may stand there: as given, without blanks, without its country."""
    key = vat_key(number or "")
    if not number or not key:
        return []
    return [number, key, key[2:]] if key[:2].isalpha() else [number, key]


def _folded(value: str) -> str:
    return value.strip().casefold()
