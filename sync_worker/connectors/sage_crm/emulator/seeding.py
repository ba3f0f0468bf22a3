"""Bulk data: companies with a primary person, an address, a Business phone and a Business e-mail, all invented."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sync_worker.connectors.sage_crm.emulator.database import Database, full_number, iso
from sync_worker.connectors.sage_crm.emulator.schema import COMPANY_ENTITY, HOME_TERRITORY, Row

API_USER = 4
PERSON_USER = 2

_USERS: tuple[Row, ...] = (
    {"User_Logon": "admin", "User_FirstName": "System", "User_LastName": "Administrator"},
    {"User_Logon": "sellers1", "User_FirstName": "Ada", "User_LastName": "North", "User_EmailAddress": "ada@crm.test"},
    {"User_Logon": "sellers2", "User_FirstName": "Ben", "User_LastName": "South", "User_EmailAddress": "ben@crm.test"},
    {"User_Logon": "sync", "User_FirstName": "Sync", "User_LastName": "Worker", "User_EmailAddress": "sync@crm.test"},
    {"User_Logon": "leaver", "User_FirstName": "Cleo", "User_LastName": "West", "User_EmailAddress": "cleo@crm.test"},
    {"User_Logon": "room1", "User_FirstName": "Meeting", "User_LastName": "Room", "User_Resource": True},
)


def load_users(database: Database, now: float) -> None:
    """The directory: user 4 is the API's account, 5 has left, 6 is a resource."""
    audit = _audit("User", iso(int(now)))
    rows = [
        {"User_UserId": number, "User_Disabled": row["User_Logon"] == "leaver", "User_Resource": False, **row, **audit}
        for number, row in enumerate(_USERS, start=1)
    ]
    database.tables["Users"].load(rows)


def load_customers(database: Database, spec: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Add ``spec["customers"]`` companies; with ``linked`` they carry the ERP's keys.

    Options: ``first`` (number of the first, default 1), ``linked``, ``erp_key`` and ``erp_ref`` (format texts over
    ``n``), ``erp_company``, ``manager`` (user id), ``age_seconds`` (how old the rows are, default a day).
    Returns count, first and last company key. Raises ``ValueError`` for a count that is no number.
    """
    count, first = int(spec.get("customers", 0)), int(spec.get("first", 1))
    stamp = iso(int(now - float(spec.get("age_seconds", 86_400))))
    start = {name: table.next_id for name, table in database.tables.items()}
    tables = {name: [] for name in _MAKERS}  # type: dict[str, list[Row]]
    for i in range(count):
        keys = {name: number + i for name, number in start.items()}
        for name, make in _MAKERS.items():
            tables[name].extend(make(keys, first + i))
        if spec.get("linked"):
            tables["Company"][-1] |= _erp_keys(spec, first + i)
        if spec.get("manager"):
            tables["Company"][-1]["Comp_PrimaryUserId"] = int(spec["manager"])
    for name, rows in tables.items():
        table = database.tables[name]
        audit = _audit(table.spec.prefix, stamp)
        table.load({**row, **audit} for row in rows)
    return {"customers": count, "first_key": str(start["Company"]), "last_key": str(start["Company"] + count - 1)}


def _audit(prefix: str, stamp: str) -> Row:
    users: Row = dict.fromkeys((f"{prefix}_CreatedBy", f"{prefix}_UpdatedBy"), PERSON_USER)
    return users | dict.fromkeys((f"{prefix}_CreatedDate", f"{prefix}_UpdatedDate", f"{prefix}_TimeStamp"), stamp)


def _erp_keys(spec: Mapping[str, Any], n: int) -> Row:
    return {
        "comp_intacct_recordno": str(spec.get("erp_key", "{n}")).format(n=n),
        "comp_intacct_customerid": str(spec.get("erp_ref", "C-{n:05d}")).format(n=n),
        "comp_intacct_company": str(spec.get("erp_company", "Acme UK")),
    }


def _company(keys: Mapping[str, int], n: int) -> Iterator[Row]:
    yield {
        "Comp_CompanyId": keys["Company"],
        "Comp_Name": f"Customer {n:05d}",
        "Comp_PrimaryPersonId": keys["Person"],
        "Comp_PrimaryAddressId": keys["Address"],
        "Comp_Type": "Customer",
        "Comp_Status": "Active",
        "Comp_SecTerr": HOME_TERRITORY,
        "Comp_WebSite": f"http://c{n:05d}.test",
    }


def _person(keys: Mapping[str, int], n: int) -> Iterator[Row]:
    yield {
        "Pers_PersonId": keys["Person"],
        "Pers_CompanyId": keys["Company"],
        "Pers_PrimaryAddressId": keys["Address"],
        "Pers_FirstName": "Contact",
        "Pers_LastName": f"Of {n:05d}",
        "Pers_Status": "Active",
    }


def _address(keys: Mapping[str, int], n: int) -> Iterator[Row]:
    yield {
        "Addr_AddressId": keys["Address"],
        "Addr_Address1": f"{n} Mill Lane",
        "Addr_City": "Leeds",
        "Addr_PostCode": "LS1 1AA",
        "Addr_Country": "GB",
    }


def _phone(keys: Mapping[str, int], n: int) -> Iterator[Row]:
    parts = {"Phon_CountryCode": "44", "Phon_AreaCode": "113", "Phon_Number": f"{4960000 + n % 10_000}"}
    yield {"Phon_PhoneId": keys["Phone"], **parts, "Phon_FullNumber": full_number(parts)}


def _email(keys: Mapping[str, int], n: int) -> Iterator[Row]:
    yield {"Emai_EmailId": keys["Email"], "Emai_EmailAddress": f"ap{n:05d}@customers.test"}


def _phone_link(keys: Mapping[str, int], _: int) -> Iterator[Row]:
    link = {"PLink_LinkID": keys["PhoneLink"], "PLink_PhoneId": keys["Phone"]}
    yield {**link, "PLink_EntityID": COMPANY_ENTITY, "PLink_RecordID": keys["Company"], "PLink_Type": "Business"}


def _email_link(keys: Mapping[str, int], _: int) -> Iterator[Row]:
    link = {"ELink_LinkID": keys["EmailLink"], "ELink_EmailId": keys["Email"]}
    yield {**link, "ELink_EntityID": COMPANY_ENTITY, "ELink_RecordID": keys["Company"], "ELink_Type": "Business"}


def _address_link(keys: Mapping[str, int], _: int) -> Iterator[Row]:
    link = {"AdLi_AddressLinkId": keys["Address_Link"], "AdLi_AddressId": keys["Address"]}
    yield {**link, "AdLi_CompanyID": keys["Company"], "AdLi_Type": "Business"}


def _person_link(keys: Mapping[str, int], _: int) -> Iterator[Row]:
    link = {"PeLi_PersonLinkId": keys["Person_Link"], "PeLi_PersonId": keys["Person"]}
    yield {**link, "PeLi_CompanyID": keys["Company"], "PeLi_Type": "Finance"}


_MAKERS = {
    "Company": _company,
    "Person": _person,
    "Address": _address,
    "Phone": _phone,
    "Email": _email,
    "PhoneLink": _phone_link,
    "EmailLink": _email_link,
    "Address_Link": _address_link,
    "Person_Link": _person_link,
}
