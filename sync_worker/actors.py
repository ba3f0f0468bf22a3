"""What a message makes a worker do. Message bodies carry ids only; everything else is read from SQL as it is now."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import dramatiq
import structlog

from sync_worker.broker import BULK, LIVE, QueueBroker
from sync_worker.doorbell import RESOLVE_PARTS, SYNC_DUE, SYNC_LINK, Doorbell, actor_on
from sync_worker.errors import SyncError
from sync_worker.events import LinkClass

if TYPE_CHECKING:
    from sync_worker.engine.core import Worked
    from sync_worker.wiring import App

log = structlog.get_logger(__name__)

# Seconds for which an actor begins further batches of its flow and class, before it rings for the rest.
GO_ON_SECONDS = 0.5
# Within a process the lower number goes first.
_PRIORITY = {LIVE: 0, BULK: 10}


class _Bound:
    """The application of this process, once ``bind`` has been called."""

    app: App
    doorbell: Doorbell


def bind(app: App, broker: QueueBroker) -> Doorbell:
    """Give the actors of this process their application and put them on ``broker``; returns the doorbell they ring."""
    _Bound.app = app
    _Bound.doorbell = Doorbell(broker)
    for queue, priority in _PRIORITY.items():
        for name, work in _ACTORS.items():
            dramatiq.actor(broker=broker, actor_name=actor_on(name, queue), queue_name=queue, priority=priority)(work)
    return _Bound.doorbell


def sync_link(link_id: int) -> None:
    """Bring one link in step, which is what a single edit rings, and its neighbours that came meanwhile."""
    began = time.monotonic()
    _go_on(began, _Bound.app.engine.run_link(link_id))


def sync_due(flow: str, klass: LinkClass) -> None:
    """Bring due neighbours of a flow and class in step."""
    began = time.monotonic()
    with structlog.contextvars.bound_contextvars(flow=flow):
        worked = _Bound.app.engine.run_due(flow, klass)
    _go_on(began, worked)


def _go_on(began: float, worked: Worked) -> None:
    """While more is due, go on for a moment: each message costs several commands, in every process that waits for one.

    Then the rest is rung for: whatever waits on the queue, other flows too, has its turn.
    """
    while worked.more is not None and time.monotonic() - began < GO_ON_SECONDS:
        flow, klass = worked.more
        _Bound.doorbell.ring([one for one in worked.again if (one.flow, one.klass) != worked.more])
        with structlog.contextvars.bound_contextvars(flow=flow):
            worked = _Bound.app.engine.run_due(flow, klass)
    _Bound.doorbell.ring(worked.again, more=worked.more)


def resolve_parts(system: str) -> None:
    """Find the records that show child rows we did not know, and ring for their links."""
    with structlog.contextvars.bound_contextvars(system=system):
        try:
            touched = _Bound.app.engine.resolve_parts(system)
        except SyncError as error:  # they stay due, and the ringer rings for them again
            log.warning("parts.not_resolved", reason=error.code)
            return
    _Bound.doorbell.ring(touched)


_ACTORS: dict[str, Callable[..., None]] = {SYNC_LINK: sync_link, SYNC_DUE: sync_due, RESOLVE_PARTS: resolve_parts}
