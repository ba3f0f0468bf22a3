"""E11 and E12: what a vendor makes of our value, and values that stay whole."""

from __future__ import annotations

from typing import Any

import pytest

from support.rules import (
    api_writes,
    field,
    pair,
    rest,
    row_of,
    run_once,
    updates,
    when,
)
from support.world import World

CITY = "contacts.default.mailingAddress.city"
LINE = "contacts.default.mailingAddress.addressLine1"
FIRST, LAST = "contacts.default.firstName", "contacts.default.lastName"
URL = "contacts.default.URL1"


# --- E11 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [{"cut": {"Comp_Name": 12}}, {"upper": ["Comp_Name"]}])
def test_e11_what_the_vendor_makes_of_our_value_is_its_past_and_is_never_written_back(
    world: World, fault: dict[str, Any]
) -> None:
    one = pair(world)
    world.crm.faults.merge(fault)
    world.edit_erp(one.erp, name="A Very Long Trading Name")
    world.settle()
    rest(world)
    before = api_writes(world)
    assert row_of(world, crm=one.crm).state == "in_sync"
    for _ in range(2):
        world.notice("crm", one.crm)
        world.notice("erp", one.erp)
        world.sweep()
        world.settle()
        rest(world)
    assert world.erp_record(one.erp)["name"] == "A Very Long Trading Name"
    assert api_writes(world) == before


def test_e11_a_persons_edit_of_a_value_the_vendor_cut_travels(world: World) -> None:
    one = pair(world)
    world.crm.faults.merge({"cut": {"Comp_Name": 12}})
    world.edit_erp(one.erp, name="A Very Long Trading Name")
    world.settle()
    world.edit_crm(one.crm, Comp_Name="A Very")
    world.settle()
    assert world.erp_record(one.erp)["name"] == "A Very"


@pytest.mark.parametrize("value", ["Edited since", "CHANGED LTD"])
def test_e11_an_edit_between_our_write_and_its_echo_is_not_taken_for_the_echo(world: World, value: str) -> None:
    one = pair(world)
    world.edit_erp(one.erp, name="Changed Ltd")
    world.deliver()
    run_once(world.app)
    world.edit_crm(one.crm, Comp_Name=value)
    world.edit_crm(one.crm, Comp_WebSite="http://since.example")
    world.settle()
    if value == "Edited since":
        assert world.erp_record(one.erp)["name"] == value
    assert world.crm_record(one.crm)["Comp_Name"] == value
    assert world.erp_record(one.erp)[URL] == "http://since.example"


def test_e11_a_script_that_stores_something_else_than_we_wrote_has_made_an_edit(world: World) -> None:
    one = pair(world)
    world.edit_erp(one.erp, name="Changed Ltd")
    when(world.crm, "update company", lambda: world.edit_crm(one.crm, Comp_Name="By a script"), after=True)
    world.settle()
    assert world.erp_record(one.erp)["name"] == world.crm_record(one.crm)["Comp_Name"] == "By a script"


# --- E12 --------------------------------------------------------------------------------------------------------------


def test_e12_an_address_is_one_value_of_which_only_the_changed_columns_are_written(world: World) -> None:
    one = pair(world)
    world.edit_erp(one.erp, **{CITY: "York"})
    world.settle()
    assert updates(world, "crm")[-1] == ("Address", {"Addr_City": "York"})


def test_e12_an_address_edited_on_both_sides_is_a_conflict_even_in_different_columns(world: World) -> None:
    one = pair(world)
    world.edit_erp(one.erp, **{CITY: "York"})
    world.crm.person("Address", world.crm_child_key(one.crm, "Address"), {"Addr_Address1": "2 Mill Row"})
    world.settle()
    assert field(world, one.crm, "address")["status"] == "conflict"
    assert (world.erp_record(one.erp)[LINE], world.erp_record(one.erp)[CITY]) == ("1 Mill Row", "York")
    child = world.crm_child(one.crm, "Address")
    assert child is not None and (child["Addr_Address1"], child["Addr_City"]) == ("2 Mill Row", "Leeds")


def people(world: World) -> dict[str, tuple[str, str]]:
    return {
        str(row["Pers_PersonId"]): (row["Pers_FirstName"], row["Pers_LastName"])
        for row in world.crm.list_records("Person")
    }


def test_e12_one_changed_name_is_the_same_person_under_a_new_name(world: World) -> None:
    one = pair(world)
    first = world.crm_child_key(one.crm, "Person")
    world.edit_erp(one.erp, **{LAST: "Archer-Stone"})
    world.settle()
    assert people(world) == {first: ("Ada", "Archer-Stone")}


def test_e12_when_both_names_change_the_person_is_never_renamed_into_another(world: World) -> None:
    one = pair(world)
    first = world.crm_child_key(one.crm, "Person")
    world.edit_erp(one.erp, **{FIRST: "Ben", LAST: "Baker"})
    world.settle()
    second = world.crm_child_key(one.crm, "Person")
    assert people(world) == {first: ("Ada", "Archer"), second: ("Ben", "Baker")}
    assert row_of(world, crm=one.crm).state == "in_sync"
    world.edit_erp(one.erp, **{FIRST: "Ada", LAST: "Archer"})
    world.settle()
    assert world.crm_child_key(one.crm, "Person") == first
    assert len(people(world)) == 2


def test_e12_a_new_contact_whose_answer_is_lost_is_added_once(world: World) -> None:
    one = pair(world)
    world.crm.faults.fail_next.append({"operation": "create person", "fault": "lost_after_apply"})
    world.edit_erp(one.erp, **{FIRST: "Ben", LAST: "Baker"})
    world.settle()
    assert sorted(people(world).values()) == [("Ada", "Archer"), ("Ben", "Baker")]
    assert row_of(world, crm=one.crm).state == "in_sync"


@pytest.mark.parametrize("fault", ["503", "lost_after_apply"])
def test_e12_a_new_contact_that_could_not_be_made_primary_is_not_taken_for_the_old_one(
    world: World, fault: str
) -> None:
    one = pair(world)
    world.crm.faults.fail_next.append({"operation": "update company", "fault": fault})
    world.edit_erp(one.erp, **{FIRST: "Ben", LAST: "Baker"})
    world.settle()
    assert (world.erp_record(one.erp)[FIRST], world.erp_record(one.erp)[LAST]) == ("Ben", "Baker")
    assert people(world)[world.crm_child_key(one.crm, "Person")] == ("Ben", "Baker")
    assert len(people(world)) == 2


def test_e12_another_primary_person_is_written_to_the_customers_own_contact(world: World) -> None:
    one = pair(world)
    row = {"Pers_FirstName": "Ben", "Pers_LastName": "Baker", "Pers_CompanyId": int(one.crm)}
    person = world.crm.person("Person", None, row, "create")
    world.edit_crm(one.crm, Comp_PrimaryPersonId=int(person))
    world.settle()
    assert (world.erp_record(one.erp)[FIRST], world.erp_record(one.erp)[LAST]) == ("Ben", "Baker")
    assert sorted(people(world).values()) == [("Ada", "Archer"), ("Ben", "Baker")]
