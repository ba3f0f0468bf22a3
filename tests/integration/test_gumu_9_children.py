"""GUMU-9: a customer brings its primary address and its primary contact along."""

from __future__ import annotations

from typing import Any

import pytest

from support.rules import FLOW, Make, in_the_past, row_of
from support.world import World
from sync_worker.desk import importing
from sync_worker.imports import Selection

CONTACT = "contacts.default."
ADDRESS = {
    f"{CONTACT}mailingAddress.addressLine1": "1 Mill Row",
    f"{CONTACT}mailingAddress.city": "Leeds",
    f"{CONTACT}mailingAddress.isoCountryCode": "GB",
}
PERSON = {f"{CONTACT}firstName": "Ada", f"{CONTACT}lastName": "Archer", f"{CONTACT}email1": "ada@archer.example"}


def customer(world: World, name: str = "Archer Foods", **columns: Any) -> str:
    with in_the_past(world):
        return world.new_erp(name, **{"id": f"C-{name[:3]}", **columns})


def imported(world: World) -> dict[str, int]:
    found = importing.run_import(world.app, FLOW, Selection()).counts
    world.settle()
    return found


def company_of(world: World, erp: str) -> str:
    return str(row_of(world, erp=erp).crm_key)


def owned(world: World, table: str, crm: str) -> list[dict[str, Any]]:
    """The persons or addresses of a company, by whatever column names it."""
    rows = world.crm.list_records(table)
    prefix = {"Person": "Pers", "Address": "Addr"}[table]
    if table == "Person":
        return [row for row in rows if str(row["Pers_CompanyId"]) == crm and not row.get(f"{prefix}_Deleted")]
    linked = {
        str(row["AdLi_AddressId"])
        for row in world.crm.list_records("Address_Link")
        if str(row["AdLi_CompanyID"]) == crm
    }
    return [row for row in rows if str(row["Addr_AddressId"]) in linked]


def made(world: World, table: str) -> int:
    return sum(row.entity == table and row.op == "create" for row in world.written("crm"))


def test_gumu_9_a_customer_without_contact_and_address_brings_neither(make: Make) -> None:
    world = make()
    key = customer(world)
    assert imported(world) == {"created": 1}
    crm = company_of(world, key)
    assert owned(world, "Person", crm) == [] and row_of(world, erp=key).state == "in_sync"


def test_gumu_9_its_primary_contact_and_address_come_and_a_second_import_adds_none(make: Make) -> None:
    world = make()
    key = customer(world, **PERSON, **ADDRESS)
    assert imported(world) == {"created": 1}
    crm = company_of(world, key)
    assert [row["Pers_LastName"] for row in owned(world, "Person", crm)] == ["Archer"]
    address, person = world.crm_child(crm, "Address"), world.crm_child(crm, "Person")
    assert address is not None and (address["Addr_City"], address["Addr_Country"]) == ("Leeds", "GB")
    assert person is not None and person["Pers_FirstName"] == "Ada"
    before = made(world, "Person"), made(world, "Address")
    assert imported(world) == {"unchanged": 1}
    assert (made(world, "Person"), made(world, "Address")) == before == (1, 1)


def test_gumu_9_when_the_contact_becomes_another_person_the_old_one_is_kept_and_not_renamed(make: Make) -> None:
    world = make()
    key = customer(world, **PERSON)
    imported(world)
    crm = company_of(world, key)
    world.edit_erp(key, **{f"{CONTACT}firstName": "Ben", f"{CONTACT}lastName": "Baker"})
    assert imported(world) == {"updated": 1}
    assert sorted(row["Pers_LastName"] for row in owned(world, "Person", crm)) == ["Archer", "Baker"]
    person = world.crm_child(crm, "Person")
    assert person is not None and person["Pers_LastName"] == "Baker"
    imported(world)
    assert len(owned(world, "Person", crm)) == 2


def test_gumu_9_a_contact_that_two_customers_share_becomes_a_person_of_each(make: Make) -> None:
    world = make()
    first = customer(world, "Archer Foods", **PERSON)
    contact = str(world.erp_record(first)["contacts.default.id"])
    with in_the_past(world):
        second = world.new_erp("Baker Tools", id="C-2", **{f"{CONTACT}id": contact})
    assert imported(world) == {"created": 2}
    companies = [company_of(world, key) for key in (first, second)]
    for crm in companies:
        assert [row["Pers_LastName"] for row in owned(world, "Person", crm)] == ["Archer"]
    world.erp.person("contact", str(world.erp_record(first)["contacts.default.key"]), {"firstName": "Adela"})
    world.settle()
    world.sweep()
    world.settle()
    for crm in companies:
        assert [row["Pers_FirstName"] for row in owned(world, "Person", crm)] == ["Adela"]


@pytest.mark.parametrize("fault", ["before_apply", "lost_after_apply"])
@pytest.mark.parametrize(("operation", "table"), [("create person", "Person"), ("create address", "Address")])
def test_gumu_9_a_child_that_fails_after_its_company_is_told_and_only_the_child_is_repeated(
    make_light: Make, operation: str, table: str, fault: str
) -> None:
    world = make_light()
    key = customer(world)
    imported(world)
    companies = made(world, "Company")
    world.edit_erp(key, **PERSON, **ADDRESS)
    world.crm.faults.fail_next.append({"operation": operation, "fault": fault})
    world.deliver()
    world.work()
    shown = world.explain("erp", key)
    assert shown["state"] == "pending" and shown["next_step"]["at"] is not None
    world.settle()
    assert (row_of(world, erp=key).state, made(world, "Company")) == ("in_sync", companies)
    assert len(owned(world, table, company_of(world, key))) == 1


def test_gumu_9_other_persons_and_addresses_of_the_company_are_left_as_they_are(make: Make) -> None:
    world = make()
    key = customer(world, **PERSON, **ADDRESS)
    imported(world)
    crm = company_of(world, key)
    other = world.crm.person(
        "Person", None, {"Pers_CompanyId": int(crm), "Pers_FirstName": "Eve", "Pers_LastName": "Other"}, "create"
    )
    world.settle()
    before = world.crm.get_record("Person", other)
    world.edit_erp(key, **{f"{CONTACT}mailingAddress.city": "York", f"{CONTACT}firstName": "Adela"})
    imported(world)
    assert world.crm.get_record("Person", other) == before
    address = world.crm_child(crm, "Address")
    assert address is not None and address["Addr_City"] == "York"


@pytest.mark.parametrize("written", ["DE", "de", "Germany"])
def test_gumu_9_a_country_by_name_or_by_code_is_the_same_country(make_light: Make, written: str) -> None:
    world = make_light('initial = "erp"')
    with in_the_past(world):
        key = world.new_erp("Archer Foods", id="C-78", **{**ADDRESS, f"{CONTACT}mailingAddress.isoCountryCode": "DE"})
        address = {"$isDefault": True, "$type": "Business", "Addr_Address1": "1 Mill Row", "Addr_City": "Leeds"}
        crm = world.new_crm("Archer Foods", comp_intacct_customerid="C-78",
                            Address=[{**address, "Addr_Country": written}])  # fmt: skip
    assert imported(world) == {"linked": 1}
    assert (company_of(world, key), row_of(world, erp=key).state) == (crm, "in_sync")
    found = world.crm_child(crm, "Address")
    assert found is not None and found["Addr_Country"] == written  # the same country: nothing to write
