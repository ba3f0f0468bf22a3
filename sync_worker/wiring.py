"""The one place that wires everything: configuration in, a running application out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import handlers
from mappings.account_managers import Ambiguous, MapRow, in_step, translate
from mappings.account_managers import Missing as NoRow
from mappings.canonical import MapSettings
from mappings.fields import Value
from mappings.merge import FieldPolicy, InStep, Missing, Policy, Translate
from sync_worker import metrics
from sync_worker.config import Config, FlowConfig, SystemConfig
from sync_worker.connectors import CONNECTORS, Parts
from sync_worker.connectors.base import Connector
from sync_worker.connectors.limiter import Limiter
from sync_worker.engine.core import Engine
from sync_worker.engine.flow import Flow
from sync_worker.events import SIDES, Side
from sync_worker.polling import Feeds
from sync_worker.routing import rule_for
from sync_worker.store import managers, watermarks
from sync_worker.store.inbox import Inbox, Listener
from sync_worker.store.secrets import SecretStore
from sync_worker.store.session import Database

__all__ = ["App", "build", "handlers"]


@dataclass
class App:
    """Everything a process needs. ``close`` gives sockets and connections back."""

    config: Config
    db: Database
    inbox: Inbox
    systems: Mapping[str, Connector]
    flows: Mapping[str, Flow]
    engine: Engine
    feeds: Feeds
    clock: Callable[[], float]

    def close(self) -> None:
        for connector in self.systems.values():
            connector.close()
        self.db.close()


def build(
    config: Config,
    *,
    db: Database | None = None,
    clock: Callable[[], float] = time.time,
    limiter: Limiter | None = None,
    transport_for: Callable[[str], Any] | None = None,
    processes: int = 1,
) -> App:
    """Wire an application over a migrated database. Switches on flows that are new.

    ``transport_for``: system -> httpx transport, for emulators inside the process; None = real sockets.
    """
    database = db or Database(config.database.url)
    connectors = {
        name: _connector(name, config, database, limiter, transport_for, processes) for name in config.systems
    }
    flows = {name: _flow(name, config, database, connectors) for name in config.flows}
    inbox = Inbox(
        database,
        [one for flow in flows.values() for one in _listeners(flow)],
        switched_on={name: flow.switched_on_at for name, flow in flows.items()},
    )
    engine = Engine(database, flows, rule_for, inbox, clock)
    feeds = Feeds(database, inbox, list(flows.values()), connectors)
    return App(config, database, inbox, connectors, flows, engine, feeds, clock)
