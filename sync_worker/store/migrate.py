"""Bringing a database to the tables of this version, and back. Several processes may start at once: one migrates."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from sync_worker.store.session import Database, lock_waiting_key

SCRIPTS = Path(__file__).parent / "migrations"


def upgrade(url: str, revision: str = "head") -> None:
    """Create or upgrade the tables, in one transaction. Raises a ``DBAPIError`` when the database refuses."""
    db = Database(url)
    try:
        with db.write() as conn:
            lock_waiting_key(conn, "", "migrate")
            command.upgrade(config_for(conn), revision)
    finally:
        db.close()


def downgrade(url: str, revision: str) -> None:
    """Go back to a revision; ``base`` removes every table, with what stands in them."""
    db = Database(url)
    try:
        with db.write() as conn:
            lock_waiting_key(conn, "", "migrate")
            command.downgrade(config_for(conn), revision)
    finally:
        db.close()


def is_current(url: str) -> bool:
    """Whether the database has exactly the tables of this version. Raises a ``DBAPIError`` if it cannot be reached."""
    db = Database(url)
    try:
        with db.read() as conn:
            return is_current_in(conn)
    finally:
        db.close()


def is_current_in(conn: Connection) -> bool:
    """The same on an open connection."""
    heads = ScriptDirectory.from_config(config_for(conn)).get_heads()
    return set(MigrationContext.configure(conn).get_current_heads()) == set(heads)


def config_for(conn: Connection) -> Config:
    """Alembic's configuration on this connection; there is no alembic.ini."""
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = conn
    return config
