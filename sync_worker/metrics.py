"""Prometheus figures. Several processes write to files in one directory; the web process adds them up at a scrape.

``prepare`` must run before the first figure is made in a process, since prometheus_client chooses its kind of storage
at import. What SQL knows better (links by state, due) is asked at the scrape.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Histogram

DIRECTORY_ENV = "PROMETHEUS_MULTIPROC_DIR"
_LOCK = threading.Lock()
FAST = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0)


@dataclass(frozen=True, slots=True)
class SqlFigures:
    """``links``: (flow, state) -> count. ``oldest_due``: seconds, None when nothing is due."""

    links: dict[tuple[str, str], int] = field(default_factory=dict)
    due: int = 0
    oldest_due: float | None = None


def prepare(directory: Path, *, clean: bool = False) -> None:
    """Choose where this process and its children keep their figures. ``clean``: forget those of earlier runs."""
    directory.mkdir(parents=True, exist_ok=True)
    if clean:
        for old in directory.glob("*.db"):
            old.unlink(missing_ok=True)
    os.environ[DIRECTORY_ENV] = str(directory)


@dataclass(frozen=True, slots=True)
class _Figures:
    passes: Counter
    calls: Counter
    call_seconds: Histogram
    done: Histogram


def _figures() -> _Figures:
    # functools.cache may compute twice when two threads come first, and a figure's name can be taken only once
    with _LOCK:
        return _make_figures()


@cache
def _make_figures() -> _Figures:
    from prometheus_client import Counter, Histogram

    return _Figures(
        Counter("sync_passes", "Passes over links by how they ended", ["flow", "outcome"]),
        Counter("sync_vendor_calls", "Calls to vendors", ["system", "operation", "result"]),
        Histogram("sync_vendor_call_seconds", "Duration of vendor calls", ["system", "operation"], buckets=FAST),
        Histogram("sync_notice_to_done_seconds", "From a notice to the end of its pass", ["flow"], buckets=FAST),
    )


def pass_ended(flow: str, outcome: str) -> None:
    """Count one go of the engine over one link."""
    _child(_figures().passes, flow, outcome).inc()


def notice_done(flow: str, seconds: float) -> None:
    """Note the time from the oldest unanswered notice of a link to the end of the pass that answered it."""
    _child(_figures().done, flow).observe(seconds)


def vendor_call(system: str, operation: str, result: str, seconds: float) -> None:
    """Count one call to a vendor."""
    figures = _figures()
    _child(figures.calls, system, operation, result).inc()
    _child(figures.call_seconds, system, operation).observe(seconds)


@cache
def _child(metric: Any, *labels: str) -> Any:
    """``labels()`` formats and locks at every call; a label set is looked up once."""
    return metric.labels(*labels)


def render(collect: Callable[[], SqlFigures]) -> tuple[bytes, str]:
    """The scrape's body and content type: all processes' figures and what SQL says now."""
    from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    if os.environ.get(DIRECTORY_ENV):
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # the library has no types here
    else:
        registry = REGISTRY
    return generate_latest(registry) + generate_latest(_sql_registry(collect())), CONTENT_TYPE_LATEST


def _sql_registry(figures: SqlFigures) -> CollectorRegistry:
    from prometheus_client import CollectorRegistry, Gauge

    registry = CollectorRegistry()
    links = Gauge("sync_links", "Links by state", ["flow", "state"], registry=registry)
    for (flow, state), count in sorted(figures.links.items()):
        links.labels(flow, state).set(count)
    Gauge("sync_due", "Links that are due", registry=registry).set(figures.due)
    oldest = Gauge("sync_oldest_due_seconds", "How long the oldest due link has been due", registry=registry)
    oldest.set(figures.oldest_due or 0.0)
    return registry


def forget_process(pid: int) -> None:
    """Drop the live gauges of a process that died; its counters stay."""
    from prometheus_client.multiprocess import mark_process_dead

    if os.environ.get(DIRECTORY_ENV):
        mark_process_dead(pid)  # type: ignore[no-untyped-call]  # the library has no types here
