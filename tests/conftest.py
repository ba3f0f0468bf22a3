"""Fixtures for everybody: a clock, and a database of either kind. Store tests run on SQLite and on PostgreSQL."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import Connection, Dialect, Engine, event

from support.clock import FakeClock
from support.postgres import PostgresMissing, PostgresServer, running
from support.redaction import WATCH
from sync_worker import logs
from sync_worker.store import migrate, session
from sync_worker.store.session import Database

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background, where shells switch Ctrl-C off for all children: tests of it would wait in vain.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """What was imported and collected stays: no garbage collection has to look at it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    WATCH.found()  # what modules made when they were imported is no test's


@pytest.fixture(autouse=True, scope="session")
def statements_compiled_once() -> Iterator[None]:
    """Every test has engines of its own; those of one kind share what the first of them has made of our statements."""
    plain, dialects, compiled = session.create_engine, dict[str, Dialect](), dict[Any, Any]()

    def create_engine(*args: Any, **options: Any) -> Engine:
        engine = plain(*args, **options)
        kind = engine.dialect.name
        if kind in dialects:
            engine.dialect = dialects[kind]
        else:
            event.listen(engine, "engine_connect", lambda conn: keep(kind, conn), once=True)
        engine.update_execution_options(compiled_cache=compiled)
        return engine

    def keep(kind: str, conn: Connection) -> None:
        dialects.setdefault(kind, conn.dialect)  # not before: the first connection teaches a dialect its server

    session.create_engine = create_engine  # type: ignore[assignment]  # the same, for the Databases of the tests
    yield
    session.create_engine = plain


@pytest.fixture(autouse=True, scope="session")
def quiet_logs() -> None:
    """Failing tests show warnings, not every call; who watches for what must not be logged sees all of them."""
    structlog.configure(**QUIET)


QUIET: dict[str, Any] = {
    "processors": [
        structlog.contextvars.merge_contextvars,
        WATCH.processor,
        structlog.processors.add_log_level,
        logs.format_error,
        logs.redact,
        structlog.dev.ConsoleRenderer(colors=False),
    ],
    "wrapper_class": structlog.make_filtering_bound_logger(logging.DEBUG),
}


def pytest_configure() -> None:
    WATCH.install()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A secret or an e-mail address in a log or an error fails the test that ran then, in whichever worker process."""
    report = yield
    if call.when == "teardown" and structlog.get_config()["processors"] is not QUIET["processors"]:
        structlog.reset_defaults()  # a command that ran within this process has set up logging as the product's
        structlog.configure(**QUIET)
    for name, text in report.sections:
        if name.startswith(("Captured stderr", "Captured log")):
            WATCH.see(text)
    found = WATCH.found()
    if found and report.passed and item.get_closest_marker("shows_secrets") is None:
        report.outcome = "failed"
        report.longrepr = "logs or errors show what they must not:\n  " + "\n  ".join(found[:10])
    return report


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server per session. Without its programs: a skip (printed by -ra) on a laptop, a failure where CI is set."""
    try:
        with running() as server:
            yield server
    except PostgresMissing as missing:
        if os.environ.get("CI"):
            pytest.fail(f"PostgreSQL is needed in CI: {missing}", pytrace=False)
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def postgres_template(postgres_server: PostgresServer) -> PostgresServer:
    """The server, with databases made from a migrated template."""
    migrate.upgrade(postgres_server.new_database("sync_template"))
    postgres_server.template = "sync_template"
    return postgres_server


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("template") / "sync.db"
    migrate.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A migrated SQLite database of this test's own."""
    path = tmp_path / "sync.db"
    shutil.copyfile(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgresql_url(postgres_template: PostgresServer) -> Iterator[str]:
    """A migrated PostgreSQL database of this test's own."""
    url = postgres_template.new_database()
    yield url
    postgres_template.drop_database(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated database; the test runs once on each kind."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path, database_kind: str) -> Iterator[str]:
    """A database without a single table; the test runs once on each kind."""
    if database_kind == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    template, server.template = server.template, None
    url = server.new_database()
    server.template = template
    yield url
    server.drop_database(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def db(database_url: str, clock: FakeClock) -> Iterator[Database]:
    """A migrated database on the fake clock; the test runs once on each kind."""
    database = Database(database_url, clock=clock, durable=False)
    yield database
    database.close()
