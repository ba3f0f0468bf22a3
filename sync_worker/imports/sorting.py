"""A page of the ERP's customers against what our table holds: who is as it was, and who is to be looked at.

The run, its preview and its extent all sort by this.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from sync_worker.connectors.base import FeedRow, Record
from sync_worker.engine import comparing
from sync_worker.engine.comparing import Known
from sync_worker.engine.flow import Flow
from sync_worker.imports.selection import Selection
from sync_worker.store.session import Database

AT_REST = ("in_sync", "conflict")


@dataclass(slots=True)
class Sorted:
    """``still``: linked, and the ERP shows nothing new. ``asked``: everybody else, with what is known of them."""

    still: list[tuple[Record, Known]] = field(default_factory=list)
    asked: list[tuple[Record, Known | None]] = field(default_factory=list)

    @property
    def keys(self) -> list[str]:
        """Of those asked, in order."""
        return [record.key for record, _ in self.asked]


def sort_in(conn: Connection, flow: Flow, selection: Selection, rows: Sequence[FeedRow]) -> Sorted:
    """What the selection takes of a page.

    A linked customer that shows other values than it held has changed, whatever its stamp says: an edit of its contact
    or address does not move it (GUMU-2).
    """
    records = [row.record for row in rows if row.record is not None and selection.numbered(row.record.ref)]
    known = comparing.known_in(conn, flow, "erp", [record.key for record in records])
    found = Sorted()
    for record in records:
        mine = known.get(record.key)
        moved = mine is not None and mine.linked and bool(comparing.moved(flow, "erp", record, mine))
        if not moved and not selection.recent(record):
            continue
        if mine is not None and mine.linked and mine.state in AT_REST and not moved:
            found.still.append((record, mine))
        else:
            found.asked.append((record, mine))
    return found


def pages(db: Database, flow: Flow, selection: Selection) -> Iterator[Sorted]:
    """All of them, page by page. Raises SyncError."""
    for page in flow.connectors["erp"].sweep(flow.entity, None):
        with db.read() as conn:
            found = sort_in(conn, flow, selection, page.rows)
        yield found
