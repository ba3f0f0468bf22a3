"""How changes are noticed without being told: the list since a moment, and the content sweep."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from sync_worker.connectors import stamps
from sync_worker.connectors.base import FeedRow, Page, Record
from sync_worker.connectors.bounds import bounded
from sync_worker.connectors.rest import pointers
from sync_worker.connectors.rest.calls import Calls
from sync_worker.connectors.rest.records import Records
from sync_worker.errors import SystemUnavailable
from sync_worker.events import Change, Via

BATCH = 50
OVERLAP = 60.0  # seconds looked at again: a transaction may show up later than its stamp says


class Feeds:
    """``changes`` is for one caller at a time, the poller.

    ``read``: customers by key. ``clock``: seconds since 1970.
    """

    def __init__(
        self,
        system: str,
        calls: Calls,
        records: Records,
        read: Callable[[Sequence[str]], Mapping[str, Record | None]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._system = system
        self._read = read
        self._calls = calls
        self._records = records
        self._clock = clock
        self._reached: tuple[str, float] = ("", 0.0)  # the newest stamp, and when it was first seen on our clock
        self._settled = ""  # a stamp whose overlap needs no further look

    def changes(self, watermark: str | None) -> Iterator[Page]:
        """Customers stamped at or after the watermark, less an overlap; ends with a page that carries the new one.

        An overlap that was looked at once more after it had time to fill is settled: the rows of a bulk load are not
        read again at every poll.
        """
        mark = stamps.utc(watermark)
        if mark is None:
            yield Page([], stamps.iso(self._newest()))
            return
        newest, started = mark, self._clock()
        since = mark if self._settled == watermark else mark - OVERLAP
        query = {self._records.profile.find.updated_since: _asked(since)}
        for page in self._calls.pages(query):
            rows = self._records.live(page)
            newest = max([newest, *(row.updated_at for row in rows if row.updated_at is not None)])
            yield Page([self._row(row, "poll") for row in rows])
        after = stamps.iso(newest)
        yield Page([], after)
        reached, at = self._reached
        if after != reached:
            self._reached = (after, started)
        elif started - at > OVERLAP:
            self._settled = after

    def sweep(self, after: str | None) -> Iterator[Page]:
        """Every customer, in key order from after ``after``; pages are cut by key, so nothing shifts meanwhile.

        An API that cannot be asked for that is read through for its keys first, and then in their order.
        """
        profile = self._records.profile
        if not (profile.find.after_key and profile.sort.by_key):
            yield from self._sweep_by_keys(after)
            return
        while True:
            query = {profile.find.after_key: after} if after else {}
            page = next(self._calls.pages(query, sort=profile.sort.by_key), [])
            if not page:
                return
            keys = [key for one in page if (key := pointers.text(one, profile.customers.key))]  # of removed ones too
            if keys != sorted(keys, key=rank):
                raise SystemUnavailable("the list is not in the order of its keys: correct `sort` of the profile")
            if not keys or (after and rank(keys[0]) <= rank(after)):
                raise SystemUnavailable(
                    "the list does not go on behind the key that was asked for: correct `find.after_key` of the profile"
                )
            after = keys[-1]
            rows = [self._row(row, "reconcile") for row in self._records.live(page)]
            yield Page(rows, after, shown=len(page))

    def _sweep_by_keys(self, after: str | None) -> Iterator[Page]:
        every = bounded(row for page in self._calls.pages({}) for row in self._records.live(page))
        found = {row.key for row in every}
        keys = sorted((key for key in found if not after or rank(key) > rank(after)), key=rank)
        for start in range(0, len(keys), BATCH):
            some = keys[start : start + BATCH]
            records = [record for record in self._read(some).values() if record is not None]
            yield Page([self._row(row, "reconcile") for row in records], some[-1])

    def count(self, after: str | None) -> int | None:
        """How many customers there are behind a key, as the API counts; None where it does not say."""
        profile = self._records.profile
        if not profile.customers.total or (after and not profile.find.after_key):
            return None
        return self._calls.total({profile.find.after_key: after} if after else {})

    def _newest(self) -> float:
        """The newest stamp by the vendor's own clock, where it can be asked; else our clock's now."""
        newest = self._records.profile.sort.newest
        if not newest:
            return self._clock()
        for page in self._calls.pages({}, sort=newest, size=1):
            return max((row.updated_at or 0.0 for row in self._records.live(page)), default=0.0)
        return 0.0

    def _row(self, record: Record, via: Via) -> FeedRow:
        op = "created" if record.created_at is not None and record.created_at == record.updated_at else "updated"
        return FeedRow(Change(self._system, "customer", record.key, op, via, at=record.updated_at), record)  # type: ignore[arg-type]  # one of two words


def _asked(moment: float) -> str:
    """A moment as a query carries it: whole seconds, rounded down, in UTC."""
    return stamps.iso(float(max(0, int(moment)))).replace("+00:00", "Z")


def rank(key: str) -> tuple[int, str]:
    """Numbers by their size, texts behind each other."""
    return (len(key.lstrip("0")), key.lstrip("0")) if key.isascii() and key.isdigit() else (1_000, key)
