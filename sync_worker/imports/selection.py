"""Which customers an import takes: changed since a day, numbered from and to; both together mean both (GUMU-2 to 4)."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from sync_worker.connectors.base import Record
from sync_worker.errors import PermanentError

_DIGITS = re.compile(r"(\d+)")


class BadSelection(PermanentError):
    """A criterion that cannot be used; it refuses the whole run, it never widens it to all customers."""

    code = "bad_selection"


@dataclass(frozen=True, slots=True)
class Selection:
    """``since``: seconds since 1970. ``first``, ``last``: customer numbers, inclusive; "" leaves that end open."""

    since: float | None = None
    first: str = ""
    last: str = ""

    def recent(self, record: Record) -> bool:
        """Changed or made since? A record whose times are unknown counts as changed."""
        stamps = [at for at in (record.updated_at, record.created_at) if at is not None]
        return self.since is None or not stamps or max(stamps) >= self.since

    def numbered(self, ref: str) -> bool:
        """Does a customer number lie in the range?"""
        above = not self.first or order_of(ref) >= order_of(self.first)
        return above and (not self.last or order_of(ref) <= order_of(self.last))

    def as_params(self) -> dict[str, str | float | None]:
        return {"since": self.since, "first": self.first, "last": self.last}


def select_by(since: str | None, first: str | None, last: str | None, timezone: str = "UTC") -> Selection:
    """From what a person typed; blank is not given. ``timezone``: whose midnight a day begins at.

    Raises BadSelection.
    """
    low, high = (first or "").strip(), (last or "").strip()
    if low and high and order_of(low) > order_of(high):
        raise BadSelection(f"--from {low} lies behind --to {high}: exchange them")
    return Selection(_moment((since or "").strip(), timezone), low, high)


def order_of(ref: str) -> tuple[tuple[int, int, str], ...]:
    """Numbers within a text count as numbers, case does not: C-9 comes before C-10, and 0010 is 10."""
    parts = _DIGITS.split(ref.strip().casefold())
    return tuple(_number(part) if part.isdecimal() else (1, 0, part) for part in parts if part)


def _number(digits: str) -> tuple[int, int, str]:
    """By length, then digit by digit: Python makes no int of a text of any length."""
    plain = "".join(str(unicodedata.decimal(digit)) for digit in digits).lstrip("0")
    return 0, len(plain), plain


def _moment(text: str, timezone: str) -> float | None:
    """A whole day counts from its midnight: a repeat is harmless, a miss is not."""
    if not text:
        return None
    try:
        if len(text) == len("2026-11-22"):
            day = date.fromisoformat(text)
            return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(timezone)).timestamp()
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(timezone))).timestamp()
    except (ValueError, OverflowError):
        raise BadSelection(f"--updated-since {text}: give a day like 2026-11-22, or 2026-11-22T10:00") from None
