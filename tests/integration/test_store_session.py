"""Transactions, snapshots and time behave alike on SQLite and PostgreSQL."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import cast

import pytest
from sqlalchemy import Connection, insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from support.clock import FakeClock
from sync_worker.errors import ConfigError
from sync_worker.store import counters, session
from sync_worker.store.session import Database, lock_waiting_key
from sync_worker.store.tables import link, open_field, watermark


def put_mark(conn: Connection, name: str, value: str) -> None:
    conn.execute(insert(watermark).values(system="crm", entity="customer", feed=name, value=value, at=0.0))


def marks(db: Database) -> dict[str, str]:
    with db.read() as conn:
        return {row.feed: row.value for row in conn.execute(select(watermark.c.feed, watermark.c.value))}


def test_a_write_is_kept_and_an_exception_undoes_all_of_it(db: Database) -> None:
    with db.write() as conn:
        put_mark(conn, "a", "1")
    with pytest.raises(ZeroDivisionError), db.write() as conn:
        put_mark(conn, "b", "2")
        _ = 1 / 0
    assert marks(db) == {"a": "1"}


def test_a_reader_sees_one_snapshot_while_others_write(db: Database) -> None:
    with db.read() as conn:
        before = conn.execute(select(watermark)).all()
        with db.write() as writer:
            put_mark(writer, "late", "1")
        assert conn.execute(select(watermark)).all() == before
    assert marks(db) == {"late": "1"}


def test_a_reader_cannot_write(db: Database) -> None:
    with db.read() as conn, pytest.raises(DBAPIError):
        put_mark(conn, "a", "1")
    assert marks(db) == {}


def test_foreign_keys_hold(db: Database) -> None:
    with pytest.raises(IntegrityError), db.write() as conn:
        conn.execute(insert(open_field).values(link_id=99, field="name", why="waiting", at=0.0))


def test_text_and_json_come_back_as_they_were_typed(db: Database) -> None:
    typed = 'Ünïcode 🙂 "quoted" \'; DROP TABLE link; -- שלום <script>'
    was = {"name": typed, "leading": "007", "none": None}
    with db.write() as conn:
        conn.execute(
            insert(link).values(flow="f", entity="customer", created_at=0.0, erp_ref=typed, erp_was=was, crm_was=None)
        )
    with db.read() as conn:
        row = conn.execute(select(link.c.erp_ref, link.c.erp_was, link.c.crm_was)).one()
        assert tuple(row) == (typed, was, None)
        assert conn.execute(select(link.c.id).where(link.c.crm_was.is_(None))).all() != []


def test_many_threads_lose_no_update(db: Database) -> None:
    with db.write() as conn:
        put_mark(conn, "sum", "0")
    failures: list[BaseException] = []

    def add(conn: Connection) -> None:
        c = watermark.c
        value = conn.execute(select(c.value).where(c.feed == "sum").with_for_update()).scalar_one()
        conn.execute(update(watermark).where(c.feed == "sum").values(value=str(int(value) + 1)))

    def work() -> None:
        try:
            for _ in range(10):
                db.run(add)
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert marks(db) == {"sum": "80"}


def test_run_repeats_a_transaction_that_lost_a_deadlock(postgresql_url: str) -> None:
    db = Database(postgresql_url)
    meet = threading.Barrier(2, timeout=10)
    tries = {"ab": 0, "ba": 0}
    with db.write() as conn:
        put_mark(conn, "a", "0")
        put_mark(conn, "b", "0")

    def lock_both(order: str) -> None:
        def work(conn: Connection) -> None:
            tries[order] += 1
            for place, name in enumerate(order):
                conn.execute(update(watermark).where(watermark.c.feed == name).values(value=order))
                if place == 0 and tries[order] == 1:
                    meet.wait()

        db.run(work)

    threads = [threading.Thread(target=lock_both, args=(order,)) for order in tries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(tries.values()) == 3
    assert len(set(marks(db).values())) == 1
    db.close()


def test_run_does_not_repeat_what_cannot_succeed(db: Database) -> None:
    tries = []

    def work(conn: Connection) -> None:
        tries.append(1)
        put_mark(conn, "a", "1")
        put_mark(conn, "a", "1")

    with pytest.raises(IntegrityError):
        db.run(work)
    assert len(tries) == 1


def test_a_write_inside_a_write_of_the_same_thread_is_called_a_bug(sqlite_url: str) -> None:
    db = Database(sqlite_url)
    with db.write(), pytest.raises(RuntimeError, match="already open"), db.write():
        pass
    db.close()


def test_two_processes_worth_of_sqlite_writers_wait_for_each_other(sqlite_url: str) -> None:
    one, two = Database(sqlite_url), Database(sqlite_url)
    done = threading.Event()

    def second() -> None:
        counters.fold(two)
        done.set()

    with one.write() as conn:
        put_mark(conn, "a", "1")
        thread = threading.Thread(target=second)
        thread.start()
        assert not done.wait(0.1)
    thread.join()
    assert done.is_set()
    one.close()
    two.close()


def test_sqlite_is_durable_and_in_write_ahead_mode(sqlite_url: str) -> None:
    db = Database(sqlite_url)
    with db.write() as conn:
        assert conn.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
        assert conn.execute(text("PRAGMA synchronous")).scalar_one() == 2
    db.close()


def test_the_injected_clock_decides_and_otherwise_the_database(database_url: str) -> None:
    fake = Database(database_url, clock=FakeClock(42.0))
    real = Database(database_url)
    with fake.read() as conn:
        assert fake.now(conn) == 42.0
    with real.read() as conn:
        assert abs(real.now(conn) - time.time()) < 60
    fake.close()
    real.close()


def test_e2_an_answer_that_was_long_on_its_way_does_not_set_the_clock_back(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds, delay = [100.0], [0.0]

    class Server:
        """PostgreSQL, 5,000 s ahead of our monotonic clock; its answers take ``delay``."""

        def execute(self, _statement: object) -> Server:
            self._at = 5_000 + seconds[0]
            seconds[0] += delay[0]
            return self

        def scalar_one(self) -> float:
            return self._at

    monkeypatch.setattr(session, "time", SimpleNamespace(monotonic=lambda: seconds[0]))
    db, server = Database("postgresql://sync@127.0.0.1:1/none"), cast("Connection", Server())
    assert db.now(server) == db.clock() == 5_100.0
    delay[0] = 36.0  # the worker stood still: a lease it holds has run out meanwhile, and it has to know
    assert db.now(server) == 5_100.0
    assert db.clock() == 5_136.0


def test_the_lock_on_a_waiting_key_excludes_the_same_key_only(db: Database) -> None:
    order: list[str] = []
    taken, let_go = threading.Event(), threading.Event()

    def holder() -> None:
        with db.write() as conn:
            lock_waiting_key(conn, "f", "k", "other")
            taken.set()
            let_go.wait(10)
            order.append("first")

    def waiter() -> None:
        with db.write() as conn:
            lock_waiting_key(conn, "f", "k")
            order.append("second")

    threads = [threading.Thread(target=holder), threading.Thread(target=waiter)]
    threads[0].start()
    assert taken.wait(10)
    threads[1].start()
    if not db.is_sqlite:
        with db.write() as conn:
            lock_waiting_key(conn, "g", "k")
    let_go.set()
    for thread in threads:
        thread.join()
    assert order == ["first", "second"]


@pytest.mark.parametrize(
    "url", ["", "nonsense", "mysql://h/d", "sqlite://", "sqlite:///:memory:", "postgresql://h:port/d"]
)
def test_a_url_that_cannot_be_used_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigError, match="allowed: sqlite:///FILE or postgresql"):
        Database(url)


def test_every_spelling_of_postgresql_uses_psycopg() -> None:
    for url in ("postgres://u:p@h/d", "postgresql://u:p@h/d", "postgresql+psycopg://u:p@h/d"):
        db = Database(url)
        assert db.url.drivername == "postgresql+psycopg"
        assert not db.is_sqlite


def test_ping_raises_when_the_database_is_away() -> None:
    with pytest.raises(DBAPIError):
        Database("postgresql://sync@127.0.0.1:1/none").ping()
