"""Phone numbers: one key for comparing, and typed numbers split into and joined from a vendor's three columns.

Typed text stays typed text: splitting keeps its spelling, and what cannot be split safely stays in one piece.
"""

from __future__ import annotations

import re
from functools import lru_cache

import phonenumbers
from phonenumbers import CountryCodeSource, NumberParseException, PhoneNumber, PhoneNumberFormat, ValidationResult

# Only what is a number and nothing else: the parser itself would also find one inside a note.
_FORM = re.compile(r"(?i)\+?[\d ().\-/]*\d[\d ().\-/]*(?:(?:;ext=|ext\.?|extension|x|#)\s*\d{1,7})?", re.ASCII)
_NO_PLUS_NEEDED = CountryCodeSource.FROM_DEFAULT_COUNTRY


def has_phone_form(text: str) -> bool:
    return _FORM.fullmatch(text.strip()) is not None


@lru_cache(maxsize=65536)
def _parse(text: str, region: str) -> PhoneNumber | None:
    """A possible number, or None. ``region`` "" knows only numbers with a country code."""
    if not has_phone_form(text):
        return None
    try:
        number = phonenumbers.parse(text, region or None, keep_raw_input=True)
    except NumberParseException:
        return None
    possible = phonenumbers.is_possible_number_with_reason(number) == ValidationResult.IS_POSSIBLE
    return number if possible else None


@lru_cache(maxsize=65536)
def phone_key(text: str, region: str) -> str:
    """E.164 (";ext=" behind it) where ``text`` is a possible number, else ``text``. Idempotent."""
    number = _parse(text, region)
    if number is None:
        return text
    key = _e164(number)
    again = _parse(key, region)
    return key if again is not None and _e164(again) == key else text


def _e164(number: PhoneNumber) -> str:
    plain = phonenumbers.format_number(number, PhoneNumberFormat.E164)
    return f"{plain};ext={number.extension}" if number.extension else plain


def join_phone(country: str | None, area: str | None, number: str | None) -> str | None:
    """One number of a vendor's three columns. A country code alone is no number (installations preset it)."""
    if not area and not number:
        return None
    if number and number.startswith(("+", "00")):
        return number
    code = (country or "").lstrip("+0 ")
    parts = (f"+{code}" if code.isascii() and code.isdigit() else None, area, number)
    return " ".join(part for part in parts if part)


@lru_cache(maxsize=65536)
def split_phone(text: str, region: str, with_country: bool) -> tuple[str | None, str | None, str]:
    """(country code, area code, number) for three columns; (None, None, text) where no split joins to the same.

    The country code is filled when the number was typed with one, or when ``with_country`` says the row has one.
    """
    whole = (None, None, text)
    number = _parse(text, region)
    if number is None:
        return whole
    national = phonenumbers.national_significant_number(number)
    length = phonenumbers.length_of_national_destination_code(number)
    at = _start_of(text, national)
    if at is None:
        return whole
    rest_at = _after_digits(text, at, length)
    prefix = "".join(filter(str.isdigit, text[:at]))
    coded = with_country or number.country_code_source != _NO_PLUS_NEEDED
    if not length and not coded:
        return whole
    country = str(number.country_code) if coded else None
    area = national[:length] if coded else prefix + national[:length]
    split = (country, area or None, text[rest_at:].lstrip(" ).-/"))
    return split if phone_key(join_phone(*split) or "", region) == phone_key(text, region) else whole


def _start_of(text: str, national: str) -> int | None:
    """Where the national number begins in the typed text, or None if its digits do not stand there in a row."""
    spots = [i for i, char in enumerate(text) if char.isdigit()]
    found = "".join(text[i] for i in spots).find(national)
    return None if found < 0 else spots[found]


def _after_digits(text: str, start: int, count: int) -> int:
    """Position behind ``count`` digits from ``start``."""
    at = start
    while count:
        count -= text[at].isdigit()
        at += 1
    return at
