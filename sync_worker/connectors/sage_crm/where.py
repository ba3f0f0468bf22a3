"""Building ``where`` predicates. These texts reach SQL, so every value goes through here, never by hand.

Documented: ``eq gt in like and or``, day literals ``@2026-11-22@``. Our assumption: a quote inside a literal is
doubled, as in SQL. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import quote_plus
from zoneinfo import ZoneInfo

MAX_LIST = 1700  # encoded characters of one list: servers of this family refuse query strings over 2048
_ID = re.compile(r"[1-9][0-9]{0,9}\Z")
_LARGEST_ID = 2**31 - 1  # ids are 32-bit integers; a larger one would fail the whole batch it stands in
_COLUMN = re.compile(r"[A-Za-z][A-Za-z0-9_]{1,63}\Z")
_LIKE_SPECIAL = re.compile(r"[%_\[\]^\\]")


def is_id(key: str) -> bool:
    """Whether a key can be a row id here; anything else never reaches a predicate or a path."""
    return bool(_ID.match(key)) and int(key) <= _LARGEST_ID


def as_number(key: str) -> int:
    """An id to order by; 0 for what is none."""
    return int(key) if is_id(key) else 0


def number(key: str) -> str:
    """An id as a literal, unquoted. Raises ValueError for anything that cannot be an id."""
    if not is_id(key):
        raise ValueError("not a row id")
    return key


def text(value: str) -> str:
    """Any text as a literal: in single quotes, those inside doubled; NUL, which ends strings in C, is dropped."""
    return "'" + value.replace("\0", "").replace("'", "''") + "'"


def patterns(column: str, wanted: Iterable[Sequence[str]]) -> Iterator[str]:
    """``column like`` any of these: pieces that follow one another with anything between and behind them.

    In as many predicates as keep each URL short enough. Pieces are letters and digits, so none means anything itself.
    """
    chunk: list[str] = []
    size = 0
    for pieces in dict.fromkeys(tuple(pieces) for pieces in wanted if any(pieces)):
        pattern = "%".join(_LIKE_SPECIAL.sub("_", piece) for piece in pieces) + "%"
        one = f"{named(column)} like {text(pattern)}"
        cost = len(quote_plus(one)) + 4
        if chunk and size + cost > MAX_LIST:
            yield " or ".join(chunk)
            chunk, size = [], 0
        chunk.append(one)
        size += cost
    if chunk:
        yield " or ".join(chunk)


def named(column: str) -> str:
    """A column's name as predicates spell it. Raises ValueError for what cannot be one (it comes from sync.toml)."""
    if not _COLUMN.match(column):
        raise ValueError("not a column name")
    return column.lower()


def equals(column: str, literal: str) -> str:
    return f"{named(column)} eq {literal}"


def lists(column: str, literals: Iterable[str]) -> Iterator[str]:
    """``column in (…)`` over all literals, without repeats, in as many predicates as keep each URL short enough."""
    chunk: list[str] = []
    size = 0
    for literal in dict.fromkeys(literals):
        cost = len(quote_plus(literal)) + 3
        if chunk and size + cost > MAX_LIST:
            yield f"{named(column)} in ({','.join(chunk)})"
            chunk, size = [], 0
        chunk.append(literal)
        size += cost
    if chunk:
        yield f"{named(column)} in ({','.join(chunk)})"


def id_lists(column: str, keys: Iterable[str]) -> Iterator[str]:
    """``lists`` over row ids; keys that cannot be ids are left out, since no row can have them."""
    return lists(column, (number(key) for key in keys if is_id(key)))


def since_day(column: str, seconds: float, zone: ZoneInfo) -> str:
    """Everything stamped at or after ``seconds`` (since 1970), and up to two days more: filter exactly afterwards.

    A time of day inside ``@…@`` is documented nowhere, nor whether ``gt`` of a day starts at its midnight or at its
    end, nor whether days are the server's or UTC's: the day before the earlier of both covers all of that.
    """
    moment = datetime.fromtimestamp(max(seconds, 0.0), UTC)
    day = min(moment.date(), moment.astimezone(zone).date()) - timedelta(days=1)
    return f"{named(column)} gt @{day.isoformat()}@"
