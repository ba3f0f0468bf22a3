"""The migrations build exactly the tables the code speaks to, and take them away again."""

from __future__ import annotations

import subprocess
import sys
import threading

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from sync_worker.store import migrate
from sync_worker.store.session import Database
from sync_worker.store.tables import metadata


def tables_of(url: str) -> set[str]:
    db = Database(url)
    try:
        with db.read() as conn:
            return set(inspect(conn).get_table_names())
    finally:
        db.close()


def test_an_empty_database_is_not_current_and_an_upgraded_one_is(empty_database_url: str) -> None:
    assert not migrate.is_current(empty_database_url)
    migrate.upgrade(empty_database_url)
    assert migrate.is_current(empty_database_url)


def test_upgrade_makes_every_table_and_downgrade_to_base_leaves_none(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url)
    assert tables_of(empty_database_url) == {*metadata.tables, "alembic_version"}
    migrate.downgrade(empty_database_url, "base")
    assert tables_of(empty_database_url) == {"alembic_version"}
    migrate.upgrade(empty_database_url)
    assert tables_of(empty_database_url) == {*metadata.tables, "alembic_version"}


def test_migrations_and_metadata_describe_the_same_tables(database_url: str) -> None:
    db = Database(database_url)
    # Alembic misreads SQLite's default '' and would call every such column changed; PostgreSQL covers defaults.
    options = {"compare_type": True, "compare_server_default": not db.is_sqlite}
    try:
        with db.read() as conn:
            assert compare_metadata(MigrationContext.configure(conn, opts=options), metadata) == []
    finally:
        db.close()


def test_upgrading_twice_changes_nothing(database_url: str) -> None:
    migrate.upgrade(database_url)
    assert migrate.is_current(database_url)


def test_processes_that_start_together_migrate_once(empty_database_url: str) -> None:
    errors: list[Exception] = []

    def start() -> None:
        try:
            migrate.upgrade(empty_database_url)
        except Exception as error:  # noqa: BLE001  # a thread's failure is handed to the test
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert migrate.is_current(empty_database_url)


def test_the_newest_revision_that_files_are_named_after_is_the_one_alembic_would_go_to(sqlite_url: str) -> None:
    db = Database(sqlite_url)
    try:
        with db.read() as conn:
            scripts = ScriptDirectory.from_config(migrate.config_for(conn))
    finally:
        db.close()
    assert scripts.get_heads() == [migrate.newest()]


def test_a_database_at_another_revision_is_not_current(database_url: str) -> None:
    db = Database(database_url)
    try:
        with db.write() as conn:
            conn.execute(text("update alembic_version set version_num = '9999'"))
    finally:
        db.close()
    assert not migrate.is_current(database_url)


def test_asking_whether_the_tables_are_current_does_not_import_alembic(sqlite_url: str) -> None:
    code = (
        "import sys; from sync_worker.store import migrate; assert migrate.is_current(sys.argv[1]); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, sqlite_url], check=True, capture_output=True, text=True)
    assert "sqlalchemy" in done.stdout.split()
    assert not [name for name in done.stdout.split() if name.partition(".")[0] == "alembic"]
