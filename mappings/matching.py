"""Which existing record is this one? A ladder of evidence with reasons; pure.

    1  (stored link, before this module is asked)
    2  own key columns name the record                       link
    3  customer id and normalised name both equal, one only  link
    4  customer id, tax number, e-mail or name alone         candidates: a person chooses
    5  ids contradict each other                             conflict: nothing is written

Published descriptions of comparable products name only "customer id, record number and company name combination";
how a partial agreement counts is unstated there, so the ladder is our reading and ``strict_gumu`` the literal one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rapidfuzz.fuzz import token_sort_ratio

from mappings.codecs import collapse, email_key, fold, vat_key
from mappings.names import normal_name, same_name, search_names

__all__ = ["Candidate", "Facts", "Match", "MatchPolicy", "Side", "decide", "normal_name", "search_names"]

Side = Literal["erp", "crm"]
MatchPolicy = Literal["ladder", "strict_gumu"]
MIN_TAX_LENGTH = 5  # shorter "tax numbers" are placeholders like N/A or 0


@dataclass(frozen=True, slots=True)
class Facts:
    """What the ladder looks at. ``key``: API key, ``ref``: what people see (on the ERP side the customer id).

    ``erp_key``, ``erp_ref``, ``erp_company``: the CRM's own columns that name an ERP record; blank on the ERP side.
    ``linked``: has a partner already (of this flow).
    """

    key: str
    ref: str | None = None
    name: str | None = None
    erp_key: str | None = None
    erp_ref: str | None = None
    erp_company: str | None = None
    email: str | None = None
    tax_number: str | None = None
    linked: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """A record a person may choose, and what speaks for it."""

    key: str
    ref: str | None
    name: str | None
    why: str


@dataclass(frozen=True, slots=True)
class Match:
    """``link``: ``key`` is the partner. ``candidates``: a person chooses. ``conflict``: a person mends the ids first.

    ``none``: nobody; creating is safe as far as matching goes. ``step``: key_columns, id_and_name, all_three,
    suggested, contradiction or nothing. ``why`` holds keys, never names.
    """

    kind: Literal["link", "candidates", "conflict", "none"]
    key: str | None
    step: str
    why: str
    candidates: tuple[Candidate, ...] = ()


@dataclass(frozen=True, slots=True)
class _Pair:
    """One candidate seen together with the subject. ``…_other``: both sides have that id, and they differ."""

    facts: Facts
    key_equal: bool
    key_other: bool
    ref_equal: bool
    ref_other: bool
    name_equal: bool
    email_equal: bool
    tax_equal: bool


@dataclass(frozen=True, slots=True)
class _Scope:
    """Inside which ERP company the ids of a CRM record count."""

    company: str
    shared: bool

    def holds(self, crm: Facts) -> bool:
        """Do its key columns speak about our company? Where that is the only one, no company named means ours."""
        named = _flat(crm.erp_company)
        if named is None:
            return not self.shared
        return not self.company or fold(named) == fold(collapse(self.company))


def decide(
    subject_side: Side,
    subject: Facts,
    candidates: Sequence[Facts],
    policy: MatchPolicy = "ladder",
    company: str = "",
    *,
    shared: bool = False,
) -> Match:
    """The verdict about an unlinked ``subject``. ``company``: the ERP company the flow works in; it scopes the ids.

    ``shared``: the CRM holds records of several ERP companies, so ids beside no company say nothing.
    """
    scope = _Scope(company, shared)
    pairs = [_pair(subject_side, subject, other, scope) for other in candidates]
    conflict = _contradiction(subject_side, subject, pairs, scope)
    if conflict is not None:
        return conflict
    free = [p for p in pairs if not p.facts.linked and not p.key_other]
    if policy == "strict_gumu":
        exact = [p for p in free if p.key_equal and p.ref_equal and p.name_equal]
        if len(exact) == 1:
            return _link(exact[0], "all_three", "record number, customer id and name agree")
        return _suggest(subject, free, pairs)
    by_key = [p for p in free if p.key_equal]
    if by_key:
        return _link(by_key[0], "key_columns", "the key columns name this record")
    both = [p for p in free if p.ref_equal and p.name_equal]
    if len(both) == 1:
        return _link(both[0], "id_and_name", "customer id and name agree, and only here")
    return _suggest(subject, free, pairs)


def _pair(subject_side: Side, subject: Facts, other: Facts, scope: _Scope) -> _Pair:
    erp, crm = (subject, other) if subject_side == "erp" else (other, subject)
    in_scope = scope.holds(crm)
    crm_key = _flat(crm.erp_key) if in_scope else None
    crm_ref = fold(_flat(crm.erp_ref) or "") if in_scope else ""
    erp_ref = fold(_flat(erp.ref) or "")
    email, tax = email_key(subject.email or ""), _tax(subject.tax_number)
    return _Pair(
        facts=other,
        key_equal=crm_key is not None and crm_key == _flat(erp.key),
        key_other=crm_key is not None and crm_key != _flat(erp.key),
        ref_equal=bool(crm_ref) and crm_ref == erp_ref,
        ref_other=bool(crm_ref) and bool(erp_ref) and crm_ref != erp_ref,
        name_equal=same_name(subject.name or "", other.name or ""),
        email_equal="@" in email and email == email_key(other.email or ""),
        tax_equal=_same_tax(tax, _tax(other.tax_number)),
    )


def _contradiction(side: Side, subject: Facts, pairs: Sequence[_Pair], scope: _Scope) -> Match | None:
    """Step 5, looked at first: contradicting ids stop everything else."""
    named = [p for p in pairs if p.key_equal]
    if len(named) > 1:
        keys = ", ".join(sorted(p.facts.key for p in named))
        return _conflict(named, f"several records claim the same record number: {keys}")
    for p in pairs:
        if p.key_equal and p.ref_other:
            return _conflict([p], f"record {p.facts.key} agrees in record number but has another customer id")
        if p.ref_equal and p.key_other:
            return _conflict([p], f"record {p.facts.key} agrees in customer id but has another record number")
        if (p.key_equal or p.ref_equal) and p.facts.linked:
            return _conflict([p], f"the key columns point to record {p.facts.key}, which is linked already")
    own = _flat(subject.erp_key)
    if side == "crm" and own is not None and scope.holds(subject) and not named:
        return _conflict([], f"the key column names record {own}, which was not found")
    return None


def _suggest(subject: Facts, free: Sequence[_Pair], pairs: Sequence[_Pair]) -> Match:
    """Step 4: what speaks for each candidate; strongest evidence first, then the more similar name.

    A namesake whose key column names another record is nobody's candidate, but reason enough not to create.
    """
    found = [(reasons, p) for p in free if (reasons := _reasons(p))]
    if not found:
        spoken_for = [p for p in pairs if p.key_other and p.name_equal and not p.facts.linked]
        if spoken_for:
            return _conflict(spoken_for, f"record {spoken_for[0].facts.key} has this name but another record number")
        return Match("none", None, "nothing", "no record agrees in id, name, e-mail or tax number")

    def rank(item: tuple[list[str], _Pair]) -> tuple[int, int, float, str]:
        reasons, p = item
        return (_WEIGHT.index(reasons[0]), -len(reasons), -_similar(subject, p.facts), p.facts.key)

    ordered = sorted(found, key=rank)
    listed = tuple(Candidate(p.facts.key, p.facts.ref, p.facts.name, ", ".join(reasons)) for reasons, p in ordered)
    return Match("candidates", None, "suggested", f"{len(listed)} possible, none certain", listed)


_WEIGHT = ("record number", "customer id", "tax number", "e-mail", "name")


def _reasons(p: _Pair) -> list[str]:
    facts = (p.key_equal, p.ref_equal, p.tax_equal, p.email_equal, p.name_equal)
    return [reason for reason, holds in zip(_WEIGHT, facts, strict=True) if holds]


def _similar(a: Facts, b: Facts) -> float:
    return token_sort_ratio(normal_name(a.name or ""), normal_name(b.name or ""))


def _link(p: _Pair, step: str, why: str) -> Match:
    return Match("link", p.facts.key, step, why)


def _conflict(pairs: Sequence[_Pair], why: str) -> Match:
    listed = tuple(Candidate(p.facts.key, p.facts.ref, p.facts.name, ", ".join(_reasons(p))) for p in pairs)
    return Match("conflict", None, "contradiction", why, listed)


def _flat(text: str | None) -> str | None:
    return collapse(text or "") or None


def _tax(text: str | None) -> str:
    key = vat_key(text or "")
    return key if len(key) >= MIN_TAX_LENGTH and any(c.isdigit() for c in key) else ""


def _same_tax(a: str, b: str) -> bool:
    """Equal, or equal but for a two-letter country in front of one of them."""
    if not a or not b:
        return False
    return a == b or (a[:2].isalpha() and a[2:] == b) or (b[:2].isalpha() and b[2:] == a)
