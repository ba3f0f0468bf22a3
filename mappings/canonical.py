"""The hub: what a record means, whatever system it lives in. Canonical values are ``fields.Value``s under these names.

A customer's fields, as in docs/reference; a missing name is unknown, ``None`` is empty (also a unit of blank parts):

    name             text                             website          address of a site, or a person's note
    contact          unit: first, last                tax_number       VAT or other tax id
    email            one address                      address          unit: line1 … line5, city, state, postcode,
    phone            typed text, compared as E.164                     country (ISO alpha-2 where known)
    mobile           the same                         status           "active" or "inactive", never empty
    fax              the same                         account_manager  the manager's key in that system

Fields of one's own come from the configuration (``MapSettings.custom``) under the name given there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mappings.codecs import collapse
from mappings.fields import Value

CUSTOMER_FIELDS = (
    "name",
    "contact",
    "email",
    "phone",
    "mobile",
    "fax",
    "website",
    "tax_number",
    "address",
    "status",
    "account_manager",
)
NOT_SHARED = frozenset({"account_manager"})  # E21: all that a link keeps that is not its CRM record's default
CONTACT_PARTS = ("first", "last")
ADDRESS_LINES = ("line1", "line2", "line3", "line4", "line5")
ADDRESS_PARTS = (*ADDRESS_LINES, "city", "state", "postcode", "country")
UNITS = {"contact": CONTACT_PARTS, "address": ADDRESS_PARTS}
KEY_COLUMNS = ("erp_key", "erp_ref", "erp_company")  # a CRM's own columns in which it names its ERP record
STATUSES = ("active", "inactive")
InvoiceState = Literal["draft", "final", "void", "other"]
PHONE_TYPES = {"phone": "Business", "mobile": "Mobile", "fax": "Fax"}


class Person(TypedDict):
    """The primary contact's name: one value, because a person is never renamed into another (E12)."""

    first: str | None
    last: str | None


class Address(TypedDict):
    """A postal address: one value. ``country`` is ISO alpha-2 where it is known, else as typed."""

    line1: str | None
    line2: str | None
    line3: str | None
    line4: str | None
    line5: str | None
    city: str | None
    state: str | None
    postcode: str | None
    country: str | None


class Customer(TypedDict, total=False):
    """Everything shared about a customer; only what was read is present."""

    name: str | None
    contact: Person | None
    email: str | None
    phone: str | None
    mobile: str | None
    fax: str | None
    website: str | None
    tax_number: str | None
    address: Address | None
    status: str
    account_manager: str | None


@dataclass(frozen=True, slots=True)
class Invoice:
    """What an invoice says to the sync: whose it is, and how far it has come.

    ``customer``: the customer's key in the same system, None when it shows none. ``state``: ``draft`` (may still change
    or vanish), ``final`` (it counts in the books), ``void`` (reversed), ``other`` (nothing to conclude).
    ``created_at``, ``changed_at``: seconds since 1970 by the vendor's clock, None = unknown.
    """

    key: str
    customer: str | None
    state: InvoiceState
    created_at: float | None = None
    changed_at: float | None = None


class MapSettings(BaseModel):
    """What one installation changes about a customer map. Both maps of a flow take the same ``default_country``.

    ``columns``: own columns, by the names tax_number, erp_key, erp_ref, erp_company. ``custom``: field name -> native
    column. ``limits``: longest text by field, or by part of a unit (``address.city``), in characters; the bare name of
    a unit counts for each of its parts. ``defaults``: native column -> value for new records. ``extra``: more columns
    of the main table that have to be read (the flow's filter).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    default_country: str = ""
    columns: dict[str, str] = Field(default_factory=dict)
    phone_types: dict[str, str] = Field(default_factory=lambda: dict(PHONE_TYPES))
    custom: dict[str, str] = Field(default_factory=dict)
    limits: dict[str, int] = Field(default_factory=dict)
    defaults: dict[str, Any] = Field(default_factory=dict)
    extra: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _no_name_twice(self) -> MapSettings:
        taken = sorted(set(self.custom) & set(CUSTOMER_FIELDS))
        if taken:
            raise ValueError(f"custom.{taken[0]}: this name belongs to a built-in field; choose another one")
        used = [t for t in {**PHONE_TYPES, **self.phone_types}.values() if t]
        if len(set(used)) < len(used):
            raise ValueError(
                "phone_types: two fields share one type; give each its own, or leave one out with an empty type"
            )
        return self

    def limit(self, name: str, part: str | None = None) -> int | None:
        """Longest text of a field or of one part of a unit, None = no limit known."""
        if part is not None and f"{name}.{part}" in self.limits:
            return self.limits[f"{name}.{part}"]
        return self.limits.get(name)


def in_words(value: Value) -> str:
    """A field's value in one line: a unit as its filled parts."""
    if value is None:
        return ""
    return ", ".join(str(part) for part in value.values() if part) if isinstance(value, dict) else str(value)


def read_typed(name: str, text: str) -> Value:
    """A value that a person typed for field ``name`` (settling a conflict); blank means empty.

    Units are typed as JSON, ``{"city": "Leeds"}``; a contact also as ``First Last``. Raises ValueError, also for a name
    or a status that would be empty: no system takes that.
    """
    flat = collapse(text)
    parts = UNITS.get(name)
    if name == "status":
        if flat.lower() not in STATUSES:
            raise ValueError(f"type it as {' or '.join(STATUSES)}")
        return flat.lower()
    if name == "name" and not flat:
        raise ValueError("no record may be without one: type a name behind the =, or take erp or crm")
    if not flat or parts is None:
        return flat or None
    if not flat.startswith("{"):
        if name != "contact":
            raise ValueError(f"{name}: type it as JSON with any of {', '.join(parts)}")
        first, _, last = flat.rpartition(" ")
        return {"first": first or None, "last": last or None}
    given = json.loads(text)
    unknown = sorted(set(given) - set(parts))
    if unknown or not all(v is None or isinstance(v, str) for v in given.values()):
        raise ValueError(f"{name}: texts under the names {', '.join(parts)} are allowed")
    found = {part: (given.get(part) or "").strip() or None for part in parts}
    return found if any(found.values()) else None
