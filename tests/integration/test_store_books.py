"""Watermarks, pauses, schedules and counters: small tables that many processes share."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, insert, select

from support.clock import FakeClock
from sync_worker.store import counters, pauses, schedules, watermarks
from sync_worker.store.session import Database
from sync_worker.store.tables import counter_delta, flow_state, link


def test_a_watermark_is_kept_per_system_entity_and_feed(db: Database) -> None:
    assert watermarks.get(db, "crm", "customer", "stamp") is None
    watermarks.put(db, "crm", "customer", "stamp", "a")
    watermarks.put(db, "erp", "customer", "stamp", "b")
    watermarks.put(db, "crm", "customer", "sweep", "c")
    watermarks.put(db, "crm", "customer", "stamp", "d")
    found = [watermarks.get(db, *key) for key in (("crm", "customer", "stamp"), ("erp", "customer", "stamp"))]
    assert found == ["d", "b"]
    watermarks.put(db, "crm", "customer", "sweep", None)
    assert watermarks.get(db, "crm", "customer", "sweep") is None


def test_a_watermark_moves_only_with_the_rows_of_its_page(db: Database) -> None:
    with pytest.raises(ZeroDivisionError), db.write() as conn:
        watermarks.put_in(conn, "crm", "customer", "stamp", "a", 1.0)
        _ = 1 / 0
    assert watermarks.get(db, "crm", "customer", "stamp") is None


def test_a_flow_is_switched_on_once(db: Database, clock: FakeClock) -> None:
    first = watermarks.switch_on(db, "customers", "both").flow
    clock.advance(60)
    assert watermarks.switch_on(db, "customers", "both").flow == first
    assert watermarks.switch_on(db, "branch", "both").flow == first + 60
    assert watermarks.switched_on(db) == {"customers": first, "branch": first + 60}


def test_gumu_15_a_way_counts_from_when_the_direction_opened_it(db: Database, clock: FakeClock) -> None:
    first = watermarks.switch_on(db, "customers", "to_crm")
    assert first.ways == {"crm": first.flow}
    clock.advance(60)
    assert watermarks.switch_on(db, "customers", "both", keep=False).ways == {"crm": first.flow, "erp": first.flow + 60}
    clock.advance(60)
    widened = watermarks.switch_on(db, "customers", "both")
    assert widened.ways == {"crm": first.flow, "erp": first.flow + 120}
    assert watermarks.switch_on(db, "customers", "none").ways == {}
    clock.advance(60)
    assert watermarks.switch_on(db, "customers", "to_crm").ways == {"crm": first.flow + 180}
    assert watermarks.switch_on(db, "customers", "both").flow == first.flow


def test_a_flow_of_an_older_database_has_been_open_both_ways_ever_since(db: Database, clock: FakeClock) -> None:
    db.run(lambda conn: conn.execute(insert(flow_state).values(flow="customers", switched_on_at=clock.time - 99)))
    assert watermarks.switch_on(db, "customers", "both").ways == dict.fromkeys(("crm", "erp"), clock.time - 99)


def test_a_pause_holds_until_it_is_resumed_or_over(db: Database, clock: FakeClock) -> None:
    pauses.pause(db, "system", "crm", "auth_failed", "check the password")
    pauses.pause(db, "flow", "customers", "unlinked_limit", until=clock.time + 60)
    held = pauses.current(db)
    assert set(held) == {("system", "crm"), ("flow", "customers")}
    assert (held["system", "crm"].text, held["system", "crm"].since) == ("check the password", clock.time)
    clock.advance(60)
    assert set(pauses.current(db)) == {("system", "crm")}
    assert pauses.resume(db, "system", "crm")
    assert pauses.current(db) == {}
    assert not pauses.resume(db, "system", "crm")


def test_a_new_reason_keeps_since_and_a_pause_that_was_over_starts_anew(db: Database, clock: FakeClock) -> None:
    started = clock.time
    pauses.pause(db, "system", "crm", "unreachable", until=started + 10)
    clock.advance(5)
    pauses.pause(db, "system", "crm", "auth_failed", until=started + 20)
    now = pauses.current(db)["system", "crm"]
    assert (now.reason, now.since) == ("auth_failed", started)
    clock.advance(60)
    pauses.pause(db, "system", "crm", "unreachable")
    assert pauses.current(db)["system", "crm"].since == clock.time


def test_the_worker_neither_replaces_nor_ends_a_persons_pause(db: Database, clock: FakeClock) -> None:
    pauses.pause(db, "system", "crm", "manual", "year end")
    pauses.pause(db, "system", "crm", "unreachable", until=clock.time + 1)
    assert pauses.current(db)["system", "crm"].text == "year end"
    assert not pauses.resume(db, "system", "crm", reason="unreachable")
    assert pauses.resume(db, "system", "crm", reason="manual")


def test_a_person_may_take_over_the_workers_pause(db: Database) -> None:
    pauses.pause(db, "system", "crm", "unreachable")
    pauses.pause(db, "system", "crm", "manual", "year end")
    assert pauses.current(db)["system", "crm"].reason == "manual"


def test_a_schedule_runs_when_due_with_one_runner_at_a_time(db: Database, clock: FakeClock) -> None:
    schedules.ensure(db, {"poll": clock.time + 10})
    assert schedules.claim_due(db) == []
    clock.advance(10)
    (mine,) = schedules.claim_due(db)
    assert (mine.name, mine.last_at) == ("poll", None)
    assert schedules.claim_due(db) == []
    assert schedules.finish(db, "poll", mine.token, clock.time + 60)
    assert schedules.claim_due(db) == []
    clock.advance(60)
    (again,) = schedules.claim_due(db)
    assert (again.token, again.last_at) == (mine.token + 1, clock.time - 60)


def test_a_runner_that_died_is_replaced_and_can_no_longer_finish_or_renew(db: Database, clock: FakeClock) -> None:
    schedules.ensure(db, {"poll": clock.time})
    (dead,) = schedules.claim_due(db, lease=60)
    clock.advance(59)
    assert schedules.renew(db, "poll", dead.token, lease=60)
    clock.advance(59)
    assert schedules.claim_due(db) == []
    clock.advance(1)
    (alive,) = schedules.claim_due(db)
    assert not schedules.renew(db, "poll", dead.token)
    assert not schedules.finish(db, "poll", dead.token, 0.0)
    assert schedules.finish(db, "poll", alive.token, clock.time + 5)
    assert not schedules.renew(db, "poll", alive.token)


def test_a_failed_run_is_shown_until_one_ends_well(db: Database, clock: FakeClock) -> None:
    schedules.ensure(db, {"poll": clock.time})
    (run,) = schedules.claim_due(db)
    assert [status.running for status in schedules.statuses(db)] == [True]
    schedules.finish(db, "poll", run.token, clock.time, error="rate_limited")
    (status,) = schedules.statuses(db)
    assert (status.running, status.last_at, status.last_error) == (False, None, "rate_limited")
    (run,) = schedules.claim_due(db)
    schedules.finish(db, "poll", run.token, clock.time)
    (status,) = schedules.statuses(db)
    assert (status.last_at, status.last_error) == (clock.time, None)


def test_schedules_are_made_once_claimed_oldest_first_and_made_due_on_request(db: Database, clock: FakeClock) -> None:
    schedules.ensure(db, {"a": clock.time - 1, "b": clock.time - 2, "c": clock.time + 99})
    schedules.ensure(db, {"a": clock.time + 99})
    schedules.ensure(db, {})
    assert [one.name for one in schedules.claim_due(db, limit=5)] == ["b", "a"]
    assert schedules.make_due(db, "c")
    assert not schedules.make_due(db, "unknown")
    assert [one.name for one in schedules.claim_due(db)] == ["c"]


def test_of_many_who_claim_at_once_one_gets_it(db: Database, clock: FakeClock) -> None:
    schedules.ensure(db, {"poll": clock.time})
    start = threading.Barrier(8, timeout=20)

    def work(_number: int) -> int:
        start.wait()
        return len(schedules.claim_due(db))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, range(8))) == 1


def test_counters_are_the_sum_of_their_deltas_before_and_after_folding(db: Database) -> None:
    with db.write() as conn:
        counters.add(conn, {("f", "pending"): 3, ("f", "in_sync"): 0})
        counters.add(conn, {("f", "pending"): -1, ("f", "in_sync"): 1, ("g", "pending"): 1})
        counters.add(conn, {("g", "pending"): -1})
    expected = {("f", "pending"): 2, ("f", "in_sync"): 1}
    assert counters.by_state(db) == expected
    counters.fold(db)
    counters.fold(db)
    assert counters.by_state(db) == expected
    with db.read() as conn:
        assert conn.execute(select(func.count()).select_from(counter_delta)).scalar_one() == 2


def test_folding_while_others_count_loses_nothing(db: Database) -> None:
    stop = threading.Event()

    def fold() -> None:
        while not stop.is_set():
            counters.fold(db)

    def count() -> None:
        for _ in range(20):
            db.run(lambda conn: counters.add(conn, {("f", "pending"): 1}))

    folder = threading.Thread(target=fold)
    folder.start()
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(count) for _ in range(4)]:
            done.result()
    stop.set()
    folder.join()
    assert counters.by_state(db) == {("f", "pending"): 80}


def test_a_recount_starts_over_from_the_links_themselves(db: Database) -> None:
    with db.write() as conn:
        counters.add(conn, {("f", "failing"): 9})
        row = {"flow": "f", "entity": "customer", "created_at": 0.0}
        conn.execute(insert(link), [{**row, "crm_key": str(i), "state": "in_sync"} for i in range(4)])
    counters.recount(db)
    assert counters.by_state(db) == {("f", "in_sync"): 4}
