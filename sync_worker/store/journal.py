"""The journal: every remote write and every change of a link, before and after. It is also the audit of people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Table, delete, insert, select

from sync_worker.events import Side
from sync_worker.store.session import Database
from sync_worker.store.tables import event
from sync_worker.store.tables import journal as journal_table

PER_TRANSACTION = 5000


@dataclass(frozen=True, slots=True)
class Entry:
    """``before`` / ``after``: {field: value} on the written side. ``read_at``: when ``before`` was read (E22)."""

    flow: str
    what: str
    at: float
    link_id: int | None = None
    side: Side | None = None
    key: str | None = None
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    why: str = ""
    actor: str = "worker"
    run_id: int | None = None
    read_at: float | None = None


@dataclass(frozen=True, slots=True)
class Removed:
    """How many rows retention took."""

    events: int
    journal: int


def append(conn: Connection, entries: Sequence[Entry]) -> None:
    """Add entries in the transaction of what they tell."""
    if entries:
        conn.execute(insert(journal_table), [asdict(entry) for entry in entries])


def of_link(db: Database, link_id: int, *, limit: int = 200) -> list[Entry]:
    """The latest entries of a link, oldest first."""
    c = journal_table.c
    columns = [c[name] for name in Entry.__dataclass_fields__]
    query = select(*columns).where(c.link_id == link_id).order_by(c.at.desc(), c.id.desc()).limit(limit)
    with db.read() as conn:
        return [Entry(**row) for row in conn.execute(query).mappings()][::-1]


def retention(db: Database, events_before: float, journal_before: float) -> Removed:
    """Delete older event and journal rows (seconds since 1970), in transactions too short to be waited for."""
    return Removed(
        _prune(db, event, "received_at", events_before),
        _prune(db, journal_table, "at", journal_before),
    )


def _prune(db: Database, table: Table, column: str, before: float) -> int:
    old = select(table.c.id).where(table.c[column] < before).limit(PER_TRANSACTION)
    stmt = delete(table).where(table.c.id.in_(old))
    total = 0
    while removed := db.run(lambda conn: conn.execute(stmt).rowcount):
        total += removed
    return total
