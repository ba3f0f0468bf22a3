"""What speaks for two records being one customer: comparisons that every CRM's search shares. Pure."""

from __future__ import annotations

from mappings.codecs import collapse, fold, vat_key
from mappings.names import normal_name

MOST = 20  # candidates a person can choose from


def same_text(wanted: str | None, found: str) -> bool:
    """The same without regard to case and blanks; nothing wanted matches nothing."""
    return bool(wanted) and fold(collapse(wanted or "")) == fold(collapse(found)) != ""


def same_name(wanted: str | None, found: str) -> bool:
    """The same name as it stands, or without its legal form."""
    return bool(wanted) and (same_text(wanted, found) or normal_name(wanted or "") == normal_name(found) != "")


def tax_forms(number: str | None) -> list[str]:
    """How the same tax number may stand there: as given, without blanks, without its country."""
    key = vat_key(number or "")
    if not number or not key:
        return []
    return [number.strip(), key, key[2:]] if key[:2].isalpha() else [number.strip(), key]


def same_tax(wanted: str | None, found: str) -> bool:
    """The same number, with or without its country."""
    a, b = vat_key(wanted or ""), vat_key(found)
    return bool(a and b) and (a == b or (a[:2].isalpha() and a[2:] == b) or (b[:2].isalpha() and b[2:] == a))
