"""The country trap of contacts: a new one lives in the United States unless it says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sync_worker.connectors.intacct.emulator.tables import Version

_CODE = "mailingAddress.isoCountryCode"
_NAME = "mailingAddress.country"
_NAMES = {
    "AU": "Australia",
    "CA": "Canada",
    "DE": "Germany",
    "ES": "Spain",
    "FR": "France",
    "GB": "United Kingdom",
    "IE": "Ireland",
    "NL": "Netherlands",
    "US": "United States",
    "ZA": "South Africa",
}


def complete(contact: Version, *, lower_case: bool) -> None:
    """Fill the country of a new contact: documented default US, by code and by (deprecated) name."""
    if contact.get(_CODE) is None:
        by_name = {name: code for code, name in _NAMES.items()}
        contact[_CODE] = by_name.get(contact.get(_NAME) or "", "US")
    _dress(contact, lower_case=lower_case)


def keep_country_in_step(contact: Version, written: Mapping[str, Any], *, lower_case: bool) -> None:
    """After a change of the code, the name follows. Writing the name alone changes the name alone (our assumption)."""
    if _CODE in written:
        _dress(contact, lower_case=lower_case)


def _dress(contact: Version, *, lower_case: bool) -> None:
    code = contact[_CODE]
    if code is None:
        contact[_NAME] = None
        return
    contact[_NAME] = _NAMES.get(code.upper())
    contact[_CODE] = code.lower() if lower_case else code.upper()
