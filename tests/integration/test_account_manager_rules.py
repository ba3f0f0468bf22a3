"""AM-1 to AM-6 and AM-9 to AM-13: account managers through the whole engine, both vendors emulated."""

from __future__ import annotations

import pytest

from support.managers import REP, USER, map_it, mapped, new_employee, of, read_directories
from support.rules import FLOW, SYSTEMS, Make, Pair, api_writes, entries, field, pair, rest, row_of
from support.world import World
from sync_worker import desk
from sync_worker.desk import managers as by_hand
from sync_worker.errors import PermanentError
from sync_worker.store import managers
from sync_worker.store.managers import AmbiguousMapping

# --- AM-1: the ERP's manager changes ----------------------------------------------------------------------------------


def test_am_1_a_manager_changed_in_the_erp_reaches_every_customer_of_theirs_and_writes_that_field_only(
    world: World,
) -> None:
    map_it(world, "E-10", "2")
    map_it(world, "E-11", "3")
    pairs = [pair(world, f"Customer {n} Ltd", **{USER: 2}) for n in range(3)]
    written = len(world.written("crm"))
    for one in pairs:
        world.edit_erp(one.erp, **{REP: "E-11"})
    world.settle()
    assert [of(world, one) for one in pairs] == [("E-11", 3)] * 3
    assert {frozenset(row.after) for row in world.written("crm")[written:]} == {frozenset({USER})}
    assert len(world.written("crm")) == written + 3


def test_am_1_equal_managers_are_not_written_and_unlinked_customers_stay_as_they_are(make_light: Make) -> None:
    world = make_light('create_in_crm = "manual"')
    one = mapped(world)
    before = api_writes(world)
    world.edit_erp(one.erp, **{REP: "E-10"})
    alone = world.new_erp("Nobody's Customer", id="C-77", **{REP: "E-10"})
    world.settle()
    assert api_writes(world) == before
    assert row_of(world, erp=alone).state == "not_synced"


def test_am_1_codes_are_told_apart_to_the_letter(world: World) -> None:
    for key in ("007", "01-007"):
        new_employee(world, key)
    map_it(world, "007", "2")
    map_it(world, "01-007", "3")
    one, two = pair(world, "One Ltd"), pair(world, "Two Ltd")
    world.edit_erp(one.erp, **{REP: "007"})
    world.edit_erp(two.erp, **{REP: "01-007"})
    world.settle()
    assert (world.crm_record(one.crm)[USER], world.crm_record(two.crm)[USER]) == (2, 3)


def test_am_1_a_mapped_user_who_is_disabled_leaves_the_field_and_the_record_waits_with_that_reason(make: Make) -> None:
    world = make()
    one = mapped(world)
    map_it(world, "E-11", "3")
    world.crm.person("Users", "3", {"User_Disabled": True})
    read_directories(world)
    world.edit_erp(one.erp, **{REP: "E-11"}, name="Changed Ltd")
    world.settle()
    found = world.explain("erp", one.erp)
    assert (found["state"], found["cause"]["code"]) == ("waiting", "manager_disabled")
    assert found["waiting_on"] == "account_manager:erp:E-11"
    assert of(world, one) == ("E-11", 2) and world.crm_record(one.crm)["Comp_Name"] == "Changed Ltd"
    assert managers.wait_sweep(world.db) == ()
    world.crm.person("Users", "3", {"User_Disabled": False})
    read_directories(world)
    world.settle()
    assert of(world, one) == ("E-11", 3) and row_of(world, crm=one.crm).state == "in_sync"


def test_am_1_a_notice_about_an_employee_makes_the_directory_be_read_again(world: World) -> None:
    from sync_worker.store import schedules

    later = world.clock.time + 900
    schedules.ensure(world.db, {schedules.directory_task(name): later for name in SYSTEMS})
    new_employee(world, "E-50")
    world.deliver()
    due = {one.name: one.due_at for one in schedules.statuses(world.db)}
    assert due == {"managers:erp": world.clock.time, "managers:crm": later}


# --- AM-2: the CRM's manager changes ----------------------------------------------------------------------------------


def test_am_2_a_manager_changed_in_the_crm_becomes_the_mapped_erp_value(world: World) -> None:
    one = mapped(world)
    map_it(world, "E-11", "3")
    world.edit_crm(one.crm, **{USER: 3})
    world.settle()
    assert of(world, one) == ("E-11", 3)


def test_am_2_a_company_that_is_not_yet_promoted_sends_nothing(make_light: Make) -> None:
    world = make_light('create_in_erp = "manual"')
    map_it(world, "E-10", "2")
    key = world.new_crm("Prospect Ltd")
    world.settle()
    before = api_writes(world)
    world.edit_crm(key, **{USER: 2})
    world.settle()
    assert api_writes(world) == before and row_of(world, crm=key).state == "not_synced"


# --- AM-3: no row -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["erp", "crm"])
def test_am_3_an_unmapped_manager_is_neither_written_nor_cleared_and_the_record_waits_once(
    world: World, side: str
) -> None:
    one = mapped(world)
    edit = {
        "erp": lambda: world.edit_erp(one.erp, **{REP: "E-12"}),
        "crm": lambda: world.edit_crm(one.crm, **{USER: 3}),
    }
    edit[side]()
    world.settle()
    expected = {"erp": ("E-12", 2, "account_manager:erp:E-12"), "crm": ("E-10", 3, "account_manager:crm:3")}[side]
    before = api_writes(world)
    for _ in range(2):
        world.notice(side, one.erp if side == "erp" else one.crm)
        world.settle()
        rest(world)
    found = world.explain("crm", one.crm)
    assert (*of(world, one), found["waiting_on"]) == expected
    assert (found["state"], found["cause"]["code"]) == ("waiting", "manager_unmapped")
    assert api_writes(world) == before
    listed = by_hand.listing(world.app)["flows"][FLOW]["unmapped"][side]
    assert [(one["key"], one["waiting"]) for one in listed if one["waiting"]] == [(expected[2].split(":")[2], 1)]


def test_am_3_a_new_record_gets_no_default_user_while_its_manager_is_unmapped(world: World) -> None:
    key = world.new_erp("Fresh Ltd", id="C-77", **{REP: "E-12"})
    world.settle()
    row = row_of(world, erp=key)
    assert row.state == "waiting" and row.crm_key is not None
    assert world.crm_record(row.crm_key)[USER] is None


def test_am_3_a_former_employee_can_still_be_mapped_and_travels(world: World) -> None:
    one = pair(world)
    (key,) = [one["key"] for one in world.erp.list_records("employee") if one["id"] == "E-12"]
    world.erp.person("employee", key, {"status": "inactive"})
    read_directories(world)
    world.edit_erp(one.erp, **{REP: "E-12"})
    world.settle()
    assert row_of(world, crm=one.crm).state == "waiting"
    assert map_it(world, "E-12", "3") == 1
    world.settle()
    assert of(world, one) == ("E-12", 3)


# --- AM-4, AM-5, AM-6: the mapping and its releases -------------------------------------------------------------------


def test_am_4_a_row_of_another_flow_satisfies_nobody_here(world: World) -> None:
    one = pair(world)
    world.edit_erp(one.erp, **{REP: "E-10"})
    world.settle()
    assert managers.map_manager(world.db, "branch", "E-10", "3", systems=("erp", "crm")) == ()
    world.settle()
    assert row_of(world, crm=one.crm).state == "waiting"
    map_it(world, "E-10", "2")
    world.settle()
    assert of(world, one) == ("E-10", 2)


def test_am_5_two_erp_managers_on_one_user_are_refused_unless_one_is_preferred(world: World) -> None:
    read_directories(world)

    def by_person(erp: str, crm: str, *, preferred: bool = False) -> int:
        return by_hand.map_managers(world.app, [by_hand.propose(world.app, FLOW, erp, crm, preferred=preferred)])

    by_person("E-10", "sellers1")
    with pytest.raises(AmbiguousMapping, match=r"E-10, E-11 would all stand for CRM user 2.*--preferred"):
        by_person("E-11", "sellers1")
    with pytest.raises(AmbiguousMapping, match="would all stand for CRM user 2"):
        by_hand.check_managers(world.app, [by_hand.propose(world.app, FLOW, "E-11", "sellers1")])
    by_person("E-10", "sellers1", preferred=True)
    by_person("e-11 ", "SELLERS1")
    rows = {row.erp_key: (row.crm_key, row.preferred) for row in managers.mappings(world.db, FLOW)}
    assert rows == {"E-10": ("2", True), "E-11": ("2", False)}


@pytest.mark.parametrize(("erp", "crm"), [("E-99", "2"), ("E-10", "nobody"), ("E-10", "99"), ("", "2")])
def test_am_5_whom_no_directory_shows_cannot_be_mapped(world: World, erp: str, crm: str) -> None:
    with pytest.raises(PermanentError, match=r"has no account manager .*managers list"):
        by_hand.propose(world.app, FLOW, erp, crm)
    with pytest.raises(PermanentError, match="no flow nope; there are: customers"):
        by_hand.propose(world.app, "nope", "E-10", "2")


def test_am_5_mapping_asks_the_vendor_for_whom_it_does_not_know_yet_and_says_beforehand_who_waits(
    world: World,
) -> None:
    one = pair(world)
    new_employee(world, "E-60")
    world.edit_erp(one.erp, **{REP: "E-60"})
    world.settle()
    made = by_hand.propose(world.app, FLOW, "E-60", "sellers2")
    assert (made.erp.key, made.crm.key, made.waiting, made.replaces) == ("E-60", "3", 1, None)
    assert by_hand.map_managers(world.app, [made]) == 1
    world.settle()
    assert of(world, one) == ("E-60", 3)
    again = by_hand.propose(world.app, FLOW, "E-60", "sellers1")
    assert (again.replaces, again.replaces_ref) == ("3", "sellers2")
    assert by_hand.unmap_manager(world.app, FLOW, "E-60") == "E-60"
    with pytest.raises(PermanentError, match="flow customers has no row for E-60"):
        by_hand.unmap_manager(world.app, FLOW, "E-60")


def test_am_6_a_new_row_releases_exactly_who_waits_for_it_each_once(make: Make) -> None:
    world = make()
    ours, other, reason = (pair(world, f"{name} Ltd") for name in ("Ours", "Other", "Reason"))
    world.edit_erp(ours.erp, **{REP: "E-10"})
    world.edit_erp(other.erp, **{REP: "E-11"})
    world.edit_erp(reason.erp, name="From the ERP")
    world.edit_crm(reason.crm, Comp_Name="From the CRM")
    world.settle()
    rest(world)

    def others() -> list[tuple[str, int]]:
        rows = [row_of(world, crm=one.crm) for one in (other, reason)]
        return [(row.state, row.erp_dirty) for row in rows]

    before, written = others(), len(world.written("crm"))
    assert [state for state, _ in before] == ["waiting", "conflict"]
    assert map_it(world, "E-10", "2") == 1
    world.settle()
    rest(world)
    assert of(world, ours) == ("E-10", 2) and len(world.written("crm")) == written + 1
    assert others() == before


def test_am_6_the_value_at_the_time_of_the_release_decides(world: World) -> None:
    one = pair(world)
    world.edit_erp(one.erp, **{REP: "E-10"})
    world.settle()
    world.erp.hooks.clear()  # nobody is told of the second change
    world.edit_erp(one.erp, **{REP: "E-11"})
    map_it(world, "E-11", "3")
    assert map_it(world, "E-10", "2") == 1
    world.settle()
    assert of(world, one) == ("E-11", 3) and row_of(world, crm=one.crm).state == "in_sync"


def test_am_6_a_record_removed_while_waiting_is_released_to_nothing(world: World) -> None:
    one = pair(world)
    world.edit_erp(one.erp, **{REP: "E-10"})
    world.settle()
    world.crm.person("Company", one.crm, {}, "delete")
    world.settle()
    rest(world)
    assert map_it(world, "E-10", "2") == 0
    world.settle()
    assert row_of(world, erp=one.erp).state == "unlinked"


def test_am_6_who_waits_in_both_directions_is_released_by_the_one_row(world: World) -> None:
    there, back = pair(world, "There Ltd"), pair(world, "Back Ltd")
    world.edit_erp(there.erp, **{REP: "E-10"})
    world.edit_crm(back.crm, **{USER: 2})
    world.settle()
    assert map_it(world, "E-10", "2") == 2
    world.settle()
    assert of(world, there) == of(world, back) == ("E-10", 2)


def test_am_6_the_other_side_edited_while_waiting_is_a_conflict_and_nothing_is_lost(world: World) -> None:
    one = mapped(world)
    world.edit_erp(one.erp, **{REP: "E-12"})
    world.settle()
    world.edit_crm(one.crm, **{USER: 3})
    world.settle()
    map_it(world, "E-12", "4")
    map_it(world, "E-11", "3")
    world.settle()
    assert (row_of(world, crm=one.crm).state, of(world, one)) == ("conflict", ("E-12", 3))
    desk.resolve(world.app, "crm", one.crm, "account_manager", "crm")
    world.settle()
    assert of(world, one) == ("E-11", 3)


def test_am_6_a_worker_that_dies_during_the_release_leaves_it_to_the_next_one_and_repeats_nothing(
    world: World,
) -> None:
    for steps in range(12):  # one world, a death at every step in turn
        one = pair(world, f"Customer {steps} Ltd")
        world.edit_erp(one.erp, **{REP: "E-10"})
        world.settle()
        written = len(world.written("crm"))
        map_it(world, "E-10", "2")
        with world.crashing_after(steps):
            world.work()
        world.clock.advance(40)
        world.settle()
        rest(world)
        assert of(world, one) == ("E-10", 2) and len(world.written("crm")) == written + 1
        managers.unmap_manager(world.db, FLOW, "E-10")


# --- AM-9 to AM-13 ----------------------------------------------------------------------------------------------------


def test_am_9_a_promoted_company_carries_the_mapped_manager_also_after_a_timeout(world: World) -> None:
    map_it(world, "E-10", "2")
    world.erp.faults.merge({"p_lost_after_apply": 1.0})
    key = world.new_crm("Promoted Ltd", **{USER: 2})
    world.deliver()
    world.work()
    world.erp.faults.merge({"p_lost_after_apply": 0.0})
    world.settle()
    row = row_of(world, crm=key)
    assert row.state == "in_sync" and world.erp_record(str(row.erp_key))[REP] == "E-10"
    assert len([one for one in world.erp.list_records("customer") if one["name"] == "Promoted Ltd"]) == 1


def test_am_9_a_company_with_an_unmapped_manager_is_promoted_without_and_gets_it_later(world: World) -> None:
    key = world.new_crm("Promoted Ltd", **{USER: 2})
    world.settle()
    row = row_of(world, crm=key)
    assert row.state == "waiting" and world.erp_record(str(row.erp_key))[REP] is None
    assert map_it(world, "E-10", "2") == 1
    world.settle()
    assert world.erp_record(str(row.erp_key))[REP] == "E-10"


@pytest.mark.parametrize("bump", [True, False])
def test_am_10_our_write_that_comes_back_is_not_written_again(make_light: Make, bump: bool) -> None:
    world = make_light()
    world.crm.faults.merge({"bump_updated_on_api_write": bump})
    one = mapped(world)
    map_it(world, "E-10", "2", preferred=True)
    map_it(world, "E-11", "2")  # several stand for this user: no reason to go to and fro
    world.edit_crm(one.crm, **{USER: 3})
    map_it(world, "E-12", "3")
    world.settle()
    world.edit_erp(one.erp, **{REP: "E-11"})
    world.settle()
    before = api_writes(world)
    for _ in range(3):
        for system, key in (("crm", one.crm), ("erp", one.erp), ("crm", one.crm)):
            world.notice(system, key)
        world.poll()
        world.sweep()
        world.settle()
        rest(world)
    assert api_writes(world) == before and of(world, one) == ("E-11", 2)


def test_am_11_a_manager_changed_on_both_sides_has_one_winner_and_the_other_value_is_recorded(
    make_light: Make,
) -> None:
    world = make_light('on_conflict = "erp"')
    one = mapped(world)
    map_it(world, "E-11", "3")
    map_it(world, "E-12", "4")
    world.edit_erp(one.erp, **{REP: "E-11"})
    world.edit_crm(one.crm, **{USER: 4})
    world.settle()
    assert of(world, one) == ("E-11", 3)
    last = entries(world, "update")[-1]
    assert (last["before"]["account_manager"], last["after"]["account_manager"]) == ("4", "3")


def test_am_11_both_changed_to_the_same_person_is_no_conflict(world: World) -> None:
    one = mapped(world)
    map_it(world, "E-11", "3")
    before = api_writes(world)
    world.edit_erp(one.erp, **{REP: "E-11"})
    world.edit_crm(one.crm, **{USER: 3})
    world.settle()
    assert api_writes(world) == before and row_of(world, crm=one.crm).state == "in_sync"


def test_am_11_where_one_side_is_unmapped_it_waits_and_nobody_is_cleared(make_light: Make) -> None:
    world = make_light('on_conflict = "erp"')
    one = mapped(world)
    map_it(world, "E-11", "3")
    world.edit_erp(one.erp, **{REP: "E-12"})
    world.edit_crm(one.crm, **{USER: 3})
    world.settle()
    found = world.explain("crm", one.crm)
    assert (found["state"], found["waiting_on"]) == ("waiting", "account_manager:erp:E-12")
    assert of(world, one) == ("E-12", 3)


@pytest.mark.parametrize("empty", [None, ""])
def test_am_12_emptying_a_manager_keeps_the_other_side_unless_the_field_says_otherwise(
    make_light: Make, empty: str | None
) -> None:
    world = make_light()
    one = mapped(world)
    world.edit_crm(one.crm, **{USER: empty})
    world.settle()
    assert world.erp_record(one.erp)[REP] == "E-10"
    assert field(world, one.crm, "account_manager")["status"] == "differs"
    map_it(world, "E-11", "3")
    world.edit_crm(one.crm, **{USER: 3})
    world.settle()
    assert of(world, one) == ("E-11", 3)


def test_am_12_an_emptied_manager_travels_where_the_field_says_so_and_an_unmapped_one_never_does(
    make_light: Make,
) -> None:
    world = make_light("fields.account_manager = { clear_on_empty = true }")
    one = mapped(world)
    world.edit_erp(one.erp, **{REP: "E-12"})
    world.settle()
    assert of(world, one) == ("E-12", 2)
    world.edit_erp(one.erp, **{"salesRepresentative.key": None})
    world.settle()
    assert of(world, one) == (None, None)


def test_am_13_where_the_erp_owns_the_manager_a_crm_edit_is_reported_and_not_pushed(make_light: Make) -> None:
    world = make_light('fields.account_manager = { owner = "erp" }')
    one = pair(world)
    map_it(world, "E-10", "2")
    map_it(world, "E-11", "3")
    world.edit_erp(one.erp, **{REP: "E-10"})
    world.settle()
    assert of(world, one) == ("E-10", 2)
    before = api_writes(world)
    world.edit_crm(one.crm, **{USER: 3, "Comp_Name": "Still Travels Ltd"})
    world.settle()
    assert of(world, one) == ("E-10", 3)
    assert field(world, one.crm, "account_manager")["status"] == "differs"
    assert [row.after.keys() for row in world.written("erp")[before["erp"] :]] == [{"name"}]


def test_am_13_switching_from_one_way_to_both_pushes_nothing_old(make_light: Make) -> None:
    world = make_light('fields.account_manager = { owner = "erp" }')
    one = pair(world)
    map_it(world, "E-10", "2")
    map_it(world, "E-11", "3")
    world.edit_erp(one.erp, **{REP: "E-10"})
    world.settle()
    world.edit_crm(one.crm, **{USER: 3})
    world.settle()
    before = api_writes(world)
    world.reconfigure("")
    for system, key in (("crm", one.crm), ("erp", one.erp)):
        world.notice(system, key)
    world.sweep()
    world.settle()
    rest(world)
    assert api_writes(world) == before and of(world, one) == ("E-10", 3)
    world.edit_crm(one.crm, **{USER: 2})
    world.settle()
    world.edit_crm(one.crm, **{USER: 3})
    world.settle()
    assert of(world, one) == ("E-11", 3)


SALESPERSON = """fields.account_manager = { owner = "erp" }
fields.salesperson = { owner = "erp" }
fields.address_salesperson = { owner = "erp" }
custom.salesperson = { erp = "salesRepresentative.id", crm = "comp_salesperson" }
custom.address_salesperson = { erp = "salesRepresentative.id", crm = "addr_salesperson" }
"""


def salespersons(world: World, one: Pair) -> tuple[str, str]:
    address = world.crm_child(one.crm, "Address")
    assert address is not None
    return world.crm_record(one.crm)["comp_salesperson"], address["addr_salesperson"]


def test_am_13_the_erps_salesperson_stands_on_company_and_address_too_where_columns_are_named(
    make_light: Make,
) -> None:
    world = make_light(SALESPERSON)
    one = pair(world)
    map_it(world, "E-10", "2")
    world.edit_erp(one.erp, **{REP: "E-10"})
    world.settle()
    assert of(world, one) == ("E-10", 2) and salespersons(world, one) == ("E-10", "E-10")
    world.edit_erp(one.erp, **{REP: "E-11"})
    world.settle()
    assert salespersons(world, one) == ("E-11", "E-11"), "the ERP's own id needs no mapping row"
    assert field(world, one.crm, "account_manager")["status"] == "waiting"


def test_am_13_a_salesperson_edited_in_the_crm_is_reported_and_not_pushed(make_light: Make) -> None:
    world = make_light(SALESPERSON)
    one = pair(world)
    map_it(world, "E-10", "2")
    world.edit_erp(one.erp, **{REP: "E-10"})
    world.settle()
    rest(world)
    before = api_writes(world)
    world.edit_crm(one.crm, comp_salesperson="E-11")
    world.crm.person("Address", world.crm_child_key(one.crm, "Address"), {"addr_salesperson": "E-11"})
    world.settle()
    rest(world)
    assert world.erp_record(one.erp)[REP] == "E-10" and api_writes(world) == before
    for name in ("salesperson", "address_salesperson"):
        shown = field(world, one.crm, name)
        assert (shown["status"], shown["why"]) == ("differs", "not_to_erp")


def test_am_13_a_switch_to_both_ways_pushes_no_old_salesperson(make_light: Make) -> None:
    world = make_light(SALESPERSON)
    one = pair(world)
    map_it(world, "E-10", "2")
    world.edit_erp(one.erp, **{REP: "E-10"})
    world.settle()
    world.edit_crm(one.crm, comp_salesperson="E-11")
    world.settle()
    before = api_writes(world)
    world.reconfigure(SALESPERSON.replace('owner = "erp"', 'owner = "both"'))
    for system, key in (("crm", one.crm), ("erp", one.erp)):
        world.notice(system, key)
    world.sweep()
    world.settle()
    rest(world)
    assert api_writes(world) == before and world.erp_record(one.erp)[REP] == "E-10"


def test_am_13_doctor_names_a_salesperson_column_that_is_not_there(make_light: Make) -> None:
    world = make_light(SALESPERSON.replace("addr_salesperson", "addr_salesprson"))
    pair(world)
    wrong = [check for check in world.app.systems["crm"].check() if not check.ok]
    assert [check.name for check in wrong] == ["column addr_salesprson"]
    assert wrong[0].detail == "Address has no column addr_salesprson"
