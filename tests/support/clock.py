"""A clock that only moves when a test says so."""

from __future__ import annotations


class FakeClock:
    """Callable like ``time.time``: seconds since 1970."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self.time = start

    def __call__(self) -> float:
        return self.time

    def advance(self, seconds: float) -> float:
        """Move on and return the new time."""
        self.time += seconds
        return self.time
