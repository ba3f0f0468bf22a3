"""How many rows of a vendor are collected before anything is done with them: a list that never ends must not fill us.

Feeds and sweeps need no such bound: each of their pages is stored, or compared, and forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from sync_worker.errors import SystemUnavailable

MOST_ROWS = 2_000_000

T = TypeVar("T")


def bounded(rows: Iterable[T]) -> Iterator[T]:
    """The rows. Raises SystemUnavailable behind the last that could be one of a list that ends."""
    for number, row in enumerate(rows):
        if number >= MOST_ROWS:
            raise SystemUnavailable(f"the list does not end: more than {MOST_ROWS:,} rows")
        yield row
