"""Sage CRM: where each field of a customer lives. One line per correspondence, the reasons beside it.

Columns carry their table in their prefix; child rows are told apart by type: ``Phon_Number@Business``. Documented: the
account manager is ``Comp_PrimaryUserId``, a user's number. Observed: e-mails in angle brackets, notes in the web
address, status and names that are empty, phones in two or three pieces. None of that may stop a record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mappings.canonical import KEY_COLUMNS, PHONE_TYPES, MapSettings
from mappings.codecs import NAME, URL, VAT, number_key
from mappings.columns import cell_text, contact, custom, email, phone_columns, plain, postal_address, status
from mappings.fields import Field, FieldMap, Value

PARTS = ("company", "person", "address", "phone", "email")
TABLES = {"comp": "company", "pers": "person", "addr": "address"}
ADDRESS = {
    "line1": "Addr_Address1",
    "line2": "Addr_Address2",
    "line3": "Addr_Address3",
    "line4": "Addr_Address4",
    "line5": "Addr_Address5",
    "city": "Addr_City",
    "state": "Addr_State",
    "postcode": "Addr_PostCode",
    "country": "Addr_Country",  # a two-letter code
}
PHONE_COLUMNS = ("Phon_CountryCode", "Phon_AreaCode", "Phon_Number")
EMAIL_COLUMN = "Emai_EmailAddress@Business"
EMAIL_ROW = "email@Business"
EXTRA = ("Comp_CompanyId", "Comp_CreatedDate", "Comp_UpdatedDate", "Comp_Deleted")


def customer_map(settings: MapSettings) -> FieldMap:
    """The company with its primary person, primary address, phones and e-mail.

    Raises ValueError for a configured column whose prefix belongs to none of these tables.
    """
    limit = settings.limit
    phone_types = {**PHONE_TYPES, **settings.phone_types}  # an empty type leaves the field out
    tax_column = settings.columns.get("tax_number")
    fields = [
        plain("name", NAME, "company", "Comp_Name", limit=limit("name")),
        contact("person", "Pers_FirstName", "Pers_LastName", settings),
        replace(email("email", EMAIL_COLUMN, limit("email")), row=EMAIL_ROW),
        *(_phone(name, phone_types[name], settings) for name in PHONE_TYPES if phone_types[name]),
        plain("website", URL, "company", "Comp_WebSite", limit=limit("website")),
        *(
            [plain("tax_number", VAT, table_of(tax_column), tax_column, limit=limit("tax_number"))]
            if tax_column
            else []
        ),
        postal_address("address", ADDRESS, settings),
        status("company", "Comp_Status", active="Active", inactive="Inactive"),
        plain("account_manager", number_key(), "company", "Comp_PrimaryUserId", read=_user, write=_user_number),
        *(custom(name, table_of(column), column, limit(name)) for name, column in settings.custom.items()),
    ]
    table = {f.name: f for f in fields}

    def create_extra(values: Mapping[str, Value]) -> dict[str, Any]:
        """Defaults for a new company, except where a value comes along."""
        filled = {
            c.lower() for name, v in values.items() if v is not None and name in table for c in table[name].columns
        }
        return {column: v for column, v in settings.defaults.items() if column.lower() not in filled}

    own = tuple(settings.columns[c] for c in KEY_COLUMNS if settings.columns.get(c))
    for column in own:
        if table_of(column) != "company":
            raise ValueError(f"columns: {column} must be a column of the company, comp_…")
    return FieldMap("customer", table, (*EXTRA, *own, *settings.extra), create_extra, PARTS[0])


def table_of(column: str) -> str:
    """The part a column belongs to, by its prefix. Raises ValueError for a prefix of another table."""
    part = TABLES.get(column.partition("_")[0].lower())
    if part is None:
        raise ValueError(f"{column}: Sage CRM columns begin with comp_, pers_ or addr_ here")
    return part


def _phone(name: str, kind: str, settings: MapSettings) -> Field:
    code, area, number = (f"{column}@{kind}" for column in PHONE_COLUMNS)
    return replace(phone_columns(name, "phone", (code, area, number), settings), row=f"phone@{kind}")


def _user(cell: Any) -> str | None:
    """A user's number as text; 0 is nobody."""
    text = cell_text(cell)
    return text if text and text.strip("0") else None


def _user_number(text: str | None, _: Any) -> int | str | None:
    return int(text) if text and text.isascii() and text.isdigit() else text
