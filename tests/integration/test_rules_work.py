"""E1 to E5: reasons to run, claims, saves, poison and waits. Each test begins with the rule it holds to."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import pytest
from sqlalchemy import insert, update
from support.rules import (
    FLOW,
    SYSTEMS,
    Make,
    answering,
    calls,
    entries,
    field,
    pair,
    rest,
    row_of,
    run_all,
    run_once,
    when,
    worlds,
)
from support.world import Crash, World

from mappings.fields import FieldMap, Native, Value
from sync_worker import desk
from sync_worker.connectors.emulation import Request
from sync_worker.engine.core import BATCH_SECONDS, Pace
from sync_worker.events import Change
from sync_worker.store import links, managers
from sync_worker.store.links import Save
from sync_worker.store.tables import link, manager_map


@pytest.fixture
def make(tmp_path: Path, database_url: str) -> Iterator[Make]:
    """Worlds on SQLite and on PostgreSQL."""
    yield from worlds(tmp_path, database_url)


@pytest.fixture
def make_light(tmp_path: Path, sqlite_url: str) -> Iterator[Make]:
    yield from worlds(tmp_path, sqlite_url)


def claim(world: World, **kw: Any) -> list[Any]:
    return links.claim(world.db, world.app.flows[FLOW].scope, **kw)


# --- E1 ---------------------------------------------------------------------------------------------------------------


def test_e1_a_notice_that_arrives_during_a_pass_keeps_the_link_due(make: Make) -> None:
    world = make()
    one = pair(world)
    world.edit_crm(one.crm, Comp_Name="First")
    world.deliver()

    def meanwhile() -> None:
        world.edit_crm(one.crm, Comp_WebSite="http://second.example")
        world.deliver()

    when(world.erp, "patch customer", meanwhile, after=True)
    worked = run_once(world.app)
    assert [t.link_id for t in worked.again] == [one.id]
    row = row_of(world, crm=one.crm)
    assert row.noticed("crm") and row.due_at is not None and row.due_at <= world.clock()
    run_once(world.app)
    assert world.erp_record(one.erp)["contacts.default.URL1"] == "http://second.example"


def test_e1_the_same_field_edited_again_during_its_own_pass_ends_with_the_last_value(make_light: Make) -> None:
    world = make_light()
    one = pair(world)
    world.edit_crm(one.crm, Comp_Name="First")
    world.deliver()
    when(world.erp, "patch customer", lambda: (world.edit_crm(one.crm, Comp_Name="Second"), world.deliver()))
    world.settle()
    assert world.erp_record(one.erp)["name"] == world.crm_record(one.crm)["Comp_Name"] == "Second"


def test_e1_a_pass_that_answered_for_every_notice_clears_what_is_due(make: Make) -> None:
    world = make()
    one = pair(world)
    world.notice("crm", one.crm)
    assert run_once(world.app).again == ()
    row = row_of(world, crm=one.crm)
    assert not row.noticed("crm") and row.due_at is not None and row.due_at > world.clock()
    rest(world)
    assert row_of(world, crm=one.crm).due_at is None


@pytest.mark.parametrize("reason", ["webhook", "poll", "manual", "replay", "release", "part"])
def test_e1_every_reason_to_run_counts_and_makes_due_now(make_light: Make, reason: str) -> None:
    world = make_light()
    one = pair(world)
    before = row_of(world, crm=one.crm)
    if reason == "replay":
        desk.replay(world.app, link=one.id)
    elif reason == "release":
        world.edit_crm(one.crm, Comp_PrimaryUserId=2)
        world.settle()
        rest(world)
        before = row_of(world, crm=one.crm)
        managers.map_manager(world.db, FLOW, "E-10", "2", systems=SYSTEMS)
    elif reason == "part":
        child = world.crm_child_key(one.crm, "Email")
        world.notice("crm", child, entity="email")
    else:
        world.app.inbox.accept([Change("crm", "customer", one.crm, "updated", reason)])  # type: ignore[arg-type]
    after = row_of(world, crm=one.crm)
    assert after.crm_dirty == before.crm_dirty + 1
    assert after.due_at == world.clock()


def test_e1_a_further_reason_never_postpones_the_first_nor_waits_for_a_retry(make: Make) -> None:
    world = make()
    one = pair(world)
    world.notice("crm", one.crm)
    first = world.clock()
    world.clock.advance(40)
    world.notice("crm", one.crm)
    assert row_of(world, crm=one.crm).due_at == first
    world.erp.faults.merge({"p_503": 1.0})
    world.edit_crm(one.crm, Comp_Name="Changed")
    world.deliver()
    run_once(world.app)
    later = row_of(world, crm=one.crm).due_at
    assert later is not None and later > world.clock()
    world.notice("erp", one.erp)
    assert row_of(world, crm=one.crm).due_at == world.clock()


def test_e1_notices_from_many_threads_are_all_counted(make: Make) -> None:
    world = make()
    one = pair(world)
    before = row_of(world, crm=one.crm)

    def tell() -> None:
        for _ in range(5):
            world.notice("crm", one.crm)
            world.notice("erp", one.erp)

    threads = [threading.Thread(target=tell) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = row_of(world, crm=one.crm)
    assert (after.crm_dirty, after.erp_dirty) == (before.crm_dirty + 20, before.erp_dirty + 20)


# --- E2 ---------------------------------------------------------------------------------------------------------------


def test_e2_a_claimed_link_is_nobody_elses_until_its_lease_runs_out(make: Make) -> None:
    world = make()
    one = pair(world)
    world.notice("crm", one.crm)
    (first,) = claim(world, limit=10)
    assert claim(world, limit=10) == []
    world.clock.advance(links.LEASE - 0.5)
    assert claim(world, limit=10) == []
    world.clock.advance(1.0)
    (second,) = claim(world, limit=10)
    assert second.lease_token == first.lease_token + 1
    assert links.renew(world.db, [first]) == set()
    assert links.renew(world.db, [second]) == {one.id}


def test_e2_attempts_are_counted_at_the_claim_not_at_the_end(make_light: Make) -> None:
    world = make_light()
    pair(world)
    world.notice("crm", world.links()[0]["crm_key"])
    claim(world)
    assert world.links()[0]["claims"] == 1


def leases_by_the_worlds_clock(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    monkeypatch.setattr("sync_worker.engine.batch.time", SimpleNamespace(monotonic=world.clock, time=world.clock))


def test_e2_before_a_call_that_may_outlast_the_lease_it_is_renewed(
    make_light: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_light()
    leases_by_the_worlds_clock(monkeypatch, world)
    one = pair(world)
    world.edit_crm(one.crm, Comp_Name="Changed")
    world.deliver()
    seen: list[float] = []

    def look() -> None:
        until = row_of(world, crm=one.crm).lease_until
        assert until is not None
        seen.append(until - world.clock())

    when(world.crm, "query company", lambda: world.clock.advance(20), after=True)
    when(world.erp, "query customer", look)
    run_once(world.app)
    assert seen == [links.LEASE]
    assert world.erp_record(one.erp)["name"] == "Changed"


def test_e2_a_worker_whose_leases_are_gone_makes_no_further_call(
    make_light: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_light()
    leases_by_the_worlds_clock(monkeypatch, world)
    one = pair(world)
    rival = world.build()
    world.edit_crm(one.crm, Comp_Name="Changed")
    world.deliver()

    def lost() -> None:
        world.clock.advance(links.LEASE + 1)
        run_all(rival)
        world.erp.reset_stats()
        world.crm.reset_stats()

    when(world.crm, "query company", lost)
    run_once(world.app)
    assert (calls(world.erp), calls(world.crm)) == ({}, {"query company": 1})  # the one that was under way
    world.settle()
    assert len([w for w in world.written("erp") if w.op == "update"]) == 1
    assert world.erp_record(one.erp)["name"] == "Changed"


def test_e2_a_long_retry_after_is_kept_to_and_never_slept(make_light: Make) -> None:
    world = make_light()
    one = pair(world)
    world.erp.reset_stats()
    world.erp.faults.merge({"p_429": 1.0, "retry_after_s": 120})
    world.edit_crm(one.crm, Comp_Name="Changed")
    world.deliver()
    run_once(world.app)
    row = row_of(world, crm=one.crm)
    assert row.state == "pending" and row.cause == "rate_limited"
    assert row.due_at is not None and row.due_at >= world.clock() + 120
    assert sum(calls(world.erp).values()) == 1
    world.erp.faults.merge({"p_429": 0.0})
    world.settle()
    assert world.erp_record(one.erp)["name"] == "Changed"


def test_e2_a_batch_shrinks_to_what_fits_into_the_time_and_grows_again() -> None:
    pace = Pace(limit=64)
    pace.note(BATCH_SECONDS * 4, 64)
    assert pace.limit == 16
    pace.note(BATCH_SECONDS * 40, 1)
    assert pace.limit == 1
    for _ in range(10):
        pace.note(0.01, pace.limit)
    assert pace.limit >= 64


def test_e2_live_links_are_not_behind_a_pile_of_others(make_light: Make) -> None:
    world = make_light()
    one = pair(world)
    two = pair(world, "Second Customer", comp_vatnumber="GB999999973")
    world.app.inbox.accept([Change("crm", "customer", one.crm, "updated", "import")], klass="bulk")
    world.clock.advance(1)
    world.notice("crm", two.crm)
    assert [row.id for row in claim(world, klass="live", limit=5)] == [two.id]
    assert [row.id for row in claim(world, klass="bulk", limit=5)] == [one.id]


# --- E3 ---------------------------------------------------------------------------------------------------------------


def test_e3_a_call_that_ended_after_its_token_was_lost_is_journalled_and_looked_at_again(make: Make) -> None:
    world = make()
    one = pair(world)
    rival = world.build()
    world.edit_erp(one.erp, name="Changed")
    world.deliver()
    before = row_of(world, crm=one.crm)

    def lost() -> None:
        world.clock.advance(links.LEASE + 1)
        run_all(rival)

    when(world.crm, "update company", lost, after=True)
    run_once(world.app)
    after = row_of(world, crm=one.crm)
    assert "lease was lost" in entries(world, "update")[-1]["why"]
    assert (after.erp_dirty, after.crm_dirty) == (before.erp_dirty + 1, before.crm_dirty + 1)
    assert after.due_at is not None and after.due_at <= world.clock()
    world.settle()
    rest(world)
    assert row_of(world, crm=one.crm).state == "in_sync"
    assert world.crm_record(one.crm)["Comp_Name"] == "Changed"
    assert [w.after for w in world.written("crm") if w.op == "update" and "Comp_Name" in w.after] == [
        {"Comp_Name": "Changed"}
    ]


def test_e3_what_the_second_worker_stored_is_not_overwritten_by_the_first(make: Make) -> None:
    world = make()
    one = pair(world)
    rival = world.build()
    world.edit_erp(one.erp, name="Changed")
    world.deliver()

    def lost() -> None:
        world.clock.advance(links.LEASE + 1)
        run_all(rival)
        world.edit_crm(one.crm, Comp_Name="Edited since", Comp_WebSite="http://since.example")
        world.deliver()
        run_all(rival)

    when(world.crm, "update company", lost, after=True)
    world.settle()
    assert world.erp_record(one.erp)["name"] == world.crm_record(one.crm)["Comp_Name"] == "Edited since"
    assert world.erp_record(one.erp)["contacts.default.URL1"] == "http://since.example"


def test_e3_of_a_batch_only_the_link_whose_token_is_lost_is_dropped(make: Make) -> None:
    world = make()
    one = pair(world)
    two = pair(world, "Second Customer", comp_vatnumber="GB999999973")
    for it, name in ((one, "One changed"), (two, "Two changed")):
        world.edit_erp(it.erp, name=name)
    world.deliver()

    def lost() -> None:
        world.clock.advance(links.LEASE + 1)
        claim(world, ids=[one.id])

    when(world.crm, "query company", lost, after=True)
    run_once(world.app)
    assert world.crm_record(two.crm)["Comp_Name"] == "Two changed"
    assert row_of(world, crm=two.crm).state == "in_sync"
    assert world.crm_record(one.crm)["Comp_Name"] == "Northwind Tools"
    world.settle()
    assert world.crm_record(one.crm)["Comp_Name"] == "One changed"


# --- E4 ---------------------------------------------------------------------------------------------------------------


def die_on(world: World, crm_key: str) -> None:
    """The worker dies in the middle of this record, and its lease runs out."""
    world.notice("crm", crm_key)
    when(world.crm, "query company", lambda: (_ for _ in ()).throw(Crash()))
    with pytest.raises(Crash):
        run_all(world.app)
    world.app = world.build()
    world.clock.advance(links.LEASE + 1)


def test_e4_a_link_claimed_twice_without_an_end_runs_alone_and_delays_nobody(make_light: Make) -> None:
    world = make_light()
    bad = pair(world)
    good = pair(world, "Second Customer", comp_vatnumber="GB999999973")
    die_on(world, bad.crm)
    die_on(world, bad.crm)
    world.edit_crm(good.crm, Comp_Name="Changed")
    world.deliver()
    assert [row.id for row in claim(world, limit=10)] == [good.id]
    world.clock.advance(links.LEASE + 1)
    assert run_once(world.app).claimed == 1
    assert world.erp_record(good.erp)["name"] == "Changed"
    assert [row.id for row in claim(world, limit=10)] == [bad.id]


def test_e4_a_record_that_kills_every_worker_ends_as_a_dead_end_until_it_is_touched(make_light: Make) -> None:
    world = make_light()
    one = pair(world)
    for _ in range(4):
        die_on(world, one.crm)
    world.crm.reset_stats()
    run_all(world.app)
    assert calls(world.crm) == {}  # the fifth claim does not try again
    row = row_of(world, crm=one.crm)
    assert (row.state, row.cause) == ("failing", "poison")
    assert entries(world, "dead_end")
    world.edit_crm(one.crm, Comp_Name="Changed")
    world.settle()
    rest(world)
    assert row_of(world, crm=one.crm).state == "in_sync"
    assert world.erp_record(one.erp)["name"] == "Changed"


def with_a_bug(world: World, text: str) -> None:
    """The mapping of the CRM raises for records of this name."""
    flow = world.app.engine.flows[FLOW]
    plain = flow.maps["crm"]

    def get(native: Native) -> Value:
        if native["Comp_Name"] == text:
            raise ZeroDivisionError(f"cannot read {text}")
        return plain.fields["name"].get(native)

    fields = {**plain.fields, "name": replace(plain.fields["name"], get=get)}
    broken = FieldMap(plain.entity, fields, plain.extra_columns, plain.create_extra)
    world.app.engine.flows = {FLOW: replace(flow, maps={**flow.maps, "crm": broken})}


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
        (row,) = links.claim(world.db, flow.scope)
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
