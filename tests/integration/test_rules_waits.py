"""E4 and E5: one bad record delays no other, and no wait outlives what it waits for."""

from __future__ import annotations

import itertools
import re
import threading
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import pytest
from sqlalchemy import insert, update
from sqlalchemy.exc import OperationalError

from mappings.fields import FieldMap, Native, Value
from support.rules import (
    FLOW,
    SYSTEMS,
    Make,
    answering,
    calls,
    claim,
    entries,
    field,
    pair,
    rest,
    row_of,
    run_all,
    run_once,
    when,
)
from support.world import Crash, World
from sync_worker.connectors.emulation import Request
from sync_worker.engine import core
from sync_worker.engine.batch import POISON_END
from sync_worker.engine.core import SUSPECTS_TURN
from sync_worker.engine.flow import Flow
from sync_worker.events import LinkClass
from sync_worker.store import leases, links, managers
from sync_worker.store.link_statements import POISON, SUSPECT
from sync_worker.store.rows import LinkRow
from sync_worker.store.saves import Save
from sync_worker.store.tables import link, manager_map
from sync_worker.store.touches import Touched

# --- E4 ---------------------------------------------------------------------------------------------------------------


def die_on(world: World, crm_key: str) -> None:
    """The worker dies in the middle of this record, and its lease runs out."""
    world.notice("crm", crm_key)
    when(world.crm, "query company", lambda: (_ for _ in ()).throw(Crash()))
    with pytest.raises(Crash):
        run_all(world.app)
    world.app = world.build()
    world.clock.advance(leases.LEASE + 1)


@pytest.mark.parametrize("times", [SUSPECT, POISON])
def test_e4_a_link_claimed_twice_without_an_end_runs_apart_from_the_others_and_delays_nobody(
    make_light: Make, times: int
) -> None:
    world = make_light()
    bad = pair(world)
    good = pair(world, "Second Customer", comp_vatnumber="GB999999973")
    for _ in range(times):
        die_on(world, bad.crm)
    world.edit_crm(good.crm, Comp_Name="Changed")
    world.deliver()
    assert [row.id for row in claim(world, limit=10)] == [good.id]
    world.clock.advance(leases.LEASE + 1)
    assert run_once(world.app).claimed == 1
    assert world.erp_record(good.erp)["name"] == "Changed"
    assert [row.id for row in claim(world, limit=10)] == [bad.id]


def test_e4_a_link_claimed_twice_has_its_turn_before_a_long_backlog_ends(make_light: Make) -> None:
    world = make_light()
    slow, other = pair(world), pair(world, "Second Customer", comp_vatnumber="GB999999973")
    die_on(world, slow.crm)
    die_on(world, slow.crm)
    world.notice("crm", other.crm)
    world.app.engine.turns = itertools.repeat(SUSPECTS_TURN)
    assert run_once(world.app).claimed == 1
    due = {row["id"] for row in world.links() if row["due_at"] is not None and row["due_at"] <= world.clock()}
    assert due == {other.id}
    assert run_once(world.app).claimed == 1


def killed(world: World, *times: int) -> list[int]:
    """Ids of links with a notice, each of which was claimed so many times without an end."""
    found = [pair(world, f"Customer {n}", comp_vatnumber=f"GB0000000{n:02d}") for n in range(len(times))]
    ids = [row_of(world, crm=one.crm).id for one in found]
    for one, link_id, count in zip(found, ids, times, strict=True):
        world.notice("crm", one.crm)
        claimed = update(link).where(link.c.id == link_id).values(claims=count)
        world.db.run(lambda conn, claimed=claimed: conn.execute(claimed))
    return ids


def test_e4_links_claimed_twice_run_few_together_and_those_claimed_thrice_alone(
    make_light: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_light()
    other = pair(world, "Another Customer", comp_vatnumber="GB999999973")
    ids = killed(world, *[SUSPECT] * (leases.FEW + 1), *[POISON] * 3)
    world.notice("crm", other.crm)
    engine, batches = world.app.engine, []
    plain = engine._run_rows

    def noted(flow: Flow, klass: LinkClass, rows: list[LinkRow]) -> list[Touched]:
        batches.append([row.id for row in rows])
        return plain(flow, klass, rows)

    monkeypatch.setattr(engine, "_run_rows", noted)
    monkeypatch.setattr(core, "SUSPECTS_SECONDS", float("inf"))
    engine.turns = itertools.repeat(SUSPECTS_TURN)
    worked = engine.run_due(FLOW, "live")
    assert sorted(len(batch) for batch in batches) == [1, 1, 1, 1, leases.FEW]
    assert sorted(i for batch in batches for i in batch) == ids
    assert [len(batch) for batch in batches[:2]] == [leases.FEW, 1], "neither kind waits until the other has ended"
    assert (worked.claimed, worked.more) == (leases.FEW + 4, (FLOW, "live"))


def test_e4_links_that_were_claimed_twice_ring_for_one_another_and_wait_for_no_clock(
    make_light: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "SUSPECTS_SECONDS", 0.0)
    world = make_light()
    ids = killed(world, *[POISON] * 3)
    worked = world.app.engine.run_due(FLOW, "live")
    turns = 1
    while worked.more is not None:
        assert worked.claimed == 1
        worked = world.app.engine.run_due(*worked.more)
        turns += 1
    assert turns == len(ids) + 1
    assert not [row for row in world.links() if row["due_at"] is not None and row["due_at"] <= world.clock()]


def test_e4_a_database_that_goes_away_in_the_middle_is_no_records_fault(
    make_light: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_light()
    pairs = [pair(world), pair(world, "Second Customer", comp_vatnumber="GB999999973")]
    for one in pairs:
        world.edit_crm(one.crm, Comp_WebSite="http://changed.example")
    world.deliver()

    def away(*_: Any, **__: Any) -> set[int]:
        raise OperationalError("UPDATE link", None, Exception("server closed the connection"))

    with monkeypatch.context() as patch, pytest.raises(OperationalError):
        patch.setattr(leases, "renew", away)
        run_once(world.app)
    assert not entries(world, "dead_end")
    world.clock.advance(leases.LEASE + 1)
    world.settle()
    assert {world.erp_record(one.erp)["contacts.default.URL1"] for one in pairs} == {"http://changed.example"}
    assert {row["state"] for row in world.links()} == {"in_sync"}


def test_e4_a_record_that_kills_every_worker_ends_as_a_dead_end_until_it_is_touched(make_light: Make) -> None:
    world = make_light()
    one = pair(world)
    for _ in range(POISON_END - 1):
        die_on(world, one.crm)
    world.crm.reset_stats()
    run_all(world.app)
    assert calls(world.crm) == {}  # the last claim does not try again
    row = row_of(world, crm=one.crm)
    assert (row.state, row.cause) == ("failing", "poison")
    assert entries(world, "dead_end")
    world.edit_crm(one.crm, Comp_Name="Changed")
    world.settle()
    rest(world)
    assert row_of(world, crm=one.crm).state == "in_sync"
    assert world.erp_record(one.erp)["name"] == "Changed"


def with_a_bug(world: World, text: str) -> None:
    failing(world, text, ZeroDivisionError)


def failing(world: World, text: str, error: type[BaseException]) -> None:
    """The mapping of the CRM raises for records of this name."""
    flow = world.app.engine.flows[FLOW]
    plain = flow.maps["crm"]

    def get(native: Native) -> Value:
        if native["Comp_Name"] == text:
            raise error(f"cannot read {text}")
        return plain.fields["name"].get(native)

    fields = {**plain.fields, "name": replace(plain.fields["name"], get=get)}
    broken = FieldMap(plain.entity, fields, plain.extra_columns, plain.create_extra)
    world.app.engine.flows = {FLOW: replace(flow, maps={**flow.maps, "crm": broken})}


def test_e4_a_record_that_ends_every_worker_holds_up_none_of_its_batch_beyond_the_fourth(make_light: Make) -> None:
    world = make_light()
    ones = [pair(world, f"Customer {n}", comp_vatnumber=f"GB0000000{n:02d}") for n in range(leases.FEW + 2)]
    bad, *sound = ones
    for n, one in enumerate(ones):
        world.edit_crm(one.crm, Comp_Name=f"Renamed {n}")
    world.deliver()
    for _ in range(4):
        failing(world, "Renamed 0", Crash)
        with pytest.raises(Crash):
            run_all(world.app)
        world.app = world.build()
        run_all(world.app)
        world.clock.advance(leases.LEASE + 1)
    assert [world.erp_record(one.erp)["name"] for one in sound] == [f"Renamed {n + 1}" for n in range(len(sound))]
    assert [row["crm_key"] for row in world.links() if row["claims"]] == [bad.crm]


def test_e4_a_mapping_error_stops_its_own_record_only(make_light: Make) -> None:
    world = make_light()
    ones = [pair(world, f"Customer {n}", comp_vatnumber=f"GB00000000{n}") for n in range(4)]
    with_a_bug(world, "Poison Ltd")
    for n, one in enumerate(ones):
        world.edit_crm(one.crm, Comp_Name="Poison Ltd" if n == 1 else f"Renamed {n}")
    world.settle()
    bad = row_of(world, crm=ones[1].crm)
    assert (bad.state, bad.cause) == ("failing", "bug")
    assert "Poison" not in str(bad.cause_params) and "Poison" not in str(entries(world, "dead_end"))
    for n in (0, 2, 3):
        assert world.erp_record(ones[n].erp)["name"] == f"Renamed {n}"
        assert row_of(world, crm=ones[n].crm).state == "in_sync"
    world.edit_crm(ones[1].crm, Comp_Name="Healed Ltd")
    world.settle()
    assert row_of(world, crm=ones[1].crm).state == "in_sync"
    assert world.erp_record(ones[1].erp)["name"] == "Healed Ltd"


def test_e4_a_mapping_error_of_an_unlinked_record_delays_no_other_create(make_light: Make) -> None:
    world = make_light()
    with_a_bug(world, "Poison Ltd")
    keys = {name: world.new_crm(name) for name in ("First Ltd", "Poison Ltd", "Third Ltd")}
    world.settle()
    assert row_of(world, crm=keys["Poison Ltd"]).cause == "bug"
    assert {row["state"] for row in world.links() if row["crm_key"] != keys["Poison Ltd"]} == {"in_sync"}
    assert sorted(r["name"] for r in world.erp.list_records("customer")) == ["First Ltd", "Third Ltd"]


def test_e4_a_record_the_vendor_fails_on_does_not_hold_up_its_batch(make_light: Make) -> None:
    world = make_light()
    ones = [pair(world, f"Customer {n}", comp_vatnumber=f"GB00000000{n}") for n in range(4)]
    for n, one in enumerate(ones):
        world.edit_erp(one.erp, name=f"Renamed {n}")
    world.deliver()

    def about_the_bad_one(request: Request) -> bool:
        named = re.findall(r"\d+", unquote(request.query.rpartition("where=")[2].partition("&")[0]))
        return request.path.endswith("/Company") and ones[1].crm in named

    with answering(world.crm, about_the_bad_one, "500"):
        for _ in range(6):
            world.work()
            world.clock.advance(400)
    for n in (0, 2, 3):
        assert world.crm_record(ones[n].crm)["Comp_Name"] == f"Renamed {n}"
    assert world.crm_record(ones[1].crm)["Comp_Name"] == "Customer 1"
    world.settle()
    assert world.crm_record(ones[1].crm)["Comp_Name"] == "Renamed 1"


# --- E5 ---------------------------------------------------------------------------------------------------------------


def test_e5_a_mapping_made_between_the_read_and_the_save_of_a_wait_releases_it(make: Make) -> None:
    world = make()
    one = pair(world)
    world.edit_crm(one.crm, Comp_Name="Changed", Comp_PrimaryUserId=2)
    world.deliver()
    released: list[Any] = []
    when(
        world.erp,
        "patch customer",
        lambda: released.extend(managers.map_manager(world.db, FLOW, "E-10", "2", systems=SYSTEMS)),
    )
    run_once(world.app)
    assert released == []  # nobody was waiting yet, in the eyes of whoever made the row
    row = row_of(world, crm=one.crm)
    assert row.due_at is not None and row.due_at <= world.clock()
    world.settle()
    assert world.erp_record(one.erp)["salesRepresentative.id"] == "E-10"
    assert row_of(world, crm=one.crm).state == "in_sync"


def test_e5_a_release_is_by_flow_and_key_and_wakes_nobody_else(make: Make) -> None:
    world = make()
    one = pair(world)
    two = pair(world, "Second Customer", comp_vatnumber="GB999999973")
    world.edit_crm(one.crm, Comp_PrimaryUserId=2)
    world.edit_crm(two.crm, Comp_PrimaryUserId=3)
    world.settle()
    rest(world)
    assert world.explain("crm", one.crm)["waiting_on"] == "account_manager:crm:2"
    assert managers.map_manager(world.db, "another", "E-10", "2", systems=SYSTEMS) == ()
    assert managers.map_manager(world.db, FLOW, "E-10", "2", systems=("erp", "psa")) == ()
    managers.unmap_manager(world.db, FLOW, "E-10")
    released = managers.map_manager(world.db, FLOW, "E-10", "2", systems=SYSTEMS)
    assert [t.link_id for t in released] == [one.id]
    world.settle()
    assert row_of(world, crm=one.crm).state == "in_sync"
    assert row_of(world, crm=two.crm).state == "waiting"


def test_e5_the_wait_sweep_finds_a_wait_whose_release_was_lost(make: Make) -> None:
    world = make()
    one = pair(world)
    world.edit_crm(one.crm, Comp_PrimaryUserId=2)
    world.settle()
    rest(world)
    assert managers.wait_sweep(world.db) == ()
    row = {"flow": FLOW, "erp_key": "E-10", "crm_key": "2", "preferred": False, "actor": "", "at": world.clock()}
    with world.db.write() as conn:
        conn.execute(insert(manager_map).values(**row, erp_system="erp", crm_system="crm"))
    assert [t.link_id for t in managers.wait_sweep(world.db)] == [one.id]
    world.settle()
    assert world.erp_record(one.erp)["salesRepresentative.id"] == "E-10"
    rest(world)
    assert managers.wait_sweep(world.db) == ()


def test_e5_whichever_of_wait_and_mapping_comes_first_the_link_is_due_afterwards(make: Make) -> None:
    world = make()
    one = pair(world)
    world.edit_crm(one.crm, Comp_PrimaryUserId=2)
    world.settle()
    rest(world)
    flow = world.app.flows[FLOW]
    for turn in range(6):
        managers.unmap_manager(world.db, FLOW, "E-10")
        with world.db.write() as conn:
            conn.execute(update(link).where(link.c.id == one.id).values(due_at=world.clock(), lease_until=None))
        (row,) = leases.claim(world.db, flow.scope)
        row.due_at = None
        start = threading.Barrier(2)

        def wait(row: Any = row, start: threading.Barrier = start) -> None:
            start.wait()
            links.save(world.db, [Save(row)])

        def map_it(start: threading.Barrier = start) -> None:
            start.wait()
            managers.map_manager(world.db, FLOW, "E-10", "2", systems=SYSTEMS)

        threads = [threading.Thread(target=wait), threading.Thread(target=map_it)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        due = row_of(world, crm=one.crm).due_at
        assert due is not None and due <= world.clock(), f"turn {turn}: waits for what is there"
    assert field(world, one.crm, "account_manager")["status"] == "waiting"
