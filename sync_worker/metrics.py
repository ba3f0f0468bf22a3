"""Prometheus figures. Several processes write to files in one directory; the web process adds them up at a scrape.

Without ``prepare`` (tests, single commands) figures stay in the process. What SQL knows better (links by state, what
is due) is asked at the scrape.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sync_worker import metric_files

if TYPE_CHECKING:
    from prometheus_client import Counter, Histogram, Metric

_making = threading.Lock()
_tally: ContextVar[dict[str, int] | None] = ContextVar("tally", default=None)
_tallying = threading.Lock()

SECONDS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0)


@dataclass(frozen=True, slots=True)
class SqlFigures:
    """``links``: (flow, state) -> count. ``oldest_due``: seconds, None when nothing is due."""

    links: dict[tuple[str, str], int] = field(default_factory=dict)
    due: int = 0
    oldest_due: float | None = None


def prepare(directory: Path, *, clean: bool = False) -> None:
    """Choose where this process and its children keep their figures; to be called before the first one is made.

    ``clean``: forget what ended processes counted. Otherwise it is kept.
    """
    metric_files.use(directory)
    if clean:
        metric_files.clear(directory)
    else:
        metric_files.archive_dead(directory)


@dataclass(frozen=True, slots=True)
class _Figures:
    passes: Counter
    calls: Counter
    call_seconds: Histogram
    done: Histogram
    reached: Histogram


def _figures() -> _Figures:
    with _making:  # the first calls of a process come from several threads at once
        return _make_figures()


@cache
def _make_figures() -> _Figures:
    # prometheus_client is heavy to import, and single commands count nothing.
    from prometheus_client import Counter, Histogram

    return _Figures(
        Counter("sync_passes", "Passes over links by how they ended", ["flow", "outcome"]),
        Counter("sync_vendor_calls", "Calls to vendors", ["system", "operation", "result"]),
        Histogram("sync_vendor_call_seconds", "Duration of vendor calls", ["system", "operation"], buckets=SECONDS),
        Histogram("sync_notice_to_done_seconds", "From a notice to the end of its pass", ["flow"], buckets=SECONDS),
        Histogram("sync_notice_to_call_seconds", "From a notice to its pass's first call", ["flow"], buckets=SECONDS),
    )


def pass_ended(flow: str, outcome: str) -> None:
    """Count one go of the engine over one link."""
    _child(_figures().passes, flow, outcome).inc()


def notice_done(flow: str, seconds: float) -> None:
    """Note the time from the oldest unanswered notice of a link to the end of the pass that answered it."""
    _child(_figures().done, flow).observe(seconds)


def notice_reached_vendor(flow: str, seconds: float) -> None:
    """Note the time from the oldest unanswered notice of a link, stored, to the first vendor call of its pass."""
    _child(_figures().reached, flow).observe(seconds)


@contextmanager
def counting() -> Iterator[dict[str, int]]:
    """Within: vendor calls of this context, and of what it starts, are counted by system in what is handed out."""
    counts: dict[str, int] = {}
    token = _tally.set(counts)
    try:
        yield counts
    finally:
        _tally.reset(token)


def vendor_call(system: str, operation: str, result: str, seconds: float) -> None:
    """Count one call to a vendor. ``result``: ``ok`` or the code of the error."""
    counts = _tally.get()
    if counts is not None:
        with _tallying:
            counts[system] = counts.get(system, 0) + 1
    figures = _figures()
    _child(figures.calls, system, operation, result).inc()
    _child(figures.call_seconds, system, operation).observe(seconds)


@cache
def _child(metric: Any, *labels: str) -> Any:
    """``labels()`` formats and locks at every call; a label set is looked up once."""
    metric_files.be_there()
    return metric.labels(*labels)


def render(collect: Callable[[], SqlFigures] | None) -> tuple[bytes, str]:
    """The scrape's body and content type: all processes' figures, and what SQL says. Raises what ``collect`` does.

    ``collect`` None: the processes' figures alone.
    """
    from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest

    directory = os.environ.get(metric_files.DIRECTORY_ENV)
    counted = REGISTRY
    if directory:
        counted = CollectorRegistry()
        counted.register(_Source(lambda: metric_files.collect(Path(directory))))
    asked = CollectorRegistry()
    families = _families(collect()) if collect is not None else []
    asked.register(_Source(lambda: families))
    return generate_latest(counted) + generate_latest(asked), CONTENT_TYPE_LATEST


@dataclass(frozen=True, eq=False)
class _Source:
    """What prometheus_client calls a collector."""

    collect: Callable[[], Iterable[Metric]]


def _families(figures: SqlFigures) -> list[Metric]:
    # Not Gauge objects: those would keep their values in the files of the processes too.
    from prometheus_client.core import GaugeMetricFamily

    links = GaugeMetricFamily("sync_links", "Links by state", labels=["flow", "state"])
    for (flow, state), count in sorted(figures.links.items()):
        links.add_metric([flow, state], count)
    oldest = figures.oldest_due or 0.0
    return [
        links,
        GaugeMetricFamily("sync_due", "Links that are due", value=figures.due),
        GaugeMetricFamily("sync_oldest_due_seconds", "How long the oldest due link has been due", value=oldest),
    ]
