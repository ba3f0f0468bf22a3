"""What alerts are about: what stands in the tables, and since when, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.alerts import CUSTOMER, HOUR, by_mail, make_links, parse, subjects, text_of
from support.clock import FakeClock
from support.mail import MailSink
from support.rules import Make, answering, pair, row_of, worlds
from sync_worker.alerts.rule import Subject
from sync_worker.alerts.turn import Alerts
from sync_worker.store import counters, pauses, schedules
from sync_worker.store.session import Database


@pytest.fixture
def mail() -> Iterator[MailSink]:
    sink = MailSink()
    yield sink
    sink.stop()


# ----- what stands


def test_only_what_lasts_longer_than_after_hours_stands(db: Database) -> None:
    config = parse("after_hours = 4\n")
    make_links(db, 2, state="waiting", cause="match", hours=3.9)
    make_links(db, 3, state="waiting", cause="match", hours=4.1, first=2)
    make_links(db, 4, state="not_synced", cause="needs_manual", hours=99)
    make_links(db, 5, state="in_sync", cause="", hours=99)
    make_links(db, 6, state="waiting", cause="match", hours=99, first=9, flow="gone")
    assert subjects(db, config) == {Subject("links", "customers", "waiting", "match"): 3}


def test_a_link_that_is_tried_again_and_again_stands_and_one_that_nobody_tries_is_a_lag(db: Database) -> None:
    config = parse("after_hours = 4\n")
    now = db.clock()
    make_links(db, 2, state="pending", cause="rate_limited", hours=5, attempts=9, due_at=now + 200)
    make_links(db, 3, state="pending", cause="new", hours=5, due_at=now - 5 * HOUR)
    assert subjects(db, config) == {
        Subject("links", "customers", "pending", "rate_limited"): 2,
        Subject("lag", "customers"): 3,
    }


def test_a_flow_lags_when_work_is_due_for_longer_than_lag_seconds_and_bulk_work_has_more_time(db: Database) -> None:
    config = parse("after_hours = 4\nlag_seconds = 600\n")
    now = db.clock()
    make_links(db, 1, state="in_sync", cause="", hours=0, due_at=now - 599)
    make_links(db, 1, state="pending", cause="new", hours=1, due_at=now - HOUR, klass="bulk")
    assert subjects(db, config) == {}
    make_links(db, 1, state="in_sync", cause="", hours=0, first=1, due_at=now - 601)
    make_links(db, 1, state="pending", cause="new", hours=1, first=1, due_at=now - 601, lease_until=now + 9)
    assert subjects(db, config) == {Subject("lag", "customers"): 1}


@pytest.mark.parametrize(("kind", "name"), [("system", "crm"), ("flow", "customers")])
def test_what_a_pause_holds_up_is_told_by_the_pause_alone(
    db: Database, clock: FakeClock, mail: MailSink, kind: pauses.Kind, name: str
) -> None:
    pauses.pause(db, kind, name, "auth_failed", "HTTP 401")
    clock.advance(5 * HOUR)
    make_links(db, 9, state="pending", cause="new", hours=5, due_at=db.clock() - 5 * HOUR)
    make_links(db, 9, state="pending", cause="retrying", hours=5, attempts=3, due_at=db.clock() + 9)
    Alerts(db, by_mail(mail)).turn()
    assert mail.mails[0]["Subject"] == f"[sync-worker sync.example] {kind} {name}: paused"
    assert f"{kind} {name}: paused: for 5 h" in text_of(mail) and "links" not in text_of(mail)


def test_a_breaker_that_opens_for_a_moment_is_silent_and_one_that_keeps_opening_is_told_once(
    db: Database, clock: FakeClock, mail: MailSink
) -> None:
    alerts = Alerts(db, by_mail(mail))
    pauses.pause(db, "system", "crm", "unavailable", "", until=clock() + 60)
    alerts.turn()
    pauses.resume(db, "system", "crm")
    clock.advance(HOUR)
    alerts.turn()
    assert mail.mails == []
    for _ in range(30):
        pauses.pause(db, "system", "crm", "unavailable", "", until=clock() + 45)
        clock.advance(60)
        alerts.turn()
    assert [m["Subject"] for m in mail.mails] == ["[sync-worker sync.example] system crm: paused"]


def test_a_feed_that_fails_again_and_again_is_told(db: Database, clock: FakeClock, mail: MailSink) -> None:
    alerts = Alerts(db, by_mail(mail))
    schedules.ensure(db, {"poll:crm": clock(), "poll:gone": clock(), "retention": clock()})
    for _ in range(25):
        for claimed in schedules.claim_due(db, limit=9):
            schedules.finish(db, claimed.name, claimed.token, clock() + 60, "rejected: HTTP 400")
        alerts.turn()
        clock.advance(60)
    assert [m["Subject"] for m in mail.mails] == ["[sync-worker sync.example] task poll:crm: fails"]
    assert "rejected: HTTP 400" in text_of(mail)


# ----- since when


@pytest.fixture
def make(tmp_path: Path, database_url: str) -> Iterator[Make]:
    yield from worlds(tmp_path, database_url)


def test_a_link_remembers_since_when_it_fails_over_tries_and_forgets_it_when_it_is_well(make: Make) -> None:
    world = make()
    one = pair(world)
    well_since = row_of(world, crm=one.crm).state_at
    assert well_since is not None
    started = world.clock()
    with answering(world.erp, lambda request: request.method == "PATCH", "400"):
        world.edit_crm(one.crm, Comp_Name="Changed")
        world.settle()
        failing = row_of(world, crm=one.crm)
        assert failing.state == "failing" and failing.state_at is not None and failing.state_at >= started
        for turn in range(3):
            world.clock.advance(HOUR)
            world.edit_crm(one.crm, Comp_Name=f"Changed again {turn}")
            world.settle()
            assert row_of(world, crm=one.crm).state_at == failing.state_at
    world.clock.advance(HOUR)
    world.edit_crm(one.crm, Comp_Name="Accepted")
    world.settle()
    mended = row_of(world, crm=one.crm)
    assert mended.state == "in_sync" and mended.state_at is not None and mended.state_at > failing.state_at


def test_a_refused_create_that_is_tried_again_fails_since_the_first_time_and_is_counted_once(make: Make) -> None:
    world = make()
    with answering(world.erp, lambda request: request.method == "POST" and "customer" in request.path, "400"):
        key = world.new_crm(CUSTOMER)
        world.settle()
        first = row_of(world, crm=key)
        assert first.state == "failing"
        for _ in range(2):
            world.clock.advance(HOUR)
            world.notice("crm", key)
            world.settle()
    again = row_of(world, crm=key)
    assert (again.state, again.state_at) == ("failing", first.state_at)
    assert counters.by_state(world.db) == {("customers", "failing"): 1}
    world.notice("crm", key)
    world.settle()
    assert counters.by_state(world.db) == {("customers", "in_sync"): 1}
