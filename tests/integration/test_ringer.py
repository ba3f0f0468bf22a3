"""The ringer on a real database and queue server, and the scheduler's tasks in real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select

from support.valkey import QueueServer
from support.waiting import until
from sync_worker import broker
from sync_worker.broker import BULK, LIVE, NAMESPACE, QueueBroker
from sync_worker.doorbell import Doorbell
from sync_worker.errors import Rejected, SystemUnavailable
from sync_worker.events import Change, LinkClass
from sync_worker.housekeeping import Recheck, forget_old, recheck_due, tasks_for
from sync_worker.ringer import Ringer
from sync_worker.scheduler import describe, pause_after
from sync_worker.store import pauses, schedules
from sync_worker.store.inbox import Inbox, Listener
from sync_worker.store.session import Database
from sync_worker.store.tables import event
from sync_worker.store.touches import Touched

pytest_plugins = ("support.queues",)


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    database = Database(sqlite_url, durable=False)
    yield database
    database.close()


@pytest.fixture
def inbox(database: Database) -> Inbox:
    masks = {"customer": 1, "phone": 2}
    return Inbox(database, [Listener("customers", "customer", "crm", "crm", masks)])


@pytest.fixture
def ringer(database: Database, queue: QueueBroker) -> Ringer:
    return Ringer(database, Doorbell(queue), queue.client)


def edit(inbox: Inbox, *keys: str, entity: str = "customer", klass: LinkClass = "live") -> None:
    inbox.accept([Change("crm", entity, key) for key in keys], klass=klass)


def lengths(queue: QueueBroker) -> tuple[int, int]:
    return broker.queue_length(queue.client, LIVE), broker.queue_length(queue.client, BULK)


def test_nothing_due_rings_nothing(ringer: Ringer, queue: QueueBroker) -> None:
    assert ringer.tick() == 0
    assert lengths(queue) == (0, 0)


def test_a_due_link_whose_ring_was_lost_is_rung_for(ringer: Ringer, inbox: Inbox, queue: QueueBroker) -> None:
    edit(inbox, "1")
    assert ringer.tick() == 1
    assert lengths(queue) == (1, 0)


def test_bulk_work_is_rung_on_its_own_queue(ringer: Ringer, inbox: Inbox, queue: QueueBroker) -> None:
    edit(inbox, "1", klass="bulk")
    ringer.tick()
    assert lengths(queue) == (0, 1)


def test_a_wiped_queue_server_loses_nothing(ringer: Ringer, inbox: Inbox, queue: QueueBroker) -> None:
    edit(inbox, "1")
    ringer.tick()
    queue.client.flushall()
    assert ringer.tick() == 1
    assert lengths(queue) == (1, 0)


def test_it_rings_only_while_the_queue_is_shorter_than_the_threads(
    ringer: Ringer, inbox: Inbox, queue: QueueBroker
) -> None:
    edit(inbox, *(str(number) for number in range(1000)))
    broker.report_worker(queue.client, "host:1", 3)
    assert ringer.tick() == 3
    assert ringer.tick() == 0
    assert lengths(queue) == (3, 0)


def test_children_that_nobody_is_known_to_show_are_rung_for(ringer: Ringer, inbox: Inbox, queue: QueueBroker) -> None:
    edit(inbox, "77", entity="phone")
    assert ringer.tick() == 1
    [body] = queue.client.hvals(f"{NAMESPACE}:{LIVE}.msgs")
    assert b'"resolve_parts.live"' in body


def test_a_queue_server_that_is_away_stops_no_ringer(database: Database, inbox: Inbox) -> None:
    server = QueueServer()
    queue = broker.make_broker(server.url)
    ringer = Ringer(database, Doorbell(queue), queue.client)
    edit(inbox, "1")
    server.kill()
    assert ringer.tick() == 0
    server.start()
    until(lambda: ringer.tick() == 1)
    queue.close()
    server.close()


def test_a_failing_task_backs_off_and_never_returns_sooner_than_the_vendor_asked() -> None:
    error = SystemUnavailable("down")
    assert [pause_after(60, failures, error) for failures in (1, 2, 3)] == [120, 240, 240]
    assert pause_after(1, 9, error) == 30
    assert pause_after(1, 1, SystemUnavailable("down", after=500)) == 500
    assert pause_after(1, 1, ValueError()) == 2


def test_only_texts_of_our_own_errors_are_stored() -> None:
    assert describe(Rejected("no such column")) == "rejected: no such column"
    assert describe(ValueError("Ann Example <ann@example.org>")) == "ValueError"


def test_a_paused_system_is_asked_soon_at_first_and_rarely_later() -> None:
    assert not recheck_due(paused_for=5, since_last=5)
    assert recheck_due(paused_for=10, since_last=10)
    assert not recheck_due(paused_for=400, since_last=90)
    assert recheck_due(paused_for=400, since_last=100)
    assert recheck_due(paused_for=1_000_000, since_last=900)


class Vendor:
    """As much of a connector as asking whether it lets us in needs."""

    system = "crm"

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.asked = 0

    def read_many(self, entity: str, asks: object) -> dict[str, None]:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return {}


def test_a_system_the_worker_paused_resumes_by_itself_once_it_lets_us_in(sqlite_url: str) -> None:
    now = [1_000.0]
    database = Database(sqlite_url, clock=lambda: now[0], durable=False)
    vendor = Vendor()
    recheck = Recheck(database, {"crm": vendor}, monotonic=lambda: now[0])  # type: ignore[dict-item]  # what it needs
    pauses.pause(database, "system", "crm", "auth_failed")
    recheck.turn()
    assert vendor.asked == 0, "a fresh pause is given a moment"
    now[0] += 10
    vendor.error = SystemUnavailable("still down")
    recheck.turn()
    recheck.turn()
    assert (vendor.asked, len(pauses.current(database))) == (1, 1)
    now[0] += 10
    vendor.error = None
    recheck.turn()
    assert (vendor.asked, pauses.current(database)) == (2, {})
    database.close()


def test_a_person_s_pause_is_left_alone(sqlite_url: str) -> None:
    now = [1_000.0]
    database = Database(sqlite_url, clock=lambda: now[0], durable=False)
    vendor = Vendor()
    pauses.pause(database, "system", "crm", pauses.BY_PERSON)
    now[0] += 10_000
    Recheck(database, {"crm": vendor}, monotonic=lambda: now[0]).turn()  # type: ignore[dict-item]  # what it needs
    assert (vendor.asked, len(pauses.current(database))) == (0, 1)
    database.close()


def application(database: Database, **systems: SimpleNamespace) -> Any:
    """As much of an application as the list of tasks needs; its feeds say what they were asked."""
    asked: list[tuple[str, str]] = []

    def look(what: str) -> Callable[[str], tuple[Touched, ...]]:
        def feed(system: str) -> tuple[Touched, ...]:
            asked.append((what, system))
            return (Touched(1, "customers", "customer", "live"),)

        return feed

    feeds = SimpleNamespace(poll=look("poll"), sweep=look("sweep"), drain=look("drain"))
    feeds.poll_invoices, feeds.reads_invoices = look("invoices"), lambda system: system == "erp"
    retention = SimpleNamespace(events_days=90, journal_days=730)
    alerts = SimpleNamespace(tells_somebody=False)
    config = SimpleNamespace(systems=systems, retention=retention, alerts=alerts)
    return SimpleNamespace(db=database, config=config, systems=systems, flows={}, feeds=feeds, asked=asked)


def test_every_system_is_polled_and_swept_and_event_queues_are_drained_where_there_are_some(
    database: Database, queue: QueueBroker, ringer: Ringer
) -> None:
    erp = SimpleNamespace(poll_seconds=7.0, sweep_seconds=90.0, event_queue=True)
    crm = SimpleNamespace(poll_seconds=60.0, sweep_seconds=900.0, event_queue=False)
    app = application(database, erp=erp, crm=crm)
    tasks = {task.name: task for task in tasks_for(app, Doorbell(queue), ringer)}
    assert {name: task.every for name, task in tasks.items() if ":" in name} == {
        "poll:erp": 7.0,
        "sweep:erp": 90.0,
        "events:erp": 7.0,
        "invoices:erp": 7.0,  # only where a flow waits for them
        "managers:erp": 900.0,
        "poll:crm": 60.0,
        "sweep:crm": 900.0,
        "managers:crm": 900.0,
    }
    assert tasks["ring"].steady
    assert tasks["ring"].every == 1.0
    for name in ("poll:erp", "events:erp", "sweep:crm", "invoices:erp"):
        tasks[name].work()
    assert app.asked == [("poll", "erp"), ("drain", "erp"), ("sweep", "crm"), ("invoices", "erp")]
    assert lengths(queue) == (4, 0), "what a feed touched was not rung for"


def test_events_older_than_configured_are_forgotten(sqlite_url: str) -> None:
    now = [1_000_000_000.0]
    database = Database(sqlite_url, clock=lambda: now[0], durable=False)
    inbox = Inbox(database, [Listener("customers", "customer", "crm", "crm", {"customer": 1})])
    edit(inbox, "old")
    now[0] += 91 * 86_400
    edit(inbox, "new")
    forget_old(application(database))
    with database.read() as conn:
        assert conn.execute(select(event.c.key)).scalars().all() == ["new"]
    database.close()


SCHEDULER = """
import os, sys, threading, time
from pathlib import Path
from sync_worker.errors import SystemUnavailable
from sync_worker.processes import StopSignal
from sync_worker.scheduler import Scheduler
from sync_worker.task import Task
from sync_worker.store.session import Database

diary = Path(sys.argv[2])
lock = threading.Lock()

def note(*words):
    with lock, diary.open("a") as file:
        file.write(" ".join(str(word) for word in words) + "\\n")

def slow():
    note("slow-begin", os.getpid())
    time.sleep(0.3)
    note("slow-end", os.getpid())

def failing():
    note("failing", os.getpid())
    raise SystemUnavailable("does not answer")

hang = threading.Event()
tasks = [
    Task("ring", 0.05, lambda: note("ring", os.getpid()), steady=True),
    Task("slow", 0.1, slow),
    Task("failing", 0.1, failing),
    Task("hanging", 60, lambda: hang.wait(4)),
]
clock = lambda: time.time() - 3600 * diary.with_name("set-back").exists()
sys.exit(Scheduler(Database(sys.argv[1], durable=False, clock=clock), tasks).run(StopSignal()))
"""


class SchedulerProcess:
    def __init__(self, url: str, diary: Path) -> None:
        self.diary = diary
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCHEDULER, url, str(diary)], env=environment, stdout=subprocess.DEVNULL
        )

    def notes(self, word: str) -> list[str]:
        """Process ids that wrote this word, oldest first."""
        rows = self.diary.read_text().splitlines() if self.diary.exists() else []
        return [row.split()[1] for row in rows if row.split()[0] == word]


@pytest.fixture
def start(tmp_path: Path, sqlite_url: str) -> Iterator[Callable[[], SchedulerProcess]]:
    started: list[SchedulerProcess] = []

    def one() -> SchedulerProcess:
        started.append(SchedulerProcess(sqlite_url, tmp_path / "diary"))
        return started[-1]

    yield one
    for scheduler in started:
        scheduler.process.kill()
        scheduler.process.wait()


def test_failing_and_hanging_tasks_stop_no_other_and_the_error_is_stored(
    start: Callable[[], SchedulerProcess], database: Database
) -> None:
    scheduler = start()
    until(lambda: len(scheduler.notes("slow-end")) >= 2 and len(scheduler.notes("ring")) >= 20)
    until(lambda: len(scheduler.notes("failing")) >= 2)
    rows = {row.name: row for row in schedules.statuses(database)}
    assert rows["failing"].last_error == "system_unavailable: does not answer"
    assert rows["failing"].last_at is None
    assert rows["slow"].last_error is None
    assert rows["hanging"].running


def test_two_schedulers_never_run_a_task_twice_at_once(start: Callable[[], SchedulerProcess]) -> None:
    first, second = start(), start()
    until(lambda: len(first.notes("slow-end")) >= 6)
    rows = [row.split()[0] for row in first.diary.read_text().splitlines() if row.startswith("slow")]
    assert all(rows[i] == ("slow-begin", "slow-end")[i % 2] for i in range(len(rows)))
    assert len(set(first.notes("ring"))) == 1, "the ringer's lease is kept by one"
    assert second.process.poll() is None


def test_when_the_ringing_scheduler_stops_the_other_takes_over(start: Callable[[], SchedulerProcess]) -> None:
    first, second = start(), start()
    until(lambda: first.notes("ring"))
    [pid] = set(first.notes("ring"))
    ringing, other = (first, second) if str(first.process.pid) == pid else (second, first)
    ringing.process.send_signal(signal.SIGTERM)
    until(lambda: str(other.process.pid) in first.notes("ring"))


def test_a_clock_that_is_set_back_makes_no_task_wait(start: Callable[[], SchedulerProcess]) -> None:
    scheduler = start()
    until(lambda: scheduler.notes("slow-end"))
    scheduler.diary.with_name("set-back").touch()
    done = len(scheduler.notes("slow-end"))
    until(lambda: len(scheduler.notes("slow-end")) >= done + 3)


def test_a_stop_signal_ends_the_scheduler_with_exit_code_0(start: Callable[[], SchedulerProcess]) -> None:
    scheduler = start()
    until(lambda: scheduler.notes("ring"))
    scheduler.process.send_signal(signal.SIGTERM)
    assert scheduler.process.wait(timeout=20) == 0
