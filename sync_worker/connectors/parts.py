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
class FlowParts:
    """What one flow makes of a system; ``Connector.for_flow`` takes it. ``map_settings``: of its own customer map.

    ``company``: the ERP company's name; a CRM's key columns count only inside it (GUMU-8). ``shared``: other flows join
    the same CRM, so a record there that names no company is nobody's. ``new_customer_id``: the id of customers created
    in the ERP.
    """

    map_settings: MapSettings
    company: str = ""
    shared: bool = False
    new_customer_id: str = ""


@dataclass(frozen=True)
class Parts:
    """``settings``: the system's section of sync.toml. ``map_settings``: all that any flow wants to read of it.

    ``invoices``: a flow waits for invoices of this system. ``transport``: None = real sockets.
    """

    system: str
    settings: Any
    map_settings: MapSettings
    tokens: Any
    invoices: bool = False
    limiter: Limiter | None = None
    breaker: Breaker | None = None
    transport: Any = None
    observe: Callable[[Any], None] | None = None
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
