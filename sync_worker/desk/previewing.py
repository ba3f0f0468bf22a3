"""What a flow would do now with everything that is due or differs: the same passes, with writes refused.

Due links come first, then each side is walked page by page; of a page only what differs from what we know, or is
unknown, is asked about. What follows the preview is ``sync --due`` and ``verify``, which hands over what differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, select

from sync_worker.connectors.base import Record
from sync_worker.engine import comparing
from sync_worker.engine.comparing import Known
from sync_worker.engine.flow import Flow
from sync_worker.engine.preview import Foreseen, Taken, foresee
from sync_worker.engine.rule import Rule
from sync_worker.errors import PermanentError
from sync_worker.events import SIDES, Side
from sync_worker.routing import rule_for
from sync_worker.store.rows import LinkRow, rows_of
from sync_worker.store.session import Database
from sync_worker.store.tables import link
from sync_worker.wiring import App

CHUNK = 100  # records foreseen at a time


def preview(app: App, flow: str) -> Iterator[Foreseen]:
    """One verdict per record that is due, differs or is unknown. Raises PermanentError, and SyncError from vendors."""
    if flow not in app.flows:
        raise PermanentError(f"no flow {flow}; there are: {', '.join(sorted(app.flows))}")
    one = app.flows[flow]
    return _Preview(app.db, one, rule_for(one.entity)).all()


@dataclass
class _Preview:
    """``told``: links that have their verdict; ``taken``: records that a verdict named as somebody's partner."""

    db: Database
    flow: Flow
    rule: Rule
    told: set[int] = field(default_factory=set)
    taken: Taken = field(default_factory=Taken)

    def all(self) -> Iterator[Foreseen]:
        for chunk in self._due():
            yield from self._foresee(chunk)
        for side in SIDES:
            for page in self.flow.connectors[side].sweep(self.flow.entity, None):
                records = [row.record for row in page.rows if row.record is not None]
                rows = self._differing(side, records)
                for start in range(0, len(rows), CHUNK):
                    yield from self._foresee(rows[start : start + CHUNK])

    def _foresee(self, rows: Sequence[LinkRow]) -> Iterator[Foreseen]:
        self.told.update(row.id for row in rows)
        yield from foresee(self.db, self.flow, self.rule, rows, self.taken)

    def _due(self) -> Iterator[list[LinkRow]]:
        """Links that a pass would be made over now, by id."""
        c = link.c
        after = 0
        while True:
            with self.db.read() as conn:
                query = select(link).where(
                    c.flow == self.flow.name, c.entity == self.flow.entity, c.due_at <= self.db.now(conn), c.id > after
                )
                chunk = rows_of(conn, query.order_by(c.id).limit(CHUNK))
            if not chunk:
                return
            yield chunk
            after = chunk[-1].id

    def _differing(self, side: Side, records: Sequence[Record]) -> list[LinkRow]:
        """Rows as a hand-over by ``verify`` would make them due, for what a page shows otherwise than we know it."""
        with self.db.read() as conn:
            known = comparing.known_in(conn, self.flow, side, [record.key for record in records])
            asked = [record for record in records if self._is_news(side, record, known.get(record.key))]
            return self._rows(conn, side, asked, known)

    def _is_news(self, side: Side, record: Record, mine: Known | None) -> bool:
        if mine is None:
            return record.key not in self.taken.keys[side]
        if mine.link_id in self.told or (not mine.linked and mine.state == "unlinked"):
            return False
        left_out = self.rule.takes_part(self.flow, side, record)
        if left_out is not None or mine.left_out_by:
            return comparing.let_in_or_out(left_out, side, mine)
        return bool(comparing.moved(self.flow, side, record, mine))

    def _rows(self, conn: Connection, side: Side, records: Sequence[Record], known: dict[str, Known]) -> list[LinkRow]:
        now = self.db.now(conn)
        ids = [known[record.key].link_id for record in records if record.key in known]
        stored = {row.id: row for row in rows_of(conn, select(link).where(link.c.id.in_(ids)))}
        rows: list[LinkRow] = []
        for number, record in enumerate(records, 1):
            mine = known.get(record.key)
            row = stored.get(mine.link_id) if mine is not None else None
            if row is None:
                row = LinkRow(-number, self.flow.name, self.flow.entity, created_at=now)
                row.put(side, key=record.key, ref=record.ref)
            row.put(side, dirty=(row.erp_dirty if side == "erp" else row.crm_dirty) + 1, parts=-1)
            rows.append(row)
        return rows
