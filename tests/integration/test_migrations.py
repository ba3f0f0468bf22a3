"""The migrations build exactly the tables the code speaks to, and take them away again."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from sync_worker.errors import ConfigError
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
    assert migrate.standing(empty_database_url) == "behind"
    migrate.upgrade(empty_database_url)
    assert migrate.standing(empty_database_url) == "current"


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
    assert migrate.standing(database_url) == "current"


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
    assert migrate.standing(empty_database_url) == "current"


def test_the_newest_revision_that_files_are_named_after_is_the_one_alembic_would_go_to(sqlite_url: str) -> None:
    db = Database(sqlite_url)
    try:
        with db.read() as conn:
            scripts = ScriptDirectory.from_config(migrate.config_for(conn))
    finally:
        db.close()
    assert scripts.get_heads() == [migrate.revisions()[-1]]


def test_asking_whether_the_tables_are_current_does_not_import_alembic(sqlite_url: str) -> None:
    code = "import sys; from sync_worker.store import migrate; print(migrate.standing(sys.argv[1]), *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, sqlite_url], check=True, capture_output=True, text=True)
    assert done.stdout.split()[0] == "current"
    assert "sqlalchemy" in done.stdout.split()
    assert not [name for name in done.stdout.split() if name.partition(".")[0] == "alembic"]


def columns_of(url: str) -> dict[tuple[str, str], Any]:
    db = Database(url)
    try:
        with db.read() as conn:
            look = inspect(conn)
            tables = set(look.get_table_names()) - {"alembic_version"}
            return {(table, column["name"]): column for table in tables for column in look.get_columns(table)}
    finally:
        db.close()


def test_ops_every_migration_leaves_the_version_before_it_working_for_a_rolling_upgrade(
    empty_database_url: str,
) -> None:
    before: dict[tuple[str, str], Any] = {}
    for revision in migrate.revisions():
        migrate.upgrade(empty_database_url, revision)
        now = columns_of(empty_database_url)
        assert before.keys() - now.keys() == set(), f"{revision} takes away what the version before it uses"
        old_tables = {table for table, _ in before}
        for (table, name), column in now.items():
            if table in old_tables and (table, name) not in before:
                filled = column["nullable"] or column["default"] is not None
                assert filled, f"{revision}: an insert of the version before it leaves {table}.{name} out"
        before = now


def test_ops_a_database_goes_back_to_any_revision_and_forth(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url)
    newest = columns_of(empty_database_url).keys()
    for revision in reversed(migrate.revisions()):
        migrate.go_to(empty_database_url, revision)
        assert (migrate.standing(empty_database_url) == "current") is (revision == migrate.revisions()[-1])
    migrate.go_to(empty_database_url, migrate.revisions()[-1])
    assert columns_of(empty_database_url).keys() == newest
    with pytest.raises(ConfigError, match="there is no revision '9999'; there are: 0001"):
        migrate.go_to(empty_database_url, "9999")


def test_ops_a_database_of_a_newer_version_can_be_used_and_is_not_migrated_by_an_older_one(database_url: str) -> None:
    db = Database(database_url)
    with db.write() as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    db.close()
    assert migrate.standing(database_url) == "ahead"
    with pytest.raises(ConfigError, match="a newer version of sync-worker has migrated the database"):
        migrate.upgrade(database_url)


def test_ops_links_and_their_open_fields_survive_every_migration_of_a_database_in_use(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url, "0001")
    db = Database(empty_database_url)
    with db.write() as conn:
        conn.execute(text("INSERT INTO link (flow, entity, erp_key, created_at) VALUES ('f', 'customer', '7', 1)"))
        conn.execute(text("INSERT INTO open_field (link_id, field, why, at) VALUES (1, 'name', 'conflict', 1)"))
    for go in (migrate.upgrade, lambda url: migrate.downgrade(url, "0001")):
        go(empty_database_url)
        with db.read() as conn:
            found = conn.execute(text("SELECT erp_key, field FROM link JOIN open_field ON link_id = link.id")).all()
        assert [tuple(one) for one in found] == [("7", "name")]
    db.close()
