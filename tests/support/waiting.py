"""Waiting for something that real processes and threads bring about."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(condition: Callable[[], object], seconds: float = 30.0, why: Callable[[], object] = lambda: "") -> None:
    """Fails when it does not come true in time; ``why`` tells more then. Looks ever more rarely."""
    deadline = time.monotonic() + seconds
    pause = 0.005
    while not condition():
        assert time.monotonic() < deadline, f"the condition did not come true within {seconds:.0f} s: {why()}"
        time.sleep(pause)
        pause = min(0.1, pause * 1.2)
