"""How many calls may be in flight to one system, over all workers. Slots are held per call; live work goes first.

Work that is not live (retry, bulk) never takes the last slot when there is more than one, so live always finds one.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import redis
import structlog

from sync_worker.errors import RateLimited
from sync_worker.events import LinkClass

log = structlog.get_logger(__name__)

HEARTBEAT = 0.25  # seconds between two calls of on_wait, so that a waiting thread keeps its lease
AWAY = 1.0  # seconds before Redis is asked again after it failed


class Limiter(Protocol):
    def slot(
        self, system: str, limit: int, klass: LinkClass, wait_until: float, on_wait: Callable[[], None]
    ) -> AbstractContextManager[None]:
        """Hold one of ``limit`` slots of ``system`` for the block. ``wait_until``: on the limiter's (monotonic) clock.

        Calls ``on_wait`` about four times a second while waiting; what it raises ends the wait.
        Raises RateLimited when no slot came free in time: nothing was sent.
        """


def _no_slot(system: str) -> RateLimited:
    return RateLimited("all call slots stayed busy", after=1.0, system=system)


def _cap(limit: int, klass: LinkClass) -> int:
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
        cap = _cap(limit, klass)
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
                    raise _no_slot(system)
                on_wait()
        finally:
            with room.changed:
                room.live_waiting -= live


# Expired slots (their process died) are removed first; the server's clock decides, not the workers'.
_ACQUIRE = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""


class RedisLimiter:
    """Slots shared by all workers: an expiring member per call in one sorted set per system.

    Threads of one process queue locally first, so at most ``limit`` of them poll. When Redis is away each process
    takes its share, ``max(1, limit // processes)``, and tries Redis again after a second.
    ``slot_seconds`` must exceed a call's total deadline: a slot of a dead process comes free after it.
    """

    def __init__(
        self,
        client: redis.Redis,
        *,
        processes: int = 1,
        slot_seconds: float = 20.0,
        prefix: str = "sync:slots:",
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._script: Any = client.register_script(_ACQUIRE)
        self._processes = processes
        self._slot_ms = int(slot_seconds * 1000)
        self._prefix = prefix
        self._clock = clock
        self._sleep = sleep
        self._queue = LocalLimiter(clock=clock)
        self._share = LocalLimiter(clock=clock)
        self._away_until = 0.0

    @contextmanager
    def slot(
        self, system: str, limit: int, klass: LinkClass, wait_until: float, on_wait: Callable[[], None]
    ) -> Iterator[None]:
        with self._queue.slot(system, limit, klass, wait_until, on_wait):
            token = uuid.uuid4().hex
            if self._acquire(system, _cap(limit, klass), token, wait_until, on_wait):
                try:
                    yield
                finally:
                    self._release(system, token)
                return
            share = max(1, limit // self._processes)
            with self._share.slot(system, share, klass, wait_until, on_wait):
                yield

    def _acquire(self, system: str, cap: int, token: str, wait_until: float, on_wait: Callable[[], None]) -> bool:
        """True = a shared slot is held; False = Redis is away."""
        pause, beat = 0.005, self._clock() + HEARTBEAT
        while True:
            if self._clock() < self._away_until:
                return False
            try:
                if self._script(keys=[self._prefix + system], args=[token, cap, self._slot_ms]):
                    return True
            except redis.RedisError as error:
                self._away_until = self._clock() + AWAY
                log.warning("limiter.redis_away", system=system, error=type(error).__name__)
                return False
            now = self._clock()
            if now >= wait_until:
                raise _no_slot(system)
            if now >= beat:
                on_wait()
                beat = now + HEARTBEAT
            self._sleep(pause * random.uniform(0.5, 1.5))
            pause = min(pause * 1.5, 0.05)

    def _release(self, system: str, token: str) -> None:
        try:
            self._client.zrem(self._prefix + system, token)
        except redis.RedisError:
            # the slot frees itself when it expires
            self._away_until = self._clock() + AWAY
