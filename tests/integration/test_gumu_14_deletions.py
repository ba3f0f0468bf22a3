"""GUMU-14: what is deleted on one side stays on the other; the link is marked; nothing else counts as deletion."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.companies import SECOND, TwoErps, shared, worlds_of_two
from support.rules import FLOW, Make, Pair, answering, entries, pair, rest, row_of, worlds
from support.world import World
from sync_worker import desk
from sync_worker.connectors.emulation import Response
from sync_worker.store import leases, links, pauses
from sync_worker.store.saves import Gone, Save


@pytest.fixture
def make(tmp_path: Path, database_url: str) -> Iterator[Make]:
    yield from worlds(tmp_path, database_url)


@pytest.fixture
def world(make: Make) -> World:
    return make()


def deleted(world: World, one: Pair, side: str) -> None:
    table, key = ("customer", one.erp) if side == "erp" else ("Company", one.crm)
    world.vendors[side].person(table, key, {}, "delete")


def alive(world: World, side: str) -> int:
    """How many customers, or companies, there are."""
    if side == "erp":
        return len(world.erp.list_records("customer"))
    return len([row for row in world.crm.list_records("Company") if not row["Comp_Deleted"]])


def removals(world: World) -> list[str]:
    """Deletes our worker sent to either vendor."""
    return [row.op for side in world.vendors for row in world.written(side) if row.op == "delete"]


def test_gumu_14_deleted_in_the_erp_the_company_is_kept_and_says_so(world: World) -> None:
    one = pair(world)
    before = world.crm_record(one.crm)
    deleted(world, one, "erp")
    world.settle()
    rest(world)
    assert world.crm_record(one.crm) == before
    shown = world.explain("crm", one.crm)
    assert (shown["state"], shown["cause"]["code"]) == ("unlinked", "removed")
    assert "the erp side" in shown["cause"]["text"]
    assert removals(world) == []


@pytest.mark.parametrize("create", ["on_create", "on_change", "on_first_invoice"])
def test_gumu_14_deleted_in_the_crm_the_customer_is_kept_and_not_silently_made_again(make: Make, create: str) -> None:
    world = make(f'create_in_crm = "{create}"')
    one = pair(world)
    deleted(world, one, "crm")
    world.settle()
    world.edit_erp(one.erp, name="Edited later")
    world.settle()
    world.poll()
    world.clock.advance(300)
    world.poll()
    world.sweep()
    world.settle()
    assert world.erp_record(one.erp)["name"] == "Edited later"
    assert alive(world, "crm") == 0
    assert row_of(world, erp=one.erp).state == "unlinked"
    assert removals(world) == []


@pytest.mark.parametrize("side", ["erp", "crm"])
def test_gumu_14_only_a_person_makes_the_deleted_record_again(world: World, side: str) -> None:
    one = pair(world)
    deleted(world, one, side)
    world.settle()
    left, key = ("crm", one.crm) if side == "erp" else ("erp", one.erp)
    if side == "erp":  # its own columns still name the customer that is gone: the person mends that first
        world.edit_crm(one.crm, Comp_Name="Renamed since", comp_intacct_recordno="", comp_intacct_customerid="")
    else:
        world.edit_erp(one.erp, name="Renamed")
    world.settle()
    assert alive(world, side) == 0
    (shown,) = desk.sync_record(world.app, left, f"key:{key}")
    rest(world)
    assert shown[side]["key"] not in (None, one.erp if side == "erp" else one.crm)
    assert alive(world, side) == 1


@pytest.mark.parametrize("side", ["erp", "crm"])
def test_gumu_14_a_forged_notice_of_a_deletion_deletes_nothing(world: World, side: str) -> None:
    one = pair(world)
    for _ in range(3):
        world.notice(side, one.erp if side == "erp" else one.crm, "deleted")
        rest(world)
    assert row_of(world, crm=one.crm).state == "in_sync"
    assert entries(world, "unlinked") == []


@pytest.mark.parametrize("side", ["erp", "crm"])
@pytest.mark.parametrize("fault", ["500", "503", "429", "reset", "before_apply"])
def test_gumu_14_a_read_that_failed_is_no_deletion(world: World, side: str, fault: str) -> None:
    one = pair(world)
    emulator = world.vendors[side]
    emulator.faults.merge({"fail_next": [{"operation": "read", "fault": fault}] * 6})
    for _ in range(3):
        world.notice(side, one.erp if side == "erp" else one.crm)
        rest(world)
    world.settle()
    assert row_of(world, crm=one.crm).linked
    assert entries(world, "unlinked") == []


@pytest.mark.parametrize("side", ["erp", "crm"])
def test_gumu_14_credentials_that_are_refused_for_a_while_delete_nobody(world: World, side: str) -> None:
    one = pair(world)
    shots = [{"operation": "read", "fault": "401"}] * 2
    world.vendors[side].faults.merge({"fail_next": shots})
    for _ in range(3):
        world.notice(side, one.erp if side == "erp" else one.crm)
        world.work()
        world.clock.advance(60)
    world.vendors[side].faults.merge({"fail_next": []})
    pauses.resume(world.db, "system", side)
    rest(world)
    assert row_of(world, crm=one.crm).state == "in_sync"
    assert entries(world, "unlinked") == []


@pytest.mark.parametrize("side", ["erp", "crm"])
def test_gumu_14_a_system_that_is_away_for_hours_deletes_nobody(world: World, side: str) -> None:
    one = pair(world)
    world.vendors[side].faults.merge({"p_503": 1.0})
    world.notice(side, one.erp if side == "erp" else one.crm)
    for _ in range(12):
        world.clock.advance(600)
        world.deliver()
        world.work()
    world.vendors[side].faults.merge({"p_503": 0.0})
    rest(world)
    assert row_of(world, crm=one.crm).state == "in_sync"


def test_gumu_14_a_resource_that_answers_404_is_no_deletion(world: World) -> None:
    one = pair(world)
    with answering(world.crm, lambda request: "/Company" in request.path, "404"):
        for _ in range(3):
            world.notice("crm", one.crm)
            world.clock.advance(60)
            world.work()
    rest(world)
    assert row_of(world, crm=one.crm).state == "in_sync"


@pytest.mark.parametrize("columns", [["Comp_Name"], ["Comp_WebSite", "Emai_EmailAddress", "Addr_City"]])
def test_gumu_14_a_partial_read_is_no_deletion(world: World, columns: list[str]) -> None:
    one = pair(world)
    world.crm.faults.merge({"hidden_columns": columns})
    for _ in range(2):
        world.notice("crm", one.crm)
        rest(world)
    assert row_of(world, crm=one.crm).linked
    assert world.erp_record(one.erp)["name"] == "Northwind Tools"
    assert world.erp_record(one.erp)["contacts.default.URL1"] == "http://northwind.example"


@pytest.mark.parametrize("side", ["erp", "crm"])
def test_gumu_14_inactive_is_a_status_that_travels_and_no_deletion(world: World, side: str) -> None:
    one = pair(world)
    if side == "erp":
        world.edit_erp(one.erp, status="inactive")
    else:
        world.edit_crm(one.crm, Comp_Status="Inactive")
    world.settle()
    rest(world)
    assert (world.erp_record(one.erp)["status"], world.crm_record(one.crm)["Comp_Status"]) == ("inactive", "Inactive")
    assert row_of(world, crm=one.crm).state == "in_sync"
    world.edit_erp(one.erp, name="Still in step")
    world.settle()
    assert world.crm_record(one.crm)["Comp_Name"] == "Still in step"


def unlinked(world: World, one: Pair, flow: str = FLOW) -> None:
    """A person unlinks the pair."""
    world.notice("crm", one.crm)
    scope = world.app.flows[flow].scope
    (row,) = leases.claim(world.db, scope, ids=[one.id])
    links.save(world.db, [Save(row, gone=Gone("erp", "unlinked", {}), sharing=scope.shared_crm)])


def test_gumu_14_unlinking_deletes_nothing_and_neither_side_is_made_again(world: World) -> None:
    one = pair(world)
    unlinked(world, one)
    world.edit_erp(one.erp, name="Edited in the ERP")
    world.edit_crm(one.crm, Comp_Name="Edited in the CRM")
    world.settle()
    rest(world)
    assert (alive(world, "erp"), alive(world, "crm")) == (1, 1)
    assert world.erp_record(one.erp)["name"] == "Edited in the ERP"
    assert world.crm_record(one.crm)["Comp_Name"] == "Edited in the CRM"
    assert row_of(world, erp=one.erp).state == row_of(world, crm=one.crm).state == "unlinked"
    assert removals(world) == []


def test_gumu_14_a_feed_that_lists_fewer_records_deletes_nobody(world: World) -> None:
    one = pair(world)
    world.poll()
    world.sweep()
    plain = world.erp.handle
    meta = {"totalCount": 0, "start": 1, "pageSize": 100, "next": None, "previous": None}
    nothing = Response(200, json.dumps({"ia::result": [], "ia::meta": meta}).encode())
    world.erp.handle = lambda request: nothing if request.path.endswith("/query") else plain(request)  # type: ignore[method-assign]  # a listing cut short, once
    world.clock.advance(300)
    world.poll()
    world.sweep()
    world.erp.handle = plain  # type: ignore[method-assign]  # as it was
    rest(world)
    assert row_of(world, crm=one.crm).linked


@pytest.mark.parametrize("gone", [FLOW, SECOND])
def test_gumu_14_gumu_8_deleted_in_one_erp_company_the_others_link_stays(
    tmp_path: Path, database_url: str, gone: str
) -> None:
    for make in worlds_of_two(tmp_path, database_url):
        two: TwoErps = make()
        first, crm, second = shared(two)
        system, key = ("erp", first) if gone == FLOW else ("erp2", second)
        two.vendors[system].person("customer", key, {}, "delete")
        two.settle()
        rest(two)
        kept = SECOND if gone == FLOW else FLOW
        assert two.link_of(kept, crm).state == "in_sync"
        assert two.link_of(gone, crm).state == "unlinked"
        assert two.link_of(kept, crm).is_default
        assert two.companies()[crm]["Comp_Name"] == "Northwind Tools"
        assert len(two.vendors[system].list_records("customer")) == 0
