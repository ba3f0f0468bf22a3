"""Circuit breaker of one system: when it does not answer, stop asking for a while instead of burning attempts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from sync_worker.errors import SystemUnavailable

OnChange = Callable[[bool, float], None]

PROBE_WAIT = 0.5  # seconds others are told to wait while one call tries whether the system is back


class Breaker:
    """Opens after ``threshold`` calls in a row that did not reach the system, or that it answered with 5xx.

    An open breaker refuses for ``first_pause`` seconds, then lets exactly one call through (half-open). If that one
    fails too, the pause doubles, up to ``max_pause``; if it succeeds the breaker closes. A pause is never shorter than
    what the vendor asked for. Thread-safe; callbacks run outside the lock, in the thread of the call that changed it.
    """

    def __init__(
        self,
        *,
        threshold: int = 5,
        first_pause: float = 1.0,
        max_pause: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._threshold = threshold
        self._first_pause = first_pause
        self._max_pause = max_pause
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._pause = 0.0
        self._open_until: float | None = None
        self._prober: int | None = None  # thread whose call is on trial
        self._callbacks: list[OnChange] = []

    def on_change(self, callback: OnChange) -> None:
        """``callback(is_open, seconds)``: called at each opening, also a repeated one, and at the closing."""
        self._callbacks.append(callback)

    @property
    def is_open(self) -> bool:
        return self._open_until is not None

    def enter(self) -> None:
        """Ask before a call. Raises SystemUnavailable(after=seconds) while open. Every enter needs one ``leave``."""
        with self._lock:
            if self._open_until is None:
                return
            me = threading.get_ident()
            if self._prober == me:
                return  # a call within the trial call: it fetches the token that the trial needs
            left = self._open_until - self._clock()
            if left > 0 or self._prober is not None:
                raise SystemUnavailable(
                    "circuit is open: the system did not answer lately", after=max(left, PROBE_WAIT)
                )
            self._prober = me

    def leave(self, up: bool | None, after: float | None = None) -> None:
        """Say how the call ended: True = answered, False = unavailable, None = never sent, so nothing was learnt."""
        change: tuple[bool, float] | None = None
        with self._lock:
            was_open = self._open_until is not None
            probed = self._prober == threading.get_ident()
            if probed:
                self._prober = None
            if up:
                self._failures, self._pause, self._open_until = 0, 0.0, None
                change = (False, 0.0) if was_open else None
            elif up is False:
                self._failures += 1
                if self._failures >= self._threshold and (probed or not was_open):
                    self._pause = min(max(self._pause * 2, self._first_pause), self._max_pause)
                    pause = max(self._pause, after or 0.0)
                    self._open_until = self._clock() + pause
                    change = (True, pause)
        if change:
            for callback in self._callbacks:
                callback(*change)
