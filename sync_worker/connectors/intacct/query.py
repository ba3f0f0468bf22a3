"""The query service: rows come flat with dotted names, filters as ``{"$op": {field: value}}`` (documented).

Pages are cut by keyset, never by offset: each page is evaluated anew, so offsets skip and repeat rows (observed).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog

from mappings.intacct import CONTACT_ROW, PART
from sync_worker.connectors import stamps
from sync_worker.connectors.base import MAX_KEY, Record
from sync_worker.connectors.bounds import Ahead, check_page
from sync_worker.connectors.http import Answer
from sync_worker.errors import AuthFailed, NotFound, Rejected, SystemUnavailable

log = structlog.get_logger(__name__)

CUSTOMER = "accounts-receivable/customer"
CONTACT = "company-config/contact"
EMPLOYEE = "company-config/employee"

CREATED = "audit.createdDateTime"
MODIFIED = "audit.modifiedDateTime"
CONTACT_KEY = "contacts.default.key"
OWN_FIELDS = ("key", "id", CREATED, MODIFIED, CONTACT_KEY)

PAGE = 1000  # rows a page of a scan asks for (documented maximum: 4000)

Row = dict[str, Any]
Filter = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class QueryPage:
    """``total``: records that pass the filters, as the vendor counts them; None where it does not say."""

    rows: list[Row]
    more: bool
    total: int | None = None


@dataclass
class Columns:
    """The columns asked for on one object, less those the vendor turned out not to have (for this process).

    A missing column stops that field only; ``missing`` is what doctor reports.
    """

    wanted: tuple[str, ...]
    fixed: frozenset[str] = frozenset(OWN_FIELDS)
    missing: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def current(self) -> list[str]:
        return [c for c in self.wanted if c not in self.missing]

    def drop(self, named: Sequence[str]) -> bool:
        """Leave out what the vendor named; False when none of it can be left out."""
        asked = self.current()
        lowered = {c.lower(): c for c in asked}
        found = {lowered[n.lower()] for n in named if n.lower() in lowered}
        # some vendors' errors aim at the place in the list of fields, not at the name
        places = [int(n[7:]) for n in named if n.startswith("fields.") and n[7:].isdigit()]
        found |= {asked[place] for place in places if place < len(asked)}
        found -= self.fixed
        with self._lock:
            fresh = found - self.missing
            self.missing |= fresh
        return bool(fresh)


class QueryService:
    """Queries over ``call`` (operation, method, path, body), which authenticates and classifies."""

    def __init__(self, system: str, call: Callable[..., Answer]) -> None:
        self._system = system
        self._call = call

    def page(
        self,
        operation: str,
        target: str,
        columns: Columns,
        filters: Sequence[Filter] = (),
        *,
        expression: str = "and",
        order: Sequence[str] = ("key",),
        size: int | None = None,
        case_sensitive: bool = True,
    ) -> QueryPage:
        """One page. Entity-private records are included: documented, a top-level query skips them otherwise."""
        size = size or PAGE
        body: dict[str, Any] = {
            "object": target,
            "filterParameters": {"includePrivate": True},
            "orderBy": [{name: "asc"} for name in order],
            "start": 1,
            "size": size,
        }
        if filters:
            body |= {"filters": list(filters), "filterExpression": expression}
        if not case_sensitive:
            body["filterParameters"]["caseSensitiveComparison"] = False
        while True:
            body["fields"] = columns.current()
            try:
                return self._read(self._call(operation, "POST", "services/core/query", json=body), size)
            except Rejected as error:
                if not columns.drop([error.column] if error.column else []):
                    raise
                log.warning("intacct.column_missing", system=self._system, object=target, column=error.column)
            except NotFound as error:
                raise AuthFailed("the query service is not there: check base_url", status=error.status) from error

    def scan(
        self,
        operation: str,
        target: str,
        columns: Columns,
        filters: Sequence[Filter] = (),
        *,
        stamp: str | None = None,
        after: tuple[str, str] | None = None,
    ) -> Iterator[list[Row]]:
        """All rows in (stamp, key) or key order, page by page. ``after``: (stamp, key) of the last row already seen.

        Raises SystemUnavailable where the pages lead in a circle, or never end.
        """
        order = (stamp, "key") if stamp else ("key",)
        ahead = Ahead(after, self._system)
        while True:
            keyed, expression = _keyset(filters, stamp, after)
            found = self.page(operation, target, columns, keyed, expression=expression, order=order)
            if not found.rows:
                return
            yield found.rows
            last = (str(found.rows[-1].get(stamp) or "") if stamp else "", str(found.rows[-1]["key"]))
            if not found.more:
                return
            ahead.check(last)
            after = last

    def _read(self, answer: Answer, size: int) -> QueryPage:
        body = answer.json()
        rows = body.get("ia::result") if isinstance(body, dict) else None
        if not isinstance(rows, list) or not all(isinstance(r, dict) and readable_key(r) for r in rows):
            raise SystemUnavailable("the query answer holds no rows", system=self._system, status=answer.status)
        check_page(rows)
        meta = body.get("ia::meta")
        following = meta.get("next") if isinstance(meta, dict) else None
        total = meta.get("totalCount") if isinstance(meta, dict) else None
        more = bool(rows) and (following not in (None, "", "null") or len(rows) >= size)
        return QueryPage(rows, more, int(total) if total is not None and str(total).isdecimal() else None)


def _keyset(filters: Sequence[Filter], stamp: str | None, after: tuple[str, str] | None) -> tuple[list[Filter], str]:
    """Filters and expression for the rows behind ``after``. Never ``$gt`` on the stamp alone: it has whole seconds."""
    every = list(filters)
    base = " and ".join(str(n + 1) for n in range(len(every)))
    if after is None:
        return every, "and"
    n = len(every)
    if stamp is None:
        every.append({"$gt": {"key": after[1]}})
        behind = f"{n + 1}"
    else:
        every += [{"$gt": {stamp: after[0]}}, {"$eq": {stamp: after[0]}}, {"$gt": {"key": after[1]}}]
        behind = f"({n + 1} or ({n + 2} and {n + 3}))"
    return every, f"{base} and {behind}" if base else behind


def stamp_of(seconds: float) -> str:
    """Seconds since 1970 as the vendor writes times: UTC, whole seconds."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_of(stamp: object) -> float | None:
    """The vendor's time as seconds since 1970; None when it is absent or unreadable."""
    return stamps.utc(stamp)


def readable_key(row: Row) -> bool:
    """Does it name its record by something that can be a key?"""
    key = row.get("key")
    return isinstance(key, str | int) and not isinstance(key, bool) and 0 < len(str(key)) <= MAX_KEY


def record_of(row: Row, columns: Sequence[str], *, contact_apart: bool = False) -> Record:
    """A customer row as a record: only the columns that came back.

    ``contact_apart``: the contact is written by itself, and nothing is read of when that was done last.
    """
    contact = {"contact": _contact(row[CONTACT_KEY])} if CONTACT_KEY in row else {}
    return Record(
        key=str(row["key"]),
        ref=str(row.get("id") or "")[:MAX_KEY],
        native={c: row[c] for c in columns if c in row},
        children=contact,
        parts=1,
        created_at=seconds_of(row.get(CREATED)),
        updated_at=seconds_of(row.get(MODIFIED)) or seconds_of(row.get(CREATED)),
        stamps={PART: stamps.kept(row.get(MODIFIED)), **({CONTACT_ROW: ""} if contact_apart else {})},
    )


def _contact(key: object) -> str:
    """One that is too long to be kept counts as none: it is asked for before a write, and a part may be another's."""
    found = str(key or "")
    return found if len(found) <= MAX_KEY else ""
