"""The emulated Sage CRM behind the kit: logon, reads, writes, the back door."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from sync_worker.connectors.emulation import (
    Actor,
    Emulator,
    Named,
    Operation,
    Request,
    Response,
    Stamping,
    WriteOp,
    json_response,
)
from sync_worker.connectors.emulation.standard import sealed
from sync_worker.connectors.sage_crm.emulator.accounts import Accounts, Logon
from sync_worker.connectors.sage_crm.emulator.answers import (
    Problem,
    html_page,
    problem_response,
    prototype,
    view_of,
)
from sync_worker.connectors.sage_crm.emulator.database import Database, Hand, Refused, Written, iso
from sync_worker.connectors.sage_crm.emulator.faults import SageCrmFaults
from sync_worker.connectors.sage_crm.emulator.notices import events_of
from sync_worker.connectors.sage_crm.emulator.paths import BASE, Target, parse_path
from sync_worker.connectors.sage_crm.emulator.reading import Reader, only
from sync_worker.connectors.sage_crm.emulator.schema import DEFAULT_CUSTOM_COLUMNS, ColumnType, Row, build_tables
from sync_worker.connectors.sage_crm.emulator.seeding import API_USER, PERSON_USER, load_customers, load_users
from sync_worker.connectors.sage_crm.emulator.store import Table
from sync_worker.connectors.sage_crm.emulator.where import BadWhere

LONGEST_QUERY = 2048  # characters; inferred: what the web server in front takes unless somebody allows it more
_VERBS = {"GET": "read", "POST": "create", "PATCH": "update", "PUT": "update", "DELETE": "delete"}
_WRITE_OPTIONS = frozenset({"returnPartial"})


class SageCrmEmulator(Emulator):
    """One installation named ``crm``. ``custom_columns``: table -> column -> type, the installation's own columns."""

    name = "sage_crm"
    faults_type = SageCrmFaults
    faults: SageCrmFaults
    # the script option "on error, retry after delay" is documented, its delay is not
    notice_retry_on = frozenset({429, 500, 502, 503, 504})
    notice_waits = (10.0, 30.0, 90.0)

    def __init__(
        self,
        *,
        seed: int = 0,
        clock: Callable[[], float] = time.time,
        custom_columns: Mapping[str, Mapping[str, ColumnType]] = DEFAULT_CUSTOM_COLUMNS,
    ) -> None:
        super().__init__(seed=seed, clock=clock)
        self.specs = build_tables(custom_columns)
        self.database = Database(self.specs, self.retire)
        self.reader = Reader(self.database, self.faults, self)
        self.accounts = Accounts(self.database.tables["Users"], self.faults)
        self.accounts.logons["sync"] = Logon("demo-password", API_USER)
        # ids must not repeat when an emulator is started again: receivers drop what they know
        self._boot = uuid.uuid4().hex[:16]
        self._notices = 0
        load_users(self.database, clock() - 86_400)

    # --- the kit's questions -----------------------------------------------------------------------------------------

    def operation(self, request: Request) -> Operation:
        target = parse_path(request.path)
        verb = _VERBS.get(request.method)
        if verb is None or not target.resource:
            return Operation(target.form, "read" if target.form == "prototypes" else "other")
        if verb != "read":
            return Operation(f"{verb} {target.resource}", "write")
        return Operation(f"{'read' if target.form == 'entry' else 'query'} {target.resource}", "read")

    def named(self, request: Request) -> list[Named]:
        target = parse_path(request.path)
        table = self.database.by_lower.get(target.resource)
        if table is None:
            return []
        if target.form == "entry":
            return [(table.spec.name, str(target.key))]
        text = f"{target.text} {dict(parse_qsl(request.query)).get('where', '')}"
        listed = re.findall(rf"(?i)\b{table.spec.key} in \(([\d,]+)\)", text)
        return [(table.spec.name, key) for keys in listed for key in keys.split(",")]

    def fault_response(self, fault: str, request: Request) -> Response:
        status = {"429_no_hint": 429, "transient": 500}.get(fault) or int(fault)
        if fault == "transient":
            problem = Problem(500, "ApplicationUnavailable", "The database is busy")
            return problem_response(problem, self.faults, "transient")
        if status == 401:
            return self._failed(Problem(401, "ApplicationDiagnosis", "Logon failed"))
        if status == 500 and not self.faults.html_500:
            return self._failed(Problem(500, "ApplicationUnavailable", "Script failure"))
        page = html_page(status, "The server could not answer")
        if fault == "429":
            page.headers["retry-after"] = str(self.faults.retry_after_s)
        return page

    def route(self, request: Request) -> Response:
        try:
            return self._route(request)
        except Problem as problem:
            return self._failed(problem)
        except BadWhere as error:
            return self._failed(Problem(400, "BadWhereSyntax", str(error)))
        except Refused as error:
            return self._failed(Problem(400, "ApplicationDiagnosis", error.message, column=error.column))

    def _failed(self, problem: Problem) -> Response:
        return problem_response(problem, self.faults)

    # --- one request -------------------------------------------------------------------------------------------------

    def _route(self, request: Request) -> Response:
        target = parse_path(request.path)
        if target.form == "elsewhere":
            return html_page(404, "Not found")
        if len(request.query) > LONGEST_QUERY:
            return html_page(404, "Query string too long")
        options = dict(parse_qsl(request.query, keep_blank_values=True))
        sid = options.pop("SID", None)
        user = self.accounts.authorise(request.headers, sid)
        if target.form == "no_contract":
            raise Problem(404, "ContractNotFound", "Only the contract sagecrm2 is served")
        if target.form == "bad_url":
            raise Problem(400, "BadUrlSyntax", "The URL names no resource")
        base = f"http://{request.headers.get('host', 'crm.test')}{BASE}"
        if target.form == "prototypes":
            return self._prototypes(request.method, target.text, base)
        table = self._table(target.resource)
        if request.method == "GET":
            return self.reader.get(table, target, options, base)
        hand = Hand("api", user, self.clock(), self.faults)
        return self._write(request, table, target, options, base, hand)

    def _table(self, resource: str) -> Table:
        table = self.database.by_lower.get(resource)
        if table is None:
            raise Problem(404, "ResourceKindNotFound", "No such resource")
        if any(name.lower() == resource for name in self.faults.unexposed):
            raise Problem(403, "ResourceKindNotFound", "The entity is not exposed")
        return table

    def _prototypes(self, method: str, name: str, base: str) -> Response:
        if method != "GET":
            raise Problem(405, "BadUrlSyntax", "Prototypes can only be read")
        hidden = {table.lower() for table in self.faults.unexposed}
        shown = {
            spec.name.lower(): prototype(spec, number, base, self.faults)
            for number, spec in enumerate(self.specs.values(), start=1)
            if spec.name.lower() not in hidden
        }
        if not name:
            return json_response(200, {"$totalResults": len(shown), "$resources": list(shown.values())})
        if name not in shown:
            raise Problem(404, "ResourceKindNotFound", "No such resource")
        return json_response(200, shown[name])

    # --- writes ------------------------------------------------------------------------------------------------------

    def _write(
        self, request: Request, table: Table, target: Target, options: Mapping[str, str], base: str, hand: Hand
    ) -> Response:
        method = request.method
        if method not in ("POST", "PATCH", "PUT", "DELETE") or (method == "POST") != (target.form == "feed"):
            raise Problem(405, "BadUrlSyntax", "Method not allowed here")
        if method == "PATCH" and not self.faults.patch_allowed:
            raise Problem(405, "BadUrlSyntax", "Method not allowed")
        if not table.spec.writable:
            raise Problem(403, "ApplicationDiagnosis", "The entity is read-only")
        only(options, _WRITE_OPTIONS)
        if method == "POST":
            body = _json_body(request)
            key = self._applied(self.database.insert(self.database.drafts(table, body, hand), hand), "api")
            return self._written(self.faults.create_status, table, key, body, options, base)
        if target.form != "entry" or table.live(target.key) is None:
            raise Problem(404, "ResourceNotFound", "No such record")
        if method == "DELETE":
            self._applied([self.database.delete(table, target.key, hand)], "api")
            return Response(200)
        body = _json_body(request)
        columns = self.database.check(table, body, hand, creating=False)
        self._applied([self.database.update(table, target.key, columns, hand)], "api")
        return self._written(200, table, target.key, body, options, base)

    def _written(
        self, status: int, table: Table, key: int, body: Row, options: Mapping[str, str], base: str
    ) -> Response:
        """Documented: the answer echoes what was sent, from memory; ``returnPartial=false`` reads the row again."""
        view = view_of(table.spec, base, self.faults)
        row = table.rows[key]
        if options.get("returnPartial") == "false":
            return json_response(status, view.entry(key, row))
        sent = {table.spec.spelled(name) or name: value for name, value in body.items() if not name.startswith("$")}
        known = {"$key": key, "$title": view.title(row), "$url": view.url(table.spec.name, key)}
        return json_response(status, {**known, table.spec.key: key, **sent})

    def _applied(self, written: Sequence[Written], actor: Actor) -> int:
        """Enter writes into the ledger and announce them; the key of the first."""
        for write in written:
            self.record_write(actor, write.table, str(write.key), write.op, write.before, write.after)
        if self.hooks and not self.faults.notices_off:
            for event in events_of(written, self.specs, iso(int(self.clock()))):
                self.announce(event)
        return written[0].key

    def announce(self, event: Mapping[str, Any]) -> None:
        """One event of the installation's scripts, signed for every hook; those about invoices are of no table here."""
        self._notices += 1
        notice_id = f"msg_{self._boot}{self._notices:08x}"
        self.post_notice(sealed(event, hook, notice_id, int(self.clock())) for hook in self.hooks)

    # --- the back door -----------------------------------------------------------------------------------------------

    def _any_table(self, entity: str) -> Table:
        """By table name or by the word of the notices. Raises ``KeyError``."""
        words = {spec.notice: spec.name.lower() for spec in self.specs.values() if spec.notice}
        return self.database.by_lower[words.get(entity.lower(), entity.lower())]

    def list_records(self, entity: str) -> list[dict[str, Any]]:
        table = self._any_table(entity)
        return [{**dict.fromkeys(table.spec.columns), **row} for row in table.rows.values()]

    def get_record(self, entity: str, key: str) -> dict[str, Any] | None:
        table = self._any_table(entity)
        row = table.rows.get(int(key))
        return None if row is None else {**dict.fromkeys(table.spec.columns), **row}

    def apply_person(self, entity: str, key: str | None, columns: Mapping[str, Any], op: WriteOp) -> str:
        table, hand = self._any_table(entity), Hand("person", PERSON_USER, self.clock(), self.faults)
        try:
            if op == "create":
                return str(
                    self._applied(self.database.insert(self.database.drafts(table, columns, hand), hand), "person")
                )
            if key is None or table.live(int(key)) is None:
                raise ValueError(f"no {table.spec.name} {key}")
            if op == "delete":
                return str(self._applied([self.database.delete(table, int(key), hand)], "person"))
            changes = self.database.check(table, columns, hand, creating=False)
            return str(self._applied([self.database.update(table, int(key), changes, hand)], "person"))
        except Refused as error:
            raise ValueError(error.message) from error

    def apply_script(self, entity: str, key: str, columns: Mapping[str, Any], stamp: Stamping) -> None:
        table = self._any_table(entity)
        old = table.live(int(key))
        if old is None or not columns.keys() <= table.spec.columns.keys():
            raise ValueError(f"no {table.spec.name} {key} with these columns")
        new = {**old, **columns}
        if stamp == "none":
            new.pop(table.spec.updated_date, None)
        table.save(int(key), new)

    def apply_seed(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        return load_customers(self.database, spec, self.clock())


def _json_body(request: Request) -> dict[str, Any]:
    if "json" not in request.headers.get("content-type", ""):
        raise Problem(400, "ApplicationDiagnosis", "The content type must be application/json")
    try:
        body = json.loads(request.body)
    except ValueError as error:
        raise Problem(400, "ApplicationDiagnosis", "The body is no JSON") from error
    if not isinstance(body, dict):
        raise Problem(400, "ApplicationDiagnosis", "The body must be one object")
    return body
