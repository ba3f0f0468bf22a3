"""The calls of one API as its profile lays them out: the list with its pages, one record, a write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from sync_worker.config.profile import Profile
from sync_worker.connectors.base import MAX_KEY
from sync_worker.connectors.bounds import Ahead, check_page
from sync_worker.connectors.http import VendorHttp
from sync_worker.connectors.rest import pointers
from sync_worker.errors import NotFound, OutcomeUnknown, SystemUnavailable

Document = dict[str, Any]


class Calls:
    """Thread-safe. Every method raises SyncError."""

    def __init__(self, http: VendorHttp, profile: Profile) -> None:
        self._http = http
        self._profile = profile

    def pages(self, query: Mapping[str, str], *, sort: str = "", size: int | None = None) -> Iterator[list[Document]]:
        """Customers that fit the query, page by page."""
        layout = self._profile.customers
        ordered = {self._profile.sort.parameter: sort} if sort and self._profile.sort.parameter else {}
        return self._pages("query customer", layout.list, layout.items, {**query, **ordered}, size)

    def total(self, query: Mapping[str, str]) -> int | None:
        """How many customers fit the query, where the answer says so."""
        layout, paging = self._profile.customers, self._profile.paging
        sized = {paging.size_parameter: "1"} if paging.size_parameter else {}
        answer = self._http.call("query customer", "GET", layout.list, params={**query, **sized}).json()
        found = pointers.get(answer, layout.total)
        return found if isinstance(found, int) and not isinstance(found, bool) else None

    def users(self) -> Iterator[Document]:
        """The directory of users; nobody where the profile has none."""
        layout = self._profile.users
        for page in self._pages("query user", layout.list, layout.items, {}, None) if layout else ():
            yield from page

    def one(self, key: str) -> Document | None:
        """A customer; None: there is none."""
        try:
            answer = self._http.call("read customer", "GET", self._path(key))
        except NotFound:
            return None
        return self._record(answer.json())

    def create(self, document: Document) -> Document:
        """Make a customer; the answer holds it, at least its key. Never sent twice."""
        layout = self._profile.customers
        answer = self._http.call("create customer", "POST", layout.create or layout.list, json=document, write=True)
        made = self._record(answer.json())
        if made is None or not 0 < len(pointers.text(made, layout.key)) <= MAX_KEY:
            raise OutcomeUnknown("the answer to a create names no key", status=answer.status)
        return made

    def update(self, key: str, columns: Mapping[str, Any]) -> Document:
        """Change some members of a customer, by a merge patch or by sending the whole record as it is now."""
        if self._profile.customers.update_method == "PATCH":
            answer = self._http.call("update customer", "PATCH", self._path(key), json=pointers.document_of(columns))
        else:
            fresh = self._http.call("read customer", "GET", self._path(key))
            whole = self._record(fresh.json())
            if whole is None:
                raise NotFound("there is no such record", status=404)
            for pointer, value in columns.items():
                pointers.put(whole, pointer, value)
            tag = fresh.headers.get("etag", "")  # so that an edit made since is refused instead of overwritten
            headers = {"If-Match": tag} if tag else {}
            answer = self._http.call("update customer", "PUT", self._path(key), json=whole, headers=headers)
        return self._record(answer.json()) or {} if answer.content.strip() else {}

    def _path(self, key: str) -> str:
        return self._profile.customers.one.replace("{key}", quote(key, safe=""))

    def _record(self, answer: Any) -> Document | None:
        layout = self._profile.customers
        found = pointers.get(answer, layout.item)
        return found if isinstance(found, dict) and not is_deleted(found, layout.deleted) else None

    def _pages(
        self, operation: str, path: str, items: str, query: Mapping[str, str], size: int | None
    ) -> Iterator[list[Document]]:
        paging = self._profile.paging
        size = size or paging.size
        sized = {paging.size_parameter: str(size)} if paging.size_parameter else {}
        at = str(paging.first) if paging.kind == "page" else ""
        ahead = Ahead(at, self._http.system)
        while True:
            turn = {paging.parameter: at} if at else {}
            answer = self._http.call(operation, "GET", path, params={**query, **sized, **turn}).json()
            found = pointers.get(answer, items)
            if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
                raise SystemUnavailable(f"{operation}: the answer has no list of records at {items or 'its top'!r}")
            check_page(found)
            yield found
            before = at
            if paging.kind == "cursor":
                at = pointers.text(answer, paging.next)
            elif paging.kind == "page" and len(found) >= size:
                at = str(int(at) + 1)
            else:
                at = ""
            if not at or at == before:
                return
            ahead.check(at)


def is_deleted(document: Document, pointer: str) -> bool:
    """Does its flag say that a record is deleted? Without a flag nothing is."""
    return bool(pointer) and pointers.get(document, pointer) not in (pointers.MISSING, None, False, 0, "", "0", "false")
