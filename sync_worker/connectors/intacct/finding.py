"""Candidates for a match: one query for many criteria, sorted out here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mappings.names import search_names, stems
from sync_worker.connectors.base import Criteria, Record
from sync_worker.connectors.evidence import same_name, tax_spellings
from sync_worker.connectors.intacct.query import CREATED, CUSTOMER, Columns, Filter, QueryService, record_of, stamp_of

AT_MOST = 20  # candidates per criteria
PER_QUERY = 25  # criteria that share a query
IDS_PER_QUERY = 200  # such that ask for nothing but customer ids: one filter holds all of them
EMAIL = "contacts.default.email1"
ONE_BY_ONE = ("name", EMAIL)  # typed by people: compared without case, which is documented for $eq

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
        (tax_column, tax_spellings(c.tax_number)),
    ]
    values = {column: {_folded(v): v.strip() for v in asked if v and v.strip()} for column, asked in pairs}
    return {column: some for column, some in values.items() if column and some and column not in missing}


def _ask(queries: QueryService, columns: Columns, wanted: Sequence[Wanted], since: float | None) -> list[Record]:
    together: Wanted = {}
    for one in wanted:
        for column, values in one.items():
            together.setdefault(column, {}).update(values)
    names = together.get("name", {}).values()
    lists = [(column, sorted(values.values())) for column, values in together.items()]
    groups: list[list[Filter]] = [[{"$in": {column: some}}] for column, some in lists if column not in ONE_BY_ONE]
    groups += [[{"$eq": {column: value}}] for column, some in lists if column in ONE_BY_ONE for value in some]
    if since is None:  # the same name, spelled otherwise
        groups += [filters for pieces in dict.fromkeys(map(stems, names)) if (filters := _spelled(pieces))]
    if not groups:
        return []
    filters = [one for group in groups for one in group]
    expression = _any_of(groups)
    if since is not None:
        filters.append({"$gte": {CREATED: stamp_of(since)}})
        expression = f"({expression}) and {len(filters)}"
    page = queries.page("find customer", CUSTOMER, columns, filters, expression=expression, case_sensitive=False)
    asked = columns.current()
    return [record_of(row, asked) for row in page.rows]


def _spelled(pieces: Sequence[str]) -> list[Filter]:
    """A name that begins with the first piece, and holds the longest of the others."""
    first, others = pieces[0] if pieces else "", sorted(pieces[1:], key=len)
    start: list[Filter] = [{"$startsWith": {"name": first}}] if first else []
    return start + [{"$contains": {"name": piece}} for piece in others[-1:]]


def _any_of(groups: Sequence[Sequence[Filter]]) -> str:
    """Numbers of filters: all of a group, any of the groups."""
    said, at = [], 1
    for group in groups:
        numbers = " and ".join(str(n) for n in range(at, at + len(group)))
        said.append(f"({numbers})" if len(group) > 1 else numbers)
        at += len(group)
    return " or ".join(said)


def _matches(record: Record, wanted: Wanted, since: float | None) -> bool:
    if since is not None and record.created_at is not None and record.created_at < int(since):
        return False
    shown: Mapping[str, Any] = {**record.native, "id": record.ref}
    if any(_folded(str(shown.get(column) or "")) in values for column, values in wanted.items()):
        return True
    name = str(shown.get("name") or "")
    return since is None and any(same_name(one, name) for one in wanted.get("name", {}).values())


def _folded(value: str) -> str:
    return value.strip().casefold()
