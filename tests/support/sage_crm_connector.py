"""A Sage CRM connector over real sockets against its emulator: short hands of the contract tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from sync_worker.connectors.base import Ask, Record, Write
from sync_worker.connectors.sage_crm.client import SageCrmConnector, SageCrmSettings
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
