"""A vendor that answers anything: the emulator's own answers, with damage done to them on the way.

What a hostile or broken vendor (or a proxy before it) may send is any status, any header and any bytes; the parsers
behind are reached best by answers that are nearly right. The calls of one connector are counted, so that a parser
which asks for ever is found as one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import httpx

from mappings.canonical import MapSettings
from mappings.intacct import customer_map as intacct_map
from mappings.sage_crm import customer_map as sage_crm_map
from support.clock import FakeClock
from support.damage import Damage, hurt
from support.inprocess import EmulatorTransport
from support.tokens import MemoryTokens
from sync_worker.config.profile import load as load_profile
from sync_worker.connectors.base import Ask, Connector, Criteria, Page, Record, Write
from sync_worker.connectors.http import Breaker
from sync_worker.connectors.intacct.client import IntacctConnector, IntacctSettings
from sync_worker.connectors.intacct.emulator import IntacctEmulator
from sync_worker.connectors.rest.client import connect as connect_rest
from sync_worker.connectors.rest.emulator import TheLayerEmulator
from sync_worker.connectors.rest.settings import RestSettings
from sync_worker.connectors.sage_crm.client import connect as connect_sage_crm
from sync_worker.connectors.sage_crm.emulator import SageCrmEmulator
from sync_worker.connectors.sage_crm.settings import SageCrmSettings

NOW = 1_795_000_000.0
MOST_CALLS = 400  # of one operation: a page each, and a vendor that never ends
MOST_PAGES = 20  # that a caller takes from an endless feed; it stores each, so it may go on for ever

Rewrite = Callable[[dict[str, Any]], dict[str, Any]]


class NeverEnds(AssertionError):
    """A parser goes on asking."""


class Hostile(httpx.BaseTransport):
    """The emulator behind damage; ``asked``: the addresses of all calls since ``reset``."""

    def __init__(self, emulator: Any) -> None:
        self._inner = EmulatorTransport(emulator)
        self.reset()

    def reset(self, damage: Sequence[Damage] = (), *, rewrite: Rewrite | None = None) -> None:
        """From now on: this damage, and every object of every answer rewritten."""
        self._damage = damage
        self._rewrite = rewrite
        self.asked: list[httpx.URL] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if len(self.asked) >= MOST_CALLS:
            raise NeverEnds
        self.asked.append(request.url)
        response = self._inner.handle_request(request)
        status, content = response.status_code, response.read()
        headers = {k: v.encode() for k, v in response.headers.items() if k != "content-length"}
        if self._rewrite is not None:
            content = json.dumps(json.loads(content, object_hook=self._rewrite)).encode() if content else content
        for damage in self._damage:
            if damage.call is None or damage.call == len(self.asked) - 1:
                status, content = hurt(damage, status, headers, content)
        return httpx.Response(status, headers=list(headers.items()), stream=httpx.ByteStream(content))


# --- connectors ------------------------------------------------------------------------------------------------------


OPERATIONS = (
    "check", "read", "find", "begin", "changes", "queue", "sweep", "count", "parts", "managers", "invoices",
    "invoice feed", "update", "create",
)  # fmt: skip


class Attacked:
    """One connector over a hostile vendor that holds two customers. ``base``: the path of its address."""

    def __init__(self, name: str, instead: httpx.BaseTransport | None = None) -> None:
        """``instead``: what answers in the vendor's place."""
        self.clock = FakeClock(NOW)
        make, entity, customers, self.base, self._watermark = _VENDORS[name]
        emulator = make(seed=7, clock=self.clock)
        self.keys = [str(emulator.person(entity, None, columns, "create")) for columns in customers]
        self.transport = Hostile(emulator)
        self.connector: Connector = _CONNECT[name](instead or self.transport, self.clock)

    def close(self) -> None:
        self.connector.close()

    def operation(self, name: str) -> None:
        """One of the things that the engine asks of a connector, and what it does first with the answer."""
        it = self.connector
        match name:
            case "check":
                it.check()
            case "read":
                self._look(it.read_many("customer", [Ask(key) for key in self.keys]).values())
            case "find":
                by_all = Criteria(
                    ref="C1", name="Orchard Foods", email="i@o.example", tax_number="GB1", correlation=self.keys[0]
                )
                by_name = Criteria(name="Orchard Foods", created_since=NOW - 9)
                for found in it.find_many("customer", [by_all, by_name]):
                    self._look(found)
            case "begin":
                self._pages(it.changes("customer", None))
            case "changes":
                self._pages(it.changes("customer", self._watermark))
            case "queue":
                self._pages(it.queue_events())
            case "sweep":
                self._pages(it.sweep("customer"))
            case "count":
                it.count("customer", "1")
            case "parts":
                for part in it.capabilities.child_entities:
                    it.resolve_parts(part, ["1", "2"])
            case "managers":
                it.list_managers()
            case "invoices":
                it.read_invoices(["1"])
            case "invoice feed":
                self._pages(it.changes("invoice", self._watermark))
            case "update":
                self._write(self.keys)
            case "create":
                self._write([None])
            case _:
                raise ValueError(name)

    def _pages(self, pages: Iterator[Page]) -> None:
        for page in islice(pages, MOST_PAGES):
            self._look(row.record for row in page.rows)

    def _look(self, records: Iterable[Record | None]) -> None:
        """Canonical values of records, and how they compare."""
        fields = self.connector.maps["customer"]
        for record in records:
            if record is None:
                continue
            for name, value in fields.get(record.native).items():
                fields.normal(name, value)
                fields.fit(name, value)
            self.connector.correlated_key(record)

    def _write(self, keys: Sequence[str | None]) -> None:
        fields = self.connector.maps["customer"]
        values: dict[str, Any] = {
            "name": "Orchard",
            "email": "ivy@orchard.example",
            "phone": "+44 113 496 0001",
            "contact": {"first": "Ivy", "last": "Dean"},
            "address": {"line1": "1 Mill Row", "city": "Leeds", "postcode": "LS1 1AA", "country": "GB"},
        }
        columns = fields.put({n: v for n, v in values.items() if n in fields.fields}, {})
        writes = [Write(k, columns, Record(k, k, {}) if k else None, idempotency_key=None if k else "d") for k in keys]
        writes += [replace(write, repeated=True, new_person=True) for write in writes]
        for outcome in self.connector.write_many("customer", writes):
            fields.get(outcome.stored)


def _intacct(transport: httpx.BaseTransport, clock: FakeClock) -> Connector:
    settings = IntacctSettings(
        base_url="http://vendor.test/ia/api/v1",
        client_id="demo-client",
        client_secret="demo-secret",
        username="sync@ACME",
        new_customer_id="CRM-{crm_key}",
        concurrency=1,
    )
    return IntacctConnector(
        "erp",
        settings,
        maps={"customer": intacct_map(MapSettings(default_country="GB"))},
        tokens=MemoryTokens(clock),
        breaker=Breaker(threshold=10**9),
        transport=transport,
        clock=clock,
        sleep=lambda _seconds: None,
    )


def _sage_crm(transport: httpx.BaseTransport, clock: FakeClock) -> Connector:
    settings = SageCrmSettings(
        base_url="http://vendor.test/sdata/crmj/sagecrm2/-",
        username="sync",
        password="demo-password",
        webhook_secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        columns={"tax_number": "comp_vatnumber", "erp_key": "comp_intacct_recordno"},
        default_country="GB",
        concurrency=1,
    )
    mapped = MapSettings(default_country="GB", columns=dict(settings.columns))
    seconds = iter(range(0, 10**9, 10**4))  # a refused login rests; here every look at the clock is hours later
    return connect_sage_crm(
        "crm",
        settings,
        maps={"customer": sage_crm_map(mapped)},
        login_clock=lambda: float(next(seconds)),
        breaker=Breaker(threshold=10**9),
        transport=transport,
        sleep=lambda _seconds: None,
    )


def _the_layer(transport: httpx.BaseTransport, clock: FakeClock) -> Connector:
    profile = load_profile("the_layer", Path())
    settings = RestSettings(base_url="http://vendor.test/api/v1", token="demo-token", profile=profile, concurrency=1)
    mapped = MapSettings(default_country="GB", columns=profile.columns)
    return connect_rest(
        "crm",
        settings,
        mapped,
        clock=clock,
        breaker=Breaker(threshold=10**9),
        transport=transport,
        sleep=lambda _seconds: None,
    )


_CONNECT: dict[str, Callable[[httpx.BaseTransport, FakeClock], Connector]] = {
    "intacct": _intacct,
    "sage_crm": _sage_crm,
    "the_layer": _the_layer,
}
_VENDORS: dict[str, tuple[Any, str, list[dict[str, Any]], str, str]] = {
    "intacct": (
        IntacctEmulator,
        "customer",
        [{"name": "Orchard Foods", "id": "C1"}, {"name": "Mill", "id": "C2"}],
        "/ia/api/v1/",
        "2026-11-01T00:00:00Z",
    ),
    "sage_crm": (
        SageCrmEmulator,
        "Company",
        [{"Comp_Name": "Orchard Foods", "Comp_Status": "Active"}, {"Comp_Name": "Mill", "Comp_Status": "Active"}],
        "/sdata/crmj/sagecrm2/-/",
        json.dumps({"Company": "2026-11-01T00:00:00+00:00"}),
    ),
    "the_layer": (
        TheLayerEmulator,
        "customer",
        [{"/companyName": "Orchard Foods"}, {"/companyName": "Mill"}],
        "/api/v1/",
        "2026-11-01T00:00:00+00:00",
    ),
}
VENDORS = tuple(_VENDORS)
