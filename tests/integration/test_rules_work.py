"""E1 to E3: reasons to run, claims, saves. Each test begins with the rule it holds to."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlalchemy import event, update

from support.alerts import make_links
from support.rules import (
    FLOW,
    SYSTEMS,
    Make,
    Pair,
    api_writes,
    calls,
    claim,
    entries,
    pair,
    rest,
    row_of,
    run_all,
    run_once,
    when,
)
from support.world import World
from sync_worker import desk
from sync_worker.engine import halves, linked
from sync_worker.engine.core import BATCH_SECONDS, BURST, Pace
from sync_worker.errors import LeaseLost
from sync_worker.events import Change
from sync_worker.store import leases, managers
from sync_worker.store.bulk import CHUNK
from sync_worker.store.tables import link
from sync_worker.store.touches import ABSORB_SECONDS, Touched

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

    def meanwhile() -> None:
        world.edit_crm(one.crm, Comp_Name="Second")
        world.deliver()

    when(world.erp, "patch customer", meanwhile)
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


def test_many_links_are_tried_again_by_statements_that_every_database_takes(world: World) -> None:
    make_links(world.db, 2 * CHUNK + 1, state="failing", cause="refused", hours=1)
    asked: list[int] = []  # parameters per statement; PostgreSQL takes 65,535 at most
    with world.db.write() as conn:
        listening: Any = (conn.engine, "before_cursor_execute", lambda *given: given[5] or asked.append(len(given[3])))
    event.listen(*listening)
    try:
        assert desk.replay(world.app, state="failing") == 2 * CHUNK + 1
    finally:
        event.remove(*listening)
    assert 0 < max(asked) < 2 * CHUNK


def test_replay_means_by_a_state_the_links_that_status_counts_under_it(world: World) -> None:
    noticed, resting = pair(world, "Noticed Ltd"), pair(world, "Resting Ltd")
    world.notice("crm", noticed.crm)
    counted = desk.status(world.app)["links"]
    assert (counted["pending"], counted["in_sync"]) == (1, 1)
    before = row_of(world, crm=resting.crm).crm_dirty
    assert desk.replay(world.app, state="pending") == 1
    assert row_of(world, crm=resting.crm).crm_dirty == before
    assert desk.replay(world.app, state="in_sync") == 1
    assert desk.replay(world.app, state="pending") == 2, "both are due by now"
    assert desk.replay(world.app, state="in_sync") == 0


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
    world.clock.advance(leases.LEASE - 0.5)
    assert claim(world, limit=10) == []
    world.clock.advance(1.0)
    (second,) = claim(world, limit=10)
    assert second.lease_token == first.lease_token + 1
    assert leases.renew(world.db, [first]) == set()
    assert leases.renew(world.db, [second]) == {one.id}


def test_e2_attempts_are_counted_at_the_claim_not_at_the_end(make_light: Make) -> None:
    world = make_light()
    pair(world)
    world.notice("crm", world.links()[0]["crm_key"])
    claim(world)
    assert world.links()[0]["claims"] == 1


def test_e2_before_a_call_that_may_outlast_the_lease_it_is_renewed(make_light: Make) -> None:
    world = make_light()
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
    assert seen == [leases.LEASE]
    assert world.erp_record(one.erp)["name"] == "Changed"


def test_e2_a_worker_whose_leases_are_gone_makes_no_further_call(make_light: Make) -> None:
    world = make_light()
    one = pair(world)
    rival = world.build()
    world.edit_crm(one.crm, Comp_Name="Changed")
    world.deliver()

    def lost() -> None:
        world.clock.advance(leases.LEASE + 1)
        run_all(rival)
        world.erp.reset_stats()
        world.crm.reset_stats()

    when(world.crm, "query company", lost)
    run_once(world.app)
    assert (calls(world.erp), calls(world.crm)) == ({}, {"query company": 1})  # the one that was under way
    world.settle()
    assert len([w for w in world.written("erp") if w.op == "update"]) == 1
    assert world.erp_record(one.erp)["name"] == "Changed"


def taken_over(world: World, one: Pair) -> None:
    """Every lease runs out, and another worker claims this link; it never comes to an end."""
    world.clock.advance(leases.LEASE + 1)
    world.notice("crm", one.crm)
    assert [row.id for row in claim(world, ids=[one.id])] == [one.id]


def test_e2_e22_after_a_call_that_outlasted_the_leases_a_batch_writes_nothing_on_its_old_reads(make: Make) -> None:
    world = make()
    lost, kept = pair(world, "Lost Ltd"), pair(world, "Kept Ltd", comp_vatnumber="GB987654321")
    for one in (lost, kept):
        world.edit_crm(one.crm, Comp_Name="Changed in the CRM")
        world.edit_erp(one.erp, **{"contacts.default.URL1": "http://changed.example"})
    world.deliver()
    when(world.erp, "write", lambda: taken_over(world, lost), after=True)  # the first side's writes took too long
    before = api_writes(world)
    run_once(world.app)
    assert world.erp_record(lost.erp)["name"] == world.erp_record(kept.erp)["name"] == "Changed in the CRM"
    assert [world.crm_record(one.crm)["Comp_WebSite"] for one in (lost, kept)] == ["http://northwind.example"] * 2
    assert api_writes(world)["crm"] == before["crm"]
    assert {row["id"]: row["state"] for row in world.links()}[kept.id] == "pending"
    assert "after the lease was lost" in entries(world, "update")[-1]["why"] or any(
        "after the lease was lost" in e["why"] for e in entries(world, "update")
    )
    world.clock.advance(leases.LEASE + 1)
    world.settle()
    assert [world.crm_record(one.crm)["Comp_WebSite"] for one in (lost, kept)] == ["http://changed.example"] * 2
    assert {row["state"] for row in world.links()} == {"in_sync"}


@pytest.mark.parametrize("apart", [False, True])
def test_e2_a_lease_lost_within_a_write_of_several_calls_ends_it(make_light: Make, apart: bool) -> None:
    world = make_light()
    one = pair(world)
    if apart:
        world.erp.faults.merge({"writable_default_contact": False})
        world.edit_crm(one.crm, Comp_Name="Changed", Comp_WebSite="http://changed.example")
        first, side = "patch customer", "erp"
    else:
        world.edit_erp(one.erp, name="Changed", **{"contacts.default.mailingAddress.city": "York"})
        first, side = "update company", "crm"
    world.deliver()
    when(world.vendors[side], first, lambda: taken_over(world, one), after=True)
    run_once(world.app)
    shown = world.erp_record(one.erp) if side == "erp" else world.crm_child(one.crm, "Address")
    assert shown is not None
    assert (shown.get("contacts.default.URL1"), shown.get("Addr_City")) in (
        ("http://northwind.example", None),
        (None, "Leeds"),
    )
    world.clock.advance(leases.LEASE + 1)
    world.settle()
    rest(world)
    assert world.erp_record(one.erp)["contacts.default.URL1"] == world.crm_record(one.crm)["Comp_WebSite"]
    assert {row["state"] for row in world.links()} == {"in_sync"}


def test_e2_a_link_that_was_saved_is_not_leased_again_by_the_rest_of_its_batch(make_light: Make) -> None:
    world = make_light()
    first, second = world.new_crm("First Ltd"), world.new_crm("Second Ltd")
    world.deliver()
    created = 0

    def later() -> None:
        nonlocal created
        created += 1
        world.clock.advance(20)

    when(world.erp, "create customer", lambda: when(world.erp, "create customer", later, after=True), after=True)
    run_once(world.app)
    assert created == 1
    assert {row_of(world, crm=key).linked for key in (first, second)} == {True}
    assert [row["lease_until"] for row in world.links()] == [None, None]


def test_e2_what_a_batch_has_let_go_of_is_left_to_its_lease_while_the_rest_goes_on(
    make_light: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_light()
    one = pair(world)
    half = world.new_crm("Second Ltd")
    world.edit_crm(one.crm, Comp_Name="Changed")
    world.deliver()
    alive: list[set[int]] = []

    def lost(*_given: Any) -> Any:
        raise LeaseLost("another worker's")

    def later(desk: Any, *_given: Any) -> Any:
        world.clock.advance(leases.LEASE - 1)
        alive.append(desk.alive())
        return []

    monkeypatch.setattr(linked, "sync", lost)
    monkeypatch.setattr(halves, "sync", later)
    begun = world.clock()
    assert run_once(world.app).claimed == 2
    assert alive == [{row_of(world, crm=half).id}]
    assert row_of(world, crm=one.crm).lease_until == begun + leases.LEASE
    assert row_of(world, crm=half).lease_until == begun + 2 * leases.LEASE - 1


def test_the_time_from_a_notice_to_the_first_call_of_its_pass_is_measured(
    make_light: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_light()
    one = pair(world)
    seen: list[tuple[str, float]] = []
    monkeypatch.setattr("sync_worker.metrics.notice_reached_vendor", lambda flow, s: seen.append((flow, round(s, 3))))
    world.edit_crm(one.crm, Comp_Name="Changed")
    world.deliver()
    world.clock.advance(1.5)
    when(world.crm, "query company", lambda: world.clock.advance(3), after=True)  # after the first call: not counted
    run_once(world.app)
    assert seen == [(FLOW, 1.5)]


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


def test_e2_batches_that_begin_side_by_side_do_not_end_at_the_same_time() -> None:
    pace = Pace(limit=100, abreast=3)
    assert pace.take(100) == 100, "it takes all there is, and nobody runs beside it"
    assert [pace.take(101) for _ in range(5)] == [34, 67, 100, 100, 100]
    alone = Pace(limit=100)
    assert [alone.take(101) for _ in range(3)] == [100, 100, 100]
    small = Pace(limit=1, abreast=3)
    assert [small.take(2) for _ in range(3)] == [1, 1, 1]


def test_in_a_burst_a_batch_waits_for_company_as_long_as_some_comes(make_light: Make) -> None:
    world = make_light()
    first = [pair(world, f"Customer {number}", comp_vatnumber="") for number in range(BURST)]
    late = [pair(world, f"Latecomer {number}", comp_vatnumber="") for number in range(3)]
    coming = list(late)

    def sleep(_seconds: float) -> None:
        if coming:
            world.notice("crm", coming.pop().crm)

    world.app.engine.sleep = sleep
    for one in first:
        world.notice("crm", one.crm)
    alone = world.app.engine.run_due("customers", "live")
    assert (alone.claimed, len(coming)) == (BURST, 3)  # it is the first: nothing says that more will come
    world.notice("crm", first[0].crm)
    assert world.app.engine.run_due("customers", "live").claimed == 1 + len(late)
    world.notice("crm", first[0].crm)
    assert world.app.engine.run_due("customers", "live").claimed == 1  # nobody came: it did not wait again


def test_children_told_of_while_others_are_resolved_are_resolved_by_the_same_thread(make_light: Make) -> None:
    world = make_light()
    one, two = pair(world), pair(world, "Second Customer", comp_vatnumber="GB999999973")
    engine, rounds = world.app.engine, []

    def meanwhile(system: str) -> tuple[Touched, ...]:
        rounds.append(system)
        if len(rounds) == 1:
            assert engine.resolve_parts(system) == ()  # turned away: this one goes on for it
        return (Touched((one, two)[len(rounds) - 1].id, FLOW, "customer", "live"),)

    engine._resolve_parts = meanwhile  # type: ignore[method-assign]
    assert [t.link_id for t in engine.resolve_parts("crm")] == [one.id, two.id]
    assert rounds == ["crm", "crm"]


def test_e2_live_links_are_not_behind_a_pile_of_others(make_light: Make) -> None:
    world = make_light()
    one = pair(world)
    two = pair(world, "Second Customer", comp_vatnumber="GB999999973")
    world.app.inbox.accept([Change("crm", "customer", one.crm, "updated", "import")], klass="bulk")
    world.clock.advance(1)
    world.notice("crm", two.crm)
    assert [row.id for row in claim(world, klass="live", limit=5)] == [two.id]
    assert [row.id for row in claim(world, klass="bulk", limit=5)] == [one.id]


def test_e2_what_an_import_writes_comes_back_as_bulk_work_and_a_persons_edit_as_live(make_light: Make) -> None:
    world = make_light()
    imported, edited = pair(world), pair(world, "Second Customer", comp_vatnumber="GB999999973")
    world.settle()
    for one, run in ((imported, 7), (edited, None)):
        values = {"klass": "bulk", "run_id": run, "first_synced_at": world.clock() - 3600}
        with world.db.write() as conn:
            conn.execute(update(link).where(link.c.id == one.id).values(values))
        world.notice("crm", one.crm)
    assert (row_of(world, crm=imported.crm).klass, row_of(world, crm=edited.crm).klass) == ("bulk", "live")


def test_e17_while_bulk_work_creates_an_unknown_record_waits_a_moment_beside_live_work(make_light: Make) -> None:
    world = make_light()
    one = pair(world)
    world.settle()
    made = {"klass": "bulk", "intent": {"side": "crm"}, "intent_side": "crm", "intent_at": world.clock()}
    with world.db.write() as conn:
        conn.execute(update(link).where(link.c.id == one.id).values(made))
    world.notice("crm", "9999")
    row = row_of(world, crm="9999")
    assert (row.klass, row.due_at) == ("retry", world.clock() + ABSORB_SECONDS)
    world.app.inbox.accept([Change("crm", "customer", "8888", "updated", "manual")], may_create="manual")
    asked = row_of(world, crm="8888")
    assert (asked.klass, asked.due_at) == ("live", world.clock())  # what a person asks for is no echo
    world.notice("crm", one.crm)
    due = row_of(world, crm=one.crm).due_at
    assert due is not None and due <= world.clock()  # what is known already waits for nobody


# --- E3 ---------------------------------------------------------------------------------------------------------------


def test_e3_a_call_that_ended_after_its_token_was_lost_is_journalled_and_looked_at_again(make: Make) -> None:
    world = make()
    one = pair(world)
    rival = world.build()
    world.edit_erp(one.erp, name="Changed")
    world.deliver()
    before = row_of(world, crm=one.crm)

    def lost() -> None:
        world.clock.advance(leases.LEASE + 1)
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
        world.clock.advance(leases.LEASE + 1)
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
        world.clock.advance(leases.LEASE + 1)
        claim(world, ids=[one.id])

    when(world.crm, "query company", lost, after=True)
    run_once(world.app)
    assert world.crm_record(two.crm)["Comp_Name"] == "Two changed"
    assert row_of(world, crm=two.crm).state == "in_sync"
    assert world.crm_record(one.crm)["Comp_Name"] == "Northwind Tools"
    world.settle()
    assert world.crm_record(one.crm)["Comp_Name"] == "One changed"
