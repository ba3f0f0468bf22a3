"""How much a vendor may show us: neither a page nor a list that never ends must fill us, nor a walk go in circles.

Feeds and sweeps need no bound for their lists: each of their pages is stored, or compared, and forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from sync_worker.errors import SystemUnavailable

MOST_ROWS = 2_000_000  # of a list that is collected before anything is done with it
MOST_OF_PAGE = 100_000  # rows; some APIs know no pages, and show all their customers in one

MOST_PAGES = 100_000  # of one walk; at a thousand rows each, more than any vendor has

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


class Ahead:
    """Does a walk over pages get ahead? Sees every circle without keeping all places, after a few rounds at most.

    Brent's way: one place is remembered, and replaced by the current one after 1, 2, 4, 8, … pages. A walk that leads
    in a circle comes by it again; one that gets ahead never does, in whatever order the vendor has its rows.
    """

    def __init__(self, start: object, system: str) -> None:
        self._system = system
        self._before = self._mark = start
        self._pages, self._next_mark = 0, 1

    def check(self, place: object) -> None:
        """``place``: where the next page begins. Raises SystemUnavailable for a known one, or too many."""
        if place in (self._before, self._mark):
            raise SystemUnavailable("the list does not end: a page leads back to an earlier one", system=self._system)
        self._pages += 1
        if self._pages >= MOST_PAGES:
            raise SystemUnavailable(f"the list does not end: more than {MOST_PAGES:,} pages", system=self._system)
        self._before = place
        if self._pages == self._next_mark:
            self._mark, self._next_mark = place, 2 * self._next_mark
