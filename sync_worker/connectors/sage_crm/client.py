"""The Sage CRM connector (REST, SData 2.0): the port of ``connectors/base.py`` over the modules beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any

from mappings import sage_crm as mapping
from mappings.canonical import Invoice
from mappings.fields import FieldMap
from sync_worker.connectors.base import (
    MAX_KEY,
    Ask,
    Capabilities,
    Check,
    Criteria,
    Manager,
    Outcome,
    Page,
    Record,
    Write,
)
from sync_worker.connectors.context import concerning
from sync_worker.connectors.fanout import Fanout
from sync_worker.connectors.http import VendorHttp
from sync_worker.connectors.parts import FlowParts
from sync_worker.connectors.sage_crm import checks, hooks
from sync_worker.connectors.sage_crm.auth import BasicLogin
from sync_worker.connectors.sage_crm.changes import Feeds
from sync_worker.connectors.sage_crm.finding import Finder
from sync_worker.connectors.sage_crm.reading import Reader
from sync_worker.connectors.sage_crm.rest import Rest
from sync_worker.connectors.sage_crm.settings import SageCrmSettings
from sync_worker.connectors.sage_crm.tables import USERS, shape_of
from sync_worker.connectors.sage_crm.writing import Writer
from sync_worker.events import Change

__all__ = ["SageCrmConnector", "SageCrmSettings", "connect"]

READ_BATCH = 100  # documented: what one page holds
SWEEP_BATCH = 100  # documented: a page holds no more; asking for less would be more calls
_TRUE = frozenset({"true", "y", "yes", "1"})


def connect(
    system: str,
    settings: SageCrmSettings,
    *,
    maps: Mapping[str, FieldMap],
    login_clock: Callable[[], float] = time.monotonic,
    **http: Any,
) -> SageCrmConnector:
    """A connector with its own HTTP client; ``http``: further arguments of ``VendorHttp`` (limiter, breaker, …)."""
    login = BasicLogin(settings.username, settings.password, clock=login_clock)
    client = VendorHttp(
        system,
        settings.base_url,
        classify=login.classify,
        prepare=login.prepare,
        concurrency=settings.concurrency,
        **http,
    )
    return SageCrmConnector(system, settings, maps=maps, http=client)


class SageCrmConnector:
    """Customers of one Sage CRM installation. Thread-safe; one per process. Vendor errors are raised as SyncError."""

    def __init__(
        self,
        system: str,
        settings: SageCrmSettings,
        *,
        maps: Mapping[str, FieldMap],
        http: VendorHttp,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.system = system
        self.settings = settings
        self.maps = maps
        self.capabilities = Capabilities(
            webhook="standard",
            parts=mapping.PARTS,
            child_entities={part: part for part in mapping.PARTS[1:]},
            correlation=bool(settings.columns.get("erp_key")),
            answers_with_stored=True,
            stale_seconds=settings.stale_seconds,
            has_persons=True,
        )
        shape = shape_of(settings, maps.get("customer"))
        self._http = http
        self._rest = Rest(http)
        self._fanout = Fanout(settings.concurrency)
        self._reader = Reader(self._rest, shape, self._fanout)
        self._writer = Writer(self._rest, shape, self._reader, settings)
        self._shape = shape
        self._finder = Finder(self._rest, shape, self._fanout, settings)
        self._feeds = Feeds(system, self._rest, shape, self._reader, clock=clock)

    def for_flow(self, flow: FlowParts) -> SageCrmConnector:
        """The same installation with the flow's own map, its key columns read inside the flow's ERP company only."""
        view = copy(self)
        view.maps = {"customer": mapping.customer_map(flow.map_settings)}
        view.settings = replace(self.settings, erp_company=flow.company, shared=flow.shared)
        view._finder = Finder(self._rest, self._shape, self._fanout, view.settings)
        return view

    def check(self) -> list[Check]:
        """Login, readable tables, configured columns, webhook secret; no writes."""
        return checks.run(self.system, self.settings, self._rest, self.maps.get("customer"))

    def read_many(self, entity: str, asks: Sequence[Ask]) -> dict[str, Record | None]:
        """Customers as they are now, only the asked parts; other entities are nobody's here."""
        found: dict[str, Record | None] = {}
        if entity != "customer":
            return {ask.key: None for ask in asks}
        for start in range(0, len(asks), READ_BATCH):
            found |= self._reader.read(asks[start : start + READ_BATCH])
        return found

    def find_many(self, entity: str, criteria: Sequence[Criteria]) -> list[list[Record]]:
        """Candidates for each criteria: by key column, customer id, tax number, e-mail or name."""
        return self._finder.find(criteria) if entity == "customer" else [[] for _ in criteria]

    def correlation_columns(self, key: str, ref: str) -> dict[str, Any]:
        """The installation's own columns that name the ERP record; those not configured are left out."""
        values = {"erp_key": key, "erp_ref": ref, "erp_company": self.settings.erp_company}
        columns = self.settings.columns
        return {columns[name]: value for name, value in values.items() if columns.get(name) and value}

    def correlated_key(self, record: Record) -> str | None:
        """The ERP key a company names; None where it names another ERP company's record."""
        return self._finder.named_key(record)

    def write_many(self, entity: str, writes: Sequence[Write]) -> list[Outcome]:
        """Each write by itself, several at a time; its errors are its outcome's."""
        if entity != "customer":
            raise ValueError(f"Sage CRM has no writable entity {entity}")
        return self._fanout.run([partial(self._write, write) for write in writes])

    def _write(self, write: Write) -> Outcome:
        with concerning([write.link_id]):
            return self._writer.write(write)

    def changes(self, entity: str, watermark: str | None) -> Iterator[Page]:
        """The feeds of all tables; company rows carry their own part, child rows only say which child."""
        return self._feeds.changes(watermark) if entity == "customer" else iter(())

    def queue_events(self) -> Iterator[Page]:
        """There is no event queue."""
        return iter(())

    def acknowledge(self, ack: str) -> None:
        """There is no event queue, so nothing waits for this."""

    def sweep(self, entity: str, after: str | None = None) -> Iterator[Page]:
        """All companies with all parts, by key."""
        return self._feeds.sweep(after, SWEEP_BATCH) if entity == "customer" else iter(())

    def count(self, entity: str, after: str | None = None) -> int | None:
        """Companies behind a key, as the server counts them."""
        return self._feeds.count(after) if entity == "customer" else 0

    def resolve_parts(self, entity: str, keys: Sequence[str]) -> dict[str, list[str]]:
        """Person, address, phone or e-mail -> companies that show it."""
        return self._feeds.resolve(entity, keys)

    def read_invoices(self, keys: Sequence[str]) -> dict[str, Invoice | None]:
        """Sage CRM has no invoices of its own that could be read."""
        return dict.fromkeys(keys)

    def list_managers(self) -> list[Manager]:
        """All users. Our assumption: a disabled or deleted one is told by ``User_Disabled`` or is not shown."""
        managers = []
        for row in self._rest.rows(USERS, [None]):
            name = " ".join(str(row.cell(c)).strip() for c in ("User_FirstName", "User_LastName") if row.cell(c))
            disabled = str(row.cell("User_Disabled") or "").lower() in _TRUE
            logon, email = str(row.cell("User_Logon") or ""), row.cell("User_EmailAddress")
            managers.append(Manager(row.key(USERS), logon, name or logon, str(email) if email else None, not disabled))
        return [manager for manager in managers if 0 < len(manager.key) <= MAX_KEY]

    def verify_hook(self, headers: Mapping[str, str], body: bytes, now: float) -> list[Change]:
        """Standard Webhooks; raises HookRefused."""
        return hooks.read_hook(self.system, self.settings.webhook_secret, headers, body, now)

    def close(self) -> None:
        self._fanout.close()
        self._http.close()
