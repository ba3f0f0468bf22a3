"""Verify and read what Intacct sends by itself: signed webhooks and the events of its queue. Pure.

Documented: an HS256 JWT signed with the client secret, alone or in a base64 envelope; claims ``iss``, ``iat`` in
milliseconds, ``exp`` (unit not stated), ``payload_signature`` = hex SHA-256 of the raw body. The body is the output of
our own template (docs/howto); the context header is unsigned and only fills gaps.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import math
from collections.abc import Mapping
from typing import Any

from sync_worker.connectors import documents
from sync_worker.connectors.base import MAX_KEY, HookRefused
from sync_worker.events import Change, Op, Via

ISSUER = "Sage Intacct"
LEEWAY = 60.0  # seconds
MAX_AGE = 300.0  # seconds between signing and arrival, either way
MAX_SIGNATURE = 16 * 1024  # characters
MAX_TOLD = 64 * 1024  # characters of an event's payload, or of a context: it names one record

_SIGNATURE_HEADERS = ("x-ia-sage-signature",)
_CONTEXT_HEADERS = ("x-clientcontext", "x-client-context", "x-trusted-context")
_NOTICE_HEADERS = ("idempotency-key", "x-idempotencykey", "x-idempotency-key")

_ENTITIES = {
    "customer": "customer",
    "accounts-receivable/customer": "customer",
    "contact": "contact",
    "company-config/contact": "contact",
    "invoice": "invoice",
    "arinvoice": "invoice",
    "accounts-receivable/invoice": "invoice",
    "employee": "account_manager",
    "company-config/employee": "account_manager",
}
_OPS: dict[str, Op] = {
    "created": "created",
    "updated": "updated",
    "deleted": "deleted",
    "create": "created",
    "update": "updated",
    "delete": "deleted",
    "add": "created",
    "set": "updated",
}


def verify(headers: Mapping[str, str], body: bytes, now: float, secret: str) -> float:
    """Check a webhook's signature over its raw body; returns when it was signed (seconds). Raises HookRefused(401)."""
    text = _header(headers, _SIGNATURE_HEADERS)
    if not text or not secret:
        raise HookRefused(401, "no signature")
    if len(text) > MAX_SIGNATURE:
        raise HookRefused(401, "signature too long")
    claims = _claims(_unwrap(text.strip()), secret)
    if claims.get("iss") != ISSUER:
        raise HookRefused(401, "wrong issuer")
    issued, expires = _seconds(claims.get("iat")), _seconds(claims.get("exp"))
    if issued is None or expires is None:
        raise HookRefused(401, "iat or exp is missing")
    if abs(now - issued) > MAX_AGE:
        raise HookRefused(401, "signed too long ago or in the future")
    if now > expires + LEEWAY:
        raise HookRefused(401, "signature has expired")
    digest = claims.get("payload_signature")
    if claims.get("payload_signature_alg") != "SHA-256" or not isinstance(digest, str):
        raise HookRefused(401, "body is not signed by SHA-256")
    if not hmac.compare_digest(digest.lower().encode(), hashlib.sha256(body).hexdigest().encode()):
        raise HookRefused(401, "body does not match its signature")
    return issued


def read_notice(system: str, headers: Mapping[str, str], body: bytes, issued: float) -> list[Change]:
    """The changes a verified webhook announces; unknown entities and operations are none. Raises HookRefused(400)."""
    payload = _object(body)
    if payload is None:
        raise HookRefused(400, "body is not a JSON object")
    context = read_context(_header(headers, _CONTEXT_HEADERS))
    notice = _header(headers, _NOTICE_HEADERS).strip()
    if not notice or len(notice) > 200:
        notice = hashlib.sha256(body + notice.encode() + str(issued).encode()).hexdigest()
    change = make_change(system, payload, context, notice, issued, "webhook")
    if change is None:
        return []
    if not change.key:
        raise HookRefused(400, "body names no key")
    return [change]


def make_change(
    system: str, payload: Mapping[str, Any], context: Mapping[str, str], notice: str, at: float | None, via: Via
) -> Change | None:
    """A change from the template's fields, gaps filled from the context; None = not ours. Its key may be empty."""
    named = _text(payload.get("entity")) or context.get("restobjectname") or context.get("object") or ""
    entity = _ENTITIES.get(named.lower()) or _ENTITIES.get(context.get("objectname", "").lower() if not named else "")
    moment = _text(payload.get("op")) or context.get("event", "").replace(".", "_").rpartition("after_")[2]
    op = _OPS.get(moment.lower())
    if entity is None or op is None:
        return None
    key = _text(payload.get("key")) or context.get("key", "")
    if entity == "account_manager":  # a manager's key is the employee id, as customers refer to it
        key = _text(payload.get("id")) or context.get("id", "")
    elif not key.isascii() or not key.isdigit():
        key = ""  # documented: keys are strings of digits
    key = key if len(key) <= MAX_KEY else ""  # a part of it might be another's
    return Change(system, entity, key, op, via, notice or None, at)


def read_context(text: str) -> dict[str, str]:
    """The unsigned client context: base64 JSON, names lower-cased. A broken one is an empty one (observed)."""
    if len(text) > MAX_TOLD:
        return {}
    try:
        found = _object(base64.b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, binascii.Error):
        found = None
    return {name.lower(): _text(value) for name, value in (found or {}).items()}


def read_payload(text: object) -> dict[str, Any] | None:
    """The payload of a queue event: base64 of the template's output; None when it is broken or too long."""
    if not isinstance(text, str) or len(text) > MAX_TOLD:
        return None
    try:
        return _object(base64.b64decode(text, validate=True))
    except (ValueError, binascii.Error):
        return None


def _header(headers: Mapping[str, str], names: tuple[str, ...]) -> str:
    for name in names:
        if name in headers:
            return headers[name]
    lowered = {name.lower(): value for name, value in headers.items()}
    return next((lowered[name] for name in names if name in lowered), "")


def _unwrap(text: str) -> str:
    """Both header forms: the JWT itself, or a base64 JSON envelope that holds it as ``jwtData``."""
    if text.count(".") == 2:
        return text
    try:
        envelope = _object(base64.b64decode(text + "=" * (-len(text) % 4), validate=True))
    except (ValueError, binascii.Error):
        envelope = None
    inner = (envelope or {}).get("jwtData")
    if not isinstance(inner, str):
        raise HookRefused(401, "signature is neither a JWT nor an envelope with one")
    return inner.strip()


def _claims(jwt: str, secret: str) -> dict[str, Any]:
    """The claims of a JWT signed with HS256 and this secret. Nothing of it is believed before its signature is."""
    parts = jwt.split(".")
    if len(parts) != 3 or not jwt.isascii():
        raise HookRefused(401, "signature is not a JWT")
    expected = hmac.new(secret.encode(), f"{parts[0]}.{parts[1]}".encode(), hashlib.sha256).digest()
    if not hmac.compare_digest(_segment(parts[2]), expected):
        raise HookRefused(401, "signature does not match")
    header, claims = _object(_segment(parts[0])), _object(_segment(parts[1]))
    if header is None or claims is None or header.get("alg") != "HS256" or "crit" in header:
        raise HookRefused(401, "only HS256 is accepted")
    return claims


def _segment(text: str) -> bytes:
    if not text.replace("-", "").replace("_", "").isalnum():
        raise HookRefused(401, "signature is not a JWT")
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise HookRefused(401, "signature is not a JWT") from None


def _seconds(value: object) -> float | None:
    """A JWT time as seconds since 1970; values above 1e12 are milliseconds (documented for ``iat``)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value / 1000 if value > 1e12 else float(value)


def _object(raw: bytes) -> dict[str, Any] | None:
    try:
        found = documents.read(raw)
    except documents.Unreadable:
        return None
    return found if isinstance(found, dict) else None


def _text(value: object) -> str:
    return str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
