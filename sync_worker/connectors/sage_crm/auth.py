"""Signing in: Basic on every request, sent unasked, and never again in haste once it was refused.

Documented: the server sends no ``WWW-Authenticate``, so the header must come without a challenge. Documented: bad
passwords can lock the account, so a refused login is not repeated before a pause that doubles from 30 s to 15 min.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable

from sync_worker.connectors.answers import Answer
from sync_worker.connectors.sage_crm.errors import classify
from sync_worker.errors import AuthFailed, SyncError

FIRST_PAUSE = 30.0  # seconds
LONGEST_PAUSE = 900.0


class BasicLogin:
    """Adds the header to every request and watches what became of it. Thread-safe."""

    def __init__(self, username: str, password: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        token = base64.b64encode(f"{username}:{password}".encode()).decode()
        self._header = f"Basic {token}"
        self._clock = clock
        self._lock = threading.Lock()
        self._pause = 0.0  # 0: the login is not known to be bad
        self._held_until = 0.0
        self._trying = False  # the one call that may find out whether the login is taken again

    def prepare(self, headers: dict[str, str]) -> None:
        """Sign a request. Raises AuthFailed without a call while a refused login rests; one call ends the rest."""
        with self._lock:
            if self._pause:
                now = self._clock()
                if now < self._held_until:
                    raise AuthFailed("the login was refused; it is not repeated yet, the account could be locked")
                self._held_until = now + self._pause
                self._trying = True
        headers["Authorization"] = self._header

    def classify(self, answer: Answer) -> SyncError | None:
        """``errors.classify``, remembering whether the login was taken."""
        with self._lock:
            if answer.status == 401:
                if self._trying or not self._pause:  # calls that were in flight together count as one refusal
                    self._pause = min(max(self._pause * 2, FIRST_PAUSE), LONGEST_PAUSE)
                self._held_until = self._clock() + self._pause
                self._trying = False
            elif answer.status < 500 and answer.status != 429:
                self._pause = 0.0
        return classify(answer)
