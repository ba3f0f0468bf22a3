"""What a call to a vendor must know of whoever makes it, told by context: every layer between the two is spared it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from sync_worker.events import LinkClass

guard: ContextVar[Callable[[float], None] | None] = ContextVar("guard", default=None)
"""Asked right before every request, with the seconds it may last; raises when a lease would not last so long (E2)."""
concerns: ContextVar[tuple[int, ...]] = ContextVar("concerns", default=())
"""Ids of the links that a write is for."""
sending: ContextVar[Callable[[], None] | None] = ContextVar("sending", default=None)
"""Told of every request."""
leaving: ContextVar[Callable[[], bool] | None] = ContextVar("leaving", default=None)
"""Called when a request is written down and nothing of it has left. It leaves when that returns; True = it was kept."""
arrived: ContextVar[Callable[[], None] | None] = ContextVar("arrived", default=None)
"""Told once an answer is here as a whole, before anybody looks at it: what the vendor had to do is done."""
call_class: ContextVar[LinkClass] = ContextVar("call_class", default="live")
writes_allowed: ContextVar[bool] = ContextVar("writes_allowed", default=True)


@contextmanager
def concerning(links: Iterable[int]) -> Iterator[None]:
    """The calls within write these links: ``guard`` refuses them when one of those leases is lost (E2)."""
    token = concerns.set(tuple(links))
    try:
        yield
    finally:
        concerns.reset(token)
