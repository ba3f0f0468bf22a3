"""One import run: reads ahead, lets passes do the work, and gives every customer its verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, select, update

from sync_worker.connectors.base import FeedRow, Page
from sync_worker.connectors.context import call_class
from sync_worker.engine import crew
from sync_worker.engine.core import Engine
from sync_worker.engine.flow import Flow
from sync_worker.events import Change
from sync_worker.imports.selection import Selection
from sync_worker.imports.sorting import sort_in
from sync_worker.imports.verdicts import Verdicts
from sync_worker.store import runs
from sync_worker.store.inbox import Inbox
from sync_worker.store.runs import UNDER_WAY, Row, Run
from sync_worker.store.session import Database
from sync_worker.store.tables import link

KIND = "import"
AHEAD = 1000  # customers read ahead of the passes: memory stays flat, and what is read stays fresh
PORTION = 250  # customers taken in one transaction
JUDGE_SECONDS = 1.5  # between two looks at who has come to an end: each reads all that are under way
LAST = 300  # customers under way that are read in no time: once there are no more, the run must not sleep past its end
LAST_SECONDS = 0.1  # between two looks then


def _portions(page: Page) -> Iterator[tuple[Sequence[FeedRow], str | None]]:
    """A page's rows, each portion with how far the run has come after it: nobody waits long for the write lock."""
    for start in range(0, len(page.rows), PORTION):
        some = page.rows[start : start + PORTION]
        yield some, page.watermark if start + PORTION >= len(page.rows) else some[-1].change.key


@dataclass(frozen=True, slots=True)
class Progress:
    """``seen``: customers the selection took so far. ``total``: how many it takes, None while nobody can say."""

    seen: int
    under_way: int
    total: int | None


@dataclass
class Import:
    """``threads``: passes at a time in this process; workers help where they run."""

    db: Database
    inbox: Inbox
    engine: Engine
    flow: Flow
    run: Run
    selection: Selection
    threads: int = 4
    progress: Callable[[Progress], None] = lambda _progress: None
    verdicts: Verdicts = field(init=False)

    def __post_init__(self) -> None:
        self.verdicts = Verdicts.load(self.db, self.run.id)

    def go(self) -> dict[str, int]:
        """To the end; customers by verdict. What stops it leaves the run to be gone on with. Raises SyncError."""
        kind = call_class.set("bulk")
        try:
            everybody = self.selection == Selection()
            total = self.flow.connectors["erp"].count(self.flow.entity) if everybody else None
            with crew.working(self.engine, [self.flow.name], self.threads) as wake:
                for page in self.flow.connectors["erp"].sweep(self.flow.entity, self.run.position):
                    for some, last in _portions(page):
                        self._take(some, last)
                        wake()
                    while self._look(total) > AHEAD:
                        time.sleep(JUDGE_SECONDS)
                while left := self._look(self.verdicts.counts.total()):
                    time.sleep(LAST_SECONDS if left <= LAST else JUDGE_SECONDS)
        finally:
            call_class.reset(kind)
        counts = self.verdicts.tally()
        runs.end(self.db, self.run.id, "done", counts)
        return counts

    def stop(self) -> None:
        """It rests. Customers whose passes were brought to their end by then have their verdicts."""
        self.verdicts.judge()
        runs.stop(self.db, self.run.id)

    def _take(self, rows: Sequence[FeedRow], last: str | None) -> None:
        """What of these is to be done, and that they were read, in one transaction."""
        with self.db.read() as conn:
            page = sort_in(conn, self.flow, self.selection, rows)
        still = [
            Row(record.key, "unchanged" if mine.state == "in_sync" else "waiting", mine.link_id)
            for record, mine in page.still
        ]

        def work(conn: Connection) -> list[Row]:
            found = [*still, *self._touch(conn, page.keys)]
            runs.put_rows_in(conn, self.run.id, found)
            runs.note_in(conn, self.run.id, last, {})
            return found

        self.verdicts.note(self.db.run(work))

    def _touch(self, conn: Connection, keys: Sequence[str]) -> Iterator[Row]:
        """Bulk work that may create; a run's row remembers what counter answers it."""
        system = self.flow.systems["erp"]
        changes = [Change(system, self.flow.entity, key, via="import") for key in keys]
        self.inbox.accept_in(conn, changes, klass="bulk", may_create="import", flows=(self.flow.name,))
        now = self.db.now(conn)
        c = link.c
        mine = select(c.id, c.erp_key, c.erp_dirty).where(
            c.flow == self.flow.name, c.entity == self.flow.entity, c.erp_key.in_(list(keys))
        )
        touched = conn.execute(mine).all()
        conn.execute(update(link).where(c.id.in_([row.id for row in touched])).values(run_id=self.run.id))
        for link_id, key, dirty in touched:
            yield Row(key, UNDER_WAY, link_id, {"dirty": dirty, "at": now})

    def _look(self, total: int | None) -> int:
        """Judge who has come to an end; how many have not."""
        self.verdicts.judge()
        left = len(self.verdicts.under_way)
        self.progress(Progress(self.verdicts.counts.total(), left, total))
        return left
