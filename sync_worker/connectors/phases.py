"""How long each phase of an HTTP exchange may take, so that all of them together stay within one deadline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

CALL_DEADLINE = 15.0  # seconds from the first try to the last byte: no call to a vendor may take longer (E2)
BODY_GAP = 2.0  # seconds a body may pause between two pieces; the most a call can overrun its deadline
CONNECT_LIMIT = 5.0  # seconds


class Left(float):
    """What was left when a phase began, in seconds, and how to ask again: httpcore gives each read of it the whole."""

    __slots__ = ("_left",)
    _left: Callable[[], float]

    def __new__(cls, seconds: float, left: Callable[[], float]) -> Left:
        self = super().__new__(cls, seconds)
        self._left = left
        return self

    def again(self) -> float:
        """Seconds for the next read of the same phase, none at the deadline."""
        return min(self, self._left())


class PhaseLimits(dict[str, float]):
    """The ``timeout`` of one request: httpcore asks for it at the start of each phase, and is told what is left then.

    ``left``: seconds to the deadline. ``body``: set once the headers are there.
    """

    def __init__(self, left: Callable[[], float]) -> None:
        super().__init__()
        self._left = left
        self.body = False

    def get(self, phase: str, default: Any = None) -> Any:
        """Seconds for ``connect``, ``pool``, ``write`` or ``read``."""
        left = max(self._left(), 0.001)
        if phase == "connect":
            return min(left, CONNECT_LIMIT)
        return Left(min(left, BODY_GAP) if self.body else left, self._left)
