"""What a connector is made of, handed over by the wiring: its settings and the shared machinery."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mappings.canonical import MapSettings
from sync_worker.connectors.breaker import Breaker
from sync_worker.connectors.limiter import Limiter


@dataclass(frozen=True)
class Parts:
    """``settings``: the system's section of sync.toml. ``map_settings``: what the flows add to its customer map.

    ``partner_company``: the ERP company's name, for a CRM that keeps it in a column. ``new_customer_id``: the id given
    to customers created in an ERP. ``transport``: None = real sockets.
    """

    system: str
    settings: Any
    map_settings: MapSettings
    tokens: Any
    partner_company: str = ""
    new_customer_id: str = ""
    limiter: Limiter | None = None
    breaker: Breaker | None = None
    transport: Any = None
    observe: Callable[[Any], None] | None = None
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
