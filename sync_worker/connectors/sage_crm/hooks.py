"""Change notices of the table-level script (docs/howto/sage-crm-script.md): Standard Webhooks with our envelope."""

from __future__ import annotations

from collections.abc import Mapping

from sync_worker.connectors import standard_webhooks
from sync_worker.connectors.sage_crm import where
from sync_worker.events import Change

# what the script announces -> our entity
ENTITIES = {
    "customer": "customer",
    "company": "customer",
    "person": "person",
    "address": "address",
    "phone": "phone",
    "email": "email",
    "user": "user",
    "invoice": "invoice",
}


def read_hook(system: str, secret: str, headers: Mapping[str, str], body: bytes, now: float) -> list[Change]:
    """The changes of a verified notice; keys that can be no row's id are ignored. Raises HookRefused.

    An invoice has a number of its own, whatever made it; its customer is one of our companies.
    """
    webhook_id = standard_webhooks.verify(secret, headers, body, now)
    changes = standard_webhooks.read_events(system, body, webhook_id, ENTITIES)
    return [change for change in changes if where.is_id(change.key if change.customer is None else change.customer)]
