"""Time per sync, per inbox page and per sweep page, while a database grows from 10,000 to 1,000,000 links.

Two SQLite files with synchronous FULL, one with the fewest links and one with more, take turns in one process, with the
real engine, feeds and maps over vendors in the process that answer at once: what is left is our database. In each
turn a page of the CRM's feed tells of customers that were renamed, drawn from all of them by lot (inbox page: compared
with the past, stored, made due, watermark), every one of them is brought in step (sync: claimed, read, merged, written,
saved), and a page of the ERP's content sweep says nothing new (sweep page). A figure is the median of the quotients of
the two files' turns.

The files are filled by SQL alone (``bench/many.py``): link, child rows, one event and one journal row per customer.
Nobody has ever run ANALYZE on them, as in an installation.
"""

from __future__ import annotations

import contextlib
import random
import statistics
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bench import instant, many
from bench.figures import Figure, Size, at_most
from bench.filling import FLOW
from bench.instant.connect import Instant
from bench.rig import Rig, rig
from sync_worker import wiring
from sync_worker.connectors import CONNECTORS
from sync_worker.connectors.base import Ask, FeedRow, Page
from sync_worker.events import Change
from sync_worker.store import counters, migrate
from sync_worker.store.session import Database
from sync_worker.wiring import App

STEPS = (10_000, 100_000, 1_000_000)
FEED_ROWS, SWEEP_ROWS = 100, 1000  # pages as Sage CRM and Intacct give them
TURNS = 5  # of both files, for each of the bench's own
WARM_UP = 3  # turns until caches are filled and what is written is put into its place now and then
FLAT = 1.3
WORK = ("sync", "inbox page", "sweep page")

Times = dict[str, float]
"""Seconds of each kind of work in one turn."""


@dataclass(frozen=True)
class Step:
    """How much dearer each kind of work is with so many links than with the fewest; milliseconds of both."""

    links: int
    against: dict[str, float]
    milliseconds: dict[str, tuple[float, float]]


def measure(size: Size) -> list[Figure]:
    """Each kind of work with the most links against the fewest."""
    real = dict(CONNECTORS)
    instant.use(edited=False)
    try:
        with rig() as stage:
            steps = _steps(stage, [size.of(count) for count in STEPS], TURNS * size.repeats)
    finally:
        CONNECTORS.update(real)
    return [_figure(name, steps) for name in WORK]


def _figure(name: str, steps: list[Step]) -> Figure:
    name_of_all = f"growth: time per {name}, {steps[-1].links:,} links against {steps[0].links:,}"
    mine, base = steps[-1].milliseconds[name]
    also = f"{mine:.3g} ms against {base:.3g}; {', '.join(f'{s.links:,}: {s.against[name]:.2f}' for s in steps[1:-1])}"
    points = tuple((one.links, one.against[name]) for one in steps)
    return at_most(name_of_all, steps[-1].against[name], FLAT, also=also, growth=points)


def _steps(stage: Rig, sizes: list[int], turns: int) -> list[Step]:
    steps: list[Step] = []
    with _filled(stage, sizes[0]) as first:
        for count in sizes[1:]:
            with _filled(stage, count) as grown:
                both = [(first.turn(), grown.turn()) for _ in range(WARM_UP + turns)][WARM_UP:]
            base = [one for one, _ in both]
            steps = steps or [_step(sizes[0], base, base)]
            steps.append(_step(count, [one for _, one in both], base))
    return steps


def _step(links: int, mine: list[Times], base: list[Times]) -> Step:
    against = {name: statistics.median(a[name] / b[name] for a, b in zip(mine, base, strict=True)) for name in WORK}
    return Step(links, against, {name: (_milliseconds(mine, name), _milliseconds(base, name)) for name in WORK})


def _milliseconds(turns: list[Times], name: str) -> float:
    return statistics.median(one[name] for one in turns) * 1000


@contextlib.contextmanager
def _filled(stage: Rig, count: int) -> Iterator[Ground]:
    """A database file with ``count`` links, gone afterwards."""
    file = stage.folder / f"{count}.db"
    db = Database(f"sqlite:///{file}")
    migrate.upgrade(str(db.url))
    app = wiring.build(stage.config, db=db, sleep=lambda _seconds: None)  # no batch waits for company
    with contextlib.closing(app):
        db.close()  # nobody else may have the file open
        many.fill(file, app.flows[FLOW], count)
        counters.recount(db)
        yield Ground(app, count)
    file.unlink()


class Ground:
    """One database at its size, and what happens on it."""

    def __init__(self, app: App, links: int) -> None:
        self._app, self._links = app, links
        self._rng = random.Random(links)
        # the flow's own views of the connectors: the feeds ask those of the systems
        self._erp, self._crm = (app.systems[name] for name in ("erp", "crm"))
        self._edited: set[int] = set()

    def turn(self) -> Times:
        """Seconds per page of either kind and per link."""
        keys = self._some()
        self._give(self._crm, "changes", keys, edited=True)
        begun = time.perf_counter()
        touched = self._app.feeds.poll("crm")
        stored = time.perf_counter()
        assert len(touched) == len(keys), f"{len(touched)} of {len(keys)} edits became due"
        instant.EDITED = True
        writes = sum(iter(lambda: self._app.engine.run_due(FLOW, "live").claimed, 0))
        synced = time.perf_counter()
        instant.EDITED = False
        assert writes == len(keys), f"{writes} of {len(keys)} links were brought in step"
        start = self._rng.randrange(many.FIRST, many.FIRST + self._links - SWEEP_ROWS)
        self._give(self._erp, "sweep", [str(n) for n in range(start, start + SWEEP_ROWS)], edited=False)
        before = time.perf_counter()
        assert not self._app.feeds.sweep("erp"), "the sweep found differences"
        swept = time.perf_counter()
        return {"inbox page": stored - begun, "sync": (synced - stored) / len(keys), "sweep page": swept - before}

    def _some(self) -> list[str]:
        """Customers by lot that nobody has edited yet."""
        chosen: set[int] = set()
        while len(chosen) < FEED_ROWS:
            chosen.add(self._rng.randrange(many.FIRST, many.FIRST + self._links))
            chosen -= self._edited
        self._edited |= chosen
        return [str(n) for n in sorted(chosen)]

    def _give(self, connector: Instant, feed: str, keys: Iterable[str], *, edited: bool) -> None:
        """A page that the vendor's feed shows next."""
        instant.EDITED = edited
        records = connector.read_many("customer", [Ask(key) for key in keys])
        instant.EDITED = False
        rows = tuple(FeedRow(Change(connector.system, "customer", r.key, via="poll"), r) for r in records.values() if r)
        connector.pages[feed] = [Page(rows, watermark=rows[-1].change.key)]
