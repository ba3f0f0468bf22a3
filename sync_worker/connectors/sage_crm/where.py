"""Building ``where`` predicates. These texts reach SQL, so every value goes through here, never by hand.

Documented: ``eq gt in like and or``, day literals ``@2026-11-22@``. Our assumption: a quote inside a literal is
doubled, as in SQL. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from urllib.parse import quote_plus
from zoneinfo import ZoneInfo

# Characters. The web servers in front of this family refuse a query string of more than 2,048, and beside the predicate
# there are count, startIndex and the names of all three.
MAX_PREDICATE = 1980
_ID = re.compile(r"[1-9][0-9]{0,9}\Z")
_LARGEST_ID = 2**31 - 1  # ids are 32-bit integers; a larger one would fail the whole batch it stands in
_COLUMN = re.compile(r"[A-Za-z][A-Za-z0-9_]{1,63}\Z")
_LIKE_SPECIAL = re.compile(r"[%_\[\]^\\]")
_PLAIN = "'(),:@"  # may stand in a query string as they are (RFC 3986), and make up a third of what we ask otherwise
# Letters asked of a name's two pieces: enough to tell most names apart, few enough that a hundred share an address.
_FIRST, _BOTH, _SECOND = 14, 10, 3  # of the first at most; of both, where the second is left no fewer than the last


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


def encoded(value: str) -> str:
    """As it stands in a query string."""
    return quote_plus(value, safe=_PLAIN)


def query(params: Mapping[str, str | int | None]) -> str:
    """A query string; what is None is left out."""
    return "&".join(f"{encoded(name)}={encoded(str(value))}" for name, value in params.items() if value is not None)


@dataclass(frozen=True, slots=True)
class Term:
    """One thing asked of a column. ``head`` is what it shares with others: the list that it is a member of, or ""."""

    head: str
    item: str


def among(column: str, literals: Iterable[str]) -> Iterator[Term]:
    """``column in (…)``, without repeats."""
    head = f"{named(column)} in ("
    return (Term(head, literal) for literal in dict.fromkeys(literals))


def alike(column: str, wanted: Iterable[Sequence[str]]) -> Iterator[Term]:
    """``column like`` any of these: pieces that follow one another with anything between and behind them.

    Pieces are letters and digits, so none means anything itself. They are shortened: what is found is more, never less.
    """
    for pieces in dict.fromkeys(_brief(pieces) for pieces in wanted if any(pieces)):
        pattern = "%".join(_LIKE_SPECIAL.sub("_", piece) for piece in pieces) + "%"
        yield Term("", f"{named(column)} like {text(pattern)}")


def _brief(pieces: Sequence[str]) -> tuple[str, ...]:
    """The beginning of the name and the longest piece behind it (two of these where the beginning is anybody's)."""
    first, *others = pieces
    most = 1 if first else 2
    longest = sorted(sorted(range(len(others)), key=lambda i: -len(others[i]))[:most])
    kept = [piece for piece in (first, *(others[i] for i in longest)) if piece]
    kept[1:] = [piece[: max(_SECOND, _BOTH - len(kept[0]))] for piece in kept[1:]]
    kept[0] = kept[0][:_FIRST]
    return (*kept,) if first else ("", *kept)


def either(terms: Iterable[Term], *, beside: int = 0) -> Iterator[str]:
    """Any of these, in as many predicates as keep addresses short; ``beside``: encoded characters of what is added."""
    chunk: list[Term] = []
    size = 0
    for term in terms:
        cost = _cost(term, chunk[-1] if chunk else None)
        if chunk and size + cost > MAX_PREDICATE - beside:
            yield _joined(chunk)
            chunk, size = [], 0
            cost = _cost(term, None)
        chunk.append(term)
        size += cost
    if chunk:
        yield _joined(chunk)


def _cost(term: Term, before: Term | None) -> int:
    alone = not term.head or before is None or before.head != term.head
    return len(encoded(term.item)) + (len(encoded(f"{term.head}) or ")) if alone else 1)


def _joined(terms: Iterable[Term]) -> str:
    parts: list[str] = []
    for head, members in groupby(terms, lambda term: term.head):
        items = [term.item for term in members]
        parts += [f"{head}{','.join(items)})"] if head else items
    return " or ".join(parts)


def named(column: str) -> str:
    """A column's name as predicates spell it. Raises ValueError for what cannot be one (it comes from sync.toml)."""
    if not _COLUMN.match(column):
        raise ValueError("not a column name")
    return column.lower()


def equals(column: str, literal: str) -> str:
    return f"{named(column)} eq {literal}"


def lists(column: str, literals: Iterable[str]) -> Iterator[str]:
    """``either`` over the members of one list."""
    return either(among(column, literals))


def id_lists(column: str, keys: Iterable[str], *, beside: int = 0) -> Iterator[str]:
    """The same over row ids; keys that cannot be ids are left out, since no row can have them."""
    return either(among(column, (number(key) for key in keys if is_id(key))), beside=beside)


def since_day(column: str, seconds: float, zone: ZoneInfo) -> str:
    """Everything stamped at or after ``seconds`` (since 1970), and up to two days more: filter exactly afterwards.

    A time of day inside ``@…@`` is documented nowhere, nor whether ``gt`` of a day starts at its midnight or at its
    end, nor whether days are the server's or UTC's: the day before the earlier of both covers all of that.
    """
    moment = datetime.fromtimestamp(max(seconds, 0.0), UTC)
    day = min(moment.date(), moment.astimezone(zone).date()) - timedelta(days=1)
    return f"{named(column)} gt @{day.isoformat()}@"
