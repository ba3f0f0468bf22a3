"""Who may stand for whom: ranked suggestions for the account manager mapping, with reasons. Never applied by itself.

The e-mail address speaks loudest, then the name, then initials. A suggestion is *exact* when the address is the same
and nobody else on either side has it.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

SAME_EMAIL, SAME_NAME, NAME_IN_OTHER_ORDER, INITIALS = 100, 60, 50, 20


class Person(Protocol):
    """Somebody in a directory of account managers."""

    @property
    def key(self) -> str: ...
    @property
    def ref(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def email(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Suggestion:
    """``score``: only for ordering. ``reasons``: in words, the strongest first."""

    erp_key: str
    crm_key: str
    score: int
    reasons: tuple[str, ...]
    exact: bool


def suggest(erp: Iterable[Person], crm: Iterable[Person], most: int = 3) -> list[Suggestion]:
    """For each ERP manager the CRM users that may be the same person, at most ``most``, best first.

    Give it only who may be mapped: active, and without a row yet.
    """
    ours, theirs = list(erp), list(crm)
    emails = [Counter(_email(one.email) for one in people) for people in (ours, theirs)]
    found: list[Suggestion] = []
    for one in ours:
        mine = [_compare(one, other, emails) for other in theirs]
        best = sorted((s for s in mine if s is not None), key=lambda s: (-s.score, s.crm_key))
        found.extend(best[:most])
    return sorted(found, key=lambda s: (-s.score, s.erp_key, s.crm_key))


def _compare(erp: Person, crm: Person, emails: Sequence[Counter[str]]) -> Suggestion | None:
    score = 0
    reasons: list[str] = []
    email = _email(erp.email)
    same_email = bool(email) and email == _email(crm.email)
    if same_email:
        score, reasons = score + SAME_EMAIL, [*reasons, "same e-mail address"]
    mine, other = _words(erp.name), _words(crm.name)
    if mine and mine == other:
        score, reasons = score + SAME_NAME, [*reasons, "same name"]
    elif mine and sorted(mine) == sorted(other):
        score, reasons = score + NAME_IN_OTHER_ORDER, [*reasons, "same name in another order"]
    elif _initials_of(mine, crm.ref) or _initials_of(other, erp.ref):
        score, reasons = score + INITIALS, [*reasons, "the reference is made of the other one's initials or name"]
    if not reasons:
        return None
    alone = all(count[email] == 1 for count in emails)
    return Suggestion(erp.key, crm.key, score, tuple(reasons), same_email and alone)


def _email(address: str | None) -> str:
    return (address or "").strip().casefold()


def _words(name: str) -> tuple[str, ...]:
    """The words of a name without case, marks and punctuation; "North, Ada" is Ada North."""
    last, comma, first = name.partition(",")
    ordered = f"{first} {last}" if comma else name
    plain = unicodedata.normalize("NFKD", ordered).casefold()
    return tuple(re.findall(r"[^\W_]+", "".join(c for c in plain if not unicodedata.combining(c))))


def _initials_of(words: tuple[str, ...], ref: str) -> bool:
    """AN, anorth, ada.north, north.ada: how people make log-on names of a name."""
    if len(words) < 2:
        return False
    text = "".join(_words(ref.partition("@")[0]))
    first, last = words[0], words[-1]
    initials = "".join(word[0] for word in words)
    return text in {initials, first[0] + last, first + last[0], first + last, last + first, last + first[0]}
