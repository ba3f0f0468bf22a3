"""Waiting for something that real processes and threads bring about."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(
    condition: Callable[[], object],
    seconds: float = 30.0,
    why: Callable[[], object] = lambda: "",
    *,
    pause: float = 0.01,
) -> None:
    """Fails when it does not come true in time; ``why`` tells more then."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"the condition did not come true within {seconds:.0f} s: {why()}"
        time.sleep(pause)
