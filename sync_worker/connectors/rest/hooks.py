"""Change notices: Standard Webhooks with our envelope (docs/howto/connect-the-layer.md)."""

from __future__ import annotations

from collections.abc import Mapping

from sync_worker.connectors import standard_webhooks
from sync_worker.events import Change

ENTITIES = {"customer": "customer", "company": "customer", "user": "user", "invoice": "invoice"}


def read_hook(system: str, secret: str, headers: Mapping[str, str], body: bytes, now: float) -> list[Change]:
    """The changes of a verified notice. Raises HookRefused."""
    webhook_id = standard_webhooks.verify(secret, headers, body, now)
    return standard_webhooks.read_events(system, body, webhook_id, ENTITIES)
