"""Notices signed as Standard Webhooks, written from the standard's text; every vendor but Intacct sends these."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from sync_worker.connectors.emulation.core import Hook, OutgoingNotice
from sync_worker.connectors.emulation.wire import encode_json


def sign(secret: str, notice_id: str, timestamp: int, body: bytes) -> str:
    """``v1,`` and the base64 HMAC-SHA256 over ``id.timestamp.body``; the secret is base64 after ``whsec_``."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{notice_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def sealed(event: Mapping[str, Any], hook: Hook, notice_id: str, timestamp: int) -> OutgoingNotice:
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
