"""The REST calls themselves: feeds page by page, POST, PATCH. Knows the protocol, not what the rows mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sync_worker.connectors.bounds import bounded, check_page
from sync_worker.connectors.http import Answer, VendorHttp
from sync_worker.connectors.sage_crm import where as predicates
from sync_worker.connectors.sage_crm.tables import Linked, Row, Table
from sync_worker.errors import NotFound, OutcomeUnknown, Rejected, SyncError, SystemUnavailable

PAGE = 200  # rows asked for; what comes may be fewer, since caps of 100 and 200 were observed


class Rest:
    """One installation's tables. Thread-safe; remembers which update verb and whether an order is taken."""

    def __init__(self, http: VendorHttp) -> None:
        self._http = http
        self._verb = "PATCH"
        self._orders = True

    def pages(
        self,
        table: Table,
        where: str | None = None,
        *,
        order: str | None = None,
        count: int = PAGE,
        deleted: bool = False,
    ) -> Iterator[tuple[list[Row], int]]:
        """Live rows page by page, each with the total the server claims; ``deleted``: those too, where it shows them.

        Documented: startIndex counts from 1. Observed: fewer rows come than were asked for, so the next page starts
        after what came. Ends at the total, at an empty page, or at a page with nothing new (no endless loop).
        """
        start, seen = 1, set[str]()
        while True:
            rows, total = self._page(table, where, order, count, start)
            fresh = [row for row in rows if row.key(table) not in seen]
            seen.update(row.key(table) for row in fresh)
            if fresh or start == 1:
                yield [row for row in fresh if deleted or not row.deleted(table)], total
            start += len(rows)
            if not fresh or (0 <= total < start):
                return

    def rows(self, table: Table, wheres: Iterable[str | None], *, most: int | None = None) -> list[Row]:
        """All live rows of several predicates over one table; stops after ``most``."""
        found: dict[str, Row] = {}
        for row in self.each(table, wheres):
            found[row.key(table)] = row
            if most is not None and len(found) >= most:
                break
        return list(found.values())

    def each(self, table: Table, wheres: Iterable[str | None]) -> Iterator[Row]:
        """The same one by one, and twice where two predicates show it. Raises SystemUnavailable for too many in all."""
        return bounded(row for where in wheres for rows, _ in self.pages(table, where) for row in rows)

    def links(self, of: Linked, column: str, ids: Iterable[str]) -> list[Row]:
        """Rows that tie children to companies, by the ids in one of their columns."""
        owner = "".join(f"{predicates.equals(name, str(value))} and " for name, value in of.of_companies.items())
        beside = len(predicates.encoded(owner))
        wheres = (f"{owner}{some}" for some in predicates.id_lists(column, ids, beside=beside))
        return [row for row in self.rows(of.link, wheres) if of.links_company(row)]

    def first(
        self, table: Table, where: str | None = None, *, order: str | None = None, count: int = 1
    ) -> tuple[list[Row], int]:
        """The first page only."""
        return next(self.pages(table, where, order=order, count=count))

    def shown(self, table: Table, where: str | None, *, order: str | None, count: int) -> tuple[list[Row], int]:
        """The first page as the server shows it, deleted rows included, and the total it claims (-1 unknown)."""
        return self._page(table, where, order, count, 1)

    def _page(
        self, table: Table, where: str | None, order: str | None, count: int, start: int
    ) -> tuple[list[Row], int]:
        """One page. Documented since 2024 R2: orderBy; a server that refuses it is asked without, from then on."""
        params: dict[str, str | int | None] = {"count": count, "startIndex": start, "where": where or None}
        if order and self._orders:
            try:
                return self._get(table, {**params, "orderBy": order})
            except Rejected:
                found = self._get(table, params)
            self._orders = False
            return found
        return self._get(table, params)

    def _get(self, table: Table, params: Mapping[str, str | int | None]) -> tuple[list[Row], int]:
        try:
            path = f"{table.resource}?{predicates.query(params)}"
            answer = self._http.call(f"read {table.resource.lower()}", "GET", path)
        except NotFound as error:
            # a feed always exists, so this is a wrong address or a proxy in the way, not an absent record
            raise SystemUnavailable(f"no resource {table.resource} at base_url", status=404) from error
        return _feed(answer)

    def create(self, table: Table, columns: Mapping[str, Any]) -> Row:
        """POST a row; the answer as stored. Raises OutcomeUnknown when it shows no key."""
        answer = self._http.call(
            f"create {table.resource.lower()}", "POST", table.resource, params=_STORED, json=dict(columns), write=True
        )
        document = answer.json()
        row = Row(document) if isinstance(document, dict) else Row({})
        if not predicates.is_id(row.key(table)):
            raise OutcomeUnknown(f"create {table.resource}: the answer shows no key")
        return row

    def update(self, table: Table, key: str, columns: Mapping[str, Any]) -> Row:
        """Merge columns into a row; the answer as stored, empty where the server shows nothing.

        Documented: PATCH; observed: PUT with a partial body on another version. Which one is taken is remembered.
        """
        verb = self._verb
        try:
            return self._send(verb, table, key, columns)
        except SyncError as error:
            if verb != "PATCH" or error.status not in (405, 501):
                raise
        row = self._send("PUT", table, key, columns)
        self._verb = "PUT"
        return row

    def _send(self, verb: str, table: Table, key: str, columns: Mapping[str, Any]) -> Row:
        if not predicates.is_id(key):
            raise Rejected(f"no row of {table.resource} has such an id")
        answer = self._http.call(
            f"update {table.resource.lower()}",
            verb,
            f"{table.resource}('{key}')",
            params=_STORED,
            json=dict(columns),
            write=True,
        )
        if not answer.content.strip():
            return Row({})
        document = answer.json()
        return Row(document) if isinstance(document, dict) else Row({})


_STORED = {"returnPartial": "false"}  # documented: re-read the row before answering, instead of echoing what was sent


def _feed(answer: Answer) -> tuple[list[Row], int]:
    """Rows and claimed total (-1 unknown) of a feed. Raises SystemUnavailable for anything that is no feed."""
    document = answer.json()
    resources = document.get("$resources") if isinstance(document, dict) else None
    if not isinstance(resources, list):
        raise SystemUnavailable("the answer is no feed", status=answer.status)
    check_page(resources)
    total = document.get("$totalResults")
    return [Row(raw) for raw in resources if isinstance(raw, dict)], total if isinstance(total, int) else -1
