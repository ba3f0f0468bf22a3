"""Standard Webhooks: signing and verifying raw bytes, and our envelope of events. Every system but Intacct uses it.

From the public Standard Webhooks specification: headers ``webhook-id``, ``webhook-timestamp`` (seconds),
``webhook-signature`` (space-separated ``v1,<base64>``), HMAC-SHA256 over ``id.timestamp.body``, secret
``whsec_<base64>``. The body's shape is our own. Standard library only; never logs what it reads.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, get_args

from sync_worker.connectors import documents
from sync_worker.connectors.base import MAX_KEY, Check, HookRefused
from sync_worker.events import INVOICE, Change, Op

TOLERANCE = 300.0  # seconds a timestamp may lie in the past or in the future
SECRET_PREFIX = "whsec_"  # noqa: S105  the public marker in front of a secret, not a secret
MIN_SECRET = 16  # bytes: below that a secret can be guessed

_OPS = frozenset(get_args(Op))


def secret_bytes(secret: str) -> bytes:
    """The key behind ``whsec_…``. Raises ValueError when it is not base64 or shorter than 16 bytes."""
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError("not base64") from error
    if len(key) < MIN_SECRET:
        raise ValueError(f"shorter than {MIN_SECRET} bytes")
    return key


def check_secret(system: str, secret: str, *, needed: bool) -> Check:
    """What doctor says of a system's webhook secret. ``needed``: by what only notices tell of."""
    name, fix = "webhook_secret", f"set systems.{system}.webhook_secret to whsec_ and 24 or more random bytes in base64"
    if not secret and needed:
        return Check(name, False, "not set, and a flow waits for invoices of this system: notices tell of them", fix)
    if not secret:
        return Check(name, True, "not set: notices of this system are refused, changes are found by polling")
    try:
        secret_bytes(secret)
    except ValueError as error:
        return Check(name, False, str(error), fix)
    return Check(name, True)


def sign(secret: str, webhook_id: str, timestamp: str, body: bytes) -> str:
    """The value of one ``webhook-signature`` entry."""
    signed = b".".join((webhook_id.encode(), timestamp.encode(), body))
    digest = hmac.digest(secret_bytes(secret), signed, "sha256")
    return "v1," + base64.b64encode(digest).decode()


def signed_headers(secret: str, webhook_id: str, now: float, body: bytes) -> dict[str, str]:
    """What a notice of ours is sent with. ``webhook_id``: the same for every try, so that a repeat is no second one."""
    timestamp = str(int(now))
    signature = sign(secret, webhook_id, timestamp, body)
    return {"webhook-id": webhook_id, "webhook-timestamp": timestamp, "webhook-signature": signature}


def verify(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> str:
    """The notice's ``webhook-id`` once its signature and time hold; ``headers`` lower-case, ``now`` in seconds.

    Any one matching signature is enough (a sender that rotates its secret sends two). Raises HookRefused(401).
    """
    webhook_id = headers.get("webhook-id", "")
    timestamp = headers.get("webhook-timestamp", "")
    given = headers.get("webhook-signature", "").split(" ")
    if not webhook_id or not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise HookRefused(401, "webhook-id or webhook-timestamp missing or unreadable")
    try:
        expected = sign(secret, webhook_id, timestamp, body).encode()
    except ValueError:
        raise HookRefused(401, "no usable webhook secret is configured, or an unreadable webhook-id") from None
    matches = [hmac.compare_digest(expected, one.encode(errors="replace")) for one in given]
    if not any(matches):
        raise HookRefused(401, "no signature matches")
    if abs(now - int(timestamp)) > TOLERANCE:
        raise HookRefused(401, "webhook-timestamp is more than 5 minutes off")
    return webhook_id


def read_events(system: str, body: bytes, webhook_id: str, entities: Mapping[str, str]) -> list[Change]:
    """The changes a verified body tells; ``entities``: announced word -> our entity, others are ignored.

    ``at`` is optional and ignored where unreadable. An invoice names its customer: these systems' invoices cannot be
    read. Raises HookRefused(400) when the body is not the envelope.
    """
    try:
        document = documents.read(body, as_sent=True)
    except documents.Unreadable:
        raise HookRefused(400, "the body is not readable JSON") from None
    events = document.get("events") if isinstance(document, dict) else None
    if not isinstance(events, list):
        raise HookRefused(400, 'the body is not {"events": [...]}')
    stem = webhook_id if len(webhook_id) <= 200 else hashlib.sha256(webhook_id.encode()).hexdigest()
    changes = []
    for index, event in enumerate(events):
        change = _change(system, event, f"{stem}#{index}", entities)
        if change is not None:
            changes.append(change)
    return changes


def _change(system: str, event: Any, notice_id: str, entities: Mapping[str, str]) -> Change | None:
    if not isinstance(event, dict) or not isinstance(event.get("entity"), str):
        raise HookRefused(400, "an event has no entity")
    entity, op = entities.get(event["entity"]), event.get("op", "updated")
    if entity is None or op not in _OPS or (op == "finalised") != (entity == INVOICE):
        return None
    customer = _key(event.get("customer"), "an invoice's event names no customer") if entity == INVOICE else None
    key = _key(event.get("key"), "an event has no readable key")
    return Change(system, entity, key, op, "webhook", notice_id, _seconds(event.get("at")), customer)


def _key(value: Any, otherwise: str) -> str:
    """A record key as text; what a database could not hold (control characters, lone surrogates) is refused."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not 0 < len(text) <= MAX_KEY or not text.isprintable():
        raise HookRefused(400, otherwise)
    return text


def _seconds(value: Any) -> float | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
