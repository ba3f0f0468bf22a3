"""The fields that judges look at, and where the vendors' ledgers show them."""

from __future__ import annotations

COLUMNS = {
    "name": ("name", "Company", "Comp_Name"),
    "website": ("contacts.default.URL1", "Company", "Comp_WebSite"),
    "tax_number": ("taxId", "Company", "comp_vatnumber"),
    "email": ("contacts.default.email1", "Email", "Emai_EmailAddress"),
    "city": ("contacts.default.mailingAddress.city", "Address", "Addr_City"),
}
"""Field -> column in the ERP's ledger, table and column in the CRM's."""
