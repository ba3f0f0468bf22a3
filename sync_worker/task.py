"""What happens by the clock: the list of tasks is made of these, and the scheduler runs them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Task:
    """Something that happens every ``every`` seconds.

    ``steady``: a short task that keeps its lease between its turns instead of taking it anew for each.
    """

    name: str
    every: float
    work: Callable[[], object]
    steady: bool = False
