"""Call slots shared by all worker processes, in the queue server; a process keeps its share for a moment after a call.

A process that makes call after call keeps up to its share of the slots, instead of asking for one each time. What it
does not use goes back after ``IDLE`` seconds, and a kept slot is given up as soon as somebody else is found waiting.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import redis
import structlog

from sync_worker.connectors.limiter import HEARTBEAT, LocalLimiter, no_slot
from sync_worker.connectors.slot_server import SlotServer
from sync_worker.events import LinkClass

log = structlog.get_logger(__name__)

AWAY = 1.0  # seconds before Redis is asked again after it failed
IDLE = 0.25  # seconds a slot may be kept without a call; also how often a kept one is confirmed
SPARE_IDLE = 0.05  # the same for work that is not live: it hears within a call or two that somebody live has asked
STEP_BACK = 0.0003  # seconds in which whoever follows on a slot gets its request out, undisturbed by who had it before
TIDY = 1.0  # seconds of waiting between two looks for slots of ours that nobody here holds


@dataclass(slots=True)
class _Slot:
    """One slot of this process. ``spare``: taken by work that is not live, so that such work may use it again."""

    token: str
    spare: bool
    confirmed_at: float = 0.0
    idle_since: float = 0.0


@dataclass(slots=True)
class _Held:
    """This process's slots of one system: ``tokens`` in use, kept or just being asked for; ``idle``: those kept.

    ``asking``: threads that ask for one. ``claims``: how many of these have waited so long that the next one is theirs.
    """

    tokens: set[str] = field(default_factory=set)
    idle: list[_Slot] = field(default_factory=list)
    asking: int = 0
    claims: int = 0

    @property
    def count(self) -> int:
        """How many are surely ours."""
        return len(self.tokens) - self.asking


@dataclass(slots=True)
class _Asking:
    """A thread that asks for a slot, since when, and whether the next of this process's slots is its own (1)."""

    slot: _Slot
    since: float
    claims: int = 0


class RedisLimiter:
    """Slots shared by all workers: an expiring member each in one sorted set per system.

    Threads of one process queue locally first, so at most ``limit`` of them poll, and one that is live. When Redis is
    away each process takes its share, ``max(1, limit // processes)``, and tries Redis again after a second.
    ``slot_seconds``: how long a slot of a dead process stays taken; a living one prolongs its own meanwhile.
    """

    def __init__(
        self,
        client: redis.Redis,
        *,
        processes: int = 1,
        slot_seconds: float = 5.0,
        prefix: str = "sync:slots:",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._me = uuid.uuid4().hex
        self._server = SlotServer(client, self._me, slot_seconds, prefix)
        self._processes = processes
        self._prolong_every = slot_seconds / 4
        self._prolonged_at = float("-inf")
        self._confirm = min(IDLE, slot_seconds / 10)
        self._clock = clock
        self._queue = LocalLimiter(clock=clock, quiet=float("inf"))
        self._share = LocalLimiter(clock=clock)
        self._away_until = float("-inf")
        self._held: dict[str, _Held] = {}
        self._changed = threading.Condition()  # guards _held
        self._returner: threading.Thread | None = None
        self._resting = False  # the returner waits to be told

    @contextmanager
    def slot(
        self, system: str, limit: int, klass: LinkClass, wait_until: float, on_wait: Callable[[], None]
    ) -> Iterator[None]:
        # one more than there are: live work never queues behind other work that waits for a slot of the server's
        followed = False
        with self._queue.slot(system, limit + 1, klass, wait_until, on_wait):
            share = max(1, limit // self._processes)
            slot = self._take(system, limit, klass, wait_until, on_wait)
            if slot is None:
                with self._share.slot(system, share, klass, wait_until, on_wait):
                    yield
            else:
                try:
                    yield
                finally:
                    followed = self._end(system, slot, share)
        if followed and slot is not None and klass != "live":
            time.sleep(STEP_BACK)
            self._look_after(system, slot, limit)

    # --- taking ------------------------------------------------------------------------------------------------------

    def _take(
        self, system: str, limit: int, klass: LinkClass, wait_until: float, on_wait: Callable[[], None]
    ) -> _Slot | None:
        """A slot that is held from now on; None = Redis is away. A kept one that was confirmed just now costs nothing.

        A kept slot is used for work that is not live only if it was taken by such work.
        """
        with self._changed:
            held = self._held.setdefault(system, _Held())
            slot = None if held.claims >= len(held.idle) else self._kept(held, klass)
            if slot is not None and self._clock() - slot.confirmed_at < self._confirmed_for(klass):
                return slot
            if slot is None:
                slot = _Slot(f"{self._me}:{uuid.uuid4().hex[:12]}", klass != "live")
                held.tokens.add(slot.token)
            held.asking += 1
            self._wake_returner()
        asking = _Asking(slot, self._clock())
        good = False
        try:
            good = self._acquire(system, held, asking, limit, klass, wait_until, on_wait)
        finally:
            with self._changed:
                held.asking -= 1
                held.claims -= asking.claims
                if not good:
                    held.tokens.discard(asking.slot.token)
        return asking.slot if good else None

    def _kept(self, held: _Held, klass: LinkClass) -> _Slot | None:
        """The kept slot that was used last; live work leaves those that others may use as well."""
        fitting = [slot for slot in held.idle if slot.spare or klass == "live"]
        slot = min(fitting, key=lambda one: (one.spare, -one.idle_since), default=None)
        if slot is not None:
            held.idle.remove(slot)
        return slot

    def _acquire(
        self,
        system: str,
        held: _Held,
        asking: _Asking,
        limit: int,
        klass: LinkClass,
        wait_until: float,
        on_wait: Callable[[], None],
    ) -> bool:
        """True = ``asking.slot`` is held; False = Redis is away."""
        pause, beat, tidy = 0.005, asking.since + HEARTBEAT, asking.since
        share = max(1, limit // self._processes)
        while True:
            asked_at = self._clock()
            if asked_at < self._away_until:
                return False
            slot = asking.slot
            short = held.count < share
            try:
                taken = self._server.take(system, slot.token, limit, short=short, live=klass == "live")
                if taken:
                    slot.confirmed_at = asked_at
                    slot.spare = klass != "live" if taken == 2 else slot.spare
                    return True
                if asked_at >= tidy:
                    self._tidy(system)
                    tidy = asked_at + TIDY
            except redis.RedisError as error:
                self._is_away(system, error)
                return False
            now = self._clock()
            if now >= wait_until:
                raise no_slot(system)
            if now >= beat:
                on_wait()
                beat = now + HEARTBEAT
            if self._handed_over(held, asking, klass, pause * random.uniform(0.5, 1.5)):
                return True
            pause = min(pause * 1.5, 0.05)

    def _handed_over(self, held: _Held, asking: _Asking, klass: LinkClass, pause: float) -> bool:
        """Wait a moment; True when another thread of this process was done with a slot that counts."""
        with self._changed:
            if not asking.claims and self._clock() - asking.since > IDLE:
                asking.claims = 1
                held.claims += 1
            slot = self._kept(held, klass)
            if slot is None:
                self._changed.wait(pause)
                slot = self._kept(held, klass)
            if slot is None:
                return False
            held.tokens.discard(asking.slot.token)
            asking.slot = slot
            return self._clock() - slot.confirmed_at < self._confirmed_for(klass)

    def _confirmed_for(self, klass: LinkClass) -> float:
        """Seconds for which a slot that the server confirmed is used without asking again."""
        return self._confirm if klass == "live" else min(SPARE_IDLE, self._confirm)

    def _tidy(self, system: str) -> None:
        """Give back slots of this process that it does not hold: a server that was killed may have forgotten that."""
        standing = self._server.ours(system)
        with self._changed:
            lost = standing - self._held[system].tokens
        if lost:
            self._server.give_back(system, lost)

    # --- giving back -------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Give back what is kept; to be called when no call is in flight any more."""
        self._return_unused(float("inf"))

    def _end(self, system: str, slot: _Slot, share: int) -> bool:
        """After a call: kept at hand for the next one, as far as our share goes, or for who waits for it here.

        Whoever takes it asks the server every so often, and so hears of others that want more of their share. True =
        somebody here takes it at once.
        """
        now = self._clock()
        wanted = self._queue.waited_for(system, by_live=not slot.spare)
        with self._changed:
            held = self._held[system]
            if now < self._away_until:
                held.tokens.discard(slot.token)  # it frees itself when it expires
                return False
            if held.count <= share or wanted:
                slot.idle_since = now
                held.idle.append(slot)
                if held.claims:
                    self._changed.notify_all()
                return wanted
            held.tokens.discard(slot.token)
        self._give_back(system, [slot.token])
        return False

    def _look_after(self, system: str, slot: _Slot, limit: int) -> None:
        """Ask the server about a slot that another call is using by now, so that the next need not wait for that."""
        asked_at = self._clock()
        if asked_at - slot.confirmed_at < SPARE_IDLE / 2 or asked_at < self._away_until:
            return
        try:
            ours = self._server.would_confirm(system, slot.token, limit)
        except redis.RedisError as error:
            self._is_away(system, error)
            return
        slot.confirmed_at = asked_at if ours else float("-inf")

    def _wake_returner(self) -> None:
        """Called under the lock, with a slot that is ours or is about to be."""
        if self._returner is None:
            self._returner = threading.Thread(target=self._watch, name="call-slots", daemon=True)
            self._returner.start()
        elif self._resting:
            self._changed.notify_all()

    def _watch(self) -> None:
        """The thread that prolongs what is held and gives back what was not used for a moment.

        It rests while this process holds no slot.
        """
        while True:
            with self._changed:
                while not any(held.tokens for held in self._held.values()):
                    self._resting = True
                    self._changed.wait()
                self._resting = False
                self._changed.wait(IDLE / 2)
            self._return_unused(self._clock() - IDLE)
            self._prolong_held()

    def _prolong_held(self) -> None:
        now = self._clock()
        if now - self._prolonged_at < self._prolong_every or now < self._away_until:
            return
        self._prolonged_at = now
        with self._changed:
            mine = {system: sorted(held.tokens) for system, held in self._held.items() if held.tokens}
        for system, tokens in mine.items():
            try:
                self._server.prolong(system, tokens)
            except redis.RedisError as error:
                self._is_away(system, error)

    def _return_unused(self, before: float) -> None:
        """``before``: what was last used then or earlier."""
        with self._changed:
            back = {
                system: [slot for slot in held.idle if slot.idle_since <= before] for system, held in self._held.items()
            }
            for system, slots in back.items():
                held = self._held[system]
                held.idle = [slot for slot in held.idle if slot.idle_since > before]
                held.tokens.difference_update(slot.token for slot in slots)
        for system, slots in back.items():
            if slots:
                self._give_back(system, [slot.token for slot in slots])

    def _give_back(self, system: str, tokens: list[str]) -> None:
        try:
            self._server.give_back(system, tokens)
        except redis.RedisError as error:
            self._is_away(system, error)  # the slots free themselves when they expire

    def _is_away(self, system: str, error: redis.RedisError) -> None:
        """Nothing that was kept counts any more: the share holds until Redis answers again."""
        self._away_until = self._clock() + AWAY
        with self._changed:
            held = self._held[system]
            held.tokens.difference_update(slot.token for slot in held.idle)
            held.idle.clear()
        log.warning("limiter.redis_away", system=system, error=type(error).__name__)
