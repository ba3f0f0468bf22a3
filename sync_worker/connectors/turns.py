"""A call's turn at a vendor: from right before its request leaves until its answer is here. A slot is held so long.

What a call costs this process (finding a connection, writing down the head, reading the answer) is outside of it, as
far as the slot of another call is not kept from it: work that is not live prepares its request, and then waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import TracebackType

import httpcore
import httpx

from sync_worker.connectors.context import arrived

AHEAD = 2  # requests of one process that are prepared while all slots are taken
STALE = (
    1.0  # seconds of waiting after which a connection is no longer trusted: servers hang up on those that are silent
)


class Turn:
    """A context manager around one try of a call; ``begin`` may be called at any time within, and again.

    ``take(held)`` waits, enters what is held meanwhile, and tells how many seconds it waited; ``begin`` raises what it
    raises. ``answered(held)`` is called when the answer is here, to let go of it.
    """

    def __init__(self, take: Callable[[ExitStack], float], answered: Callable[[ExitStack], None]) -> None:
        self._take = take
        self._answered = answered
        self._held = ExitStack()
        self.begun = False

    def __enter__(self) -> Turn:
        self._told = arrived.set(lambda: self._answered(self._held))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        arrived.reset(self._told)
        self._held.close()

    def begin(self) -> float:
        """Seconds that were waited, none if it had begun."""
        if self.begun:
            return 0.0
        waited = self._take(self._held)
        self.begun = True
        return waited


class WhenItsTurn(httpx.SyncByteStream):
    """A request's body, which is asked for when the head is written down and nothing has left yet."""

    def __init__(self, body: bytes, turn: Turn) -> None:
        self._body = body
        self._turn = turn

    def __iter__(self) -> Iterator[bytes]:
        if self._turn.begin() > STALE:
            raise httpcore.ConnectionNotAvailable  # the pool takes another one, and asks for the body again
        yield self._body
