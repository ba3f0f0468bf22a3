"""Group commit: many submit, one thread stores, nobody is answered before the commit."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future

import pytest
from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from sync_worker.events import Change
from sync_worker.store import inbox_writer
from sync_worker.store.inbox import Accepted, Handed, Inbox, Listener
from sync_worker.store.inbox_writer import InboxFull, InboxWriter
from sync_worker.store.session import Database
from sync_worker.store.tables import event, link
from sync_worker.store.touches import Touched

CRM = Listener("customers", "customer", "crm", "crm", {"customer": 1, "phone": 4})
PATIENCE = 20


class Bell:
    """Records what each commit touched."""

    def __init__(self) -> None:
        self.rung: list[tuple[Touched, ...]] = []

    def __call__(self, touched: Sequence[Touched]) -> None:
        self.rung.append(tuple(touched))


@pytest.fixture
def bell() -> Bell:
    return Bell()


Submit = Callable[..., "Future[Accepted]"]


class _TakenBack(Exception):
    """A transaction that was not to be."""


class Callers:
    """An event loop in a thread of its own, as the web process has one: who hands notices over waits there."""

    def __init__(self, writer: InboxWriter, loop: asyncio.AbstractEventLoop) -> None:
        self._writer = writer
        self._loop = loop

    def submit(self, changes: list[Change], *more: str) -> Future[Accepted]:
        """Begin to wait for the commit; the notices have been handed over, or refused, when this returns."""
        given = threading.Event()

        async def store() -> Accepted:
            asyncio.get_running_loop().call_soon(given.set)
            return await self._writer.store(changes, *more)  # type: ignore[arg-type]  # class and permission as text

        future = asyncio.run_coroutine_threadsafe(store(), self._loop)
        assert given.wait(PATIENCE)
        return future


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    thread = threading.Thread(target=made.run_forever)
    thread.start()
    yield made
    made.call_soon_threadsafe(made.stop)
    thread.join(PATIENCE)
    made.close()


class Door(Inbox):
    """Lets a transaction begin only while it is open, and then says which notices went in."""

    def __init__(self, db: Database) -> None:
        super().__init__(db, [CRM])
        self.asked = threading.Semaphore(0)
        self.open = threading.Event()
        self.open.set()
        self.away: SQLAlchemyError | None = None

    def accept_all(self, handed: Callable[[], Iterable[Handed]]) -> Accepted:
        self.asked.release()
        assert self.open.wait(PATIENCE)
        if self.away is not None:
            raise self.away
        return super().accept_all(handed)


@pytest.fixture
def door(db: Database) -> Door:
    return Door(db)


@pytest.fixture
def writer(door: Door, bell: Bell) -> Iterator[InboxWriter]:
    made = InboxWriter(door, bell)
    yield made
    made.close()


@pytest.fixture
def submit(writer: InboxWriter, loop: asyncio.AbstractEventLoop) -> Submit:
    return Callers(writer, loop).submit


def notice(key: str, notice_id: str | None = None) -> Change:
    return Change("crm", "customer", key, notice_id=notice_id)


def events(db: Database) -> int:
    with db.read() as conn:
        return int(conn.execute(select(func.count()).select_from(event)).scalar_one())


def held_up(door: Door, submit: Submit, then: Sequence[list[Change]]) -> list[Future[Accepted]]:
    """Submit while the writer waits for the database with the first, so that all of ``then`` comes meanwhile."""
    door.open.clear()
    first = submit([notice("first", "first")])
    assert door.asked.acquire(timeout=PATIENCE)
    rest = [submit(changes) for changes in then]
    door.open.set()
    return [first, *rest]


def test_a_caller_is_answered_after_the_commit(db: Database, submit: Submit) -> None:
    accepted = submit([notice("43", "n1")]).result(PATIENCE)
    assert (accepted.events, events(db), len(accepted.touched)) == (1, 1, 1)


def test_what_comes_while_the_database_is_waited_for_joins_that_commit_and_its_ring(
    door: Door, db: Database, writer: InboxWriter, submit: Submit, bell: Bell
) -> None:
    futures = held_up(door, submit, [[notice(str(i), f"n{i}")] for i in range(50)])
    outcomes = [future.result(PATIENCE) for future in futures]
    assert len({id(outcome) for outcome in outcomes}) == 1
    assert (outcomes[0].events, len(outcomes[0].touched), events(db)) == (51, 51, 51)
    writer.close()
    assert [len(touched) for touched in bell.rung] == [51]


def test_a_group_is_no_larger_than_asked_for(door: Door, bell: Bell, loop: asyncio.AbstractEventLoop) -> None:
    writer = InboxWriter(door, bell, max_group=20)
    for future in held_up(door, Callers(writer, loop).submit, [[notice(str(i))] for i in range(50)]):
        future.result(PATIENCE)
    writer.close()
    assert [len(touched) for touched in bell.rung] == [20, 20, 11]


def test_a_transaction_that_is_repeated_stores_all_that_has_joined_it(
    door: Door, db: Database, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[int] = []

    def once_more(fn: Callable[[Connection], Accepted]) -> Accepted:
        """As after a deadlock: what was written the first time is taken back."""
        with contextlib.suppress(_TakenBack), db.write() as conn:
            failed.append(fn(conn).events)
            raise _TakenBack
        with db.write() as conn:
            return fn(conn)

    monkeypatch.setattr(db, "run", once_more)
    futures = held_up(door, submit, [[notice(str(i), f"n{i}")] for i in range(5)])
    assert [future.result(PATIENCE).events for future in futures] == [6] * 6
    assert (failed, events(db)) == ([6], 6)


class Gathering(threading.Event):
    """Counts how often somebody was waited for in vain."""

    in_vain = 0

    def wait(self, timeout: float | None = None) -> bool:
        came = super().wait(timeout)
        self.in_vain += not came
        return came


def test_a_burst_waits_for_as_many_as_were_answered_and_for_nobody_else(
    writer: InboxWriter, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three senders, each of whom sends the next notice when the last one was answered, are never a crowd of twenty."""
    monkeypatch.setattr(inbox_writer, "GATHER_SECONDS", 2.0)
    monkeypatch.setattr(inbox_writer, "BURST_SECONDS", 60.0)
    gathering = Gathering()
    monkeypatch.setattr(writer, "_crowd", gathering)

    async def send(sender: int) -> int:
        return sum([(await writer.store([notice(f"{sender}-{i}")])).events > 0 for i in range(50)])

    async def burst() -> list[int]:
        return await asyncio.gather(*(send(sender) for sender in range(3)))

    assert asyncio.run_coroutine_threadsafe(burst(), loop).result(60) == [50, 50, 50]
    assert gathering.in_vain <= 2, "only for those who have sent their last may somebody wait"


def test_classes_and_permissions_of_one_group_stay_apart(door: Door, db: Database, submit: Submit) -> None:
    door.open.clear()
    one = submit([notice("1")], "bulk", "import")
    assert door.asked.acquire(timeout=PATIENCE)
    two = submit([notice("2")])
    door.open.set()
    assert one.result(PATIENCE) is two.result(PATIENCE)
    with db.read() as conn:
        rows = conn.execute(select(link.c.crm_key, link.c.klass, link.c.may_create).order_by(link.c.crm_key)).all()
    assert [tuple(row) for row in rows] == [("1", "bulk", "import"), ("2", "live", None)]


def test_a_repeated_notice_is_acknowledged_and_rings_nobody(writer: InboxWriter, submit: Submit, bell: Bell) -> None:
    submit([notice("43", "n1")]).result(PATIENCE)
    assert submit([notice("43", "n1")]).result(PATIENCE) == Accepted(0, (), 0)
    writer.close()
    assert len(bell.rung) == 1


def test_a_database_error_reaches_everybody_in_the_group_and_the_writer_lives_on(
    db: Database, writer: InboxWriter, submit: Submit, bell: Bell
) -> None:
    with db.write() as conn:
        conn.execute(text("ALTER TABLE event RENAME TO event_away"))
    with pytest.raises(SQLAlchemyError):
        submit([notice("43", "n1")]).result(PATIENCE)
    with db.write() as conn:
        conn.execute(text("ALTER TABLE event_away RENAME TO event"))
    assert submit([notice("43", "n1")]).result(PATIENCE).events == 1
    writer.close()
    assert len(bell.rung) == 1


def test_whoever_waits_is_told_at_once_that_no_transaction_came_about(door: Door, db: Database, submit: Submit) -> None:
    """Each try may take as long as a database is waited for: nobody waits for a second one."""
    door.away = OperationalError("BEGIN", {}, Exception("database is locked"))
    futures = held_up(door, submit, [[notice(str(i), f"n{i}")] for i in range(5)])
    for future in futures:
        with pytest.raises(OperationalError):
            future.result(PATIENCE)
    assert not door.asked.acquire(blocking=False), "one try answered them all"
    door.away = None
    assert submit([notice("42", "n0")]).result(PATIENCE).events == 1
    assert events(db) == 1


def test_close_stores_what_was_submitted_and_refuses_what_comes_later(
    db: Database, writer: InboxWriter, submit: Submit
) -> None:
    futures = [submit([notice(str(i), f"n{i}")]) for i in range(200)]
    writer.close()
    assert sum(future.result(PATIENCE) is not None for future in futures) == 200
    assert events(db) == 200
    with pytest.raises(InboxFull):
        submit([notice("late")]).result(PATIENCE)
    writer.close()


@pytest.mark.parametrize("sizes", [[1] * 11, [10, 1]])
def test_too_many_waiting_changes_are_refused_instead_of_piled_up(
    door: Door, db: Database, bell: Bell, loop: asyncio.AbstractEventLoop, sizes: list[int]
) -> None:
    writer = InboxWriter(door, bell, max_waiting=11)  # with the one of the commit that is under way
    told = [[notice(f"{n}-{i}") for i in range(size)] for n, size in enumerate(sizes)]
    *stored, refused = held_up(door, Callers(writer, loop).submit, told)
    with pytest.raises(InboxFull):
        refused.result(PATIENCE)
    assert len({id(future.result(PATIENCE)) for future in stored}) == 1
    writer.close()
    assert events(db) == 11


def test_a_notice_of_more_changes_than_may_wait_is_taken_and_what_is_stored_or_failed_waits_no_more(
    door: Door, db: Database, bell: Bell, loop: asyncio.AbstractEventLoop
) -> None:
    writer = InboxWriter(door, bell, max_waiting=10)
    submit = Callers(writer, loop).submit
    assert submit([notice(str(i)) for i in range(50)]).result(PATIENCE).events == 50
    door.away = OperationalError("BEGIN", {}, Exception("database is locked"))
    with pytest.raises(OperationalError):
        submit([notice(str(i)) for i in range(50)]).result(PATIENCE)
    door.away = None
    assert submit([notice(str(i)) for i in range(50)]).result(PATIENCE).events == 50
    assert writer.waiting == 0
    writer.close()
    assert events(db) == 100


def test_what_a_caller_handed_over_before_it_went_away_is_stored(
    door: Door, db: Database, writer: InboxWriter, submit: Submit
) -> None:
    door.open.clear()
    gone = submit([notice("42", "n1")])
    assert door.asked.acquire(timeout=PATIENCE)
    assert gone.cancel()
    door.open.set()
    assert submit([notice("43")]).result(PATIENCE).events >= 1
    writer.close()
    assert events(db) == 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_in_the_ring_ends_the_writer_and_strands_nobody(db: Database, loop: asyncio.AbstractEventLoop) -> None:
    waiting: list[Future[Accepted]] = []

    def broken(_touched: Sequence[Touched]) -> None:
        waiting.extend(callers.submit([notice(key)]) for key in ("43", "44", "45"))
        assert waiting[1].cancel()
        raise ZeroDivisionError

    writer = InboxWriter(Inbox(db, [CRM]), broken)
    callers = Callers(writer, loop)
    assert writer.alive
    assert callers.submit([notice("42")]).result(PATIENCE).events == 1
    writer.close()
    assert not writer.alive
    for stranded in (waiting[0], waiting[2]):
        with pytest.raises(InboxFull):
            stranded.result(PATIENCE)
    with pytest.raises(InboxFull):
        callers.submit([notice("44")]).result(PATIENCE)
