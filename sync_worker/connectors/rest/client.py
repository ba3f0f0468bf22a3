"""A CRM behind a JSON API: the port of ``connectors/base.py`` over the modules beside it, laid out by a profile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any

from mappings import rest as mapping
from mappings.canonical import Invoice, MapSettings
from mappings.fields import FieldMap
from sync_worker.connectors.answers import Answer
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
from sync_worker.connectors.bounds import bounded
from sync_worker.connectors.context import concerning
from sync_worker.connectors.fanout import Fanout
from sync_worker.connectors.http import VendorHttp
from sync_worker.connectors.parts import FlowParts
from sync_worker.connectors.rest import checks, errors, hooks, pointers
from sync_worker.connectors.rest.calls import Calls
from sync_worker.connectors.rest.feeds import Feeds
from sync_worker.connectors.rest.finding import Finder
from sync_worker.connectors.rest.records import Ours, Records
from sync_worker.connectors.rest.settings import RestSettings
from sync_worker.errors import Rejected, SyncError, WritesRefused
from sync_worker.events import Change

READ_BATCH = 50


def connect(
    system: str,
    settings: RestSettings,
    map_settings: MapSettings,
    *,
    clock: Callable[[], float] = time.time,
    **http: Any,
) -> RestConnector:
    """A connector with its own HTTP client; ``http``: further arguments of ``VendorHttp`` (limiter, breaker, …)."""
    auth = settings.profile.auth
    header = auth.value.replace("{token}", settings.token)

    def prepare(headers: dict[str, str]) -> None:
        headers[auth.header] = header

    def classify(answer: Answer) -> SyncError | None:
        return errors.classify(answer, settings.profile.refused_field)

    client = VendorHttp(
        system, settings.base_url, classify=classify, prepare=prepare, concurrency=settings.concurrency, **http
    )
    return RestConnector(system, settings, map_settings, http=client, clock=clock)


class RestConnector:
    """Customers of one tenant. Thread-safe; one per process. Vendor errors are raised as SyncError."""

    def __init__(
        self,
        system: str,
        settings: RestSettings,
        map_settings: MapSettings,
        *,
        http: VendorHttp,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.system = system
        self.settings = settings
        self.maps: Mapping[str, FieldMap] = {"customer": self._map(map_settings)}
        profile = settings.profile
        self.capabilities = Capabilities(
            webhook="standard",
            parts=(mapping.PART,),
            correlation="erp_key" in profile.keys and bool(profile.find.erp_key),
            answers_with_stored=True,
            stale_seconds=settings.stale_seconds,
        )
        self._http = http
        self._calls = Calls(http, profile)
        self._fanout = Fanout(settings.concurrency)
        self._records = Records(profile, self.maps["customer"])
        self._feeds = Feeds(system, self._calls, self._records, self._read, clock)
        self._see(settings)

    def _map(self, map_settings: MapSettings) -> FieldMap:
        words = self.settings.profile.status
        return mapping.customer_map(map_settings, words.active, words.inactive)

    def _see(self, settings: RestSettings) -> None:
        self.settings = settings
        self._ours = Ours(self._records, settings.erp_company, shared=settings.shared)
        self._finder = Finder(self._calls, self._records, self._fanout, self._ours)

    def for_flow(self, flow: FlowParts) -> RestConnector:
        """The same connection with the flow's own map, the ids read inside the flow's ERP company only."""
        view = copy(self)
        view.maps = {"customer": self._map(flow.map_settings)}
        view._see(replace(self.settings, erp_company=flow.company, shared=flow.shared))
        return view

    def check(self) -> list[Check]:
        """Token, list, directory, webhook secret, the places of the profile; no writes."""
        return checks.run(self.system, self.settings, self._calls, self.maps["customer"])

    def read_many(self, entity: str, asks: Sequence[Ask]) -> dict[str, Record | None]:
        """Customers as they are now: in batches where the API takes several keys, else one by one."""
        keys = [ask.key for ask in asks]
        return self._read(keys) if entity == "customer" else dict.fromkeys(keys)

    def _read(self, keys: Sequence[str]) -> dict[str, Record | None]:
        found: dict[str, Record | None] = dict.fromkeys(keys)
        parameter = self.settings.profile.find.keys
        if parameter:
            plain = [key for key in keys if key and "," not in key]
            for start in range(0, len(plain), READ_BATCH):
                for page in self._calls.pages({parameter: ",".join(plain[start : start + READ_BATCH])}):
                    found.update({r.key: r for r in self._records.live(page) if r.key in found})
            return found
        documents = self._fanout.run([partial(self._calls.one, key) for key in found])
        for key, document in zip(list(found), documents, strict=True):
            found[key] = self._records.record(document) if document is not None else None
        return found

    def find_many(self, entity: str, criteria: Sequence[Criteria]) -> list[list[Record]]:
        """Candidates for each criteria: by the ERP's ids, tax number, e-mail or name."""
        return self._finder.find(criteria) if entity == "customer" else [[] for _ in criteria]

    def correlation_columns(self, key: str, ref: str) -> dict[str, Any]:
        """The places that name the ERP record; those the profile has none for are left out."""
        places = self.settings.profile.keys
        values = {"erp_key": key, "erp_ref": ref, "erp_company": self.settings.erp_company}
        return {places[name]: value for name, value in values.items() if name in places and value}

    def correlated_key(self, record: Record) -> str | None:
        """The ERP key a customer names; None where it names another ERP company's record."""
        return self._ours.key(record) or None

    def write_many(self, entity: str, writes: Sequence[Write]) -> list[Outcome]:
        """Each write by itself, several at a time; its errors are its outcome's."""
        if entity != "customer":
            raise ValueError(f"no writable entity {entity}")
        return self._fanout.run([partial(self._write, write) for write in writes])

    def _write(self, write: Write) -> Outcome:
        try:
            with concerning([write.link_id]):
                if write.key is None:
                    told = self._calls.create(pointers.document_of(write.columns))
                else:
                    told = self._calls.update(write.key, write.columns)
        except WritesRefused:
            raise
        except SyncError as error:
            return Outcome(key=write.key, error=error)
        except ValueError as error:  # the profile leads through something that is no object
            return Outcome(key=write.key, error=Rejected(str(error), system=self.system))
        stored = self._records.native(told, write.columns)
        if write.key is not None:
            return Outcome(key=write.key, stored=stored)
        made = self._records.record(told)
        return Outcome(key=made.key, ref=made.ref, stored=stored)

    def changes(self, entity: str, watermark: str | None) -> Iterator[Page]:
        """The list of customers changed since."""
        return self._feeds.changes(watermark) if entity == "customer" else iter(())

    def queue_events(self) -> Iterator[Page]:
        """There is no event queue."""
        return iter(())

    def acknowledge(self, ack: str) -> None:
        """There is no event queue, so nothing waits for this."""

    def sweep(self, entity: str, after: str | None = None) -> Iterator[Page]:
        """All customers, by key where the API can be asked for that order."""
        return self._feeds.sweep(after) if entity == "customer" else iter(())

    def count(self, entity: str, after: str | None = None) -> int | None:
        """Customers behind a key, where the API counts them."""
        return self._feeds.count(after) if entity == "customer" else 0

    def read_invoices(self, keys: Sequence[str]) -> dict[str, Invoice | None]:
        """No profile names a place for invoices: what is known of one is what its notice says."""
        return dict.fromkeys(keys)

    def resolve_parts(self, entity: str, keys: Sequence[str]) -> dict[str, list[str]]:
        """A customer is one document: nothing is a child of another."""
        return {key: [] for key in keys}

    def list_managers(self) -> list[Manager]:
        """The directory of users; empty where the profile has none. Without a place for it everybody is active."""
        layout = self.settings.profile.users
        if layout is None:
            return []
        found = []
        for row in bounded(self._calls.users()):
            key = pointers.text(row, layout.key)
            active = pointers.get(row, layout.active) not in (False, 0, "false", "0", None) if layout.active else True
            name = pointers.text(row, layout.name)
            found.append(Manager(key, key, name or key, pointers.text(row, layout.email) or None, active))
        return [manager for manager in found if 0 < len(manager.key) <= MAX_KEY]

    def verify_hook(self, headers: Mapping[str, str], body: bytes, now: float) -> list[Change]:
        """Standard Webhooks; raises HookRefused."""
        return hooks.read_hook(self.system, self.settings.webhook_secret, headers, body, now)

    def close(self) -> None:
        self._fanout.close()
        self._http.close()
