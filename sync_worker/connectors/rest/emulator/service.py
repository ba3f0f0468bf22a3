"""The emulated tenant behind the kit: token, reads, writes, invoices, notices, the back door."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from sync_worker.connectors.emulation import (
    Actor,
    Emulator,
    Operation,
    Request,
    Response,
    Stamping,
    WriteOp,
    json_response,
)
from sync_worker.connectors.emulation.standard import sealed
from sync_worker.connectors.rest.emulator import listing
from sync_worker.connectors.rest.emulator.documents import (
    SET_BY_ITSELF,
    Refused,
    Row,
    blank,
    checked,
    members,
    nested,
    stamp,
)
from sync_worker.connectors.rest.emulator.faults import TheLayerFaults

BASE = "/api/v1/"
TOKEN = "demo-token"  # noqa: S105  the emulator's own, for everybody to see
FIRST_KEY = 1001
USERS: tuple[Row, ...] = (
    {"id": "U1", "name": "Ada North", "email": "ada@layer.test", "active": True},
    {"id": "U2", "name": "Ben South", "email": "ben@layer.test", "active": True},
    {"id": "U3", "name": "Cleo West", "email": "cleo@layer.test", "active": False},
)
_VERBS = {"GET": "read", "POST": "create", "PATCH": "update", "PUT": "update"}
_OPS = {"create": "created", "update": "updated", "delete": "deleted"}


class TheLayerEmulator(Emulator):
    """One tenant. Customers are flat rows by the paths of their members; a write replaces the row."""

    name = "the_layer"
    faults_type = TheLayerFaults
    faults: TheLayerFaults
    notice_retry_on = frozenset({429, 500, 502, 503, 504})
    notice_waits = (10.0, 30.0, 90.0)

    def __init__(self, *, seed: int = 0, clock: Callable[[], float] = time.time) -> None:
        super().__init__(seed=seed, clock=clock)
        self.customers: dict[str, Row] = {}
        self.invoices: dict[str, Row] = {}
        self.users: dict[str, Row] = {row["id"]: dict(row) for row in USERS}
        self._next = FIRST_KEY
        # ids must not repeat when an emulator is started again: receivers drop what they know
        self._boot = uuid.uuid4().hex[:16]
        self._notices = 0

    # --- the kit's questions -----------------------------------------------------------------------------------------

    def operation(self, request: Request) -> Operation:
        resource, key = _target(request.path)
        verb = _VERBS.get(request.method)
        if verb is None or resource not in ("customers", "users"):
            return Operation("other", "other")
        word = resource[:-1]
        if verb != "read":
            return Operation(f"{verb} {word}", "write")
        return Operation(f"{'read' if key else 'query'} {word}", "read")

    def fault_response(self, fault: str, request: Request) -> Response:
        status = {"429_no_hint": 429}.get(fault) or int(fault)
        headers = {"retry-after": str(self.faults.retry_after_s)} if fault == "429" else {}
        return json_response(status, {"error": {"code": "unavailable"}}, headers)

    def route(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return json_response(401, {"error": {"code": "unauthorised"}})
        resource, key = _target(request.path)
        try:
            if resource == "users" and not key and request.method == "GET":
                return json_response(200, {"data": list(self.users.values()), "next": None})
            if resource != "customers":
                return self._not_found()
            return self._one(request, key) if key else self._all(request)
        except listing.BadQuery as error:
            return json_response(400, {"error": {"code": "bad_query", "message": str(error)}})
        except Refused as error:
            return json_response(422, {"error": {"code": "refused", "field": error.path, "message": error.reason}})

    def _not_found(self) -> Response:
        if self.faults.page_404:
            return Response(404, b"<html>Not found</html>", {"content-type": "text/html"})
        return json_response(404, {"error": {"code": "not_found"}})

    # --- one request -------------------------------------------------------------------------------------------------

    def _all(self, request: Request) -> Response:
        if request.method == "POST":
            key = self._insert(dict(members(_body(request))), "api")
            return json_response(201, nested(self.customers[key]))
        if request.method != "GET":
            return json_response(405, {"error": {"code": "method"}})
        query = dict(parse_qsl(request.query, keep_blank_values=True))
        shown = (self.seen("customer", key, row) for key, row in self.customers.items())
        rows = [row for row in shown if row is not None]
        found = listing.page(rows, query, cap=self.faults.page_cap, ids_allowed=self.faults.ids_allowed)
        self.touched(max(1, len(found["data"])))
        return json_response(200, found)

    def _one(self, request: Request, key: str) -> Response:
        row = self.customers.get(key)
        if row is None:
            return self._not_found()
        if request.method == "GET":
            shown = self.seen("customer", key, row)
            return self._not_found() if shown is None else self._shown(shown)
        if request.method not in ("PATCH", "PUT") or (request.method == "PATCH" and not self.faults.patch_allowed):
            return json_response(405, {"error": {"code": "method"}})
        columns = dict(members(_body(request)))
        if request.method == "PUT":
            expected = request.headers.get("if-match")
            if expected is not None and expected != _tag(row):
                return json_response(412, {"error": {"code": "changed_meanwhile"}})
            columns = {p: v for p, v in columns.items() if p not in SET_BY_ITSELF and row.get(p) != v}
        self._update(key, columns, "api")
        return self._shown(self.customers[key])

    def _shown(self, row: Row) -> Response:
        return json_response(200, nested(row), {"etag": _tag(row)})

    # --- writes ------------------------------------------------------------------------------------------------------

    def _insert(self, columns: Mapping[str, Any], actor: Actor) -> str:
        values = checked(columns, self.users, self.faults, creating=True)
        row = {**blank(self._next, self.clock()), **values}
        self._next += 1
        key: str = row["/id"]
        self.retire("customer", key, None)
        self.customers[key] = row
        self._applied(actor, key, "create", {}, values)
        return key

    def _update(self, key: str, columns: Mapping[str, Any], actor: Actor) -> None:
        values = checked(columns, self.users, self.faults, creating=False)
        old = self.customers[key]
        self.retire("customer", key, old)
        self.customers[key] = {**old, **values, "/updatedAt": stamp(self.clock())}
        self._applied(actor, key, "update", {path: old[path] for path in values}, values)

    def _delete(self, key: str) -> None:
        old = self.customers.pop(key)
        self.retire("customer", key, old)
        self._applied("person", key, "delete", old, {})

    def _applied(
        self, actor: Actor, key: str, op: WriteOp, before: Mapping[str, Any], after: Mapping[str, Any]
    ) -> None:
        self.record_write(actor, "customer", key, op, before, after)
        self.announce({"entity": "customer", "key": key, "op": _OPS[op], "at": stamp(self.clock())})

    def announce(self, event: Mapping[str, Any]) -> None:
        """One event, signed for every hook."""
        if not self.hooks or self.faults.notices_off:
            return
        self._notices += 1
        notice_id = f"msg_{self._boot}{self._notices:08x}"
        self.post_notice(sealed(event, hook, notice_id, int(self.clock())) for hook in self.hooks)

    def _invoice(self, key: str | None, columns: Mapping[str, Any]) -> str:
        """A person makes or changes an invoice; becoming final is announced, as often as it does."""
        key = key or f"INV-{len(self.invoices) + 1}"
        old = self.invoices.get(key, {"customer": None, "subCompany": None, "state": "draft"})
        row = {**old, **columns}
        if row["state"] not in ("draft", "finalised") or row["customer"] not in self.customers:
            raise ValueError("an invoice needs a customer, and the state draft or finalised")
        self.invoices[key] = row
        if row["state"] == "finalised" and old["state"] == "draft":
            event = {"entity": "invoice", "key": key, "op": "finalised", "customer": row["customer"]}
            self.announce({**event, "at": stamp(self.clock())})
        return key

    # --- the back door -----------------------------------------------------------------------------------------------

    def _table(self, entity: str) -> dict[str, Row]:
        return {"customer": self.customers, "user": self.users, "invoice": self.invoices}[entity]

    def list_records(self, entity: str) -> list[dict[str, Any]]:
        return [dict(row) for row in self._table(entity).values()]

    def get_record(self, entity: str, key: str) -> dict[str, Any] | None:
        row = self._table(entity).get(key)
        return None if row is None else dict(row)

    def apply_person(self, entity: str, key: str | None, columns: Mapping[str, Any], op: WriteOp) -> str:
        if entity == "invoice" and op != "delete":
            return self._invoice(key, columns)
        if entity == "user" and op == "update" and key in self.users:
            self.users[key] = {**self.users[key], **columns}
            self.announce({"entity": "user", "key": key, "op": "updated"})
            return key
        if entity != "customer":
            raise ValueError(f"nobody can {op} {entity} here")
        try:
            if op == "create":
                return self._insert(columns, "person")
            if key is None or key not in self.customers:
                raise ValueError(f"no customer {key}")
            if op == "delete":
                self._delete(key)
            else:
                self._update(key, columns, "person")
            return key
        except Refused as error:
            raise ValueError(f"{error.path}: {error.reason}") from error

    def apply_script(self, entity: str, key: str, columns: Mapping[str, Any], stamp: Stamping) -> None:
        old = self.customers.get(key) if entity == "customer" else None
        if old is None or not columns.keys() <= old.keys():
            raise ValueError(f"no {entity} {key} with these columns")
        self.customers[key] = {**old, **columns, **({"/updatedAt": None} if stamp == "none" else {})}

    def apply_seed(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """``customers``: how many; ``first``: number of the first; ``age_seconds``: default a day; ``sub_company``."""
        count, first = int(spec.get("customers", 0)), int(spec.get("first", 1))
        born = self.clock() - float(spec.get("age_seconds", 86_400))
        start = self._next
        for n in range(first, first + count):
            row = blank(self._next, born)
            row |= {
                "/companyName": f"Customer {n:05d}",
                "/email": f"ap{n:05d}@customers.test",
                "/website": f"http://c{n:05d}.test",
                "/telephone": f"+44 113 496 {n % 10_000:04d}",
                "/subCompany": spec.get("sub_company"),
            }
            self.customers[row["/id"]] = row
            self._next += 1
        return {"customers": count, "first_key": str(start), "last_key": str(self._next - 1)}


def _target(path: str) -> tuple[str, str]:
    """Resource and key of a path below the base; blank for anything else."""
    resource, _, key = path.removeprefix(BASE).partition("/") if path.startswith(BASE) else ("", "", "")
    return resource, key


def _tag(row: Row) -> str:
    """Changes with every version: versions are told apart by their content."""
    return f'"{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(row))}"'


def _body(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(request.body)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Refused("/", "the body must be one JSON object")
    return body
