"""Bulk data and the records a company starts with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sync_worker.connectors.intacct.emulator.payload import nest
from sync_worker.connectors.intacct.emulator.records import Records
from sync_worker.connectors.intacct.emulator.schema import (
    CONTACT,
    CUSTOMER,
    CUSTOMER_TYPE,
    DEPARTMENT,
    EMPLOYEE,
    ENTITY,
    TERM,
    TERRITORY,
    USER,
)
from sync_worker.connectors.intacct.emulator.unit import Author

_FIRST = ("Ada", "Ben", "Cleo", "Dora", "Emil", "Fay", "Gus", "Hana", "Ivo", "June")
_LAST = ("Archer", "Baker", "Cooper", "Draper", "Fisher", "Mason", "Potter", "Sawyer", "Tanner", "Weaver")
_TRADES = ("Foods", "Tools", "Textiles", "Timber", "Papers", "Optics", "Motors", "Ceramics", "Cycles", "Gardens")
_TOWNS = ("Leeds", "York", "Bath", "Derby", "Truro", "Ely", "Wells", "Ripon", "Durham", "Lincoln")


def furnish(records: Records, api_user: str, entities: Sequence[str]) -> tuple[str, str]:
    """Users, lists, departments, three employees. Returns the keys of the person at the screen and the API's user."""
    author = Author("script", "1")
    for entity in entities:
        records.create(ENTITY, {"id": entity, "name": f"Entity {entity}"}, author)
    for path, ids in (
        (TERM, ("Net 30", "Net 60", "Due on receipt")),
        (CUSTOMER_TYPE, ("Trade", "Retail")),
        (TERRITORY, ("North", "South")),
    ):
        for record_id in ids:
            records.create(path, {"id": record_id, "name": record_id}, author)
    for record_id, name in (("D-10", "Sales"), ("D-20", "Service")):
        records.create(DEPARTMENT, {"id": record_id, "name": name}, author)
    for number, (first, last) in enumerate((("Nora", "Quill"), ("Omar", "Reed"), ("Pia", "Stone")), 10):
        contact = {"id": f"{last}, {first}", "printAs": f"{first} {last}", "firstName": first, "lastName": last}
        records.create(CONTACT, {**contact, "email1": f"{first.lower()}@acme.example"}, author)
        employee = {"id": f"E-{number}", "primaryContact": {"id": contact["id"]}, "department": {"id": "D-10"}}
        records.create(EMPLOYEE, {**employee, "jobTitle": "Account manager", "startDate": "2024-01-02"}, author)
    person = records.create(USER, {"id": "admin", "userName": "admin", "adminPrivileges": "full"}, author)
    api = {"id": api_user, "userName": api_user, "webServices": {"isEnabled": True}}
    return person["key"], records.create(USER, api, author)["key"]


def seed_customers(records: Records, spec: Mapping[str, Any], author: Author) -> dict[str, list[str]]:
    """``{"customers": N, "start": 1, "id": "C-{n:05d}", "columns": {...}}``; returns keys and ids, in order.

    Customer n is always the same, so that another system can be filled with its partner; ``columns`` (dotted) are added
    to each, with ``{n}`` in their texts replaced.
    """
    count, start = int(spec.get("customers", 0)), int(spec.get("start", 1))
    made = []
    for n in range(start, start + count):
        more = {c: v.replace("{n}", str(n)) if isinstance(v, str) else v for c, v in spec.get("columns", {}).items()}
        columns = {**seed_columns(n), "id": str(spec.get("id", "C-{n:05d}")).format(n=n), **more}
        made.append(records.create(CUSTOMER, nest(columns), author))
    return {"keys": [row["key"] for row in made], "ids": [row["id"] for row in made]}


def seed_columns(n: int) -> dict[str, Any]:
    """Customer number n, as dotted columns."""
    first, last = _FIRST[n % 10], _LAST[n // 10 % 10]
    name = f"{last} {_TRADES[n // 100 % 10]} {n}"
    contact = {
        "printAs": name,
        "companyName": name,
        "firstName": first,
        "lastName": last,
        "email1": f"office{n}@customer.example",
        "phone1": f"+44 113 {n:07d}",
        "URL1": f"https://customer{n}.example",
        "mailingAddress.addressLine1": f"{n} Mill Row",
        "mailingAddress.city": _TOWNS[n % 10],
        "mailingAddress.postCode": f"LS{n % 28 + 1} {n % 9 + 1}AB",
        "mailingAddress.isoCountryCode": "GB",
    }
    return {"name": name, **{f"contacts.default.{column}": value for column, value in contact.items()}}
