"""The emulator itself: sign-in, routes, faults, triggers, and the back door's view of the company."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast
from urllib.parse import parse_qsl

from sync_worker.connectors.emulation import (
    Emulator,
    Named,
    Operation,
    OutgoingNotice,
    Request,
    Response,
    Stamping,
    WriteOp,
)
from sync_worker.connectors.intacct.emulator.company import Company
from sync_worker.connectors.intacct.emulator.envelope import (
    ApiError,
    error_response,
)
from sync_worker.connectors.intacct.emulator.events import EventQueue, WebhookSigner, with_faults
from sync_worker.connectors.intacct.emulator.idempotency import IdempotencyCache
from sync_worker.connectors.intacct.emulator.model import answer_model
from sync_worker.connectors.intacct.emulator.objects import WORKFLOWS, ObjectDesk, parse, read_json, split_object
from sync_worker.connectors.intacct.emulator.payload import nest
from sync_worker.connectors.intacct.emulator.query import answer_query, keys_asked_for
from sync_worker.connectors.intacct.emulator.records import Records
from sync_worker.connectors.intacct.emulator.schema import ENTITY
from sync_worker.connectors.intacct.emulator.seeding import furnish, seed_customers
from sync_worker.connectors.intacct.emulator.switches import IntacctFaults
from sync_worker.connectors.intacct.emulator.tokens import Identity, TokenDesk
from sync_worker.connectors.intacct.emulator.unit import Author, Trigger, Unit

_BASE = "/ia/api/v1/"
_VERBS = {"GET": "read", "POST": "create", "PATCH": "patch", "DELETE": "delete"}
_SERVICES = {
    ("POST", "oauth2/token"): Operation("token", "auth"),
    ("POST", "oauth2/revoke"): Operation("revoke", "auth"),
    ("GET", "services/core/model"): Operation("model", "read"),
    ("GET", "services/delivery/event/count"): Operation("event count", "read"),
    ("GET", "services/delivery/event/list"): Operation("event list", "read"),
    ("POST", "services/delivery/event/ack"): Operation("event ack", "other"),
}


class IntacctEmulator(Emulator):
    """One company of Sage Intacct behind REST API v1. Keyword arguments beyond these are switches (IntacctFaults)."""

    name = "intacct"
    faults_type = IntacctFaults
    notice_success = frozenset({200})
    notice_retry_on = frozenset({408, 429, 500, 502, 503, 504})
    notice_waits = (10.0, 30.0, 90.0)

    def __init__(
        self,
        *,
        seed: int = 0,
        clock: Callable[[], float] = time.time,
        client_id: str = "demo-client",
        client_secret: str = "demo-secret",  # noqa: S107 -- the emulator's published credentials, never a real secret
        username: str = "sync@ACME",
        entities: Sequence[str] = (),
        custom_fields: Mapping[str, tuple[str, ...]] | None = None,
        **switches: Any,
    ) -> None:
        super().__init__(seed=seed, clock=clock)
        self.faults.merge(switches)
        user, _, tenant = username.partition("@")
        identity = Identity(client_id, client_secret, user, tenant.partition("|")[0])
        fields = {"accounts-receivable/customer": ("nsp::REGION",)} if custom_fields is None else custom_fields
        self._company = Company(self, fields)
        self._unit = Unit(self, self._company, self._fire)
        self._records = Records(self._company, self._unit, self.switches)
        self._objects = ObjectDesk(self._company, self._records, self._unit, self.switches, self.touched)
        self._tokens = TokenDesk(identity, self.switches, self.rng, clock)
        self._repeats = IdempotencyCache(clock)
        self._signer = WebhookSigner(identity, self.switches, self.rng)
        self.queue = EventQueue(self.switches, self.rng, clock)
        self._parsed: Any = None
        self._unit.quiet = True
        self._person_key, self._api_user_key = furnish(self._records, user, entities)
        self._unit.quiet = False

    @property
    def switches(self) -> IntacctFaults:
        return cast(IntacctFaults, self.faults)

    # --- requests ----------------------------------------------------------------------------------------------------

    def operation(self, request: Request) -> Operation:
        path = request.path.removeprefix(_BASE)
        if known := _SERVICES.get((request.method, path)):
            return known
        if path == "services/core/query":
            body = self._parsed = parse(request.body)
            wanted = body.get("object") if isinstance(body, dict) else None
            return Operation(f"query {self._short(wanted)}", "read")
        if path in WORKFLOWS:
            return Operation(f"{path.rpartition('/')[2]} invoice", "write")
        if path.startswith("objects/") and request.method in _VERBS:
            name, key = split_object(path)
            verb = "list" if request.method == "GET" and not key else _VERBS[request.method]
            return Operation(f"{verb} {self._short(name)}", "read" if request.method == "GET" else "write")
        return Operation("unknown", "other")

    def named(self, request: Request) -> list[Named]:
        path, body = request.path.removeprefix(_BASE), parse(request.body)
        if path == "services/core/query":
            return [(self._short(body["object"]), key) for key in keys_asked_for(body)]
        if not path.startswith("objects/"):
            return []
        name, keys = split_object(path)
        items = body if isinstance(body, list) else []
        found = [*keys.split(","), *(item.get("key") for item in items if isinstance(item, dict))]
        return [(self._short(name), key) for key in found if key]

    def _short(self, path: Any) -> str:
        kind = self._company.kinds.get(path) if isinstance(path, str) else None
        return kind.entity if kind is not None else "unknown"

    def route(self, request: Request) -> Response:
        switches = self.switches
        self._company.contact_shows_audit = switches.audit_on_contact
        self._company.start_reading()
        try:
            return self._dispatch(request)
        except ApiError as error:
            shape = switches.error_shape
            if error.status == 401:
                shape = "error"
            return error_response(error, shape, details_object=switches.details_object)

    def _dispatch(self, request: Request) -> Response:
        if not request.path.startswith(_BASE):
            raise ApiError(404, "invalidRequest", "Malformed URL")
        path = request.path[len(_BASE) :]
        match request.method, path:
            case "POST", "oauth2/token":
                return self._tokens.grant(request)
            case "POST", "oauth2/revoke":
                return self._tokens.revoke(request)
        session = self._tokens.session(request)
        entity_key = self._entity(request.headers.get("x-ia-api-param-entity") or session.entity)
        if path.startswith("services/"):
            return self._service(request, path, entity_key)
        if request.method == "GET":
            return self._objects.read(request, path)
        return self._once(request, lambda author: self._objects.write(request, path, author), entity_key)

    def _entity(self, entity_id: str) -> str | None:
        if not entity_id:
            return None
        key = self._company.tables[ENTITY].by_id.get(entity_id)
        if key is None:
            raise ApiError(403, "unauthorizedUser", "The entity cannot be accessed")
        return key

    def _service(self, request: Request, path: str, entity_key: str | None) -> Response:
        match request.method, path:
            case "POST", "services/core/query":
                body = self._parsed
                return answer_query(self._company, body, entity_key, self.clock())
            case "GET", "services/core/model":
                return answer_model(self._company, dict(parse_qsl(request.query)))
            case "GET", "services/delivery/event/count":
                return self.queue.count()
            case "GET", "services/delivery/event/list":
                return self.queue.list()
            case "POST", "services/delivery/event/ack":
                return self.queue.ack(read_json(request))
        raise ApiError(404, "invalidRequest", "Malformed URL")

    def _once(self, request: Request, write: Callable[[Author], Response], entity_key: str | None) -> Response:
        """Idempotency around a POST or PATCH: answers are kept, failures too."""
        key = request.headers.get("idempotency-key") if request.method in ("POST", "PATCH") else None
        author = Author("api", self._api_user_key, entity_key, key)
        if key is None:
            return write(author)
        kept = self._repeats.answer(key, request)
        if kept is not None:
            return kept
        try:
            response = write(author)
        except ApiError as error:
            switches = self.switches
            response = error_response(error, switches.error_shape, details_object=switches.details_object)
        self._repeats.keep(key, request, response)
        return response

    # --- faults and triggers -----------------------------------------------------------------------------------------

    def fault_response(self, fault: str, request: Request) -> Response:
        switches = self.switches
        match fault:
            case "401":
                self._tokens.drop_access_tokens()
                error = self._tokens.rejected_token()
                return error_response(error, "error" if error.status == 401 else "normal")
            case "locked":
                error = ApiError(409, "operationFailed", "A request with this idempotency key is in progress")
            case "429" | "429_no_hint":
                error = ApiError(429, "GW-0010", "API rate limit exceeded")
            case _:
                error = ApiError(int(fault), "GW-0001", "Unable to process request")
        response = error_response(error, switches.error_shape)
        if fault == "429":
            response.headers["X-IA-Throttle-Limit-Retry-After"] = str(switches.retry_after_s)
        return response

    def _fire(self, triggers: list[Trigger]) -> None:
        switches = self.switches
        wanted = [t for t in triggers if t.entity in switches.triggers]
        if switches.event_queue and not switches.notices_off:
            self.queue.add(with_faults(wanted, switches, self.rng))
        if switches.webhooks and self.hooks:
            self.post_notice(self._signer.notice(hook, t) for t in wanted for hook in self.hooks)

    def notice_gave_up(self, notice: OutgoingNotice, status: int | None) -> None:
        """Observed: after the last failed attempt the event waits in the queue. A refused push (401, ...) is lost."""
        if status is None or status in self.notice_retry_on:
            self.queue.add([notice.about])

    # --- the back door -----------------------------------------------------------------------------------------------

    def list_records(self, entity: str) -> list[dict[str, Any]]:
        path = self._company.by_entity[entity]
        self._company.start_reading()
        return [self._company.flatten(path, row) for row in self._company.tables[path].rows.values()]

    def get_record(self, entity: str, key: str) -> dict[str, Any] | None:
        path = self._company.by_entity[entity]
        row = self._company.tables[path].rows.get(key)
        return None if row is None else self._company.flatten(path, row)

    def apply_person(self, entity: str, key: str | None, columns: Mapping[str, Any], op: WriteOp) -> str:
        """Columns are dotted, references as ``salesRepresentative.id``. Everything a screen can do, this can."""
        path = self._company.by_entity[entity]
        author = Author("person", self._person_key)
        body = nest(columns)
        try:
            if op == "create":
                return str(self._records.create(path, body, author)["key"])
            if key is None:
                raise ValueError(f"{op} needs a key")
            if op == "delete":
                self._records.delete(path, key, author)
            else:
                self._records.change(path, key, body, author)
        except ApiError as error:
            raise ValueError(json.dumps(error.body)) from error
        return key

    def apply_script(self, entity: str, key: str, columns: Mapping[str, Any], stamp: Stamping) -> None:
        table = self._company.tables[self._company.by_entity[entity]]
        old = table.rows.get(key)
        if old is None or not columns.keys() <= old.keys():
            raise ValueError(f"no {entity} {key} with these columns")
        kept = old["audit.modifiedDateTime"] if stamp == "keep" else None
        table.put({**old, **columns, "audit.modifiedDateTime": kept})

    def apply_seed(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        self._unit.quiet = True
        try:
            return dict(seed_customers(self._records, spec, Author("script", self._person_key)))
        except ApiError as error:
            raise ValueError(json.dumps(error.body)) from error
        finally:
            self._unit.quiet = False
