"""Retention: events and the journal grow by themselves; what is old enough goes."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Table, delete, select

from sync_worker.store.session import Database
from sync_worker.store.tables import event, journal

PER_TRANSACTION = 5000


@dataclass(frozen=True, slots=True)
class Removed:
    """How many rows retention took."""

    events: int
    journal: int


def forget(db: Database, events_before: float, journal_before: float) -> Removed:
    """Delete older event and journal rows (seconds since 1970), in transactions too short to be waited for."""
    return Removed(
        _prune(db, event, "received_at", events_before),
        _prune(db, journal, "at", journal_before),
    )


def _prune(db: Database, table: Table, column: str, before: float) -> int:
    old = select(table.c.id).where(table.c[column] < before).limit(PER_TRANSACTION)
    stmt = delete(table).where(table.c.id.in_(old))
    total = 0
    while removed := db.run(lambda conn: conn.execute(stmt).rowcount):
        total += removed
    return total
