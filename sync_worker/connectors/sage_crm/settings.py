"""What the connector has to be told about one Sage CRM installation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SageCrmSettings:
    """``[systems.NAME]`` of sync.toml, secrets already looked up.

    ``columns``: this installation's own columns on Company, by our name (tax_number, erp_key, erp_ref, erp_company).
    ``phone_types``: our field -> link type; ``email_type``: the link type that is shown. ``address_type``: the type
    with which an address must be ticked to be shown; "" shows the primary one.
    ``erp_company``: the name by which ``columns.erp_company`` tells which ERP company a record belongs to; ``shared``:
    several ERP companies have records here, so one that names none is nobody's.
    ``invoices``: a flow waits for them, and only notices tell of them.
    ``timezone``: IANA name, for dates that carry no zone. ``stale_seconds``: see E7.
    """

    base_url: str
    username: str
    password: str = field(repr=False)
    webhook_secret: str = field(default="", repr=False)
    timezone: str = "UTC"
    stale_seconds: float = 30.0
    concurrency: int = 2
    columns: Mapping[str, str] = field(default_factory=dict)
    phone_types: Mapping[str, str] = field(
        default_factory=lambda: {"phone": "Business", "mobile": "Mobile", "fax": "Fax"}
    )
    email_type: str = "Business"
    address_type: str = ""
    default_country: str = ""
    erp_company: str = ""
    shared: bool = False
    invoices: bool = False
