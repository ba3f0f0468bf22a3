"""Makes the connector from its section of sync.toml."""

from __future__ import annotations

from sync_worker.connectors.parts import Parts
from sync_worker.connectors.rest import client
from sync_worker.connectors.rest.client import RestConnector
from sync_worker.connectors.rest.settings import RestSettings


def connect(parts: Parts) -> RestConnector:
    """The connector of one ``[systems.NAME]`` with ``connector = "rest"``."""
    s = parts.settings
    settings = RestSettings(
        base_url=s.base_url,
        token=s.token.get_secret_value(),
        profile=s.layout,
        webhook_secret=s.webhook_secret.get_secret_value() if s.webhook_secret else "",
        invoices=parts.invoices,
        stale_seconds=s.stale_seconds,
        concurrency=s.concurrency,
    )
    return client.connect(
        parts.system,
        settings,
        parts.map_settings,
        limiter=parts.limiter,
        breaker=parts.breaker,
        transport=parts.transport,
        observe=parts.observe,
        sleep=parts.sleep,
        clock=parts.clock,
    )
