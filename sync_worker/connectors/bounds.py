"""How many rows a vendor may show us at once: neither a page nor a list that never ends must fill us.

Feeds and sweeps need no bound for their lists: each of their pages is stored, or compared, and forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from sync_worker.errors import SystemUnavailable

MOST_ROWS = 2_000_000  # of a list that is collected before anything is done with it
MOST_OF_PAGE = 100_000  # rows; some APIs know no pages, and show all their customers in one

T = TypeVar("T")


def bounded(rows: Iterable[T]) -> Iterator[T]:
    """The rows. Raises SystemUnavailable behind the last that could be one of a list that ends."""
    for number, row in enumerate(rows):
        if number >= MOST_ROWS:
            raise SystemUnavailable(f"the list does not end: more than {MOST_ROWS:,} rows")
        yield row


def check_page(rows: Sized) -> None:
    """Raises SystemUnavailable where one answer shows more rows than any page has."""
    if len(rows) > MOST_OF_PAGE:
        raise SystemUnavailable(f"the page is too long: more than {MOST_OF_PAGE:,} rows")
