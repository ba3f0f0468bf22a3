"""A CRM behind a JSON API: a column is a JSON pointer, and which field stands where comes from a profile.

``MapSettings.columns`` holds the profile's places: our field (``email``), part of a unit (``address.city``), or id of
the ERP (``erp_key``) -> pointer. A field without a place is not mapped: it neither travels nor is emptied.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mappings.canonical import ADDRESS_PARTS, KEY_COLUMNS, MapSettings
from mappings.codecs import KEY, NAME, URL, VAT
from mappings.columns import cell_text, contact, custom, email, phone_text, plain, postal_address, status
from mappings.fields import Field, FieldMap, Value

PART = "customer"
PHONES = ("phone", "mobile", "fax")
TEXTS = {"name": NAME, "website": URL, "tax_number": VAT}


def customer_map(settings: MapSettings, active: str = "active", inactive: str = "inactive") -> FieldMap:
    """The fields that have a place. ``active``, ``inactive``: the words of the field ``status``."""
    columns = settings.columns
    table = {field.name: field for field in _fields(settings, active, inactive)}

    def create_extra(values: Mapping[str, Value]) -> dict[str, Any]:
        """Defaults for a new customer, except where a value comes along."""
        filled = {c for name, v in values.items() if v is not None and name in table for c in table[name].columns}
        return {column: v for column, v in settings.defaults.items() if column not in filled}

    own = tuple(columns[name] for name in KEY_COLUMNS if name in columns)
    return FieldMap("customer", table, (*own, *settings.extra), create_extra, PART)


def _fields(settings: MapSettings, active: str, inactive: str) -> list[Field]:
    columns, limit = settings.columns, settings.limit
    texts = {name: kind for name, kind in TEXTS.items() if name in columns}
    found = [plain(name, kind, PART, columns[name], limit=limit(name)) for name, kind in texts.items()]
    found += [phone_text(name, PART, columns[name], settings) for name in PHONES if name in columns]
    if "email" in columns:
        found.append(email(PART, columns["email"], limit("email")))
    if "contact.first" in columns:
        found.append(contact(PART, columns["contact.first"], columns["contact.last"], settings))
    address = {part: columns[f"address.{part}"] for part in ADDRESS_PARTS if f"address.{part}" in columns}
    if address:
        found.append(postal_address(PART, address, settings))
    if "status" in columns:
        found.append(status(PART, columns["status"], active, inactive))
    if "account_manager" in columns:
        found.append(plain("account_manager", KEY, PART, columns["account_manager"], write=_typed_key))
    return [*found, *(custom(name, PART, column, limit(name)) for name, column in settings.custom.items())]


def _typed_key(text: str | None, cell: Any) -> Any:
    """A user's key is written as the kind of value that stands there: a number stays a number."""
    if isinstance(cell, int) and not isinstance(cell, bool) and text and text.isascii() and text.isdigit():
        return int(text)
    return cell_text(text)
