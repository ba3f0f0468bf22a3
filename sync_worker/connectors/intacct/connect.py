"""Makes the Intacct connector from its section of sync.toml."""

from __future__ import annotations

from mappings import intacct as mapping
from sync_worker.connectors.intacct.client import IntacctConnector, IntacctSettings
from sync_worker.connectors.parts import Parts


def connect(parts: Parts) -> IntacctConnector:
    """The connector of one ``[systems.NAME]`` with ``connector = "intacct"``."""
    s = parts.settings
    settings = IntacctSettings(
        base_url=s.base_url,
        client_id=s.client_id.get_secret_value(),
        client_secret=s.client_secret.get_secret_value(),
        username=s.username,
        entity=s.entity,
        company=s.company,
        stale_seconds=s.stale_seconds,
        concurrency=s.concurrency,
        event_queue=s.event_queue,
        invoices=parts.invoices,
    )
    return IntacctConnector(
        parts.system,
        settings,
        maps={"customer": mapping.customer_map(parts.map_settings)},
        tokens=parts.tokens,
        limiter=parts.limiter,
        breaker=parts.breaker,
        transport=parts.transport,
        observe=parts.observe,
        clock=parts.clock,
        sleep=parts.sleep,
    )
