"""The pings a table-level script sends: one event per write, signed as Standard Webhooks.

Sage CRM has no webhooks of its own (none documented); a script posts to the configured address. API writes run it too.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Iterator, Mapping

from sync_worker.connectors.emulation import Hook, OutgoingNotice, encode_json
from sync_worker.connectors.sage_crm.emulator.database import Written
from sync_worker.connectors.sage_crm.emulator.schema import TableSpec

_OPS = {"create": "created", "update": "updated", "delete": "deleted"}


def events_of(written: Iterable[Written], specs: Mapping[str, TableSpec], stamp: str) -> Iterator[dict[str, str]]:
    """The events of some writes; an insert into a phone or e-mail link announces that phone or e-mail as created."""
    for write in written:
        spec = specs[write.table]
        if spec.notice is not None:
            yield {"entity": spec.notice, "key": str(write.key), "op": _OPS[write.op], "at": stamp}
        elif spec.link_notice is not None and write.op == "create":
            entity, column = spec.link_notice
            yield {"entity": entity, "key": str(write.after[column]), "op": "created", "at": stamp}


def sign(secret: str, notice_id: str, timestamp: int, body: bytes) -> str:
    """``v1,`` and the base64 HMAC-SHA256 over ``id.timestamp.body``; the secret is base64 after ``whsec_``."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{notice_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def sealed(event: Mapping[str, str], hook: Hook, notice_id: str, timestamp: int) -> OutgoingNotice:
    """One event on its way to one hook; unsigned where the hook has no secret."""
    body = encode_json({"events": [event]})
    headers = {
        "content-type": "application/json",
        "webhook-id": notice_id,
        "webhook-timestamp": str(timestamp),
    }
    if hook.secret:
        headers["webhook-signature"] = sign(hook.secret, notice_id, timestamp, body)
    return OutgoingNotice(hook.url, headers, body, about=dict(event))
