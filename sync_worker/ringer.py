"""The ringer: every second it rings for what is due and was not heard. This is why Redis may be wiped at any moment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import redis

from sync_worker import broker
from sync_worker.doorbell import Doorbell, Group, due_message, parts_message
from sync_worker.events import LinkClass
from sync_worker.store import parts, waiting
from sync_worker.store.session import Database

# One more message is rung for each so many due links: about a batch.
LINKS_PER_RING = 25

_CLASS_ORDER: dict[LinkClass, int] = {"live": 0, "retry": 1, "bulk": 2}

Due = tuple[str, str, LinkClass, int, float]
"""Flow, entity, class, due links, when the oldest of them became due."""


def plan_rings(due: Iterable[Due], room: Mapping[str, int]) -> list[Group]:
    """Which flows and classes to ring for, live before retry before bulk, then the longest due first.

    ``room``: messages each queue may still take. Every group gets one ring before any gets a second, so that a large
    flow never hides a small one.
    """
    counts: dict[Group, int] = {}
    oldest: dict[Group, float] = {}
    for flow, _entity, klass, count, since in due:
        group = (flow, klass)
        counts[group] = counts.get(group, 0) + count
        oldest[group] = min(oldest.get(group, since), since)
    ordered = sorted(counts, key=lambda group: (_CLASS_ORDER[group[1]], oldest[group], group[0]))
    left = dict(room)
    rings: list[Group] = []
    rung = 0
    while waiting := [group for group in ordered if counts[group] > rung * LINKS_PER_RING]:
        before = len(rings)
        for group in waiting:
            queue = broker.QUEUE_OF[group[1]]
            if left.get(queue, 0) > 0:
                left[queue] -= 1
                rings.append(group)
        rung += 1
        if len(rings) == before:
            break
    return rings


class Ringer:
    """Looks at SQL for what is due and at the queues for whether a ring is still waiting to be heard."""

    def __init__(self, db: Database, doorbell: Doorbell, client: redis.Redis) -> None:
        """``client``: with a time limit, see ``broker.connect``: a ringer that hangs rings nobody."""
        self._db = db
        self._doorbell = doorbell
        self._client = client

    def tick(self) -> int:
        """Ring once; the number of messages sent, 0 while the queue server is away. Raises ``SQLAlchemyError``."""
        due = waiting.due_counts(self._db)
        systems = parts.due_systems(self._db)
        if not due and not systems:
            return 0
        try:
            room = self._room()
        except redis.RedisError as error:
            self._doorbell.note_away(error)
            return 0
        messages = [due_message(flow, klass) for flow, klass in plan_rings(due, room)]
        if room[broker.LIVE] > 0:
            messages += [parts_message(system) for system in systems]
        return len(messages) if self._doorbell.send(messages) else 0

    def _room(self) -> dict[str, int]:
        """A queue as long as there are threads is enough to keep all of them busy until the next look."""
        threads = max(1, broker.threads_up(self._client))
        return {queue: threads - broker.queue_length(self._client, queue) for queue in broker.QUEUES}
