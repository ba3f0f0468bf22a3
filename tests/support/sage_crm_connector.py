"""A Sage CRM connector over real sockets against its emulator: fixtures and short hands of the contract tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from mappings.canonical import MapSettings
from mappings.sage_crm import customer_map
from sync_worker.connectors.base import Ask, Record, Write
from sync_worker.connectors.emulation import EmulatorServer
from sync_worker.connectors.sage_crm.client import SageCrmConnector, SageCrmSettings, connect
from sync_worker.connectors.sage_crm.emulator import SageCrmEmulator

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
COLUMNS = {
    "tax_number": "comp_vatnumber",
    "erp_key": "comp_intacct_recordno",
    "erp_ref": "comp_intacct_customerid",
    "erp_company": "comp_intacct_company",
}
COMPANY, PERSON, ADDRESS, PHONE, EMAIL = 1, 2, 4, 8, 16
NORTHWIND: dict[str, Any] = {
    "Comp_Name": "Northwind Tools",
    "Comp_Type": "Customer",
    "Comp_WebSite": "http://northwind.test",
    "comp_intacct_recordno": "501",
    "comp_intacct_company": "Acme UK",
    "Pers_FirstName": "Ina",
    "Pers_LastName": "Holt",
    "Addr_Address1": "1 Mill Lane",
    "Addr_City": "Leeds",
    "Addr_Country": "GB",
    "Phon_CountryCode@Business": "44",
    "Phon_AreaCode@Business": "113",
    "Phon_Number@Business": "4960000",
    "Phon_Number@Fax": "4960001",
    "Emai_EmailAddress@Business": "ap@northwind.test",
}


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def vendor_clock() -> Clock:
    return Clock()


@pytest.fixture
def crm(vendor_clock: Clock) -> SageCrmEmulator:
    return SageCrmEmulator(seed=1, clock=vendor_clock)


@pytest.fixture
def root(crm: SageCrmEmulator) -> Iterator[str]:
    with EmulatorServer(crm) as url:
        yield url


def settings(root: str, **changes: Any) -> SageCrmSettings:
    base = SageCrmSettings(
        base_url=f"{root}/sdata/crmj/sagecrm2/-",
        username="sync",
        password="demo-password",
        webhook_secret=SECRET,
        timezone="Europe/London",
        columns=COLUMNS,
        erp_company="Acme UK",
    )
    return replace(base, **changes)


Connect = Callable[..., SageCrmConnector]


@pytest.fixture
def connected(root: str) -> Iterator[Connect]:
    made: list[SageCrmConnector] = []

    def make(**changes: Any) -> SageCrmConnector:
        chosen = settings(root, **changes)
        maps = {"customer": customer_map(MapSettings(columns=dict(chosen.columns), default_country="GB"))}
        made.append(connect("crm", chosen, maps=maps))
        return made[-1]

    yield make
    for connector in made:
        connector.close()


@pytest.fixture
def sage(connected: Connect) -> SageCrmConnector:
    return connected()


def create(sage: SageCrmConnector, **changes: Any) -> str:
    (outcome,) = sage.write_many("customer", [Write(None, {**NORTHWIND, **changes})])
    assert outcome.error is None, outcome.error
    assert outcome.key is not None
    return outcome.key


def read(sage: SageCrmConnector, key: str, parts: int = -1, children: Mapping[str, str] | None = None) -> Record:
    record = sage.read_many("customer", [Ask(key, parts, children or {})])[key]
    assert record is not None
    return record


def update(sage: SageCrmConnector, record: Record, columns: dict[str, Any], **more: Any) -> Any:
    (outcome,) = sage.write_many("customer", [Write(record.key, columns, record, **more)])
    return outcome


def counted(crm: SageCrmEmulator) -> dict[str, int]:
    return {name: count for name, count in crm.calls.items() if count}
