"""How changes are noticed without being told: time-stamp feeds, the content sweep, whose child is this.

Our assumption, with evidence: an edit of a phone, e-mail, address or person stamps its own table, not the company,
so every table has a feed. Observed: writes through an API often leave the stamp as it was, so the sweep is needed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

from sync_worker.connectors import documents, stamps
from sync_worker.connectors.base import Ask, FeedRow, Page, Record
from sync_worker.connectors.sage_crm import where
from sync_worker.connectors.sage_crm.known import LINKED
from sync_worker.connectors.sage_crm.reading import ALL, Reader
from sync_worker.connectors.sage_crm.rest import Rest
from sync_worker.connectors.sage_crm.tables import (
    ADDRESS,
    BIT,
    COMPANY,
    PERSON,
    PRIMARY,
    TICKED,
    Linked,
    Row,
    Shape,
    Table,
)
from sync_worker.errors import SystemUnavailable
from sync_worker.events import Change, Op

OVERLAP = 60.0  # seconds looked at again: a transaction may show up later than its stamp says
_RESOLUTION = 0.001  # seconds: the next stamp after a mark
_FIRST_LOOK = 20  # rows among which the newest stamp is looked for when a feed begins


class Feeds:
    """All feeds of one installation. ``changes`` is for one caller at a time (the poller); the rest is thread-safe."""

    def __init__(
        self,
        system: str,
        rest: Rest,
        shape: Shape,
        reader: Reader,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._system = system
        self._rest = rest
        self._shape = shape
        self._reader = reader
        linked = (t for of in LINKED for t in (of.table, of.link))
        ticks = (TICKED.link,) if shape.address_type else ()
        self._tables: tuple[Table, ...] = (COMPANY, PERSON, ADDRESS, *linked, *ticks)
        self._clock = clock
        self._told: tuple[str, frozenset[int]] = ("", frozenset())
        self._reached: dict[str, tuple[float, float]] = {}  # table -> its mark, and when that was reached on our clock
        self._settled: dict[str, float] = {}  # table -> a mark whose overlap needs no further look

    # --- time-stamp feed ---------------------------------------------------------------------------------------------

    def changes(self, watermark: str | None) -> Iterator[Page]:
        """Rows stamped since the watermark, less an overlap; always ends with a page that carries the new one.

        Rows of the overlap that say exactly what they said last time are left out, but only for a caller that
        comes back with the watermark it was given, which it stores after the rows. An overlap that was looked at
        once more after it had time to fill is settled: a bulk load is not read again at every poll for ever.
        """
        marks = _load(watermark)
        if watermark is None or not marks:
            marks = {table.resource: self._newest(table) for table in self._tables}
            yield Page([], _dump(marks))
            return
        told = self._told[1] if self._told[0] == watermark else frozenset()
        oldest = min(marks.values())
        telling: set[int] = set()
        for table in self._tables:
            mark = marks.get(table.resource, oldest)
            newest = mark
            started = self._clock()
            for rows in self._since(table, self._cutoff(table, mark)):
                fresh = []
                for row, stamp in rows:
                    newest = max(newest, stamp)
                    content = hash((table.resource, repr(row.raw)))
                    telling.add(content)
                    if content not in told and (feed_row := self._feed_row(table, row, stamp)):
                        fresh.append(feed_row)
                if fresh:
                    yield Page(fresh)
            marks[table.resource] = newest
            self._note_mark(table, newest, started)
        after = _dump(marks)
        yield Page([], after)
        self._told = (after, frozenset(telling))

    def _cutoff(self, table: Table, mark: float) -> float:
        return mark + _RESOLUTION if self._settled.get(table.resource) == mark else mark - OVERLAP

    def _note_mark(self, table: Table, mark: float, started: float) -> None:
        reached, at = self._reached.get(table.resource, (None, 0.0))
        if reached != mark:
            self._reached[table.resource] = (mark, self._clock())
        elif started - at > OVERLAP:
            self._settled[table.resource] = mark

    def _newest(self, table: Table) -> float:
        """The newest stamp by the vendor's own clock; 0 for an empty table, whose every row will be new."""
        rows, _ = self._rest.first(table, order=f"{table.updated} desc", count=_FIRST_LOOK)
        return max((row.changed_at(table, self._shape.zone) or 0.0 for row in rows), default=0.0)

    def _since(self, table: Table, cutoff: float) -> Iterator[list[tuple[Row, float]]]:
        """Rows changed at or after ``cutoff``, with their stamps.

        Rows without an updated date count from their creation, which a second predicate finds. Days are coarse, so
        on a long feed the newest-first order (documented since 2024 R2) tells when to stop; where a server does not
        keep it, all is read.
        """
        zone = self._shape.zone
        updated = where.since_day(table.updated, cutoff, zone)
        created = where.since_day(table.created, cutoff, zone)
        stopped = yield from self._newest_first(table, f"{updated} or {created}", table.updated, cutoff)
        if stopped:
            for rows in self._newest_first(table, created, table.created, cutoff):
                yield [(row, stamp) for row, stamp in rows if stamps.seconds(row.cell(table.updated), zone) is None]

    def _newest_first(
        self, table: Table, predicate: str, column: str, cutoff: float
    ) -> Generator[list[tuple[Row, float]], None, bool]:
        """Pages of one predicate; returns (to ``yield from``) whether it stopped before the end."""
        zone, last, ordered, read = self._shape.zone, float("inf"), True, 0
        for rows, total in self._rest.pages(table, predicate, order=f"{column} desc", deleted=True):
            stamped = [(row, row.changed_at(table, zone)) for row in rows]
            yield [(row, stamp) for row, stamp in stamped if stamp is not None and stamp >= cutoff]
            for row in rows:
                at = stamps.seconds(row.cell(column), zone) or 0.0
                ordered, last = ordered and at <= last, at
            read += len(rows)
            if ordered and last < cutoff and (total < 0 or read < total):
                return True
        return False

    def _feed_row(self, table: Table, row: Row, stamp: float) -> FeedRow | None:
        gone = row.deleted(table)
        if table is COMPANY and gone:
            return FeedRow(Change(self._system, "customer", row.key(COMPANY), "deleted", "poll", at=stamp))
        if table is COMPANY:
            record = self._partial(row)
            op: Op = "created" if record.created_at == stamp else "updated"
            return FeedRow(Change(self._system, "customer", record.key, op, "poll", at=stamp), record)
        for of in LINKED:
            if table is of.link and not (of.links_company(row) and self._shown(of, row)):
                return None
            if table in (of.table, of.link):
                key = row.id(of.child) if table is of.link else row.key(table)
                child: Op = "deleted" if gone else "updated"
                return FeedRow(Change(self._system, of.part, key, child, "poll", at=stamp)) if key else None
        if table is TICKED.link:
            ticks = bool(row.id(TICKED.company)) and TICKED.kind_of(row) == self._shape.address_type.casefold()
            key = row.id(TICKED.child)
            return FeedRow(Change(self._system, "address", key, "updated", "poll", at=stamp)) if ticks and key else None
        part = next(part for part, (primary, _) in PRIMARY.items() if primary is table)
        child = "deleted" if gone else "updated"
        return FeedRow(Change(self._system, part, row.key(table), child, "poll", at=stamp))

    def _shown(self, of: Linked, link: Row) -> bool:
        """Is a link's type one that the mapping shows?"""
        kind = of.kind_of(link)
        return any(kind == shown.casefold() for shown in self._shape.types[of.part])

    def _partial(self, row: Row) -> Record:
        """The company's own part, and which person and address it shows."""
        key, zone = row.key(COMPANY), self._shape.zone
        created, changed = row.created_at(COMPANY, zone), row.changed_at(COMPANY, zone)
        return Record(key, key, self._shape.company(row), self._shape.primaries(row), BIT["company"], created, changed)

    # --- content sweep -----------------------------------------------------------------------------------------------

    def sweep(self, after: str | None, batch: int) -> Iterator[Page]:
        """Every company with all its parts, in key order from after ``after``."""
        last = _position(after)
        while True:
            rows, total = self._rest.shown(COMPANY, _behind(last), order=COMPANY.key, count=batch)
            keys = [_number(row) for row in rows]
            if not keys:
                return
            if keys != sorted(set(keys)) or (len(keys) == 1 < total):
                yield from self._sweep_unordered(last, batch)
                return
            if keys[0] <= last:
                raise SystemUnavailable("the list of companies does not go on behind the id that was asked for")
            last = keys[-1]
            yield self._swept([row for row in rows if not row.deleted(COMPANY)], str(last), len(rows))

    def count(self, after: str | None) -> int | None:
        """How many companies the server claims there are behind a key."""
        _, total = self._rest.shown(COMPANY, _behind(_position(after)), order=None, count=1)
        return total if total >= 0 else None

    def _sweep_unordered(self, last: int, batch: int) -> Iterator[Page]:
        """Observed on some servers: no order is kept. Then all keys are collected first, and read in order."""
        keys = sorted(_number(row) for row in self._rest.each(COMPANY, [_behind(last)]))
        for start in range(0, len(keys), batch):
            found = self._reader.by_id(COMPANY, [str(key) for key in keys[start : start + batch]])
            rows = [row for row in found.values() if row is not None]
            if rows:
                yield self._swept(rows, max((row.key(COMPANY) for row in rows), key=int), len(rows))

    def _swept(self, rows: Sequence[Row], last: str, shown: int) -> Page:
        asks = [Ask(row.key(COMPANY), ALL) for row in rows]
        records = self._reader.read(asks, rows)
        found = []
        for ask in asks:
            record = records[ask.key]
            if record is not None:
                change = Change(self._system, "customer", ask.key, "updated", "reconcile", at=record.updated_at)
                found.append(FeedRow(change, record))
        return Page(found, last, shown=shown)

    # --- whose child is this -----------------------------------------------------------------------------------------

    def resolve(self, entity: str, keys: Sequence[str]) -> dict[str, list[str]]:
        """Child keys -> companies that show them now; an empty list: nobody does (also for an unknown entity)."""
        found: dict[str, list[str]] = {key: [] for key in keys}
        if entity == "address" and self._shape.address_type:
            # of whatever type: a tick that was taken away is news too
            links = self._rest.links(TICKED, TICKED.child, found)
            pairs = [(row.id(TICKED.child), row.id(TICKED.company)) for row in links]
        elif entity in PRIMARY:
            column = PRIMARY[entity][1]
            pairs = [
                (row.id(column), row.key(COMPANY)) for row in self._rest.rows(COMPANY, where.id_lists(column, found))
            ]
        else:
            pairs = [
                (row.id(of.child), row.id(of.company))
                for of in LINKED
                if of.part == entity
                for row in self._rest.links(of, of.child, found)
                if self._shown(of, row)
            ]
        for child, company in pairs:
            if child in found and company and company not in found[child]:
                found[child].append(company)
        return found


def _number(row: Row) -> int:
    if not where.is_id(key := row.key(COMPANY)):
        raise SystemUnavailable("the list of companies shows a row without an id")
    return int(key)


def _position(after: str | None) -> int:
    return int(after) if after and where.is_id(after) else 0


def _behind(last: int) -> str:
    return f"{COMPANY.key} gt {last}"


def _load(watermark: str | None) -> dict[str, float]:
    """Stamps per table; empty for a text that is none of ours, which starts the feed anew."""
    try:
        document = documents.read((watermark or "").encode())
        return {str(table): stamp for table, text in document.items() if (stamp := stamps.utc(text)) is not None}
    except (ValueError, AttributeError):
        return {}


def _dump(marks: Mapping[str, float]) -> str:
    return json.dumps({table: stamps.iso(stamp) for table, stamp in sorted(marks.items())})
