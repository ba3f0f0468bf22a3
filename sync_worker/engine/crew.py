"""Threads of a run's own that work off what is due of its flows; workers help where they run."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from sync_worker.engine.core import Engine
from sync_worker.events import LinkClass

IDLE_SECONDS = 0.2
# How long a thread that computes keeps others from running (Python: 5 ms). A call holds its slot while its thread waits
# to go on, and that is up to six times in each.
SWITCH_SECONDS = 0.0001
CLASSES: tuple[LinkClass, ...] = ("live", "retry", "bulk")


@contextmanager
def working(engine: Engine, flows: Sequence[str], threads: int) -> Iterator[Callable[[], None]]:
    """Within: so many passes at a time, live work first. What is given is called when something has become due."""
    stop = threading.Event()
    told = 0
    bell = threading.Condition()

    def wake() -> None:
        nonlocal told
        with bell:
            told += 1
            bell.notify_all()

    def work() -> None:
        while not stop.is_set():
            known = told
            try:
                claimed = any(engine.run_due(flow, klass).claimed for klass in CLASSES for flow in flows)
            except SQLAlchemyError:  # the database is busy or away: the main thread says so
                claimed = False
            with bell:
                if not claimed and told == known and not stop.is_set():
                    bell.wait(IDLE_SECONDS)

    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    crew = [threading.Thread(target=work, name=f"crew-{n}", daemon=True) for n in range(threads)]
    for thread in crew:
        thread.start()
    try:
        yield wake
    finally:
        stop.set()
        wake()
        for thread in crew:
            thread.join()
        sys.setswitchinterval(before)
