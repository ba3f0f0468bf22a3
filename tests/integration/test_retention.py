"""Retention: what is old goes, in portions and in several goes; what the rules and people still need stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import Connection, Table, func, insert, select

from support.clock import FakeClock
from sync_worker.events import Side
from sync_worker.housekeeping import forget_old
from sync_worker.store import retention, watermarks
from sync_worker.store.retention import DAY, forget
from sync_worker.store.session import Database
from sync_worker.store.tables import account, event, journal, link, open_field, part, run, run_row, secret, session

SHOWING: dict[str, list[tuple[str, str, Side]]] = {
    "crm": [("customers", "customer", "crm"), ("branch", "customer", "crm")],
    "erp": [("customers", "customer", "erp")],
}


@pytest.fixture(autouse=True)
def small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "PORTION", 3)
    monkeypatch.setattr(retention, "SCANNED", 4)


@pytest.fixture
def portions(db: Database, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each deletion took, in order."""
    seen: list[int] = []
    plain = db.run

    def watched(fn: Callable[[Connection], int]) -> int:
        removed = plain(fn)
        seen.append(removed)
        return removed

    monkeypatch.setattr(db, "run", watched)
    return seen


def go(db: Database, *, seconds: float = 60.0, monotonic: Callable[[], float] = lambda: 0.0) -> retention.Forgotten:
    return forget(
        db,
        events_days=90,
        journal_days=730,
        showing=SHOWING,
        seconds=seconds,
        monotonic=monotonic,
        rest=lambda _seconds: None,
    )


def count(db: Database, table: Table) -> int:
    with db.read() as conn:
        return int(conn.execute(select(func.count()).select_from(table)).scalar_one())


def put(db: Database, table: Table, *rows: dict[str, Any]) -> None:
    with db.write() as conn:
        conn.execute(insert(table), list(rows))


def notice(at: float) -> dict[str, Any]:
    return {"system": "crm", "entity": "customer", "key": "1", "op": "updated", "via": "poll", "received_at": at}


def entry(what: str, at: float) -> dict[str, Any]:
    return {"flow": "customers", "what": what, "at": at, "link_id": 7}


def half(key: str, *, flow: str = "customers", **more: Any) -> dict[str, Any]:
    return {"flow": flow, "entity": "customer", "crm_key": key, "created_at": 0.0, "state": "in_sync", **more}


def test_old_events_and_journal_entries_go_in_small_portions_and_the_young_ones_stay(
    db: Database, clock: FakeClock, portions: list[int]
) -> None:
    now = clock.time
    put(db, event, *(notice(now - days * DAY) for days in range(82, 100)))
    put(db, journal, *(entry("update", now - days * DAY) for days in range(725, 740)))
    assert go(db) == retention.Forgotten(
        {"event": 9, "journal": 9, "run_row": 0, "run": 0, "session": 0, "secret": 0, "part": 0}, finished=True
    )
    assert max(portions) <= 3
    with db.read() as conn:
        assert min(conn.execute(select(event.c.received_at)).scalars()) == now - 90 * DAY
        assert min(conn.execute(select(journal.c.at)).scalars()) == now - 730 * DAY


def test_what_is_left_when_the_time_is_up_is_taken_up_by_the_next_go(db: Database, clock: FakeClock) -> None:
    put(db, event, *(notice(clock.time - 91 * DAY) for _ in range(10)))
    ticks = iter(float(number) for number in range(1000))
    first = go(db, seconds=4.0, monotonic=lambda: next(ticks))
    assert first.finished is False
    assert 0 < first.rows["event"] < 10
    assert count(db, event) == 10 - first.rows["event"]
    assert go(db).finished
    assert count(db, event) == 0


def test_others_get_half_of_the_time_of_the_one_writer(db: Database, clock: FakeClock) -> None:
    put(db, event, *(notice(clock.time - 91 * DAY) for _ in range(7)))
    time = [0.0]
    rests: list[float] = []

    def tick() -> float:
        time[0] += 0.25
        return time[0]

    forget(db, events_days=90, journal_days=730, showing={}, seconds=100.0, monotonic=tick, rest=rests.append)
    assert rests
    assert set(rests) == {0.25}


def test_e8_the_journal_of_the_last_day_stays_whatever_is_configured(db: Database, clock: FakeClock) -> None:
    put(db, journal, *(entry("unlinked", clock.time - hours * 3600) for hours in (0, 1, 23, 25)))
    forget(db, events_days=0, journal_days=0, showing=SHOWING, monotonic=lambda: 0.0)
    with db.read() as conn:
        left = conn.execute(select(journal.c.at).order_by(journal.c.at)).scalars()
        assert [clock.time - at for at in left] == [23 * 3600, 3600, 0]


def test_links_and_what_waits_stay_however_old_they_are(db: Database) -> None:
    put(db, link, half("1", id=1, state="waiting"), half("2", id=2, state="unlinked", was_linked_to={"id": 9}))
    put(db, open_field, {"link_id": 1, "field": "account_manager", "why": "waiting", "waiting_on": "x", "at": 0.0})
    go(db)
    assert (count(db, link), count(db, open_field)) == (2, 1)


def test_runs_go_with_the_journal_their_rows_first_and_one_that_has_not_ended_stays(
    db: Database, clock: FakeClock, portions: list[int]
) -> None:
    base = {"kind": "import", "flow": "customers", "state": "done"}
    ends = {1: clock.time - 731 * DAY, 2: clock.time - 729 * DAY, 3: None}
    put(db, run, *({**base, "id": id, "started_at": 0.0, "ended_at": at} for id, at in ends.items()))
    put(db, run_row, *({"run_id": id, "key": str(key), "verdict": "created"} for id in ends for key in range(8)))
    removed = go(db).rows
    assert (removed["run_row"], removed["run"]) == (8, 1)
    assert max(portions) <= 3
    with db.read() as conn:
        assert conn.execute(select(run.c.id).order_by(run.c.id)).scalars().all() == [2, 3]
    assert count(db, run_row) == 16


def test_sessions_go_when_they_expire_and_secrets_long_after_nobody_used_them(db: Database, clock: FakeClock) -> None:
    now, old = clock.time, clock.time - 31 * DAY
    put(db, account, {"id": 1, "name": "ann", "password_hash": "x", "role": "admin", "created_at": 0.0})
    put(db, session, *({"id": str(n), "account_id": 1, "expires_at": now + n} for n in (-1, 1)))
    stored = {
        "renewed lately": (now - DAY, now - DAY),
        "claim in use": (0.0, now - DAY),
        "claim of a login that is gone": (0.0, old),
        "token of a login that is gone": (old, old - DAY),
        "typed by a person": (None, old),
        "valid for years": (now + DAY, old),
    }
    rows = [{"name": n, "value": b"", "expires_at": ends, "at": at} for n, (ends, at) in stored.items()]
    put(db, secret, *rows)
    removed = go(db).rows
    assert (removed["session"], removed["secret"]) == (1, 2)
    with db.read() as conn:
        left = set(conn.execute(select(secret.c.name)).scalars())
    assert stored.keys() - left == {"claim of a login that is gone", "token of a login that is gone"}


def phones(owners: dict[str, str], system: str = "crm") -> Iterator[dict[str, Any]]:
    for key, owner in owners.items():
        due = {} if owner else {"due_at": 5.0}
        yield {"system": system, "entity": "phone", "key": key, "owner_key": owner, "attempts": 0, "due_at": None} | due


def test_child_rows_of_records_without_a_link_go_and_all_others_stay(db: Database) -> None:
    put(db, link, half("1"), half("2", flow="branch"), half("3", flow="another"), half("4", state="unlinked"))
    owned = {"a": "1", "b": "2", "c": "3", "d": "4", "e": "5", "f": "", "g": "6"}
    put(db, part, *phones(owned), *phones({"x": "1"}, "erp"), *phones({"y": "1"}, "not_configured"))
    assert go(db).rows["part"] == 4
    with db.read() as conn:
        left = set(conn.execute(select(part.c.key)).scalars())
    assert left == {"a", "b", "d", "f", "y"}, "shown by a linked or an unlinked record, due, or of another system"


def test_the_scheduler_knows_which_flows_show_the_records_of_a_system(db: Database) -> None:
    flow = SimpleNamespace(name="customers", entity="customer", systems={"erp": "acme", "crm": "crm"})
    config = SimpleNamespace(retention=SimpleNamespace(events_days=90, journal_days=730))
    app = SimpleNamespace(db=db, config=config, flows={"customers": flow})
    put(db, link, half("1", erp_key="7"))
    put(db, part, *phones({"a": "1", "b": "7"}), *phones({"c": "7", "d": "1"}, "acme"))
    forget_old(cast(Any, app))
    with db.read() as conn:
        assert set(conn.execute(select(part.c.key)).scalars()) == {"a", "c"}


def test_the_search_for_ownerless_child_rows_goes_on_where_it_stopped_and_then_starts_again(db: Database) -> None:
    put(db, link, half("1"))
    put(db, part, *phones({f"a{n}": "1" for n in range(10)} | {"z": "gone"}))
    ticks = iter(float(number) for number in range(1000))
    assert not forget(
        db,
        events_days=90,
        journal_days=730,
        showing={"crm": SHOWING["crm"]},
        seconds=15.0,
        monotonic=lambda: next(ticks),
        rest=lambda _seconds: None,
    ).finished
    assert int(watermarks.get(db, "crm", "part", "retention") or 0) > 0
    assert go(db).rows["part"] == 1
    assert watermarks.get(db, "crm", "part", "retention") == "0"
    put(db, part, *phones({"b": "gone"}))
    assert go(db).rows["part"] == 1
    assert count(db, part) == 10
