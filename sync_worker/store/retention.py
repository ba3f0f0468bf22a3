"""Retention: what is old and serves nobody any more is deleted, in portions too short to be waited for.

Never touched: links with their open fields (what waits, what is linked, what was unlinked), pauses, manager mappings,
watermarks, runs that have not ended, and any journal entry younger than ``JOURNAL_AT_LEAST``: rules count by them (E8).
Every portion is a transaction of its own. What is left when the time is up is taken up by the next go.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Delete, Table, and_, delete, func, select, tuple_

from sync_worker.events import Side
from sync_worker.store import watermarks
from sync_worker.store.session import Database
from sync_worker.store.tables import event, journal, link, part, run, run_row, secret, session

PORTION = 1000
SCANNED = 5000
DAY = 86_400.0
# E8 counts the records that vanished within an hour by their journal entries, and when the flow was paused for it.
JOURNAL_AT_LEAST = DAY
# A token or claim that was neither renewed nor valid for so long belongs to a login that is no longer used.
SECRETS_AFTER = 30 * DAY

Showing = Mapping[str, Collection[tuple[str, str, Side]]]
"""System -> (flow, entity, side) of every flow it takes part in."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Rows that were deleted, by table. ``finished``: False when the time was up before the end."""

    rows: Mapping[str, int]
    finished: bool


def forget(
    db: Database,
    *,
    events_days: float,
    journal_days: float,
    showing: Showing,
    seconds: float = 10.0,
    monotonic: Callable[[], float] = time.monotonic,
    rest: Callable[[float], None] = time.sleep,
) -> Forgotten:
    """Delete what is older than so many days, and child rows whose record no link knows; for ``seconds`` at most.

    Runs are kept as long as the journal that names them. Raises ``SQLAlchemyError``; what was deleted stays deleted.
    """
    with db.read() as conn:
        now = db.now(conn)
    removed: dict[str, int] = {}
    give_up_at = monotonic() + seconds
    for table, portion in _portions(db, now, events_days, journal_days, showing):
        begun = monotonic()
        removed[table] = removed.get(table, 0) + db.run(portion)
        ended = monotonic()
        if ended >= give_up_at:
            return Forgotten(removed, finished=False)
        rest(min(ended - begun, give_up_at - ended))  # SQLite has one writer: half of the time is for the others
    return Forgotten(removed, finished=True)


Portion = Callable[[Connection], int]


def _portions(
    db: Database, now: float, events_days: float, journal_days: float, showing: Showing
) -> Iterator[tuple[str, Portion]]:
    """Table and deletion, one portion after the other, until nothing is left."""
    old = now - max(journal_days * DAY, JOURNAL_AT_LEAST)
    unused = and_(secret.c.expires_at < now - SECRETS_AFTER, secret.c.at < now - SECRETS_AFTER)
    ended = select(run.c.id).where(run.c.ended_at < old)
    some_rows = select(run_row.c.run_id, run_row.c.key).where(run_row.c.run_id.in_(ended)).limit(PORTION)
    yield from _until_none(event, _oldest(event, "received_at", now - events_days * DAY))
    yield from _until_none(journal, _oldest(journal, "at", old))
    yield from _until_none(run_row, delete(run_row).where(tuple_(run_row.c.run_id, run_row.c.key).in_(some_rows)))
    yield from _until_none(run, _oldest(run, "ended_at", old))
    yield from _until_none(session, delete(session).where(_some(session, "id", session.c.expires_at < now)))
    yield from _until_none(secret, delete(secret).where(_some(secret, "name", unused)))
    for system, shown in showing.items():
        yield from _orphans(db, system, shown)


def _oldest(table: Table, at: str, before: float) -> Delete:
    column = table.c[at]
    return delete(table).where(
        table.c.id.in_(select(table.c.id).where(column < before).order_by(column).limit(PORTION))
    )


def _some(table: Table, key: str, condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return table.c[key].in_(select(table.c[key]).where(condition).limit(PORTION))


def _until_none(table: Table, stmt: Delete) -> Iterator[tuple[str, Portion]]:
    left = True

    def portion(conn: Connection) -> int:
        nonlocal left
        removed = conn.execute(stmt).rowcount
        left = removed > 0
        return removed

    while left:
        yield table.name, portion


def _orphans(db: Database, system: str, shown: Collection[tuple[str, str, Side]]) -> Iterator[tuple[str, Portion]]:
    """Child rows of records that no link knows, looked for along the ids from where the last go stopped.

    A notice about such a child asks the vendor whose it is, as for any child that nobody has shown yet.
    """
    known = [
        select(link.c.id)
        .where(link.c.flow == flow, link.c.entity == entity, link.c[f"{side}_key"] == part.c.owner_key)
        .exists()
        for flow, entity, side in shown
    ]
    orphan = and_(part.c.system == system, part.c.owner_key != "", *(~one for one in known))
    at: int | None = int(watermarks.get(db, system, "part", "retention") or 0)
    while at is not None:
        with db.read() as conn:
            scanned = select(part.c.id).where(part.c.id > at).order_by(part.c.id).limit(SCANNED).subquery()
            last = conn.execute(select(func.max(scanned.c.id))).scalar_one()
            within = and_(part.c.id > at, part.c.id <= (last or 0))
            found = list(conn.execute(select(part.c.id).where(within, orphan)).scalars()) if last is not None else []
        at = last

        def portion(conn: Connection, found: list[int] = found, at: int | None = at) -> int:
            watermarks.put_in(conn, system, "part", "retention", str(at or 0), db.now(conn))
            return conn.execute(delete(part).where(part.c.id.in_(found), orphan)).rowcount if found else 0

        yield "part", portion
