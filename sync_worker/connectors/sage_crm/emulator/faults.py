"""Sage CRM's own switches beside the kit's faults; what is undocumented is refused until switched on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from sync_worker.connectors.emulation import Faults


@dataclass
class SageCrmFaults(Faults):
    """Switches of the emulated installation; column names in the database's spelling, ``hidden_columns`` in any case.

    ``page_cap``: most rows a page holds, whatever ``count`` asks. ``timestamp_literals``: a time of day is allowed
    between ``@`` signs. ``day_is_whole``: ``gt @day@`` starts after that day instead of at its midnight.
    ``deleted_in_feeds``: feeds show deleted rows too, told by their ``Deleted`` column (undocumented either way).
    ``error_form``: ``diagnoses``, ``diagnosis``, ``xml`` or ``html``. ``html_500``: the 500 fault is a page.
    ``datetime_form``: ``z`` or ``offset`` (by ``utc_offset_minutes``). ``hidden_columns``: taken away by field
    security. ``refusal_names_column``: a refused value's error names its column. ``unexposed``: tables answered
    with 403. ``logon_disabled`` / ``no_web_service_right``: every logon is refused.
    """

    ONE_SHOTS: ClassVar[frozenset[str]] = Faults.ONE_SHOTS | {"transient"}

    page_cap: int = 100
    timestamp_literals: bool = False
    day_is_whole: bool = False
    include_allowed: bool = False
    order_allowed: bool = True
    deleted_in_feeds: bool = False
    nested_create: bool = True
    patch_allowed: bool = True
    bump_updated_on_api_write: bool = True
    create_status: int = 201
    error_form: str = "diagnoses"
    html_500: bool = True
    datetime_form: str = "z"
    utc_offset_minutes: int = -300
    hidden_columns: list[str] = field(default_factory=list)
    unexposed: list[str] = field(default_factory=list)
    refusal_names_column: bool = True
    logon_disabled: bool = False
    no_web_service_right: bool = False
