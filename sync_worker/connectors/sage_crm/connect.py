"""Makes the Sage CRM connector from its section of sync.toml."""

from __future__ import annotations

from mappings import sage_crm as mapping
from sync_worker.connectors.parts import Parts
from sync_worker.connectors.sage_crm import client
from sync_worker.connectors.sage_crm.client import SageCrmConnector, SageCrmSettings


def connect(parts: Parts) -> SageCrmConnector:
    """The connector of one ``[systems.NAME]`` with ``connector = "sage_crm"``."""
    s = parts.settings
    settings = SageCrmSettings(
        base_url=s.base_url,
        username=s.username.get_secret_value(),
        password=s.password.get_secret_value(),
        webhook_secret=s.webhook_secret.get_secret_value() if s.webhook_secret else "",
        invoices=parts.invoices,
        timezone=s.timezone,
        stale_seconds=s.stale_seconds,
        concurrency=s.concurrency,
        columns=parts.map_settings.columns,
        phone_types=parts.map_settings.phone_types,
        address_type=s.address_type or "",
        default_country=s.default_country,
    )
    return client.connect(
        parts.system,
        settings,
        maps={"customer": mapping.customer_map(parts.map_settings)},
        limiter=parts.limiter,
        breaker=parts.breaker,
        transport=parts.transport,
        observe=parts.observe,
        sleep=parts.sleep,
        login_clock=parts.monotonic,
    )
