"""What must neither be lost nor mistaken: late commits, deletions (GUMU-14), edits against the direction (GUMU-15)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.rules import FLOW, Make, api_writes, field, pair, rest, row_of, worlds
from support.world import World
from sync_worker.desk import verifying

STALE = 30.0


@pytest.fixture
def make(tmp_path: Path, sqlite_url: str) -> Iterator[Make]:
    yield from worlds(tmp_path, sqlite_url)


@pytest.fixture
def world(make: Make) -> World:
    return make(stale=STALE)


@pytest.mark.parametrize("side", ["erp", "crm"])
def test_e7_an_edit_that_was_committed_late_under_an_older_stamp_is_found_by_the_trailing_sweep(
    make: Make, side: str
) -> None:
    world = make(stale=0)
    key = world.new_crm("Northwind Tools")
    world.settle()
    erp = str(row_of(world, crm=key).erp_key)
    world.poll()
    world.settle()
    entity, own = ("customer", erp) if side == "erp" else ("Company", key)
    world.vendors[side].script(entity, own, {"name" if side == "erp" else "Comp_Name": "Committed Late"}, "keep")
    world.clock.advance(20)
    world.poll()
    world.settle()
    assert world.erp_record(erp)["name"] == world.crm_record(key)["Comp_Name"] == "Committed Late"


@pytest.mark.parametrize("side", ["erp", "crm"])
def test_gumu_14_the_partner_of_a_deleted_record_stays_and_is_not_created_again_by_an_edit(
    world: World, side: str
) -> None:
    one = pair(world)
    if side == "erp":
        world.erp.person("customer", one.erp, {}, "delete")
    else:
        world.crm.person("Company", one.crm, {}, "delete")
    world.settle()
    left = row_of(world, crm=one.crm) if side == "erp" else row_of(world, erp=one.erp)
    assert (left.state, left.cause) == ("unlinked", "removed")
    before = api_writes(world)
    if side == "erp":
        world.edit_crm(one.crm, Comp_Name="Still Here Ltd")
    else:
        world.edit_erp(one.erp, name="Still Here Ltd")
    world.settle()
    assert api_writes(world) == before


def test_gumu_14_neither_a_failed_read_nor_an_inactive_record_is_a_deletion(world: World) -> None:
    one = pair(world)
    world.crm.faults.merge({"blackout": True})
    world.notice("crm", one.crm)
    world.work()
    world.crm.faults.merge({"blackout": False})
    rest(world)
    assert row_of(world, crm=one.crm).state == "in_sync"
    world.edit_erp(one.erp, status="inactive")
    rest(world)
    assert row_of(world, crm=one.crm).linked
    assert world.crm_record(one.crm)["Comp_Status"] == "Inactive"


@pytest.mark.parametrize(
    ("direction", "arrives_in_erp", "arrives_in_crm"),
    [("both", True, True), ("to_crm", False, True), ("to_erp", True, False), ("none", False, False)],
)
def test_gumu_15_nothing_is_written_against_the_direction_and_what_was_held_is_reported(
    make: Make, direction: str, arrives_in_erp: bool, arrives_in_crm: bool
) -> None:
    world = make(stale=STALE)
    one = pair(world)
    turn(world, direction)
    world.edit_crm(one.crm, Comp_Name="Edited in the CRM")
    world.edit_erp(one.erp, taxId="GB999999973")
    rest(world)
    assert (world.erp_record(one.erp)["name"] == "Edited in the CRM") == arrives_in_erp
    assert (world.crm_record(one.crm)["comp_vatnumber"] == "GB999999973") == arrives_in_crm
    assert field(world, one.crm, "name")["status"] == ("in_step" if arrives_in_erp else "differs")
    assert field(world, one.crm, "tax_number")["status"] == ("in_step" if arrives_in_crm else "differs")
    report = verifying.verify(world.app, FLOW)
    assert (report.matched, report.ok) == (1, True), "what the direction holds back is no work to be done"


def test_gumu_15_a_direction_that_is_changed_while_work_is_queued_holds_for_that_work(make: Make) -> None:
    world = make(stale=STALE)
    one = pair(world)
    world.edit_crm(one.crm, Comp_Name="Edited in the CRM")
    world.deliver()
    before = api_writes(world)
    turn(world, "to_crm")
    rest(world)
    assert api_writes(world) == before
    assert row_of(world, crm=one.crm).cause == "differs"


def turn(world: World, direction: str) -> None:
    """The worker is started again with another direction."""
    flow = world.config.flows[FLOW].model_copy(update={"direction": direction})
    world.config = world.config.model_copy(update={"flows": {**world.config.flows, FLOW: flow}})
    world.app = world.build()
