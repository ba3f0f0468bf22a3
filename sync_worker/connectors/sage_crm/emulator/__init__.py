"""Sage CRM on request: REST ``sagecrm2`` (SData 2.0) under ``/sdata/crmj/sagecrm2/-/``.

A second opinion on the client: written from the vendor's documents and from what others recorded, never importing
client or mapping. It proves consistency, not truth: it was never compared with a live installation.

Documented: Basic without challenge, X-Sage-Authorization; keys in quotes, predicates in parentheses; ``where`` with
``eq lt gt le like in between and or``, ``concat abs sign``, ``@day@``; 1-based ``startIndex``; ``orderBy``; answers to
writes echoed from memory unless ``returnPartial=false``; field security leaves columns out; the page cap (1.1 only).
Observed: envelopes and ``$prototypes``; integer ``$key``; names without regard to case; doubled slashes; ``?SID``;
``select``; PATCH and PUT both merge; blank answer to DELETE, which is soft; nested create with ``$isDefault`` and
``$type``; UpdatedDate not always moved by API writes; 401 without the web-service right; the column names.
Guessed: statuses (201 on create, 400/401/403/404/405), all error bodies, 404 for a deleted id, strict refusal of
unknown columns, query options, dangling ids and read-only columns, ten rows when ``count`` is absent, key order,
whole-second UTC stamps, no link columns on phone and e-mail rows, no default child without ``$isDefault``, Users
read-only, defaults of new rows.
Undocumented and refused unless switched on: a time of day in ``@…@``, ``include``; never granted: nested update, row
versions, the 1.1 contract. SOAP is not emulated.
Change notices are what a table-level script would post: fire and forget with retries, for API writes too.
"""

from sync_worker.connectors.sage_crm.emulator.accounts import Logon
from sync_worker.connectors.sage_crm.emulator.faults import SageCrmFaults
from sync_worker.connectors.sage_crm.emulator.service import SageCrmEmulator


def make(seed: int = 0) -> SageCrmEmulator:
    """An empty installation with account ``sync`` / ``demo-password``; hooks bring their own secret."""
    return SageCrmEmulator(seed=seed)


__all__ = ["Logon", "SageCrmEmulator", "SageCrmFaults", "make"]
