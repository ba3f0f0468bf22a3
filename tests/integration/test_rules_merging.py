"""E9 and E10: the merge, and the past that advances only at rest."""

from __future__ import annotations

from typing import Any

import pytest

from support.rules import (
    SYSTEMS,
    Make,
    api_writes,
    entries,
    field,
    in_the_past,
    pair,
    rest,
    row_of,
    updates,
    when,
)
from support.world import World
from sync_worker import desk
from sync_worker.desk.refusals import BadChoice
from sync_worker.store import managers

FIRST, LAST = "contacts.default.firstName", "contacts.default.lastName"
URL = "contacts.default.URL1"


# --- E9 ---------------------------------------------------------------------------------------------------------------


def test_e9_a_change_on_one_side_writes_the_changed_columns_on_the_other_and_no_more(world: World) -> None:
    one = pair(world)
    before = len(updates(world, "erp"))
    world.edit_crm(one.crm, Comp_WebSite="http://new.example")
    world.settle()
    assert updates(world, "erp")[before:] == [("customer", {URL: "http://new.example"})]


def test_e9_the_same_change_on_both_sides_writes_nothing(world: World) -> None:
    one = pair(world)
    before = api_writes(world)
    world.edit_crm(one.crm, Comp_Name="Agreed  Ltd")
    world.edit_erp(one.erp, name="Agreed Ltd")
    world.settle()
    assert api_writes(world) == before
    assert row_of(world, crm=one.crm).state == "in_sync"


def test_e9_different_changes_on_both_sides_rest_as_a_conflict_while_other_fields_travel(world: World) -> None:
    one = pair(world)
    world.edit_crm(one.crm, Comp_Name="Crm Name", Comp_WebSite="http://new.example")
    world.edit_erp(one.erp, name="Erp Name")
    world.settle()
    assert (world.crm_record(one.crm)["Comp_Name"], world.erp_record(one.erp)["name"]) == ("Crm Name", "Erp Name")
    assert world.erp_record(one.erp)[URL] == "http://new.example"
    assert row_of(world, crm=one.crm).state == "conflict"
    assert field(world, one.crm, "name") == {
        "name": "name", "erp": "Erp Name", "crm": "Crm Name", "status": "conflict",
    }  # fmt: skip


@pytest.mark.parametrize(("winner", "expected"), [("erp", "Erp Name"), ("crm", "Crm Name")])
@pytest.mark.parametrize("how", ["on_conflict", "owner"])
def test_e9_the_owner_else_on_conflict_wins_and_what_is_overwritten_is_journalled(
    make_light: Make, how: str, winner: str, expected: str
) -> None:
    other = "crm" if winner == "erp" else "erp"
    owned = f'on_conflict = "{other}"\nfields.name = {{ owner = "{winner}" }}'
    world = make_light(f'on_conflict = "{winner}"' if how == "on_conflict" else owned)
    one = pair(world)
    world.edit_crm(one.crm, Comp_Name="Crm Name")
    world.edit_erp(one.erp, name="Erp Name")
    world.settle()
    assert world.crm_record(one.crm)["Comp_Name"] == world.erp_record(one.erp)["name"] == expected
    last = entries(world, "update")[-1]
    assert (last["side"], last["before"]["name"]) == (other, {"erp": "Erp Name", "crm": "Crm Name"}[other])


def test_e9_a_cleared_value_is_cleared_on_the_other_side(world: World) -> None:
    one = pair(world)
    world.edit_crm(one.crm, Comp_WebSite="")
    world.settle()
    assert world.erp_record(one.erp)[URL] is None
    world.edit_erp(one.erp, **{"contacts.default.email1": None})
    world.settle()
    child = world.crm_child(one.crm, "Email")
    assert child is not None and not child["Emai_EmailAddress"]
    assert row_of(world, crm=one.crm).state == "in_sync"


def link_up(world: World, erp: dict[str, Any], crm: dict[str, Any]) -> tuple[str, str]:
    """Two older records, the CRM's naming the ERP's; a notice links them."""
    with in_the_past(world):
        erp_key = world.new_erp(erp.pop("name", "Same Name"), id="C-7", **erp)
        crm_key = world.new_crm(crm.pop("Comp_Name", "Same Name"), comp_intacct_recordno=erp_key, **crm)
    world.notice("crm", crm_key)
    world.settle()
    assert row_of(world, crm=crm_key).erp_key == erp_key, world.links()
    return erp_key, crm_key


@pytest.mark.parametrize("initial", ["review", "erp", "crm"])
def test_e9_initial_decides_at_the_first_link_up_where_both_sides_have_a_value(make_light: Make, initial: str) -> None:
    world = make_light(f'initial = "{initial}"')
    erp, crm = link_up(world, {URL: "http://erp.example"}, {"Comp_WebSite": "http://crm.example"})
    expected = {
        "review": ("http://erp.example", "http://crm.example"),
        "erp": ("http://erp.example", "http://erp.example"),
        "crm": ("http://crm.example", "http://crm.example"),
    }[initial]
    assert (world.erp_record(erp)[URL], world.crm_record(crm)["Comp_WebSite"]) == expected
    assert row_of(world, crm=crm).state == ("conflict" if initial == "review" else "in_sync")


@pytest.mark.parametrize("initial", ["review", "erp", "crm"])
def test_e9_at_the_first_link_up_a_lone_value_fills_the_blank_and_blanks_erase_nothing(
    make_light: Make, initial: str
) -> None:
    world = make_light(f'initial = "{initial}"')
    erp, crm = link_up(world, {URL: "http://erp.example"}, {"comp_vatnumber": "GB123456789"})
    assert world.crm_record(crm)["Comp_WebSite"] == world.erp_record(erp)[URL] == "http://erp.example"
    assert world.crm_record(crm)["comp_vatnumber"] == world.erp_record(erp)["taxId"] == "GB123456789"


# --- E10 --------------------------------------------------------------------------------------------------------------


def in_conflict(world: World) -> Any:
    one = pair(world)
    world.edit_crm(one.crm, Comp_Name="Crm Name")
    world.edit_erp(one.erp, name="Erp Name")
    world.settle()
    rest(world)
    return one


def test_e10_a_conflict_ends_when_people_bring_the_sides_to_agree(world: World) -> None:
    one = in_conflict(world)
    before = api_writes(world)
    world.edit_erp(one.erp, name="Crm Name")
    world.settle()
    assert row_of(world, crm=one.crm).state == "in_sync"
    assert api_writes(world) == before


def test_e10_a_side_that_goes_back_to_the_past_leaves_the_other_as_the_only_change(world: World) -> None:
    one = in_conflict(world)
    world.edit_erp(one.erp, name="Northwind Tools")
    world.settle()
    assert world.erp_record(one.erp)["name"] == "Crm Name"
    assert row_of(world, crm=one.crm).state == "in_sync"


@pytest.mark.parametrize(
    ("take", "expected"), [("erp", "Erp Name"), ("crm", "Crm Name"), ("=Third Name", "Third Name")]
)
def test_e10_a_persons_choice_settles_a_conflict(world: World, take: str, expected: str) -> None:
    one = in_conflict(world)
    desk.resolve(world.app, "crm", one.crm, "name", take)
    world.settle()
    assert world.crm_record(one.crm)["Comp_Name"] == world.erp_record(one.erp)["name"] == expected
    assert row_of(world, crm=one.crm).state == "in_sync"


def test_e10_emptying_what_no_system_lets_be_empty_is_refused_at_once_in_one_line(world: World) -> None:
    one = in_conflict(world)
    with pytest.raises(BadChoice) as refused:
        desk.resolve(world.app, "crm", one.crm, "name", "=")
    said = "name: no record may be without one: type a name behind the =, or take erp or crm"
    assert str(refused.value) == said
    row = row_of(world, crm=one.crm)
    assert row.state == "conflict" and row.due_at is None, "nothing was begun"


def test_e10_further_edits_within_a_conflict_are_shown_and_still_rest(world: World) -> None:
    one = in_conflict(world)
    world.edit_crm(one.crm, Comp_Name="Crm Again")
    world.settle()
    assert field(world, one.crm, "name")["crm"] == "Crm Again"
    assert world.erp_record(one.erp)["name"] == "Erp Name"


def test_e10_of_a_field_that_waits_the_value_at_the_release_counts(world: World) -> None:
    one = pair(world)
    world.edit_crm(one.crm, Comp_PrimaryUserId=2)
    world.settle()
    world.edit_crm(one.crm, Comp_PrimaryUserId=3)
    world.settle()
    assert world.explain("crm", one.crm)["waiting_on"] == "account_manager:crm:3"
    managers.map_manager(world.db, "customers", "E-10", "3", systems=SYSTEMS)
    world.settle()
    assert world.erp_record(one.erp)["salesRepresentative.id"] == "E-10"


def parked_manager(world: World) -> tuple[str, str]:
    erp, crm = link_up(world, {"salesRepresentative.id": "E-10"}, {"Comp_PrimaryUserId": 2})
    assert row_of(world, crm=crm).state in ("waiting", "conflict")
    return erp, crm


def test_e10_a_field_parked_at_first_link_up_takes_the_side_that_changed_since(make_light: Make) -> None:
    world = make_light('initial = "erp"')
    erp, crm = parked_manager(world)
    world.edit_crm(crm, Comp_PrimaryUserId=3)
    world.settle()
    managers.map_manager(world.db, "customers", "E-11", "3", systems=SYSTEMS)
    managers.map_manager(world.db, "customers", "E-10", "2", systems=SYSTEMS)
    world.settle()
    assert world.erp_record(erp)["salesRepresentative.id"] == "E-11"
    assert world.crm_record(crm)["Comp_PrimaryUserId"] == 3


def test_e10_a_field_parked_at_first_link_up_that_nobody_touched_is_decided_as_a_first_link_up(
    make_light: Make,
) -> None:
    world = make_light('initial = "erp"')
    erp, crm = parked_manager(world)
    managers.map_manager(world.db, "customers", "E-10", "3", systems=SYSTEMS)
    world.settle()
    assert world.crm_record(crm)["Comp_PrimaryUserId"] == 3
    assert world.erp_record(erp)["salesRepresentative.id"] == "E-10"


@pytest.mark.parametrize("moment", ["before", "after"])
def test_e10_an_edit_made_while_its_record_is_being_created_is_not_lost(world: World, moment: str) -> None:
    key = world.new_crm("Fresh Ltd", Comp_WebSite="http://old.example")
    when(
        world.erp,
        "create customer",
        lambda: world.edit_crm(key, Comp_WebSite="http://new.example"),
        after=moment == "after",
    )
    world.settle()
    row = row_of(world, crm=key)
    assert row.state == "in_sync"
    assert world.erp_record(str(row.erp_key))[URL] == "http://new.example"


def test_e10_an_edit_of_the_new_record_before_it_is_adopted_is_not_lost(world: World) -> None:
    def edit() -> None:
        (made,) = world.crm.list_records("Company")
        world.edit_crm(str(made["Comp_CompanyId"]), Comp_WebSite="http://new.example")

    key = world.new_erp("Fresh Ltd", id="C-3", **{URL: "http://old.example"})
    world.crm.faults.fail_next.append({"operation": "create company", "fault": "lost_after_apply"})
    when(world.crm, "create company", edit, after=True)
    world.settle()
    assert row_of(world, erp=key).state == "in_sync"
    assert world.erp_record(key)[URL] == "http://new.example"
    assert len(world.crm.list_records("Company")) == 1
