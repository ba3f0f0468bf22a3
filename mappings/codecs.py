"""Kinds of values: how each compares, and which differences a store makes by itself.

``normal`` gives keys for comparing and matching; it never rewrites what people typed. ``loss`` knows what a lossy
store makes of a value: cut short, re-cased, re-spaced, re-formatted (E11). Both are pure and never raise on odd text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from functools import lru_cache

import pycountry
from stdnum.util import clean

from mappings.fields import Kind, Value
from mappings.phones import has_phone_form, phone_key

_URL = re.compile(r"(?i)(?:(https?)://)?([^\s/?#@]+\.[^\s/?#@]+)((?:[/?#]\S*)?)")
_BRACKETS = re.compile(r"[^<>]*<\s*(?:mailto:)?([^<>\s]+@[^<>\s]+)\s*>[^<>]*", re.IGNORECASE)
_DAY = re.compile(r"(\d{4}-\d{2}-\d{2})(?:[T ]00:00(?::00(?:\.0+)?)?(?:Z|\+00:?00)?)?")
_ALPHA_2 = {"uk": "GB", "el": "GR"}
_OTHER_NAMES = {
    "GB": ("great britain", "britain", "england", "scotland", "wales", "northern ireland", "u.k."),
    "US": ("united states of america", "america", "u.s.", "u.s.a."),
    "IE": ("republic of ireland", "eire", "éire"),
    "NL": ("holland", "the netherlands"),
    "CZ": ("czech republic",),
    "KR": ("south korea",),
    "RU": ("russia",),
    "TR": ("turkey",),
    "VN": ("vietnam",),
    "AE": ("uae", "u.a.e."),
    "CI": ("ivory coast",),
}


def text_of(value: Value) -> str | None:
    """The text of a single value, None when it is blank. Raises TypeError for a unit: that is a bug of the caller."""
    if value is None:
        return None
    if isinstance(value, str):
        return value if value and not value.isspace() else None
    raise TypeError(f"one text was expected, not a unit of {len(value)} parts")


def collapse(text: str) -> str:
    """Trimmed, inner white space as one blank, composed Unicode: how plain text compares. Case is kept."""
    return " ".join((text if text.isascii() else unicodedata.normalize("NFC", text)).split())


def fold(text: str) -> str:
    """Without case: the same for ``text``, its upper-case and its composed or decomposed form."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", text).upper().casefold())


def squeeze(text: str) -> str:
    """Without case and white space: what survives re-casing and re-spacing."""
    return "".join(fold(text).split())


def cut(text: str | None, limit: int | None) -> str | None:
    """What a column of ``limit`` characters holds of ``text``; the cut never leaves trailing blanks."""
    if text is None or limit is None or len(text) <= limit:
        return text
    return text[:limit].rstrip() or None


def bare_email(text: str) -> str:
    """The address inside ``<a@b>`` or ``Name <a@b> note`` (observed in live data); any other text as it is."""
    inside = _BRACKETS.fullmatch(text) if "<" in text else None
    return inside[1] if inside else text


def email_key(text: str) -> str:
    """An e-mail address for comparing: bare, without case."""
    return fold(bare_email(collapse(text)))


@lru_cache(maxsize=65536)
def vat_key(text: str) -> str:
    """A tax number for comparing: no blanks, dots, dashes or slashes, upper case."""
    return collapse(clean(text, " .-/")).upper()


def url_key(text: str) -> str:
    """A web address without case of scheme and host and without closing slashes; notes compare as plain text."""
    flat = collapse(text)
    parts = _URL.fullmatch(flat)
    if parts is None:
        return flat
    scheme = f"{parts[1].lower()}://" if parts[1] else ""
    return f"{scheme}{fold(parts[2])}{parts[3]}".rstrip("/")


def day_key(text: str) -> str:
    """An ISO day, also when a vendor hands it out as midnight; any other text as it is, blanks collapsed."""
    flat = collapse(text)
    day = _DAY.fullmatch(flat)
    return day[1] if day else flat


@lru_cache(maxsize=1)
def _countries() -> dict[str, str]:
    table: dict[str, str] = {}
    for country in pycountry.countries:
        for attribute in ("name", "official_name", "common_name", "alpha_3", "alpha_2"):
            name = getattr(country, attribute, None)
            if name:
                table[fold(name)] = country.alpha_2
    table.update(_ALPHA_2)
    table.update({fold(name): code for code, names in _OTHER_NAMES.items() for name in names})
    return table


@lru_cache(maxsize=4096)
def country_code(text: str) -> str | None:
    """ISO alpha-2 of a code or an exact name; None for anything else (guessing countries has gone wrong before)."""
    return _countries().get(fold(collapse(text)))


def country_key(text: str) -> str:
    return country_code(text) or fold(collapse(text))


def cut_or_same(written: str, found: str) -> bool:
    """May ``found`` be ``written`` after re-casing, re-spacing and cutting at the end?"""
    kept = squeeze(found)
    return bool(kept) and squeeze(written).startswith(kept)


def _alike(written: str, found: str) -> bool:
    return fold(collapse(written)) == fold(collapse(found))


def single(name: str, key: Callable[[str], str], may_be: Callable[[str, str], bool]) -> Kind:
    """A kind of one text. ``key`` must be idempotent; ``may_be(written, found)`` is asked when the keys differ."""

    def normal(value: Value) -> Value:
        text = text_of(value)
        return None if text is None else key(text) or None

    def loss(written: Value, found: Value) -> bool:
        a, b = text_of(written), text_of(found)
        if a is None or b is None:
            return normal(written) == normal(found)
        return key(a) == key(b) or may_be(a, b)

    return Kind(name, normal, loss)


def unit(name: str, parts: Mapping[str, Kind], tidy: Callable[[dict[str, str | None]], Value] | None = None) -> Kind:
    """A kind of several parts that travel as one value (E12). ``tidy`` settles the normal form of the whole."""

    def normal(value: Value) -> Value:
        given = parts_of(value)
        flat = {part: text_of(kind.normal(given.get(part))) for part, kind in parts.items()}
        if tidy is not None:
            return tidy(flat)
        return flat if any(flat.values()) else None

    def loss(written: Value, found: Value) -> bool:
        a, b = normal(written), normal(found)
        if a == b:
            return True
        was, now = parts_of(a), parts_of(b)
        return all(kind.loss(was.get(part), now.get(part)) for part, kind in parts.items())

    return Kind(name, normal, loss)


def parts_of(value: Value) -> Mapping[str, str | None]:
    """The parts of a unit, none when it is empty. Raises TypeError for a text: that is a bug of the caller."""
    if value is None:
        return {}
    if isinstance(value, str):
        raise TypeError("a unit was expected, not one text")
    return value


TEXT = single("text", collapse, cut_or_same)
NAME = single("name", collapse, cut_or_same)
EMAIL = single("email", email_key, lambda a, b: cut_or_same(email_key(a), email_key(b)))
COUNTRY = single("country", country_key, lambda a, b: country_code(a) is None and cut_or_same(a, b))
VAT = single("vat", vat_key, lambda a, b: cut_or_same(vat_key(a), vat_key(b)))
URL = single("url", url_key, lambda a, b: cut_or_same(a, b) or cut_or_same(_bare_url(a), _bare_url(b)))
KEY = single("key", collapse, _alike)  # a shorter key is another record's: never a cut
CUSTOM = single("custom", day_key, lambda a, b: cut_or_same(day_key(a), day_key(b)))
PERSON = unit("person", {"first": NAME, "last": NAME})


def number_key() -> Kind:
    """A system key that is a whole number where it can be: ``007`` and ``7`` are the same row, ``0`` is none."""
    return single("key", lambda text: _whole(collapse(text)), _alike)


def _whole(text: str) -> str:
    return str(int(text) or "") if text.isascii() and text.isdigit() and len(text) < 19 else text


def _bare_url(text: str) -> str:
    return re.sub(r"(?i)^https?://", "", url_key(text))


def choice(name: str, options: tuple[str, ...], default: str) -> Kind:
    """One of ``options``; anything else, also nothing at all, counts as ``default``."""

    def normal(value: Value) -> Value:
        text = text_of(value)
        key = fold(collapse(text)) if text else ""
        return key if key in options else default

    return Kind(name, normal, lambda written, found: normal(written) == normal(found))


def phone(region: str) -> Kind:
    """A phone number; ``region`` is the country of numbers typed without a country code (ISO alpha-2)."""

    def may_be(written: str, found: str) -> bool:
        if has_phone_form(found) and has_phone_form(written):
            return _digits(written).startswith(_digits(found))
        return cut_or_same(written, found)

    return single("phone", lambda text: phone_key(collapse(text), region), may_be)


def _digits(text: str) -> str:
    return "".join(filter(str.isdigit, text))


def address(default_country: str, empty_alone: frozenset[str] = frozenset()) -> Kind:
    """A postal address as one value. ``default_country``: what an address without a country means.

    Lines 3 to 5 compare as one text, because a system with three lines holds them so. A country in ``empty_alone``
    with nothing else is no address: a vendor that fills the country by itself would make one of every blank.
    """
    lines = ("line1", "line2", "line3", "line4", "line5")
    parts = {**dict.fromkeys((*lines, "city", "state", "postcode"), TEXT), "country": COUNTRY}
    tail = lines[2:]
    nothing = {*empty_alone, default_country or None, None}

    def tidy(flat: dict[str, str | None]) -> Value:
        flat["line3"] = tail_line(flat)
        flat["line4"] = flat["line5"] = None
        if flat["country"] in nothing and not any(v for part, v in flat.items() if part != "country"):
            return None
        flat["country"] = flat["country"] or default_country or None
        return flat

    whole = unit("address", parts, tidy)

    def loss(written: Value, found: Value) -> bool:
        if whole.loss(written, found):
            return True
        a, b = parts_of(whole.normal(written)), parts_of(whole.normal(found))
        was, now = parts_of(written), parts_of(found)  # a system with five lines cuts each of them by itself
        return all(
            TEXT.loss(was.get(part), now.get(part)) if part in tail else kind.loss(a.get(part), b.get(part))
            for part, kind in parts.items()
        )

    return Kind(whole.name, whole.normal, loss)


def tail_line(parts: Mapping[str, str | None]) -> str | None:
    """Lines 3 to 5 as one line."""
    return ", ".join(line for part in ("line3", "line4", "line5") if (line := parts.get(part))) or None
