"""AM-4 to AM-12: what lies at the edges of the account manager rules, and AM-9's option, both vendors emulated."""

from __future__ import annotations

import pytest

from support.managers import REP, USER, map_it, mapped, new_employee, of, read_directories
from support.rules import FLOW, SYSTEMS, Make, api_writes, pair, rest, row_of
from support.world import World
from sync_worker import desk
from sync_worker.desk import linking
from sync_worker.desk import managers as by_hand
from sync_worker.errors import PermanentError
from sync_worker.store import directory, managers

FIELD = "nsp::REGION"  # a custom field that the emulated company has

# --- AM-9: with create_without_manager = false ------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", ["unmapped", "disabled"])
def test_am_9_with_create_without_manager_off_nothing_is_written_before_the_row_and_the_row_releases_it(
    make: Make, trouble: str
) -> None:
    world = make("create_without_manager = false")
    read_directories(world)
    if trouble == "disabled":
        map_it(world, "E-11", "2")
        (gone,) = [one["key"] for one in world.erp.list_records("employee") if one["id"] == "E-11"]
        world.erp.person("employee", gone, {"status": "inactive"})
        read_directories(world)
    key, without = world.new_crm("Promoted Ltd", **{USER: 2}), world.new_crm("Without Ltd")
    world.settle()
    rest(world)
    assert row_of(world, crm=without).state == "in_sync", "who has no manager waits for nobody"
    assert {row.entity for row in world.written("crm") if row.key == key} == set()
    before = api_writes(world)
    found = world.explain("crm", key)
    assert (found["state"], found["cause"]["code"]) == ("waiting", f"manager_{trouble}")
    assert (found["waiting_on"], found["erp"]["key"]) == ("account_manager:crm:2", None)
    (shown,) = desk.sync_record(world.app, "crm", f"key:{key}")  # nor when a person asks
    assert (shown["state"], api_writes(world)) == ("waiting", before)
    assert map_it(world, "E-10", "2", preferred=trouble == "disabled") == 1
    world.settle()
    row = row_of(world, crm=key)
    assert row.state == "in_sync" and world.erp_record(str(row.erp_key))[REP] == "E-10"


def test_am_9_a_company_that_waits_for_its_row_is_created_once_its_manager_is_another_one(make_light: Make) -> None:
    world = make_light("create_without_manager = false")
    map_it(world, "E-11", "3")
    key = world.new_crm("Promoted Ltd", **{USER: 2})
    world.settle()
    assert row_of(world, crm=key).state == "waiting"
    world.edit_crm(key, **{USER: 3})
    world.settle()
    row = row_of(world, crm=key)
    assert row.state == "in_sync" and world.erp_record(str(row.erp_key))[REP] == "E-11"
    assert map_it(world, "E-10", "2") == 0


def test_am_8_am_9_a_customer_brought_into_the_crm_needs_no_mapped_manager_whatever_the_setting(
    make_light: Make,
) -> None:
    world = make_light("create_without_manager = false")
    key = world.new_erp("Fresh Ltd", id="C-77", **{REP: "E-12"})
    world.settle()
    row = row_of(world, erp=key)
    assert row.state == "waiting" and row.crm_key is not None


# --- the other rules --------------------------------------------------------------------------------------------------


def test_am_4_renaming_the_erp_company_keeps_its_rows_and_removing_its_flow_frees_nobody(world: World) -> None:
    one = mapped(world)
    renamed = world.config.systems["erp"].model_copy(update={"company": "Acme Renamed"})
    world.config = world.config.model_copy(update={"systems": {**world.config.systems, "erp": renamed}})
    world.app = world.build()
    map_it(world, "E-11", "3")
    world.edit_erp(one.erp, **{REP: "E-11"})
    world.settle()
    assert of(world, one) == ("E-11", 3)
    world.edit_erp(one.erp, **{REP: "E-12"})
    world.settle()
    managers.map_manager(world.db, "gone", "E-12", "4", systems=SYSTEMS)  # rows of a flow that is configured no more
    assert managers.wait_sweep(world.db) == ()
    assert (row_of(world, crm=one.crm).state, of(world, one)) == ("waiting", ("E-12", 3))


def test_am_5_references_that_differ_in_case_only_are_told_apart_to_the_letter_and_else_refused(world: World) -> None:
    new_employee(world, "a-7")
    new_employee(world, "A-7")
    read_directories(world)
    assert by_hand.propose(world.app, FLOW, "A-7", "sellers1").erp.key == "A-7"
    assert by_hand.propose(world.app, FLOW, "a-7", "sellers1").erp.key == "a-7"
    with pytest.raises(PermanentError, match=r"several account managers A-7 ?; name one: key:A-7, key:a-7"):
        by_hand.propose(world.app, FLOW, "A-7 ", "sellers1")


def test_am_5_whoever_only_uses_intacct_and_is_no_employee_is_nobodys_account_manager(world: World) -> None:
    read_directories(world)
    known = {one.key for one in directory.directory(world.db, "erp")}
    assert known == {one["id"] for one in world.erp.list_records("employee")}
    with pytest.raises(PermanentError, match="has no account manager sync"):
        by_hand.propose(world.app, FLOW, "sync", "sellers1")


def test_am_5_the_erps_side_may_be_a_custom_field_that_holds_an_employee(world: World) -> None:
    own = world.config.systems["erp"].model_copy(update={"account_manager": FIELD})
    world.config = world.config.model_copy(update={"systems": {**world.config.systems, "erp": own}})
    world.app = world.build()
    one = pair(world)
    representative = world.erp_record(one.erp)[REP]
    map_it(world, "E-11", "3")
    map_it(world, "E-12", "4")
    world.edit_erp(one.erp, **{FIELD: "E-12"})
    world.settle()
    assert world.crm_record(one.crm)[USER] == 4
    world.edit_crm(one.crm, **{USER: 3})
    world.settle()
    rest(world)
    found = world.erp_record(one.erp)
    assert (found[FIELD], found[REP]) == ("E-11", representative), "the sales representative is another matter"


def test_am_6_a_record_unlinked_by_a_person_while_waiting_is_released_to_nothing(world: World) -> None:
    one = pair(world)
    world.edit_erp(one.erp, **{REP: "E-10"})
    world.settle()
    linking.unlink(world.app, one.id)
    before = api_writes(world)
    assert map_it(world, "E-10", "2") == 0
    world.settle()
    rest(world)
    assert api_writes(world) == before and row_of(world, erp=one.erp).state == "unlinked"


def test_am_10_notices_doubled_and_in_another_order_settle_in_one_hop(world: World) -> None:
    one = mapped(world)
    map_it(world, "E-11", "3")
    for vendor in world.vendors.values():
        vendor.faults.merge({"p_notice_doubled": 1.0, "notices_reordered": True})
    before = api_writes(world)
    world.edit_erp(one.erp, **{REP: "E-11"})
    world.settle()
    rest(world)
    after = api_writes(world)
    assert of(world, one) == ("E-11", 3)
    assert (after["erp"] - before["erp"], after["crm"] - before["crm"]) == (0, 1)


@pytest.mark.parametrize("ahead", [-3600.0, 3600.0])
def test_am_11_the_policy_decides_and_no_clock_of_a_vendor(make_light: Make, ahead: float) -> None:
    world = make_light('on_conflict = "erp"')
    one = mapped(world)
    map_it(world, "E-11", "3")
    map_it(world, "E-12", "4")
    world.crm.clock = lambda: world.clock() + ahead
    world.edit_erp(one.erp, **{REP: "E-11"})
    world.edit_crm(one.crm, **{USER: 4})
    world.settle()
    rest(world)
    assert of(world, one) == ("E-11", 3) and row_of(world, crm=one.crm).state == "in_sync"


@pytest.mark.parametrize("trouble", ["hidden", "failed read"])
def test_am_12_a_manager_that_cannot_be_read_is_not_empty_even_where_emptying_travels(
    make_light: Make, trouble: str
) -> None:
    world = make_light("fields.account_manager = { clear_on_empty = true }")
    one = mapped(world)
    if trouble == "hidden":
        world.crm.faults.merge({"hidden_columns": [USER]})
    else:
        world.crm.faults.merge({"fail_next": [{"operation": "read", "fault": "500"}] * 8})
    world.edit_crm(one.crm, Comp_Name="Changed Ltd")
    world.settle()
    rest(world)
    assert of(world, one) == ("E-10", 2) and world.erp_record(one.erp)["name"] == "Changed Ltd"
    world.crm.faults.merge({"hidden_columns": []})
    world.edit_crm(one.crm, **{USER: None})
    world.settle()
    assert of(world, one) == (None, None)
