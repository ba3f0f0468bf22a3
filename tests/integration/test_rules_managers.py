"""E16: account managers go through the mapping rows, in each side's own terms."""

from __future__ import annotations

from typing import Any

import pytest

from support.rules import (
    FLOW,
    SYSTEMS,
    Make,
    Pair,
    api_writes,
    field,
    pair,
    rest,
    row_of,
)
from support.world import World
from sync_worker.store import directory, managers

REP = "salesRepresentative.id"


def map_it(world: World, erp: str, crm: str, **kw: Any) -> int:
    return len(managers.map_manager(world.db, FLOW, erp, crm, systems=SYSTEMS, **kw))


@pytest.mark.parametrize("side", ["erp", "crm"])
def test_e16_a_manager_without_a_row_opens_that_field_and_lets_all_others_travel(world: World, side: str) -> None:
    one = pair(world)
    if side == "crm":
        world.edit_crm(one.crm, Comp_PrimaryUserId=2, Comp_Name="Changed")
    else:
        world.edit_erp(one.erp, **{REP: "E-10"}, name="Changed")
    world.settle()
    row = row_of(world, crm=one.crm)
    assert row.state == "waiting" and list(row.opens) == ["account_manager"]
    expected = {"crm": "account_manager:crm:2", "erp": "account_manager:erp:E-10"}[side]
    assert world.explain("crm", one.crm)["waiting_on"] == expected
    assert world.crm_record(one.crm)["Comp_Name"] == world.erp_record(one.erp)["name"] == "Changed"
    assert map_it(world, "E-10", "2") == 1
    world.settle()
    assert (world.erp_record(one.erp)[REP], world.crm_record(one.crm)["Comp_PrimaryUserId"]) == ("E-10", 2)
    assert row_of(world, crm=one.crm).state == "in_sync"


def test_e16_a_new_record_is_created_without_its_unmapped_manager_and_gets_it_later(world: World) -> None:
    key = world.new_crm("Fresh Ltd", Comp_PrimaryUserId=2)
    world.settle()
    row = row_of(world, crm=key)
    assert row.linked and row.state == "waiting"
    assert map_it(world, "E-10", "2") == 1
    world.settle()
    assert world.erp_record(str(row.erp_key))[REP] == "E-10"


def mapped(world: World) -> Pair:
    map_it(world, "E-10", "2")
    one = pair(world, Comp_PrimaryUserId=2)
    assert world.erp_record(one.erp)[REP] == "E-10"
    return one


@pytest.mark.parametrize("how", ["changed", "removed"])
def test_e16_a_changed_or_removed_row_rewrites_nobody(world: World, how: str) -> None:
    one = mapped(world)
    before = api_writes(world)
    if how == "changed":
        assert map_it(world, "E-10", "3") == 0
    else:
        assert managers.unmap_manager(world.db, FLOW, "E-10")
    world.notice("crm", one.crm)
    world.notice("erp", one.erp)
    world.sweep()
    world.settle()
    rest(world)
    assert api_writes(world) == before
    assert row_of(world, crm=one.crm).state == "in_sync"


@pytest.mark.parametrize("side", ["erp", "crm"])
def test_e16_emptying_a_manager_does_not_travel(world: World, side: str) -> None:
    one = mapped(world)
    if side == "crm":
        world.edit_crm(one.crm, Comp_PrimaryUserId=None)
    else:
        world.edit_erp(one.erp, **{"salesRepresentative.key": None})
    before = api_writes(world)
    world.settle()
    assert api_writes(world) == before
    row = row_of(world, crm=one.crm)
    assert (row.state, row.cause) == ("in_sync", "differs")
    assert field(world, one.crm, "account_manager")["status"] == "differs"


def test_e16_emptying_a_manager_travels_where_the_field_says_so(make_light: Make) -> None:
    world = make_light("fields.account_manager = { clear_on_empty = true }")
    one = mapped(world)
    world.edit_crm(one.crm, Comp_PrimaryUserId=None)
    world.settle()
    assert world.erp_record(one.erp)[REP] is None


def test_e16_several_erp_managers_on_one_user_are_in_step_and_the_preferred_one_is_the_way_back(world: World) -> None:
    one = mapped(world)
    map_it(world, "E-10", "2", preferred=True)
    map_it(world, "E-11", "2")
    before = api_writes(world)
    world.edit_erp(one.erp, **{REP: "E-11"})
    world.settle()
    assert api_writes(world) == before
    assert row_of(world, crm=one.crm).state == "in_sync"
    map_it(world, "E-12", "3")
    world.edit_crm(one.crm, Comp_PrimaryUserId=3)
    world.settle()
    world.edit_crm(one.crm, Comp_PrimaryUserId=2)
    world.settle()
    assert world.erp_record(one.erp)[REP] == "E-10"


def test_e16_managers_are_never_matched_by_their_names(world: World) -> None:
    contact = {"id": "North, Ada", "printAs": "Ada North", "firstName": "Ada", "lastName": "North"}
    world.erp.person("contact", None, {**contact, "email1": "ada@crm.test"}, "create")
    world.erp.person("employee", None, {"id": "E-20", "primaryContact.id": "North, Ada"}, "create")
    for system, connector in world.app.systems.items():
        directory.refresh(world.db, system, connector.list_managers())
    one = pair(world)
    world.edit_crm(one.crm, Comp_PrimaryUserId=2)  # Ada North, with the same e-mail
    world.settle()
    assert world.erp_record(one.erp)[REP] is None
    assert row_of(world, crm=one.crm).state == "waiting"
