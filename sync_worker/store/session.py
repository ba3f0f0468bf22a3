"""One database, two kinds: SQLite for one machine, PostgreSQL for more. Everything above sees only this.

SQLite: WAL, synchronous FULL, one writer connection per process behind a lock, BEGIN IMMEDIATE, readers on their own
small pool. PostgreSQL: a pool, READ COMMITTED for writes. A reader sees one snapshot and cannot write, on both.
Open a ``Database`` after a fork, never before: connections do not survive one.
"""

from __future__ import annotations

import hashlib
import json
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, bindparam, create_engine, event, extract, func, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from sync_worker.errors import ConfigError

T = TypeVar("T")

SHORT_WAIT, LONG_WAIT = 0.0005, 0.02  # seconds at most between two looks for SQLite's write lock
BUSY_SECONDS = 30
PROMPT_SECONDS = 0.25  # an answer of PostgreSQL's that came later than that tells nothing about its clock
TRIES = 6
# deadlock, serialization failure, lock not available (PostgreSQL's documented SQLSTATEs)
TRANSIENT_STATES = frozenset({"40P01", "40001", "55P03"})
TRANSIENT_SQLITE = frozenset({"SQLITE_BUSY", "SQLITE_BUSY_SNAPSHOT", "SQLITE_BUSY_RECOVERY", "SQLITE_LOCKED"})

_CLOCK = select(extract("epoch", func.clock_timestamp()))
_LOCK = select(func.pg_advisory_xact_lock(bindparam("number")))
_TRY_LOCK = text(
    "SELECT key FROM unnest(CAST(:keys AS text[]), CAST(:numbers AS bigint[])) AS wanted(key, number) "
    "WHERE pg_try_advisory_xact_lock(number)"
)
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_CRM_RECORD = "\x01crm_record:"  # no flow's name begins so


class Dumped(str):
    """A value of a JSON column that has been written down already, while nobody waited for it."""

    __slots__ = ()


def dumps(value: Any) -> str:
    """JSON as every column holds it: compact, text as typed."""
    if type(value) is Dumped:
        return value
    return _ENCODER.encode(value)


def dumped(values: Mapping[str, Any], names: Iterable[str]) -> dict[str, Dumped]:
    """Those of the named values that there are, for columns of JSON."""
    return {name: Dumped(dumps(values[name])) for name in names if values.get(name) is not None}


def parse_url(url: str) -> URL:
    """Read a database URL. Raises ``ConfigError`` for anything but a SQLite file or PostgreSQL (by psycopg)."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # the latter of a port
        raise ConfigError(
            "database.url is not a database URL; allowed: sqlite:///FILE or postgresql+psycopg://…"
        ) from None
    kind = parsed.drivername.partition("+")[0]
    if kind in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    if kind == "sqlite" and parsed.database and parsed.database != ":memory:":
        return parsed.set(drivername="sqlite+pysqlite")
    raise ConfigError(f"database.url: {kind} is not usable here; allowed: sqlite:///FILE or postgresql+psycopg://…")


def is_transient(error: DBAPIError) -> bool:
    """Whether the same transaction may succeed if tried again: nothing of it was kept."""
    cause = error.orig
    if getattr(cause, "sqlstate", None) in TRANSIENT_STATES:
        return True
    return getattr(cause, "sqlite_errorname", None) in TRANSIENT_SQLITE


class Database:
    """Transactions and time.

    ``clock``: seconds since 1970; given only by tests. Otherwise PostgreSQL's own clock decides, so that several
    machines agree on leases, and on SQLite this machine's. ``durable=False`` (simulations) skips SQLite's fsync.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], float] | None = None,
        pool_size: int = 20,
        durable: bool = True,
    ) -> None:
        self.url = parse_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._clock = clock
        self._writing = threading.Lock()
        self._writer_thread: int | None = None
        self._ahead: float | None = None  # PostgreSQL's clock minus our monotonic one
        if self.is_sqlite:
            Path(str(self.url.database)).parent.mkdir(parents=True, exist_ok=True)
            self._writer = _sqlite_engine(self.url, 1, "BEGIN IMMEDIATE", durable=durable, readonly=False)
            self._reader = _sqlite_engine(self.url, 8, "BEGIN", durable=durable, readonly=True)
        else:
            self._writer = _postgresql_engine(self.url, pool_size)
            self._reader = self._writer.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction, committed at the end, rolled back on an exception. Keep it short, without vendor calls."""
        if not self.is_sqlite:
            with self._writer.begin() as conn:
                yield conn
            return
        if self._writer_thread == threading.get_ident():
            raise RuntimeError("a write transaction is already open in this thread: pass its connection on")
        with self._writing:
            self._writer_thread = threading.get_ident()
            try:
                with self._writer.begin() as conn:
                    yield conn
            finally:
                self._writer_thread = None

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One snapshot, read-only: a write in it is refused by the database."""
        with self._reader.connect() as conn:
            yield conn

    def run(self, fn: Callable[[Connection], T]) -> T:
        """``fn`` in one write transaction, again (as a whole) after a deadlock, serialization failure or SQLITE_BUSY.

        ``fn`` must have no other effects, or none that a repetition minds. Raises the last ``DBAPIError`` after six
        tries or a minute.
        """
        give_up_at = time.monotonic() + 2 * BUSY_SECONDS
        for attempt in range(1, TRIES):
            try:
                with self.write() as conn:
                    return fn(conn)
            except DBAPIError as error:
                if not is_transient(error) or time.monotonic() > give_up_at:
                    raise
                time.sleep(random.uniform(0, 0.01 * 2**attempt))
        with self.write() as conn:
            return fn(conn)

    def now(self, conn: Connection) -> float:
        """Seconds since 1970 by the clock that leases and due times go by."""
        if self._clock is not None:
            return self._clock()
        if self.is_sqlite:
            return time.time()
        asked_at = time.monotonic()
        found = float(conn.execute(_CLOCK).scalar_one())
        answered_at = time.monotonic()
        # An answer that was long on its way (a process that stood still) would set the clock back by that time.
        if self._ahead is None or answered_at - asked_at < PROMPT_SECONDS:
            self._ahead = found - answered_at
        return found

    def clock(self) -> float:
        """The same time without a transaction: PostgreSQL's clock as last heard, carried on by this machine's."""
        if self._clock is not None:
            return self._clock()
        if self.is_sqlite:
            return time.time()
        if self._ahead is None:
            with self.read() as conn:
                return self.now(conn)
        return time.monotonic() + self._ahead

    def ping(self) -> None:
        """Raises a ``DBAPIError`` when the database cannot be reached."""
        with self.read() as conn:
            conn.execute(text("SELECT 1"))

    def close(self) -> None:
        """Give all connections back."""
        self._writer.dispose()
        self._reader.dispose()


def lock_waiting_key(conn: Connection, flow: str, *keys: str) -> None:
    """Until the transaction ends: only we decide who waits on these keys (E5). Takes them in one order for everybody.

    Take it *before* any row lock of a link. SQLite's BEGIN IMMEDIATE already excludes every other writer.
    """
    if conn.dialect.name != "postgresql":
        return
    for number in sorted(_number(flow, key) for key in set(keys)):
        conn.execute(_LOCK, {"number": number})


def lock_crm_records(conn: Connection, entity: str, keys: Iterable[str]) -> None:
    """Until the transaction ends: only we decide whose default link a CRM record has (E21). After the waiting keys'
    locks and before any row lock; in one order for everybody. SQLite excludes every other writer anyway."""
    lock_waiting_key(conn, f"{_CRM_RECORD}{entity}", *keys)


def try_lock_crm_records(conn: Connection, entity: str, keys: Iterable[str]) -> set[str]:
    """Those of the records whose lock could be had at once; never waits, so it may follow row locks."""
    wanted = {key: _number(f"{_CRM_RECORD}{entity}", key) for key in keys}
    if conn.dialect.name != "postgresql" or not wanted:
        return set(wanted)
    values = {"keys": list(wanted), "numbers": list(wanted.values())}
    return set(conn.execute(_TRY_LOCK, values).scalars())


def _number(scope: str, key: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{scope}\x00{key}".encode()).digest()[:8], "big", signed=True)


def _postgresql_engine(url: URL, pool_size: int) -> Engine:
    return create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        isolation_level="READ COMMITTED",
        json_serializer=dumps,
        hide_parameters=True,  # error texts reach the logs
        connect_args={"connect_timeout": 10, "application_name": "sync-worker"},
    )


def _sqlite_engine(url: URL, pool_size: int, begin: str, *, durable: bool, readonly: bool) -> Engine:
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0 if pool_size == 1 else pool_size,
        json_serializer=dumps,
        hide_parameters=True,  # error texts reach the logs
        connect_args={"check_same_thread": False, "timeout": BUSY_SECONDS},
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver's own BEGIN is deferred; ours is chosen below
        pragmas = ["foreign_keys=ON", "temp_store=MEMORY"]
        if readonly:
            pragmas.append("query_only=ON")
        else:
            _use_wal(connection)
            pragmas.append("busy_timeout=0")  # ``_wait_for_turn`` waits; whoever has the write lock is never busy (WAL)
            pragmas.append(f"synchronous={'FULL' if durable else 'OFF'}")
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def start(conn: Connection) -> None:
        if not readonly:
            _wait_for_turn(conn, begin)
        else:
            conn.exec_driver_sql(begin)

    return engine


def _wait_for_turn(conn: Connection, begin: str) -> None:
    """Begin a write transaction as soon as the other processes' writers let us.

    SQLite's own busy handler sleeps up to 100 ms between its looks; transactions here are a few milliseconds short, so
    a lock that came free would lie idle. Raises what SQLite says once ``BUSY_SECONDS`` are over.
    """
    raw: Any = conn.connection.driver_connection
    begun_at = time.monotonic()
    while (waited := time.monotonic() - begun_at) < BUSY_SECONDS:
        try:
            raw.execute(begin)
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname not in TRANSIENT_SQLITE:
                raise
        longest = SHORT_WAIT if waited < 1.0 else LONG_WAIT
        time.sleep(random.uniform(0.2 * longest, longest))
    conn.exec_driver_sql(begin)


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL. Observed: the first switch of a new file ignores the busy timeout, so we wait ourselves."""
    give_up_at = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname not in TRANSIENT_SQLITE or time.monotonic() > give_up_at:
                raise
            time.sleep(random.uniform(0.001, 0.02))
