"""The walk over one side: every record once, compared with its link, in ranges of keys; and whether it was complete.

Memory stays flat: of a page only what differs is kept, in ``run_row``; of a link that it was seen, in one bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from sqlalchemy import Connection

from sync_worker.connectors.base import Connector, FeedRow, Page, Record
from sync_worker.engine import comparing
from sync_worker.engine.comparing import Known
from sync_worker.engine.flow import Flow
from sync_worker.engine.rule import Rule
from sync_worker.engine.states import backoff
from sync_worker.errors import RetryableError
from sync_worker.events import Side
from sync_worker.reconcile.position import Position, Range
from sync_worker.store import runs
from sync_worker.store.runs import Row
from sync_worker.store.session import Database

T = TypeVar("T")

PATIENCE = 8  # failures in a row of one call before the run gives up: about five minutes
SILENT = 1  # failures in a row that pass without a word: one costs a second, and is nothing to worry about
ROUNDS = 5  # times that ranges which do not add up are walked again
ONLY = "only"
SUSPECT = "suspect"
LEFT_OUT = Row("", "left_out")


@dataclass
class Walk:
    """``position`` is changed as the walk goes on and stored with every page that found something.

    ``progress``: told the side, how many records were seen, and how many there are (None: not known). ``say``: told why
    a read is waited for.
    """

    db: Database
    flow: Flow
    rule: Rule
    run_id: int
    position: Position
    progress: Callable[[Side, int, int | None], None]
    sleep: Callable[[float], None] = time.sleep
    say: Callable[[str], None] = lambda _text: None
    save_seconds: float = 2.0
    _saved_at: float = field(default_factory=time.monotonic)

    def side(self, side: Side) -> None:
        """Walk one side from where it was left to its end, and see to it that nothing was missed."""
        position = self.position
        if side in position.walked:
            return
        if side not in position.totals:
            position.totals[side] = self.patiently(lambda: self._connector(side).count(self.flow.entity))
        self._walk_on(side)
        position.walked[side] = self._complete(side)
        self.save()

    def save(self, rows: Sequence[Row] = (), forget: str = "") -> None:
        """Store how far the walk has come, together with what it found."""

        def work(conn: Connection) -> None:
            if forget:
                runs.drop_prefix_in(conn, self.run_id, forget)
            runs.put_rows_in(conn, self.run_id, rows)
            seen = {f"seen_{s}": self.position.seen(s) for s in self.position.ranges}
            runs.note_in(conn, self.run_id, self.position.dump(), seen)

        self.db.run(work)
        self._saved_at = time.monotonic()

    def patiently(self, ask: Callable[[], T]) -> T:
        """A read that is tried again while the vendor is away or asks to slow down. Raises what stays."""
        for attempt in range(PATIENCE):
            try:
                return ask()
            except RetryableError as error:
                if attempt == SILENT:
                    self.say(f"{error.of_system}; waiting, and going on by itself")
                self.sleep(backoff(attempt + 1, 1.0, error.after))
        return ask()

    def _connector(self, side: Side) -> Connector:
        return self.flow.connectors[side]

    # --- walking -----------------------------------------------------------------------------------------------------

    def _walk_on(self, side: Side) -> None:
        ranges = self.position.ranges[side]
        for page in self._pages(side, ranges[-1].last if ranges else None):
            last = page.watermark or ""
            found = self._compare(side, page.rows)
            shown = len(page.rows) if page.shown is None else page.shown
            rows = _named(found, side, len(ranges))
            ranges.append(Range(last, shown, len(found) - len(rows)))
            if rows or time.monotonic() - self._saved_at > self.save_seconds:
                self.save(rows)
            self.progress(side, self.position.seen(side), self.position.totals[side])

    def _pages(self, side: Side, after: str | None) -> Iterator[Page]:
        """The sweep from behind a key; after a failure it is begun again where it was."""
        pages = self._connector(side).sweep(self.flow.entity, after)
        while True:
            try:
                page = next(pages, None)
            except RetryableError:
                page, pages = self.patiently(lambda key=after: self._restart(side, key))  # type: ignore[misc]
            if page is None:
                return
            after = page.watermark
            yield page

    def _restart(self, side: Side, after: str | None) -> tuple[Page | None, Iterator[Page]]:
        pages = self._connector(side).sweep(self.flow.entity, after)
        return next(pages, None), pages

    def _compare(self, side: Side, rows: Sequence[FeedRow]) -> list[Row]:
        """What a page's records have to say: nothing, that they take no part, or that they differ."""
        records = [row.record for row in rows if row.record is not None]
        with self.db.read() as conn:
            known = comparing.known_in(conn, self.flow, side, [record.key for record in records])
        found = []
        for record in records:
            mine = known.get(record.key)
            if mine is not None:
                self.position.links[side].add(mine.link_id)
            verdict = self._verdict(side, record, mine)
            if verdict is not None:
                found.append(verdict)
        return found

    def _verdict(self, side: Side, record: Record, mine: Known | None) -> Row | None:
        left_out = self.rule.takes_part(self.flow, side, record) or self._of_another(side, record)
        detail = {"side": side, "key": record.key}
        if mine is None:
            return LEFT_OUT if left_out else Row(record.key, ONLY, None, detail)
        excluded_here = mine.left_out_by.startswith(f"{side}.")
        if mine.left_out_by and not excluded_here:
            return None  # it is the other side's record that is left out
        apart = excluded_here != bool(left_out) if excluded_here or left_out else self._moved(side, record, mine)
        if not apart or (not mine.linked and mine.state == "unlinked"):
            return None
        return Row(f"link:{mine.link_id}", SUSPECT if mine.linked else ONLY, mine.link_id, detail)

    def _of_another(self, side: Side, record: Record) -> str | None:
        """A CRM record that names another ERP company is no concern of this flow (GUMU-8)."""
        named = self.flow.linked_company(record) if side == "crm" else None
        return "company" if named and self.flow.company and not self.flow.is_own_company(named) else None

    def _moved(self, side: Side, record: Record, mine: Known) -> bool:
        moved = comparing.moved(self.flow, side, record, mine)
        return not moved.isdisjoint(comparing.shared_fields(self.flow, is_default=mine.is_default))

    # --- was it complete? --------------------------------------------------------------------------------------------

    def _complete(self, side: Side) -> bool:
        """Do the ranges add up to what the vendor counts? Where they do not, those that moved are walked again."""
        for _ in range(ROUNDS):
            total, behind = self._count(side, None), self._count(side, self._last(side))
            if total is None or behind is None:
                return False
            self.position.totals[side] = total
            if total == self.position.seen(side) and behind == 0:
                return True
            if behind:
                self._walk_on(side)
            self._mend(side, 0, len(self.position.ranges[side]), self._counted(side, None))
        return False

    def _last(self, side: Side) -> str | None:
        ranges = self.position.ranges[side]
        return ranges[-1].last if ranges else None

    def _count(self, side: Side, after: str | None) -> int | None:
        return self.patiently(lambda: self._connector(side).count(self.flow.entity, after))

    def _counted(self, side: Side, after: str | None) -> int:
        return self._count(side, after) or 0

    def _mend(self, side: Side, low: int, high: int, counted: int) -> None:
        """Find the ranges that hold another number of records than were seen there, by halves; walk those again.

        ``counted``: how many the vendor counts in the ranges from ``low`` up to ``high``.
        """
        ranges = self.position.ranges[side]
        if counted == sum(one.shown for one in ranges[low:high]):
            return
        if high - low == 1:
            self._walk_again(side, low)
            return
        middle = (low + high) // 2
        end = self._counted(side, ranges[high - 1].last) if high < len(ranges) else 0
        right = self._counted(side, ranges[middle - 1].last) - end
        self._mend(side, low, middle, counted - right)
        self._mend(side, middle, high, right)

    def _walk_again(self, side: Side, index: int) -> None:
        ranges = self.position.ranges[side]
        after = ranges[index - 1].last if index else None
        last = _order(ranges[index].last)
        with self.db.read() as conn:
            for link_id in comparing.ids_between(conn, self.flow, side, after or "", ranges[index].last):
                self.position.links[side].discard(link_id)  # those that are still there are seen again
        found: list[Row] = []
        shown = 0
        for page in self._pages(side, after):
            inside = [row for row in page.rows if _order(row.change.key) <= last]
            left = len(page.rows) - len(inside)
            shown += (len(page.rows) if page.shown is None else page.shown) - left
            found += self._compare(side, inside)
            if left or _order(page.watermark or "") >= last:
                break
        rows = _named(found, side, index)
        ranges[index] = Range(ranges[index].last, shown, len(found) - len(rows))
        self.save(rows, forget=_prefix(side, index))


def _named(found: Sequence[Row], side: Side, index: int) -> list[Row]:
    """Findings under the keys they are stored by: those without a link stand under their range."""
    rows = [row for row in found if row is not LEFT_OUT]
    prefix = _prefix(side, index)
    return [row if row.link_id is not None else Row(prefix + row.key, row.verdict, None, row.detail) for row in rows]


def _prefix(side: Side, index: int) -> str:
    return f"{side}/{index}/"


def _order(key: str) -> tuple[int, str]:
    """Keys order as numbers do."""
    return len(key), key
