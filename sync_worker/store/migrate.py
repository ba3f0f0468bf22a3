"""Bringing a database to the tables of this version, and back. Several processes may start at once: one migrates.

Alembic costs a quarter of a second to import: only who migrates pays for it. Every process asks whether the tables are
current, and that takes no more than a look at alembic's own table and at the names of the revision files.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, column, inspect, select, table

from sync_worker.store.session import Database, lock_waiting_key

if TYPE_CHECKING:
    from alembic.config import Config

SCRIPTS = Path(__file__).parent / "migrations"
_STANDING = table("alembic_version", column("version_num"))


def upgrade(url: str, revision: str = "head") -> None:
    """Create or upgrade the tables, in one transaction. Raises a ``DBAPIError`` when the database refuses."""
    from alembic import command

    db = Database(url)
    try:
        with db.write() as conn:
            lock_waiting_key(conn, "", "migrate")
            command.upgrade(config_for(conn), revision)
    finally:
        db.close()


def downgrade(url: str, revision: str) -> None:
    """Go back to a revision; ``base`` removes every table, with what stands in them."""
    from alembic import command

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
    if not inspect(conn).has_table(_STANDING.name):
        return False
    return list(conn.execute(select(_STANDING.c.version_num)).scalars()) == [newest()]


@cache
def newest() -> str:
    """The newest revision: files are named ``0001_what_it_does.py`` after theirs, and follow one another."""
    return max(path.name.partition("_")[0] for path in (SCRIPTS / "versions").glob("[0-9]*_*.py"))


def config_for(conn: Connection) -> Config:
    """Alembic's configuration on this connection; there is no alembic.ini."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = conn
    return config
