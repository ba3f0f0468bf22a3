"""What every connector must do, whatever its vendor: one case per connector and its emulator, on a real socket.

The behaviours (``test_connectors_*.py``) speak canonical values through the connector's own map, so they hold for any
vendor. What a vendor cannot do is skipped by its ``Capabilities``, and the skip is printed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from mappings.canonical import MapSettings
from mappings.fields import FieldMap, Value
from mappings.intacct import customer_map as intacct_map
from mappings.sage_crm import customer_map as sage_crm_map
from support.clock import FakeClock
from support.tokens import MemoryTokens
from sync_worker.config.profile import Profile
from sync_worker.config.profile import load as load_profile
from sync_worker.connectors.base import Ask, Connector, Page, Record, Write
from sync_worker.connectors.emulation import EmulatorServer, Hook, OutgoingNotice
from sync_worker.connectors.http import Breaker, VendorHttp
from sync_worker.connectors.intacct.client import IntacctConnector, IntacctSettings
from sync_worker.connectors.intacct.emulator import IntacctEmulator
from sync_worker.connectors.rest.client import RestConnector
from sync_worker.connectors.rest.client import connect as connect_rest
from sync_worker.connectors.rest.emulator import TheLayerEmulator
from sync_worker.connectors.rest.settings import RestSettings
from sync_worker.connectors.sage_crm.auth import BasicLogin
from sync_worker.connectors.sage_crm.client import SageCrmConnector
from sync_worker.connectors.sage_crm.emulator import SageCrmEmulator
from sync_worker.connectors.sage_crm.settings import SageCrmSettings

NOW = 1_795_000_000.0  # 2026-11-18

CUSTOMER: dict[str, Value] = {
    "name": "Orchard Foods",
    "contact": {"first": "Ivy", "last": "Dean"},
    "email": "ivy@orchard.example",
    "phone": "+44 113 496 0001",
    "mobile": "+44 7700 900001",
    "website": "https://orchard.example",
    "tax_number": "GB123456789",
    "address": {
        "line1": "1 Mill Row",
        "line2": None,
        "line3": None,
        "line4": None,
        "line5": None,
        "city": "Leeds",
        "state": None,
        "postcode": "LS1 1AA",
        "country": "GB",
    },
    "status": "active",
}


@dataclass
class Case:
    """One connector over one emulator. ``entity``: what the emulator calls a customer.

    ``connect(**changes)`` makes another connector of the same system; ``changes`` are settings of it.
    ``bad_secret`` / ``missing_column``: such changes that make its login wrong, or configure a column that the vendor
    does not have (``missing_name``). ``manager``: the key of an account manager whom the installation has.
    """

    system: str
    emulator: Any
    clock: FakeClock
    entity: str
    connect: Callable[..., Connector]
    bad_secret: Mapping[str, Any]
    missing_column: Mapping[str, Any]
    missing_name: str
    manager: str
    hook_secret: str
    connector: Connector = field(init=False)

    def __post_init__(self) -> None:
        self.connector = self.connect()

    @property
    def fmap(self) -> FieldMap:
        return self.connector.maps["customer"]

    def make(self, correlation: str | None = None, idempotency_key: str | None = None, **values: Value) -> str:
        """Create a customer through the connector; returns its key."""
        return self.create(correlation, idempotency_key, **values)[0]

    def write_of(self, correlation: str | None = None, idempotency_key: str | None = None, **values: Value) -> Write:
        given = {name: value for name, value in {**CUSTOMER, **values}.items() if name in self.fmap.fields}
        columns = {c: v for c, v in self.fmap.put(given, {}).items() if v is not None}
        keys = self.connector.correlation_columns(correlation, f"ref-{correlation}") if correlation else {}
        return Write(None, {**self.fmap.create_extra(given), **columns, **keys}, idempotency_key=idempotency_key)

    def create(
        self, correlation: str | None = None, idempotency_key: str | None = None, **values: Value
    ) -> tuple[str, str]:
        correlation = correlation or f"auto-{len(self.emulator.ledger)}"
        (outcome,) = self.connector.write_many(
            "customer", [self.write_of(correlation, idempotency_key or f"key-{correlation}", **values)]
        )
        assert outcome.error is None, outcome.error
        assert outcome.key is not None
        return outcome.key, outcome.ref

    def read(self, key: str) -> Record:
        record = self.connector.read_many("customer", [Ask(key)])[key]
        assert record is not None
        return record

    def values(self, key: str) -> dict[str, Value]:
        return self.fmap.get(self.read(key).native)

    def update_of(self, key: str, **values: Value) -> Write:
        record = self.read(key)
        return Write(key, self.fmap.put(values, record.native), record)

    def update(self, key: str, **values: Value) -> Any:
        return self.connector.write_many("customer", [self.update_of(key, **values)])[0]

    def person_renames(self, key: str, name: str) -> None:
        """What a person does on the vendor's screen."""
        self.emulator.person(self.entity, key, {self.fmap.fields["name"].columns[0]: name})

    def written(self, since: int) -> list[Any]:
        """The ledger's rows of API writes behind position ``since``."""
        return [row for row in self.emulator.ledger[since:] if row.actor == "api"]

    def notices(self, act: Callable[[], object]) -> list[OutgoingNotice]:
        """What the emulator would send about ``act``; caught before its server's own sender can take it."""
        posted: list[OutgoingNotice] = []
        self.emulator.hooks.append(Hook("http://127.0.0.1:1/hooks/x", self.hook_secret))
        plain, self.emulator.post_notice = self.emulator.post_notice, posted.extend
        try:
            act()
        finally:
            self.emulator.post_notice = plain
        return posted


@contextmanager
def intacct() -> Iterator[Case]:
    clock = FakeClock(NOW)
    emulator = IntacctEmulator(seed=7, clock=clock)
    with EmulatorServer(emulator) as base:
        settings = IntacctSettings(
            base_url=f"{base}/ia/api/v1",
            client_id="demo-client",
            client_secret="demo-secret",
            username="sync@ACME",
            new_customer_id="CRM-{crm_key}",
        )
        made: list[IntacctConnector] = []

        def connect(custom: dict[str, str] | None = None, **changes: Any) -> IntacctConnector:
            limits = {"default_country": "GB", "custom": {"region": "nsp::REGION"} if custom is None else custom}
            made.append(
                IntacctConnector(
                    "erp",
                    replace(settings, **changes),
                    maps={"customer": intacct_map(MapSettings(**limits))},
                    tokens=MemoryTokens(clock),
                    breaker=Breaker(threshold=1000),
                    clock=clock,
                )
            )
            return made[-1]

        yield Case(
            system="erp",
            emulator=emulator,
            clock=clock,
            entity="customer",
            connect=connect,
            bad_secret={"client_secret": "wrong"},
            missing_column={"custom": {"region": "nsp::NOWHERE"}},
            missing_name="nsp::NOWHERE",
            manager="E-10",
            hook_secret="demo-secret",
        )
        for connector in made:
            connector.close()


@contextmanager
def sage_crm() -> Iterator[Case]:
    clock = FakeClock(NOW)
    emulator = SageCrmEmulator(seed=7, clock=clock)
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    with EmulatorServer(emulator) as base:
        settings = SageCrmSettings(
            base_url=f"{base}/sdata/crmj/sagecrm2/-",
            username="sync",
            password="demo-password",
            webhook_secret=secret,
            columns={
                "tax_number": "comp_vatnumber",
                "erp_key": "comp_intacct_recordno",
                "erp_ref": "comp_intacct_customerid",
                "erp_company": "comp_intacct_company",
            },
            default_country="GB",
            erp_company="Acme UK",
        )
        made: list[SageCrmConnector] = []

        def connect(custom: dict[str, str] | None = None, **changes: Any) -> SageCrmConnector:
            chosen = replace(settings, **changes)
            mapped = MapSettings(default_country="GB", columns=dict(chosen.columns), custom=custom or {})
            login = BasicLogin(chosen.username, chosen.password)
            http = VendorHttp(
                "crm", chosen.base_url, classify=login.classify, prepare=login.prepare, breaker=Breaker(threshold=1000)
            )
            made.append(
                SageCrmConnector("crm", chosen, maps={"customer": sage_crm_map(mapped)}, http=http, clock=clock)
            )
            return made[-1]

        yield Case(
            system="crm",
            emulator=emulator,
            clock=clock,
            entity="Company",
            connect=connect,
            bad_secret={"password": "wrong"},
            missing_column={"custom": {"region": "comp_nowhere"}},
            missing_name="comp_nowhere",
            manager="2",
            hook_secret=secret,
        )
        for connector in made:
            connector.close()


@contextmanager
def the_layer(profile: Profile | None = None) -> Iterator[Case]:
    """The connector ``rest`` with the shipped profile, or with another one over the same emulator."""
    clock = FakeClock(NOW)
    emulator = TheLayerEmulator(seed=7, clock=clock)
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    chosen = profile or load_profile("the_layer", Path())
    with EmulatorServer(emulator) as base:
        settings = RestSettings(
            base_url=f"{base}/api/v1",
            token="demo-token",
            profile=chosen,
            webhook_secret=secret,
            erp_company="Acme UK",
        )
        made: list[RestConnector] = []

        def connect(custom: dict[str, str] | None = None, **changes: Any) -> RestConnector:
            mapped = MapSettings(default_country="GB", columns=chosen.columns, custom=custom or {})
            breaker = Breaker(threshold=1000)
            made.append(connect_rest("crm", replace(settings, **changes), mapped, clock=clock, breaker=breaker))
            return made[-1]

        yield Case(
            system="crm",
            emulator=emulator,
            clock=clock,
            entity="customer",
            connect=connect,
            bad_secret={"token": "wrong"},
            missing_column={"custom": {"region": "/nowhere"}},
            missing_name="/nowhere",
            manager="U1",
            hook_secret=secret,
        )
        for connector in made:
            connector.close()


CASES: dict[str, Callable[[], Any]] = {"intacct": intacct, "sage_crm": sage_crm, "the_layer": the_layer}

__all__ = ["CASES", "CUSTOMER", "NOW", "Case"]


@contextmanager
def fault(case: Case, **switches: Any) -> Iterator[None]:
    before = {name: getattr(case.emulator.faults, name) for name in switches}
    case.emulator.faults.merge(switches)
    try:
        yield
    finally:
        case.emulator.faults.merge(before)


def mapped(case: Case, name: str) -> None:
    """Go on only where the vendor has a place for this field."""
    if name not in case.fmap.fields:
        pytest.skip(f"{case.system}: no place for {name}")


def needs(case: Case, *, capability: str) -> None:
    if not getattr(case.connector.capabilities, capability):
        pytest.skip(f"{case.system}: no {capability}")


def changed_keys(pages: Iterator[Page]) -> list[str]:
    return [row.change.key for page in pages for row in page.rows if row.change.entity == "customer"]


def names(found: list[Any], case: Case) -> list[Value]:
    return [case.fmap.get(record.native).get("name") for record in found]


def lowered(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def calls(case: Case, name: str) -> int:
    """How often the vendor was called so since the counters were reset."""
    return int(case.emulator.stats()["calls"].get(name, 0))
