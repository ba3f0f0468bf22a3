"""Bringing a database to the tables of this version, and back. Several processes may start at once: one migrates.

Alembic costs a quarter of a second to import: only who migrates pays for it. Every process asks whether the tables are
current, and that takes no more than a look at alembic's own table and at the names of the revision files.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sqlalchemy import Connection, column, inspect, select, table

from sync_worker.errors import ConfigError
from sync_worker.store.session import Database, lock_waiting_key

if TYPE_CHECKING:
    from alembic.config import Config

SCRIPTS = Path(__file__).parent / "migrations"
_STANDING = table("alembic_version", column("version_num"))

Standing = Literal["current", "behind", "ahead"]
"""A database against this version: its tables, older ones (or none), or those of a newer version, which we can use."""


def upgrade(url: str, revision: str = "head") -> None:
    """Create or upgrade the tables, in one transaction.

    Raises a ``DBAPIError`` when the database refuses, ``ConfigError`` when a newer version has migrated it.
    """
    from alembic import command

    db = Database(url)
    try:
        with db.write() as conn:
            lock_waiting_key(conn, "", "migrate")
            _refuse_newer(conn)
            command.upgrade(config_for(conn), revision)
    finally:
        db.close()


def go_to(url: str, revision: str) -> None:
    """Upgrade or downgrade to a revision of this version's. Raises what ``upgrade`` does, and for an unknown one."""
    if revision not in revisions():
        raise ConfigError(f"there is no revision {revision!r}; there are: {', '.join(revisions())}")
    upgrade(url, revision)
    downgrade(url, revision)


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


def standing(url: str) -> Standing:
    """How a database stands. Raises a ``DBAPIError`` if it cannot be reached."""
    db = Database(url)
    try:
        with db.read() as conn:
            return standing_in(conn)
    finally:
        db.close()


def standing_in(conn: Connection) -> Standing:
    """The same on an open connection."""
    found = _found(conn)
    if found == [revisions()[-1]]:
        return "current"
    return "behind" if set(found) <= set(revisions()) else "ahead"


@cache
def revisions() -> tuple[str, ...]:
    """All revisions, oldest first: files are named ``0001_what_it_does.py`` after theirs, and follow one another."""
    return tuple(sorted(path.name.partition("_")[0] for path in (SCRIPTS / "versions").glob("[0-9]*_*.py")))


def _found(conn: Connection) -> list[str]:
    if not inspect(conn).has_table(_STANDING.name):
        return []
    return list(conn.execute(select(_STANDING.c.version_num)).scalars())


def _refuse_newer(conn: Connection) -> None:
    if standing_in(conn) == "ahead":
        raise ConfigError(
            f"a newer version of sync-worker has migrated the database (to {', '.join(_found(conn))}): use that"
            " version, or go back with its sync-worker migrate --to REVISION"
        )


def config_for(conn: Connection) -> Config:
    """Alembic's configuration on this connection; there is no alembic.ini."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = conn
    return config
