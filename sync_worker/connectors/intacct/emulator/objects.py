"""Requests about objects: one record, batches with a result each, and the invoice's workflows."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from sync_worker.connectors.emulation import Request, Response, json_response
from sync_worker.connectors.intacct.emulator.company import Company
from sync_worker.connectors.intacct.emulator.envelope import (
    ApiError,
    batch_response,
    page_response,
    result_response,
    unknown_key,
)
from sync_worker.connectors.intacct.emulator.records import Records
from sync_worker.connectors.intacct.emulator.schema import INVOICE
from sync_worker.connectors.intacct.emulator.switches import IntacctFaults
from sync_worker.connectors.intacct.emulator.tables import Version
from sync_worker.connectors.intacct.emulator.unit import Author, Unit

WORKFLOWS = frozenset({"workflows/accounts-receivable/invoice/submit", "workflows/accounts-receivable/invoice/reverse"})
_LIST_PAGE = 100


class ObjectDesk:
    """Answers below ``objects/`` and ``workflows/``; refusals are raised as ``ApiError``.

    ``touched`` is told how many records a batch is about.
    """

    def __init__(
        self,
        company: Company,
        records: Records,
        unit: Unit,
        switches: IntacctFaults,
        touched: Callable[[int], None],
    ) -> None:
        self._company = company
        self._records = records
        self._unit = unit
        self._switches = switches
        self._touched = touched

    def read(self, request: Request, path: str) -> Response:
        name, key = self._object(path)
        if not key:
            return self._list(name, dict(parse_qsl(request.query)))
        if "," not in key:
            return result_response(200, self._rendered(name, key))
        keys = self._batch(key.split(","))
        items = [self._attempt(200, lambda k=k: self._rendered(name, k)) for k in keys]  # type: ignore[misc]  # k is bound
        if all(status == 200 for status, _ in items):
            meta = {"totalCount": len(items), "totalSuccess": len(items), "totalError": 0}
            return json_response(200, {"ia::result": [body for _, body in items], "ia::meta": meta})
        return batch_response(items, 200, uniform=self._switches.batch_uniform_status)

    def _rendered(self, name: str, key: str) -> dict[str, Any]:
        row = self._company.look(name, key)
        if row is None:
            raise unknown_key(key)
        return self._company.render(name, row)

    def _list(self, name: str, query: Mapping[str, str]) -> Response:
        start = int(query["start"]) if query.get("start", "").isdigit() else 1
        rows = list(self._company.tables[name].rows.values())
        page = [_reference(name, row) for row in rows[start - 1 : start - 1 + _LIST_PAGE]]
        return page_response(page, len(rows), start, _LIST_PAGE)

    def write(self, request: Request, path: str, author: Author) -> Response:
        if path in WORKFLOWS:
            return self._workflow(path.rpartition("/")[2], read_json(request), author)
        name, key = self._object(path)
        if not self._company.kinds[name].writable:
            raise ApiError(403, "unauthorizedUser", "The user may not do that")
        if request.method == "DELETE" and key:
            return self._delete(request, name, key, author)
        if (request.method == "PATCH" or (request.method == "POST" and not key)) and request.method != "DELETE":
            return self._create_or_change(request, name, key, author)
        raise ApiError(405, "invalidRequest", "Method not allowed")

    def _create_or_change(self, request: Request, name: str, key: str, author: Author) -> Response:
        body = read_json(request)
        good = 201 if request.method == "POST" else 200
        if isinstance(body, list) and not key:
            one = self._create_one if request.method == "POST" else self._change_one
            tasks = [lambda item=item: one(name, item, author) for item in self._batch(body)]
            return self._run_batch(request, tasks, good)
        if good == 201:
            return result_response(201, self._create_one(name, body, author))
        if not key:
            raise ApiError(405, "invalidRequest", "Method not allowed")
        return result_response(200, _reference(name, self._records.change(name, key, body, author)))

    def _create_one(self, name: str, body: Any, author: Author) -> dict[str, Any]:
        return _reference(name, self._records.create(name, body, author))

    def _change_one(self, name: str, item: Any, author: Author) -> dict[str, Any]:
        key = item.get("key") if isinstance(item, dict) else None
        if not isinstance(key, str):
            raise ApiError(400, "invalidKey", "key is required", "REST-1064")
        body = {k: v for k, v in item.items() if k != "key"}
        return _reference(name, self._records.change(name, key, body, author))

    def _delete(self, request: Request, name: str, keys: str, author: Author) -> Response:
        def delete(key: str) -> dict[str, Any]:
            self._records.delete(name, key, author)
            return {}

        if "," not in keys:
            delete(keys)
            return Response(204)
        tasks = [lambda key=key: delete(key) for key in self._batch(keys.split(","))]
        response = self._run_batch(request, tasks, 204)
        return Response(204) if response.status == 204 else response

    def _workflow(self, step: str, body: Any, author: Author) -> Response:
        key = body.get("key") if isinstance(body, dict) else None
        if not isinstance(key, str):
            raise ApiError(400, "invalidKey", "key is required", "REST-1064")
        if step == "submit":
            row = self._records.set_state(key, ("draft",), {"state": "posted"}, author)
        else:
            changes = {"state": "reversed", "reversedDate": body.get("reversedDate")}
            row = self._records.set_state(key, ("posted",), changes, author)
        return result_response(200, {**_reference(INVOICE, row), "state": row["state"]})

    def _object(self, path: str) -> tuple[str, str]:
        name, key = split_object(path)
        if name not in self._company.kinds:
            raise ApiError(404, "invalidRequest", "Malformed URL")
        return name, key

    # --- batches -----------------------------------------------------------------------------------------------------

    def _batch(self, items: list[Any]) -> list[Any]:
        if not 0 < len(items) <= self._switches.max_batch:
            raise ApiError(400, "invalidRequest", f"A batch holds 1 to {self._switches.max_batch} records", "REST-1064")
        self._touched(len(items))
        return items

    def _run_batch(self, request: Request, tasks: Sequence[Callable[[], dict[str, Any]]], good: int) -> Response:
        uniform = self._switches.batch_uniform_status
        if request.headers.get("x-ia-api-param-transaction", "").lower() != "true":
            return batch_response([self._attempt(good, task) for task in tasks], good, uniform=uniform)
        try:
            with self._unit:
                items = [self._attempt(good, task) for task in tasks]
                if any(status >= 400 for status, _ in items):
                    raise _RolledBack(items)
        except _RolledBack as rolled_back:
            items = [item if item[0] >= 400 else (422, _UNPROCESSED) for item in rolled_back.items]
        return batch_response(items, good, uniform=uniform)

    def _attempt(self, good: int, task: Callable[[], dict[str, Any]]) -> tuple[int, dict[str, Any]]:
        try:
            return good, task()
        except ApiError as error:
            return error.status, {"ia::error": error.body}


class _RolledBack(Exception):
    def __init__(self, items: list[tuple[int, dict[str, Any]]]) -> None:
        super().__init__("rolled back")
        self.items = items


_UNPROCESSED = {"ia::error": {"code": "unprocessed", "message": "Operation skipped due to atomic transaction failure"}}


def split_object(path: str) -> tuple[str, str]:
    """``objects/app/object/key`` as ("app/object", "key"); the key may be empty or a comma list."""
    parts = path.split("/", 3)
    return "/".join(parts[1:3]), parts[3] if len(parts) > 3 else ""


def _reference(name: str, row: Version) -> dict[str, Any]:
    return {"key": row["key"], "id": row["id"], "href": f"/objects/{name}/{row['key']}"}


def parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def read_json(request: Request) -> Any:
    """The body. Documented: REST-1028 for none; GW-0014 for a content type that is not JSON."""
    if not request.body:
        raise ApiError(400, "invalidRequest", "Payload is missing", "REST-1028")
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise ApiError(400, "GW-0014", "Invalid Content Type")
    body = parse(request.body)
    if body is None:
        raise ApiError(400, "invalidRequest", "Payload is not JSON", "REST-1064")
    return body
