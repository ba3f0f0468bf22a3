"""Sage Intacct (REST v1): where each field of a customer lives. One line per correspondence, the reasons beside it.

Names are the flat dotted names of Intacct's query service. Documented: a customer has no phone, e-mail or web address
of its own, all of that is in its default contact; the account manager is ``salesRepresentative``, an employee, unless a
custom field is configured that holds the id of one; a reference is written by its id; a contact without a country
becomes an American one, so a country is always sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mappings.canonical import InvoiceState, MapSettings
from mappings.codecs import KEY, NAME, URL, VAT
from mappings.columns import contact, custom, email, phone_text, plain, postal_address, status
from mappings.fields import FieldMap, Value

PART = "customer"
# Documented: changed by workflows only. What "selected" and "noValue" say of an invoice is not: they wait for the next.
INVOICE_STATES: Mapping[str, InvoiceState] = {
    "draft": "draft",
    "posted": "final",
    "partiallyPaid": "final",
    "paid": "final",
    "reversed": "void",
    "reversal": "void",
}
CONTACT, CONTACT_ROW = "contacts.default.", "contact"
ADDRESS = {
    "line1": CONTACT + "mailingAddress.addressLine1",
    "line2": CONTACT + "mailingAddress.addressLine2",
    "line3": CONTACT + "mailingAddress.addressLine3",  # Intacct has three lines: 3, 4 and 5 stand here, with commas
    "city": CONTACT + "mailingAddress.city",
    "state": CONTACT + "mailingAddress.state",
    "postcode": CONTACT + "mailingAddress.postCode",
    "country": CONTACT + "mailingAddress.isoCountryCode",  # documented examples show "us" and "US": case is no matter
}
SALES_REPRESENTATIVE = "salesRepresentative.id"
NAME_COLUMNS = (CONTACT + "printAs", CONTACT + "companyName")
# Identity, correlation, time stamps, and the contact's own key for where a customer may not carry its contact.
EXTRA = ("key", "id", CONTACT + "key", "audit.createdDateTime", "audit.modifiedDateTime")


def customer_map(settings: MapSettings) -> FieldMap:
    """The customer of ``accounts-receivable/customer``. Raises ValueError for a custom field without a column."""
    limit = settings.limit
    fields = [
        plain("name", NAME, PART, "name", limit=limit("name")),
        contact(PART, CONTACT + "firstName", CONTACT + "lastName", settings),
        email(PART, CONTACT + "email1", limit("email")),
        phone_text("phone", PART, CONTACT + "phone1", settings),
        phone_text("mobile", PART, CONTACT + "mobile", settings),
        phone_text("fax", PART, CONTACT + "fax", settings),
        plain("website", URL, PART, CONTACT + "URL1", limit=limit("website")),
        plain("tax_number", VAT, PART, "taxId", limit=limit("tax_number")),
        postal_address(PART, ADDRESS, settings, fills_country="US"),
        status(PART, "status", active="active", inactive="inactive"),  # activeNonPosting: active, left as it is
        plain("account_manager", KEY, PART, settings.columns.get("account_manager", SALES_REPRESENTATIVE)),
        *(custom(name, PART, _column(name, column), limit(name)) for name, column in settings.custom.items()),
    ]
    # seldom a row of its own: some companies take the contact by its own key only
    table = {f.name: replace(f, row=CONTACT_ROW) if f.columns[0].startswith(CONTACT) else f for f in fields}

    def create_extra(values: Mapping[str, Value]) -> dict[str, Any]:
        """Defaults for a new customer, the names its contact must have, and a country where no address is sent."""
        filled = {c for name, v in values.items() if v is not None and name in table for c in table[name].columns}
        out = {c: v for c, v in settings.defaults.items() if c not in filled}
        printed = table["name"].put(values.get("name"), {})["name"]
        if printed is not None:
            out = {**dict.fromkeys(NAME_COLUMNS, printed), **out}
        if values.get("address") is None:
            out.setdefault(ADDRESS["country"], table["address"].put(None, {})[ADDRESS["country"]])
        return out

    return FieldMap("customer", table, (*EXTRA, *settings.extra), create_extra, PART)


def invoice_state(state: object) -> InvoiceState:
    """How far an invoice of ``accounts-receivable/invoice`` has come."""
    return INVOICE_STATES.get(state, "other") if isinstance(state, str) else "other"


def _column(name: str, column: str) -> str:
    if not column:
        raise ValueError(f"custom.{name}: it needs the name of an Intacct field, like nsp::REGION")
    return column
