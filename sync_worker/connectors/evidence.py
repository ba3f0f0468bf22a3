"""What speaks for two records being one customer: comparisons that every CRM's search shares. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from mappings import names
from mappings.codecs import collapse, email_key, fold, vat_key

MOST = 20  # candidates a person can choose from

Mark = tuple[str, str]


def same_text(wanted: str | None, found: str) -> bool:
    """The same without regard to case and blanks; nothing wanted matches nothing."""
    return bool(wanted) and fold(collapse(wanted or "")) == fold(collapse(found)) != ""


def same_name(wanted: str | None, found: str) -> bool:
    """The same name as it stands, or without its legal form."""
    return bool(wanted) and (same_text(wanted, found) or names.same_name(wanted or "", found))


def marks(
    key: str | None, ref: str | None, tax: str | None, emails: Iterable[str | None], name: str | None
) -> set[Mark]:
    """What a record can be told by, as something to look up. Records that have none in common are no candidates."""
    number = vat_key(tax or "")
    text = {
        "key": {_plain(key)},
        "ref": {_plain(ref)},
        "tax": {number, number[2:] if number[:2].isalpha() else number},
        "email": {email_key(email or "") for email in emails},
        "name": {_plain(name), *names.name_keys(name or "")},
    }
    return {(kind, value) for kind, values in text.items() for value in values if value}


class Marked:
    """Records by their marks: which of many may be the one that is looked for, without comparing each with each."""

    def __init__(self) -> None:
        self._by_mark: dict[Mark, list[str]] = {}

    def add(self, record: str, has: Iterable[Mark]) -> None:
        for mark in has:
            self._by_mark.setdefault(mark, []).append(record)

    def sharing(self, wanted: Iterable[Mark]) -> list[str]:
        """Keys of the records that have any of these marks."""
        return list(dict.fromkeys(key for mark in sorted(wanted) for key in self._by_mark.get(mark, ())))


def _plain(value: str | None) -> str:
    return fold(collapse(value or ""))


def tax_forms(number: str | None) -> list[str]:
    """How the same tax number may stand there: as given, without blanks, without its country."""
    key = vat_key(number or "")
    if not number or not key:
        return []
    return [number.strip(), key, key[2:]] if key[:2].isalpha() else [number.strip(), key]


def tax_spellings(number: str | None) -> list[str]:
    """The same, and how people group its digits: ``GB 123 4567 89``, ``DE 123 456 789``. For vendors that only find
    what stands there as it is asked for.
    """
    key = vat_key(number or "")
    country, body = (key[:2], key[2:]) if key[:2].isalpha() else ("", key)
    grouped = [" ".join(parts) for sizes in _GROUPS if len(parts := _cut(body, sizes)) > 1]
    prefixes = (country, f"{country} ", "") if country else ("",)
    spelled = [prefix + text for text in (body, *grouped) for prefix in prefixes]
    return list(dict.fromkeys([*tax_forms(number), *spelled])) if key else []


# How many characters stand together; the last number counts on to the end.
_GROUPS = ((3,), (3, 4), (2, 3), (2, 9), (4,), (1, 3), (2,))


def _cut(text: str, sizes: tuple[int, ...]) -> list[str]:
    parts, at = [], 0
    for size in (*sizes, *(sizes[-1] for _ in text)):
        if at < len(text):
            parts.append(text[at : at + size])
            at += size
    return parts


def same_tax(wanted: str | None, found: str) -> bool:
    """The same number, with or without its country."""
    a, b = vat_key(wanted or ""), vat_key(found)
    return bool(a and b) and (a == b or (a[:2].isalpha() and a[2:] == b) or (b[:2].isalpha() and b[2:] == a))
