"""What the connector has to be told about one JSON API."""

from __future__ import annotations

from dataclasses import dataclass, field

from sync_worker.config.profile import Profile


@dataclass(frozen=True, slots=True)
class RestSettings:
    """``[systems.NAME]`` of sync.toml, secrets and profile already looked up.

    ``erp_company``: the ERP company in which the places for its ids count; ``shared``: other flows join the same CRM,
    so a record that names no company is nobody's (GUMU-8). ``invoices``: a flow waits for them, and only notices tell
    of them. ``stale_seconds``: see E7.
    """

    base_url: str
    token: str = field(repr=False)
    profile: Profile
    webhook_secret: str = field(default="", repr=False)
    stale_seconds: float = 30.0
    concurrency: int = 4
    erp_company: str = ""
    shared: bool = False
    invoices: bool = False
