"""How many calls may be in flight to one system. Slots are held per call; live work goes first.

Work that is not live (retry, bulk) leaves the last slot, when there is more than one, as long as somebody live has
asked for one within ``QUIET`` seconds. So an edit waits for the end of one call at most, and then for none; and where
nobody edits, no slot lies idle.
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

QUIET = 0.5  # seconds without live work after which other work may have the last slot too; longer than a live call's
# slot may be kept without being asked for again (shared_slots)
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


@dataclass(slots=True)
class _Room:
    used: int = 0
    live_waiting: int = 0
    others_waiting: int = 0
    live_asked_at: float = -1e9  # long ago
    lock: threading.Lock = field(default_factory=threading.Lock)
    live: threading.Condition = field(init=False)
    others: threading.Condition = field(init=False)

    def __post_init__(self) -> None:
        self.live, self.others = threading.Condition(self.lock), threading.Condition(self.lock)

    def wake_one(self) -> None:
        """Called under the lock when a slot came free: who waits behind the next one need not look."""
        (self.live if self.live_waiting else self.others).notify()


class LocalLimiter:
    """Slots of this process only. ``quiet``: seconds as ``QUIET``; infinity: the last slot is never other work's."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, quiet: float = QUIET) -> None:
        self._clock = clock
        self._quiet = quiet
        self._lock = threading.Lock()
        self._rooms: dict[str, _Room] = {}

    def waited_for(self, system: str, *, by_live: bool) -> bool:
        """Does anybody wait for a slot? ``by_live``: anybody live."""
        room = self._rooms.get(system)
        return room is not None and room.live_waiting + (0 if by_live else room.others_waiting) > 0

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
            with room.lock:
                room.used -= 1
                room.wake_one()

    def _acquire(
        self, room: _Room, system: str, limit: int, klass: LinkClass, wait_until: float, on_wait: Callable[[], None]
    ) -> None:
        live = klass == "live"

        def free() -> bool:
            if live:
                return room.used < limit
            quiet = limit == 1 or self._clock() > room.live_asked_at + self._quiet
            return room.used < (limit if quiet else limit - 1) and not room.live_waiting

        with room.lock:
            if live:
                room.live_asked_at = self._clock()
            if free():
                room.used += 1
                return
            room.live_waiting += live
            room.others_waiting += not live
        turn = room.live if live else room.others
        try:
            while True:
                with turn:
                    left = wait_until - self._clock()
                    if turn.wait_for(free, min(max(left, 0.0), HEARTBEAT)):
                        room.used += 1
                        return
                if left <= 0:
                    raise no_slot(system)
                on_wait()
        finally:
            with room.lock:
                room.live_waiting -= live
                room.others_waiting -= not live
                if live:
                    room.wake_one()  # a slot that came free meanwhile was told to nobody else
