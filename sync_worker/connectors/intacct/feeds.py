"""Following an object by its modified time: the one way customers and invoices are polled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sync_worker.connectors.base import FeedRow, Page
from sync_worker.connectors.intacct.query import (
    CREATED,
    MODIFIED,
    Columns,
    Filter,
    QueryService,
    Row,
    seconds_of,
    stamp_of,
)

CLOCK_SKEW = 300.0  # seconds the vendor's clock may be behind ours before the feed could step over an edit


@dataclass(frozen=True)
class Feed:
    """What is followed. ``operation``: its name in logs and figures. ``rows_of``: its rows as the poller takes them."""

    operation: str
    target: str
    columns: Columns
    rows_of: Callable[[Sequence[Row]], list[FeedRow]]


def follow(feed: Feed, queries: QueryService, watermark: str | None, *, now: float, overlap: float) -> Iterator[Page]:
    """Records changed since ``watermark`` less ``overlap`` seconds; None starts now, with no rows.

    Stamps have whole seconds and late commits come in under older ones, so the window overlaps and is never strict.
    While nothing happens the watermark follows our clock at a distance, so that a bulk load is not read for ever.
    A record whose modified time is null is judged by when it was created. Usually one call; a full first page is
    followed by two scans, one per stamp, because nulls sort nobody knows where.
    """
    since = seconds_of(watermark)
    if since is None:
        yield Page((), watermark=stamp_of(now - CLOCK_SKEW))
        return
    high = max(stamp_of(since), stamp_of(now - CLOCK_SKEW))
    start = stamp_of(since - overlap)
    changed: list[Filter] = [{"$gte": {MODIFIED: start}}]
    untouched: list[Filter] = [{"$eq": {MODIFIED: None}}, {"$gte": {CREATED: start}}]
    first = queries.page(
        feed.operation,
        feed.target,
        feed.columns,
        [*changed, *untouched],
        expression="1 or (2 and 3)",
        order=(MODIFIED, "key"),
    )
    high = max([high, *(stamp for row in first.rows if (stamp := _mark(row, now)))])
    if not first.more:
        yield Page(feed.rows_of(first.rows), watermark=high)
        return
    for rows in queries.scan(feed.operation, feed.target, feed.columns, untouched, stamp=CREATED):
        yield Page(feed.rows_of(rows))
    reached = stamp_of(since)
    for rows in queries.scan(feed.operation, feed.target, feed.columns, changed, stamp=MODIFIED):
        reached = max(reached, _mark(rows[-1], now) or reached)
        yield Page(feed.rows_of(rows), watermark=reached)


def stamp_in(row: Row) -> str | None:
    """When the vendor last wrote this row, as it says so; a new one may have been created only."""
    stamp = row.get(MODIFIED) or row.get(CREATED)
    return stamp if isinstance(stamp, str) else None


def _mark(row: Row, now: float) -> str | None:
    """A row's stamp as a watermark; what is no time, or lies ahead of both clocks, would end the feed."""
    found = seconds_of(stamp_in(row))
    return stamp_of(found) if found is not None and found <= now + CLOCK_SKEW else None
