"""The back door of an emulator: what tests, the tour and the benchmark see and do. Never part of a vendor's API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

from sync_worker.connectors.emulation.core import Emulator, Hook, Stamping, WriteOp
from sync_worker.connectors.emulation.faults import UnknownFault
from sync_worker.connectors.emulation.wire import Request, Response, json_response

PREFIX = "/_emulator/"
_OPS: dict[str, WriteOp] = {"create": "create", "update": "update", "delete": "delete"}
_STAMPINGS: dict[str, Stamping] = {"keep": "keep", "none": "none"}


def answer_admin(emulator: Emulator, request: Request) -> Response:
    """Answer a request below ``/_emulator/``: 400 names what is wrong, 404 an unknown route.

    Every answer is a line: people ask with curl, and their prompt comes after it.
    """
    answer = _answer(emulator, request)
    return replace(answer, body=answer.body + b"\n")


def _answer(emulator: Emulator, request: Request) -> Response:
    name = request.path[len(PREFIX) :]
    query = {k: v[-1] for k, v in parse_qs(request.query).items()}
    try:
        if request.method == "GET":
            return _read(emulator, name, query)
        return _change(emulator, name, json.loads(request.body or b"{}"))
    except (KeyError, TypeError, ValueError) as error:
        return json_response(400, {"error": f"{type(error).__name__}: {error}"})


def _read(emulator: Emulator, name: str, query: Mapping[str, str]) -> Response:
    with emulator.lock:
        match name:
            case "healthz":
                return json_response(200, {"ok": True, "name": emulator.name})
            case "ledger":
                rows = emulator.ledger[int(query.get("after", "0")) :]
                return json_response(200, {"rows": [r.as_dict() for r in rows], "seq": len(emulator.ledger)})
            case "records":
                return json_response(200, {"records": emulator.list_records(query["entity"])})
            case "record":
                record = emulator.get_record(query["entity"], query["key"])
                return json_response(200 if record is not None else 404, {"record": record})
            case "stats":
                return json_response(200, emulator.stats())
            case "notices":
                return json_response(200, {"taken": list(emulator.notices_taken)})
            case "calls":
                return json_response(200, {"calls": list(emulator.call_log)})
    return json_response(404, {"error": f"no such route: {name}"})


def _change(emulator: Emulator, name: str, body: Any) -> Response:
    match name:
        case "reset_stats":
            emulator.reset_stats()
        case "name_records":
            emulator.names_records = True
        case "faults":
            try:
                with emulator.lock:
                    emulator.faults.merge(body)
            except UnknownFault as error:
                return json_response(400, {"error": str(error)})
        case "hooks":
            options = {k: v for k, v in body.items() if k not in ("url", "secret")}
            with emulator.lock:
                emulator.hooks.append(Hook(body["url"], body.get("secret", ""), options))
        case "person":
            return json_response(200, {"key": _person(emulator, body)})
        case "people":
            with emulator.lock:
                return json_response(200, {"keys": [_person(emulator, edit) for edit in body]})
        case "announce":
            with emulator.lock:
                emulator.announce(body)
        case "script":
            stamp = _STAMPINGS[body.get("stamp", "keep")]
            with emulator.lock:
                for edit in body["edits"]:
                    emulator.script(edit["entity"], str(edit["key"]), edit["columns"], stamp)
        case "seed":
            return json_response(200, emulator.seed(body))
        case _:
            return json_response(404, {"error": f"no such route: {name}"})
    return json_response(200, {"ok": True})


def _person(emulator: Emulator, edit: Mapping[str, Any]) -> str:
    key = edit.get("key")
    op = _OPS.get(edit.get("op") or ("create" if key is None else "update"))
    if op is None:
        raise ValueError("op must be create, update or delete")
    return emulator.person(edit["entity"], None if key is None else str(key), edit.get("columns") or {}, op)
