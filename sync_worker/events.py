"""What travels between the parts: a ``Change`` says "look at this record"; it never says what to write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Side = Literal["erp", "crm"]
Op = Literal["created", "updated", "deleted", "finalised"]
Via = Literal["webhook", "poll", "manual", "import", "reconcile"]
LinkClass = Literal["live", "retry", "bulk"]

SIDES: tuple[Side, Side] = ("erp", "crm")
LARGEST_ID = 2**63 - 1  # of a row of ours: what both databases take
INVOICE = "invoice"  # heard only for what it permits: invoices themselves are not synced


def other(side: Side) -> Side:
    """The opposite side."""
    return "crm" if side == "erp" else "erp"


@dataclass(frozen=True, slots=True)
class Change:
    """A hint that a record may have changed (idea 1: events are hints, state decides).

    ``entity``: ``customer``, or a child the connector names among its parts (``contact``, ``person``,
    ``address``, ``phone``, ``email``), which the inbox resolves to the customers that show it; or ``invoice``.
    ``key``: the vendor's API key of that record, as text.
    ``notice_id``: unique per system where the vendor gives one; a repeat is accepted and dropped.
    ``at``: seconds since 1970 by the vendor's clock, if it said.
    ``customer``: of an invoice, the key of its customer in the same system; None = the invoice has to be read.
    """

    system: str
    entity: str
    key: str
    op: Op = "updated"
    via: Via = "webhook"
    notice_id: str | None = None
    at: float | None = None
    customer: str | None = None
