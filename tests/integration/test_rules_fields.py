"""E13 to E15: direction and owner, oscillation, refused values."""

from __future__ import annotations

import pytest

from support.rules import (
    Make,
    Pair,
    api_writes,
    calls,
    entries,
    field,
    pair,
    rest,
    row_of,
    when,
)
from support.world import World
from sync_worker import desk

URL = "contacts.default.URL1"


# --- E13 --------------------------------------------------------------------------------------------------------------


def from_erp(world: World) -> Pair:
    key = world.new_erp("Northwind Tools", id="C-1", **{URL: "http://northwind.example"})
    world.settle()
    rest(world)
    row = row_of(world, erp=key)
    assert row.crm_key is not None and row.state == "in_sync"
    return Pair(key, row.crm_key, row.id)


def test_e13_a_change_against_the_direction_stays_where_it_is_and_is_shown(make_light: Make) -> None:
    world = make_light('direction = "to_crm"')
    one = from_erp(world)
    before = api_writes(world)
    world.edit_crm(one.crm, Comp_Name="Local Name")
    world.settle()
    rest(world)
    assert api_writes(world) == before
    row = row_of(world, crm=one.crm)
    assert (row.state, row.cause) == ("in_sync", "differs")
    assert field(world, one.crm, "name") == {
        "name": "name", "erp": "Northwind Tools", "crm": "Local Name", "status": "differs", "why": "not_to_erp",
    }  # fmt: skip
    assert [e["after"] for e in entries(world, "blocked")] == [{"name": "not_to_erp"}]


def test_e13_the_past_of_a_blocked_change_advances_so_that_the_next_allowed_one_travels(make_light: Make) -> None:
    world = make_light('direction = "to_crm"')
    one = from_erp(world)
    world.edit_crm(one.crm, Comp_Name="Local Name")
    world.settle()
    world.edit_erp(one.erp, name="From the ERP")
    world.settle()
    assert world.crm_record(one.crm)["Comp_Name"] == "From the ERP"
    row = row_of(world, crm=one.crm)
    assert (row.state, row.cause) == ("in_sync", "")


def test_e13_a_blocked_field_that_people_bring_to_agree_is_no_longer_shown_as_different(make_light: Make) -> None:
    world = make_light('direction = "to_crm"')
    one = from_erp(world)
    world.edit_crm(one.crm, Comp_Name="Local Name")
    world.settle()
    world.edit_crm(one.crm, Comp_Name="Northwind Tools")
    world.settle()
    assert row_of(world, crm=one.crm).cause == ""


def test_e13_with_both_changed_the_only_allowed_way_wins(make_light: Make) -> None:
    world = make_light('direction = "to_crm"')
    one = from_erp(world)
    world.edit_crm(one.crm, Comp_Name="Local Name")
    world.edit_erp(one.erp, name="From the ERP")
    world.settle()
    assert world.crm_record(one.crm)["Comp_Name"] == world.erp_record(one.erp)["name"] == "From the ERP"


def test_e13_overwrite_puts_back_what_was_changed_against_the_direction_and_journals_it(make_light: Make) -> None:
    world = make_light('direction = "to_crm"\noverwrite = true')
    one = from_erp(world)
    world.edit_crm(one.crm, Comp_Name="Local Name")
    world.settle()
    assert world.crm_record(one.crm)["Comp_Name"] == "Northwind Tools"
    last = entries(world, "update")[-1]
    assert (last["before"], last["after"]) == ({"name": "Local Name"}, {"name": "Northwind Tools"})
    assert last["why"] == "put_back"


def test_e13_direction_none_writes_nothing_anywhere(make_light: Make) -> None:
    world = make_light('direction = "none"')
    erp = world.new_erp("Northwind Tools", id="C-1")
    crm = world.new_crm("Northwind Tools", comp_intacct_recordno=erp)
    world.settle()
    world.edit_crm(crm, Comp_Name="Crm Name")
    world.edit_erp(erp, name="Erp Name")
    world.settle()
    assert api_writes(world) == {"erp": 0, "crm": 0}
    row = row_of(world, crm=crm)
    assert row.erp_key == erp and row.state == "in_sync"


@pytest.mark.parametrize(("owner", "travels_to"), [("erp", {"crm"}), ("crm", {"erp"}), ("none", set())])
def test_e13_the_owner_of_a_field_decides_which_of_its_changes_travel(
    make_light: Make, owner: str, travels_to: set[str]
) -> None:
    world = make_light(f'fields.website = {{ owner = "{owner}" }}')
    one = pair(world)
    world.edit_erp(one.erp, **{URL: "http://erp.example"})
    world.settle()
    assert (world.crm_record(one.crm)["Comp_WebSite"] == "http://erp.example") is ("crm" in travels_to)
    world.edit_crm(one.crm, Comp_WebSite="http://crm.example", Comp_Name="Travels all the same")
    world.settle()
    assert (world.erp_record(one.erp)[URL] == "http://crm.example") is ("erp" in travels_to)
    assert world.erp_record(one.erp)["name"] == "Travels all the same"


# --- E14 --------------------------------------------------------------------------------------------------------------


def let_scripts_fight(world: World, one: Pair, rounds: int = 12) -> None:
    """A rule in either system puts its own value back whenever it finds another."""
    for _ in range(rounds):
        if world.erp_record(one.erp)["name"] != "Rule of the ERP":
            world.edit_erp(one.erp, name="Rule of the ERP")
        world.settle()
        world.clock.advance(40)
        if world.crm_record(one.crm)["Comp_Name"] != "Rule of the CRM":
            world.edit_crm(one.crm, Comp_Name="Rule of the CRM")
        world.settle()
        world.clock.advance(40)


def test_e14_two_systems_that_rewrite_a_field_in_turn_are_stopped_as_a_conflict(world: World) -> None:
    one = pair(world)
    let_scripts_fight(world, one)
    row = row_of(world, crm=one.crm)
    assert (row.state, row.cause) == ("conflict", "rewritten")
    before = api_writes(world)
    let_scripts_fight(world, one)
    assert api_writes(world) == before
    assert before["erp"] + before["crm"] <= 10
    world.edit_crm(one.crm, Comp_WebSite="http://new.example")
    world.settle()
    assert world.erp_record(one.erp)[URL] == "http://new.example"


def test_e14_a_person_who_has_stopped_the_rules_gets_it_going_again(world: World) -> None:
    one = pair(world)
    let_scripts_fight(world, one)
    desk.resolve(world.app, "crm", one.crm, "name", "erp")
    world.settle()
    assert row_of(world, crm=one.crm).state == "in_sync"
    world.edit_crm(one.crm, Comp_Name="A new name")
    world.settle()
    assert world.erp_record(one.erp)["name"] == "A new name"


def test_e14_one_script_that_puts_a_value_back_has_its_way_and_nobody_conflicts(world: World) -> None:
    one = pair(world)
    for _ in range(3):
        world.edit_erp(one.erp, name="Wanted by the ERP")
        world.settle()
        world.clock.advance(40)
        world.edit_crm(one.crm, Comp_Name="Northwind Tools")
        world.settle()
        world.clock.advance(40)
        assert world.erp_record(one.erp)["name"] == "Northwind Tools"
        world.clock.advance(4000)
    assert row_of(world, crm=one.crm).state == "in_sync"


@pytest.mark.parametrize("side", ["erp", "crm"])
def test_e14_a_person_who_toggles_a_value_is_no_bounce(world: World, side: str) -> None:
    one = pair(world)
    for turn in range(8):
        status = ("Inactive", "Active")[turn % 2]
        if side == "erp":
            world.edit_erp(one.erp, status=status.lower())
        else:
            world.edit_crm(one.crm, Comp_Status=status)
        world.settle()
        world.clock.advance(40)
        assert world.erp_record(one.erp)["status"] == status.lower()
        assert world.crm_record(one.crm)["Comp_Status"] == status
    assert row_of(world, crm=one.crm).state == "in_sync"


# --- E15 --------------------------------------------------------------------------------------------------------------


def refuse(world: World, *, named: bool = True) -> None:
    world.crm.faults.merge({"refuse_longer": {"Comp_Name": 20}, "refusal_names_column": named})


@pytest.mark.parametrize("named", [True, False])
def test_e15_a_refused_value_rests_while_all_others_travel(world: World, named: bool) -> None:
    one = pair(world)
    refuse(world, named=named)
    changes = {URL: "http://new.example", "taxId": "GB987654321", "contacts.default.phone1": "0113 4960000"}
    world.edit_erp(one.erp, name="A name that is far too long", **changes)
    world.crm.reset_stats()
    world.settle()
    company = world.crm_record(one.crm)
    assert (company["Comp_WebSite"], company["comp_vatnumber"]) == ("http://new.example", "GB987654321")
    assert company["Comp_Name"] == "Northwind Tools"
    row = row_of(world, crm=one.crm)
    assert (row.state, list(row.opens)) == ("failing", ["name"])
    assert "far too long" not in str(row.cause_params)
    assert calls(world.crm)["update company"] <= 5


def test_e15_a_refused_value_is_left_out_of_later_writes(world: World) -> None:
    one = pair(world)
    refuse(world)
    world.edit_erp(one.erp, name="A name that is far too long")
    world.settle()
    world.crm.reset_stats()
    for _ in range(2):
        world.notice("erp", one.erp)
        world.notice("crm", one.crm)
        world.settle()
        rest(world)
    assert calls(world.crm)["update company"] == 0
    world.edit_erp(one.erp, **{URL: "http://new.example"})
    world.settle()
    assert calls(world.crm)["update company"] == 1
    assert row_of(world, crm=one.crm).state == "failing"


@pytest.mark.parametrize("by", ["source", "target", "retry"])
def test_e15_a_refused_value_is_tried_again_when_either_side_changes_or_a_person_says_so(world: World, by: str) -> None:
    one = pair(world)
    refuse(world)
    world.edit_erp(one.erp, name="A name that is far too long")
    world.settle()
    world.crm.faults.merge({"refuse_longer": {}})
    if by == "source":
        world.edit_erp(one.erp, name="Another name as long as that")
    elif by == "target":
        world.edit_crm(one.crm, Comp_Name="Changed there")
    else:
        desk.replay(world.app, state="failing")
    world.settle()
    row = row_of(world, crm=one.crm)
    if by == "target":  # both sides differ from their past by now
        assert row.state == "conflict"
    else:
        assert row.state == "in_sync"
        assert world.crm_record(one.crm)["Comp_Name"] == world.erp_record(one.erp)["name"]


def test_e15_a_person_who_retries_while_a_pass_is_under_way_is_heard(world: World) -> None:
    one = pair(world)
    refuse(world)
    world.edit_erp(one.erp, name="A name that is far too long")
    world.settle()
    world.crm.faults.merge({"refuse_longer": {}})
    world.notice("erp", one.erp)
    when(world.crm, "read", lambda: desk.replay(world.app, link=one.id))
    world.settle()
    assert row_of(world, crm=one.crm).state == "in_sync"
    assert world.crm_record(one.crm)["Comp_Name"] == "A name that is far too long"


def test_e15_several_refused_columns_are_all_found_and_the_rest_is_written(world: World) -> None:
    one = pair(world)
    world.crm.faults.merge({"refuse_longer": {"Comp_Name": 20, "Comp_WebSite": 20}})
    long = {URL: "http://a-very-long-address.example", "taxId": "GB987654321"}
    world.edit_erp(one.erp, name="A name that is far too long", **long)
    world.settle()
    row = row_of(world, crm=one.crm)
    assert sorted(row.opens) == ["name", "website"]
    assert world.crm_record(one.crm)["comp_vatnumber"] == "GB987654321"


def test_e15_a_refused_child_row_holds_up_neither_the_company_nor_the_other_children(world: World) -> None:
    one = pair(world)
    world.crm.faults.merge({"refuse": {"Emai_EmailAddress": ["bad@nw.example"]}})
    world.edit_erp(
        one.erp,
        name="Changed",
        **{"contacts.default.email1": "bad@nw.example", "contacts.default.mailingAddress.city": "York"},
    )
    world.settle()
    row = row_of(world, crm=one.crm)
    assert (row.state, list(row.opens)) == ("failing", ["email"])
    child = world.crm_child(one.crm, "Address")
    assert world.crm_record(one.crm)["Comp_Name"] == "Changed"
    assert child is not None and child["Addr_City"] == "York"


def test_e15_a_value_intacct_refuses_rests_while_others_of_the_same_batch_travel(world: World) -> None:
    one = pair(world)
    two = pair(world, "Second Customer", comp_vatnumber="GB999999973")
    world.erp.faults.merge({"refuse": {"name": ["Not this one"]}})
    world.edit_crm(one.crm, Comp_Name="Not this one", Comp_WebSite="http://new.example")
    world.edit_crm(two.crm, Comp_Name="This one")
    world.settle()
    assert row_of(world, crm=one.crm).state == "failing"
    assert world.erp_record(one.erp)[URL] == "http://new.example"
    assert world.erp_record(two.erp)["name"] == "This one"


def test_e15_a_refused_create_fails_whole_and_is_tried_whole_on_any_change(world: World) -> None:
    world.erp.faults.merge({"refuse": {"contacts.default.email1": ["bad@nw.example"]}})
    key = world.new_crm("Fresh Ltd", email=[{"$type": "Business", "Emai_EmailAddress": "bad@nw.example"}])
    world.settle()
    row = row_of(world, crm=key)
    assert (row.state, row.cause) == ("failing", "refused")
    assert world.erp.list_records("customer") == []
    world.erp.reset_stats()
    rest(world)
    assert calls(world.erp)["create customer"] == 0
    world.crm.person("Email", world.crm_child_key(key, "Email"), {"Emai_EmailAddress": "good@nw.example"})
    world.settle()
    assert row_of(world, crm=key).state == "in_sync"
    (made,) = world.erp.list_records("customer")
    assert made["contacts.default.email1"] == "good@nw.example"
