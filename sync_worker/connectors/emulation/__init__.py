"""The kit both vendor emulators stand on: requests, faults, ledger, notices, the back door, the server.

Standard library and uvicorn only. Nothing here knows a vendor; nothing here imports a client, a mapping or the store.
"""

from sync_worker.connectors.emulation.admin import answer_admin
from sync_worker.connectors.emulation.core import (
    Actor,
    Emulator,
    Hook,
    LedgerRow,
    Named,
    OutgoingNotice,
    Stamping,
    WriteOp,
)
from sync_worker.connectors.emulation.faults import Faults, UnknownFault, ValueRefused
from sync_worker.connectors.emulation.sender import NoticeSender
from sync_worker.connectors.emulation.server import EmulatorApp, EmulatorServer, serve
from sync_worker.connectors.emulation.wire import Operation, Request, Response, encode_json, json_response

__all__ = [
    "Actor",
    "Emulator",
    "EmulatorApp",
    "EmulatorServer",
    "Faults",
    "Hook",
    "LedgerRow",
    "Named",
    "NoticeSender",
    "Operation",
    "OutgoingNotice",
    "Request",
    "Response",
    "Stamping",
    "UnknownFault",
    "ValueRefused",
    "WriteOp",
    "answer_admin",
    "encode_json",
    "json_response",
    "serve",
]
