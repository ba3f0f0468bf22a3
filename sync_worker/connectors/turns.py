"""A call's turn at a vendor: from right before its request leaves until its answer is here. A slot is held so long.

What a call costs this process (finding a connection, writing down the head, reading the answer) is outside of it, as
far as the slot of another call is not kept from it: work that is not live prepares its request, and then waits. Live
work has no use for that: it holds its slot until its answer is read, since whoever was woken at the answer only took
the processor from whoever was reading it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType

import httpcore

from sync_worker.connectors.context import arrived, leaving

AHEAD = 2  # requests of one process that are prepared while all slots are taken
STALE = (
    1.0  # seconds of waiting after which a connection is no longer trusted: servers hang up on those that are silent
)


class Turn:
    """A context manager around one try of a call. It begins when its request leaves.

    ``take(held)`` waits, enters what is held meanwhile, and tells how many seconds that took; what it raises ends the
    try. ``answered(held)`` is called when the answer is here, to let go of it.
    """

    def __init__(self, take: Callable[[ExitStack], float], answered: Callable[[ExitStack], None]) -> None:
        self._take = take
        self._answered = answered
        self._held = ExitStack()
        self._begun = False

    def __enter__(self) -> Turn:
        self._tokens = leaving.set(self._leave), arrived.set(lambda: self._answered(self._held))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        leaving.reset(self._tokens[0])
        arrived.reset(self._tokens[1])
        self._held.close()

    def _leave(self) -> bool:
        """Whether it was kept waiting: a request that is written once more leaves at once."""
        if self._begun:
            return False
        took = self._take(self._held)
        self._begun = True
        if took > STALE:
            raise httpcore.ConnectionNotAvailable  # the pool takes another one, and writes the request down again
        return True
