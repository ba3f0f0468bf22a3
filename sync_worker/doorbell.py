"""Ringing: telling workers that something is due. A lost ring costs a second, never an edit (the ringer finds it)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import dramatiq
import redis
import structlog

from sync_worker.broker import LIVE, QUEUE_OF, QueueBroker
from sync_worker.events import LinkClass
from sync_worker.store.touches import Touched

SYNC_LINK = "sync_link"
SYNC_DUE = "sync_due"
RESOLVE_PARTS = "resolve_parts"

# After a failed ring nobody tries again for so long: with the server away, each try may cost a connect timeout.
QUIET_SECONDS = 1.0
# A flow and class that has just been rung for is not rung for again sooner than this. A lone edit rings at once; of a
# burst each ring finds what came meanwhile, and a worker busy with a batch is not called away for every commit.
GATHER_SECONDS = 0.05

Group = tuple[str, LinkClass]
"""A flow and a class: what one message stands for."""

log = structlog.get_logger(__name__)


class Rings(Protocol):
    """Anything that can be told about touched links once they are committed."""

    def ring(self, touched: Sequence[Touched]) -> None: ...


def actor_on(name: str, queue: str) -> str:
    """An actor stands on each queue under its own name, so that live work can go first within a process."""
    return f"{name}.{queue}"


def link_message(link_id: int, klass: LinkClass) -> dramatiq.Message[Any]:
    return _message(SYNC_LINK, QUEUE_OF[klass], link_id)


def due_message(flow: str, klass: LinkClass) -> dramatiq.Message[Any]:
    return _message(SYNC_DUE, QUEUE_OF[klass], flow, klass)


def parts_message(system: str) -> dramatiq.Message[Any]:
    return _message(RESOLVE_PARTS, LIVE, system)


def _message(name: str, queue: str, *args: object) -> dramatiq.Message[Any]:
    return dramatiq.Message(queue_name=queue, actor_name=actor_on(name, queue), args=args, kwargs={}, options={})


def messages_for(touched: Iterable[Touched], more: Group | None = None) -> list[dramatiq.Message[Any]]:
    """One message per flow and class: a single link rings itself, several ring for whatever is due there.

    ``more``: a flow and class where more is due anyway. It never gets a second message of its own: two rings out of
    one would double with every batch.
    """
    groups: dict[Group, set[int]] = {}
    for one in touched:
        groups.setdefault((one.flow, one.klass), set()).add(one.link_id)
    if more is not None:
        groups[more] = set()
    return [
        link_message(next(iter(links)), klass) if len(links) == 1 else due_message(flow, klass)
        for (flow, klass), links in groups.items()
    ]


class Doorbell:
    """Rings at once, in the caller's thread. Never raises for a queue server that is away."""

    def __init__(self, broker: QueueBroker) -> None:
        self._broker = broker
        self._quiet_until = 0.0

    def ring(self, touched: Sequence[Touched], more: Group | None = None) -> None:
        """Ring for links touched by one commit, and for a flow and class where more is due: one message each."""
        self.send(messages_for(touched, more))

    def ring_parts(self, system: str) -> None:
        """Ring for child rows of ``system`` whose record is not known yet."""
        self.send([parts_message(system)])

    def send(self, messages: Sequence[dramatiq.Message[Any]]) -> bool:
        """Enqueue ``messages``; False when the queue server is away and (some of) them were dropped."""
        if not messages:
            return True
        if time.monotonic() < self._quiet_until:
            return False
        try:
            for message in messages:
                self._broker.enqueue(message)
        except redis.RedisError as error:
            self.note_away(error)
            return False
        self._broker.watch.back()
        return True

    def note_away(self, error: redis.RedisError) -> None:
        """The queue server did not answer: be quiet for a moment."""
        self._quiet_until = time.monotonic() + QUIET_SECONDS
        self._broker.watch.away(error)


class RingingThread:
    """Rings in a thread of its own, so that acknowledging a webhook never waits for Redis.

    Rings that wait are merged per flow and class, so a burst of commits costs few messages and the backlog is bounded.
    ``gather``: seconds between two rings for the same flow and class.
    """

    def __init__(self, doorbell: Doorbell, gather: float = GATHER_SECONDS) -> None:
        self._doorbell = doorbell
        self._gather = gather
        self._quiet_until: dict[Group, float] = {}
        self._links: dict[Group, Touched | None] = {}
        self._systems: set[str] = set()
        self._wake = threading.Condition()
        self._open = True
        self._thread = threading.Thread(target=self._run, name="doorbell", daemon=True)
        self._thread.start()

    def ring(self, touched: Sequence[Touched]) -> None:
        """Take note and return; the thread rings."""
        with self._wake:
            known = len(self._links)
            for one in touched:
                group = (one.flow, one.klass)
                waiting = self._links.setdefault(group, one)
                if waiting is not None and waiting.link_id != one.link_id:
                    self._links[group] = None
            if len(self._links) > known:  # for the others it waits already
                self._wake.notify()

    def ring_parts(self, system: str) -> None:
        """Take note that child rows of ``system`` wait to be resolved."""
        with self._wake:
            self._systems.add(system)
            self._wake.notify()

    @property
    def alive(self) -> bool:
        """Whether the thread that rings is there."""
        return self._thread.is_alive()

    def close(self, seconds: float = 2.0) -> None:
        """Ring what waits and end; a thread that hangs on a dead connection is left behind after ``seconds``."""
        with self._wake:
            self._open = False
            self._wake.notify()
        self._thread.join(seconds)

    def _run(self) -> None:
        while messages := self._take():
            self._doorbell.send(messages)

    def _take(self) -> list[dramatiq.Message[Any]]:
        """What to ring for next, as soon as there is something; nothing once this has been closed and all is rung."""
        with self._wake:
            while self._open and not self._systems and (pause := self._until_ripe()) != 0:
                self._wake.wait(pause)
            now = time.monotonic()
            ripe = [group for group in self._links if not self._open or self._quiet_until.get(group, 0.0) <= now]
            links = {group: self._links.pop(group) for group in ripe}
            self._quiet_until.update(dict.fromkeys(ripe, now + self._gather))
            systems, self._systems = self._systems, set()
        due = [
            link_message(one.link_id, klass) if one is not None else due_message(flow, klass)
            for (flow, klass), one in links.items()
        ]
        return due + [parts_message(system) for system in sorted(systems)]

    def _until_ripe(self) -> float | None:
        """Seconds until some flow and class may be rung for: 0 for now, None while nobody waits."""
        now = time.monotonic()
        return min((max(0.0, self._quiet_until.get(group, 0.0) - now) for group in self._links), default=None)
