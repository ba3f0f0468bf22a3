"""How many calls may be in flight to one system. Slots are held per call; live work goes first.

Work that is not live (retry, bulk) never takes the last slot when there is more than one, so live always finds one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from sync_worker.errors import RateLimited
from sync_worker.events import LinkClass

HEARTBEAT = 0.25  # seconds between two calls of on_wait, so that a waiting thread keeps its lease


class Limiter(Protocol):
    def slot(
        self, system: str, limit: int, klass: LinkClass, wait_until: float, on_wait: Callable[[], None]
    ) -> AbstractContextManager[None]:
        """Hold one of ``limit`` slots of ``system`` for the block. ``wait_until``: on the limiter's (monotonic) clock.

        Calls ``on_wait`` about four times a second while waiting; what it raises ends the wait.
        Raises RateLimited when no slot came free in time: nothing was sent.
        """


def no_slot(system: str) -> RateLimited:
    """None came free in time."""
    return RateLimited("all call slots stayed busy", after=1.0, system=system)


def cap_of(limit: int, klass: LinkClass) -> int:
    """How many slots may be taken, this one included, for work of this class to have one."""
    return max(1, limit if klass == "live" else limit - 1)


@dataclass(slots=True)
class _Room:
    used: int = 0
    live_waiting: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)


class LocalLimiter:
    """Slots of this process only."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._rooms: dict[str, _Room] = {}

    @contextmanager
    def slot(
        self, system: str, limit: int, klass: LinkClass, wait_until: float, on_wait: Callable[[], None]
    ) -> Iterator[None]:
        room = self._rooms.get(system)
        if room is None:
            with self._lock:
                room = self._rooms.setdefault(system, _Room())
        self._acquire(room, system, limit, klass, wait_until, on_wait)
        try:
            yield
        finally:
            with room.changed:
                room.used -= 1
                room.changed.notify_all()

    def _acquire(
        self, room: _Room, system: str, limit: int, klass: LinkClass, wait_until: float, on_wait: Callable[[], None]
    ) -> None:
        cap = cap_of(limit, klass)
        live = klass == "live"
        with room.changed:
            if room.used < cap and (live or not room.live_waiting):
                room.used += 1
                return
            room.live_waiting += live
        try:
            while True:
                with room.changed:
                    left = wait_until - self._clock()
                    free = room.changed.wait_for(
                        lambda: room.used < cap and (live or not room.live_waiting), min(max(left, 0.0), HEARTBEAT)
                    )
                    if free:
                        room.used += 1
                        return
                if left <= 0:
                    raise no_slot(system)
                on_wait()
        finally:
            with room.changed:
                room.live_waiting -= live
