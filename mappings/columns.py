"""Builders of the lines in ``intacct.py`` and ``sage_crm.py``: each makes one ``Field`` from its columns.

All share two habits. A cell that already means the value is left as it stands in the record (a write never tidies up
what nobody changed), and a blank cell is None whatever the vendor uses for it: null, "", blanks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mappings.canonical import ADDRESS_LINES, ADDRESS_PARTS, MapSettings
from mappings.codecs import (
    COUNTRY,
    CUSTOM,
    EMAIL,
    PERSON,
    TEXT,
    address,
    bare_email,
    choice,
    collapse,
    country_code,
    cut,
    day_key,
    parts_of,
    phone,
    tail_line,
    text_of,
)
from mappings.fields import Field, Kind, Native, Value
from mappings.phones import join_phone, split_phone

STATUS = choice("choice", ("active", "inactive"), default="active")


def cell_text(cell: Any) -> str | None:
    """What a cell says, as text. Whole numbers have no decimals, booleans are true and false."""
    if cell is None:
        return None
    if isinstance(cell, str):
        return cell.strip() or None
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)


def plain(
    name: str,
    kind: Kind,
    part: str,
    column: str,
    *,
    limit: int | None = None,
    read: Callable[[Any], str | None] = cell_text,
    write: Callable[[str | None, Any], Any] | None = None,
) -> Field:
    """One column. ``write(text, cell)`` gives the vendor's form of ``text``; ``cell`` is what stands there now."""
    normal = kind.normal

    def get(native: Native) -> Value:
        return read(native[column])

    def put(value: Value, baseline: Native) -> dict[str, Any]:
        text = text_of(value)
        cell = baseline.get(column)
        if column in baseline and normal(text) == normal(read(cell)):
            return {column: cell}
        new = cut(text.strip(), limit) if text else None
        return {column: write(new, cell) if write else new}

    return Field(name, kind, part, (column,), get, put)


def email(part: str, column: str, limit: int | None) -> Field:
    """An address, read without the brackets and names that people put around it."""
    return plain("email", EMAIL, part, column, limit=limit, read=_bare_email)


def _bare_email(cell: Any) -> str | None:
    text = cell_text(cell)
    return bare_email(text) if text else None


def custom(name: str, part: str, column: str, limit: int | None) -> Field:
    """A field of the installation's own. What is written has the type that stands in the record."""
    return plain(name, CUSTOM, part, column, limit=limit, read=_custom_text, write=_typed_like)


def _custom_text(cell: Any) -> str | None:
    text = cell_text(cell)
    return day_key(text) if isinstance(cell, str) and text else text


def _typed_like(text: str | None, cell: Any) -> Any:
    if text is None or cell is None or isinstance(cell, str):
        return text
    if isinstance(cell, bool):
        return {"true": True, "false": False}.get(text.lower(), text)
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() else number


def status(part: str, column: str, active: str, inactive: str) -> Field:
    """Active or inactive. Every other word of the vendor's, also none, counts as active and is left as it stands."""
    off = inactive.lower()

    def is_off(cell: Any) -> bool:
        return (cell_text(cell) or "").lower() == off

    def get(native: Native) -> Value:
        return "inactive" if is_off(native[column]) else "active"

    def put(value: Value, baseline: Native) -> dict[str, Any]:
        wanted_off = STATUS.normal(value) == "inactive"
        if column in baseline and is_off(baseline[column]) == wanted_off:
            return {column: baseline[column]}
        return {column: inactive if wanted_off else active}

    return Field("status", STATUS, part, (column,), get, put)


def contact(part: str, first: str, last: str, settings: MapSettings) -> Field:
    """The contact's first and last name: one value, two columns."""
    table = {"first": first, "last": last}
    limits = {p: settings.limit("contact", p) for p in table}

    def get(native: Native) -> Value:
        found = {p: cell_text(native[column]) for p, column in table.items()}
        return found if any(found.values()) else None

    def put(value: Value, baseline: Native) -> dict[str, Any]:
        return _put_parts(parts_of(value), baseline, table, limits)

    return Field("contact", PERSON, part, (first, last), get, put)


def _put_parts(
    given: Mapping[str, str | None], baseline: Native, table: Mapping[str, str], limits: Mapping[str, int | None]
) -> dict[str, Any]:
    return {column: _put_text(given.get(p), baseline, column, limits[p]) for p, column in table.items()}


def _put_text(text: str | None, baseline: Native, column: str, limit: int | None) -> Any:
    wanted = cell_text(text)
    new = cut(wanted, limit)
    cell = baseline.get(column)
    if column in baseline and TEXT.normal(cell_text(cell)) in (TEXT.normal(wanted), TEXT.normal(new)):
        return cell
    return new


def postal_address(
    part: str, table: Mapping[str, str], settings: MapSettings, *, fills_country: str | None = None
) -> Field:
    """An address of as many lines as ``table`` has; further lines join the last one with a comma.

    ``fills_country``: the country this vendor puts in when none is sent. Such a vendor always gets one, and that
    country standing alone is no address.
    """
    home = settings.default_country.upper() or fills_country or ""
    alone = frozenset({home, fills_country} if fills_country else ())
    kind = address(home, alone)
    limits = {p: settings.limit("address", p) for p in ADDRESS_PARTS}
    texts = {p: column for p, column in table.items() if p != "country"}
    land = table["country"]
    tail = [p for p in ("line3", "line4", "line5") if p in table]

    def get(native: Native) -> Value:
        found: dict[str, str | None] = dict.fromkeys(ADDRESS_PARTS)
        for p, column in texts.items():
            found[p] = cell_text(native[column])
        code = cell_text(native[land])
        found["country"] = (country_code(code) or code) if code else None
        if any(found[p] for p in texts) or (found["country"] and found["country"] not in alone):
            return found
        return None

    def put(value: Value, baseline: Native) -> dict[str, Any]:
        given = parts_of(value)
        lines = dict(given)
        if len(tail) == 1:
            lines["line3"] = tail_line({p: cell_text(given.get(p)) for p in ADDRESS_LINES})
        out = _put_parts(lines, baseline, texts, limits)
        if len(tail) > 1 and _same_tail(given, baseline, [texts[p] for p in tail]):
            out.update({texts[p]: baseline[texts[p]] for p in tail})
        out[land] = _put_country(given, baseline)
        return out

    def _put_country(given: Mapping[str, str | None], baseline: Native) -> Any:
        wanted = cell_text(given.get("country"))
        present = cell_text(baseline.get(land))
        if fills_country and not any(given.values()):
            return baseline[land] if land in baseline and (not present or country_code(present) in alone) else home
        if land in baseline and COUNTRY.normal(wanted or home) == COUNTRY.normal(present or home):
            return baseline[land]
        return cut((country_code(wanted) or wanted) if wanted else (home if fills_country else None), limits["country"])

    return Field("address", kind, part, tuple(table.values()), get, put)


def _same_tail(given: Mapping[str, str | None], baseline: Native, columns: list[str]) -> bool:
    """Do lines 3 to 5 say the same, broken differently? A system with three lines cannot have meant the breaks."""
    if not all(column in baseline for column in columns):
        return False
    there = (cell_text(baseline[column]) for column in columns)
    wanted = (cell_text(given.get(p)) for p in ("line3", "line4", "line5"))
    return ", ".join(collapse(t) for t in there if t) == ", ".join(collapse(t) for t in wanted if t)


def phone_text(name: str, part: str, column: str, settings: MapSettings) -> Field:
    """A number in one column, as typed."""
    kind, limit = phone(settings.default_country.upper()), settings.limit(name)
    return plain(name, kind, part, column, write=lambda text, _: _short_phone(text, limit, kind))


def phone_columns(name: str, part: str, columns: tuple[str, str, str], settings: MapSettings) -> Field:
    """A number in country code, area code and number. A limit is that of the number column."""
    region, limit = settings.default_country.upper(), settings.limit(name)
    kind = phone(region)
    normal = kind.normal
    code, area, number = columns

    def get(native: Native) -> Value:
        return join_phone(cell_text(native[code]), cell_text(native[area]), cell_text(native[number]))

    def put(value: Value, baseline: Native) -> dict[str, Any]:
        text = text_of(value)
        if all(c in baseline for c in columns) and normal(get(baseline)) == normal(text):
            return {c: baseline[c] for c in columns}
        if text is None:
            return dict.fromkeys(columns)
        has_code = cell_text(baseline.get(code)) is not None
        split = split_phone(collapse(text), region, has_code)
        return dict(zip(columns, (split[0], split[1], _short_phone(split[2], limit, kind)), strict=True))

    return Field(name, kind, part, columns, get, put)


def _short_phone(text: str | None, limit: int | None, kind: Kind) -> str | None:
    """A number that is too long loses its spelling before it loses digits."""
    if text is None or limit is None or len(text) <= limit:
        return text
    key = text_of(kind.normal(text)) or text
    bare = "".join(c for c in text if c.isalnum() or c == "+")
    return next((t for t in (bare, key) if len(t) <= limit), cut(text, limit))
