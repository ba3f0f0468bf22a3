"""Paused systems and flows: one row each. Claims skip them; no link is rewritten, so resuming is instant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, case, delete, or_, select

from sync_worker.store.bulk import inserter
from sync_worker.store.session import Database
from sync_worker.store.tables import pause as pause_table

Kind = Literal["system", "flow"]

BY_PERSON = "manual"
UNAVAILABLE = "unavailable"  # lasts seconds, and begins anew while the system is not reached
# A pause that ran out is no good news before somebody has asked the system again.
PROBE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Pause:
    """``reason`` is a stable code, ``text`` is for people. ``until`` None: until somebody or something resumes it."""

    kind: Kind
    name: str
    reason: str
    text: str
    since: float
    until: float | None


def pause_in(
    conn: Connection, kind: Kind, name: str, reason: str, text: str, now: float, until: float | None = None
) -> None:
    """Pause, or give a running pause a new reason; a person's (``manual``) is never replaced by the worker's own."""
    c = pause_table.c
    given = {"reason": reason, "text": text, "until": until}
    stmt = inserter(pause_table, sqlite=conn.dialect.name == "sqlite").values(kind=kind, name=name, since=now, **given)
    over = c.until <= now
    conn.execute(
        stmt.on_conflict_do_update(
            index_elements=[c.kind, c.name],
            set_={**given, "since": case((over, now), else_=c.since)},
            where=None if reason == BY_PERSON else or_(c.reason != BY_PERSON, over),
        )
    )


def pause(db: Database, kind: Kind, name: str, reason: str, text: str = "", until: float | None = None) -> None:
    """``pause_in`` in a transaction of its own. ``until``: seconds since 1970 by the database's clock."""
    db.run(lambda conn: pause_in(conn, kind, name, reason, text, db.now(conn), until))


def resume(db: Database, kind: Kind, name: str, *, reason: str | None = None) -> bool:
    """End a pause; with ``reason``, only one of that reason. Says whether there was one."""
    c = pause_table.c
    stmt = delete(pause_table).where(c.kind == kind, c.name == name)
    if reason is not None:
        stmt = stmt.where(c.reason == reason)
    return db.run(lambda conn: conn.execute(stmt).rowcount > 0)


def current(db: Database, *, lately: float = 0.0) -> dict[tuple[Kind, str], Pause]:
    """The pauses that hold now. ``lately``: also those that ran out within so many seconds and that nobody ended."""
    c = pause_table.c
    query = select(c.kind, c.name, c.reason, c.text, c.since, c.until)
    with db.read() as conn:
        holding = query.where(or_(c.until.is_(None), c.until > db.now(conn) - lately))
        return {(row.kind, row.name): Pause(*row) for row in conn.execute(holding)}
