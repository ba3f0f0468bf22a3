"""Invoices that were read at their vendor: the final ones become announcements, drafts are remembered.

Whoever read them (the feed, or a worker that answers a notice) says the same of the same invoice, so it is told once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from mappings.canonical import Invoice
from sync_worker.connectors.base import Connector
from sync_worker.events import INVOICE, Change
from sync_worker.routing import Dates
from sync_worker.store import invoices as store
from sync_worker.store.inbox import Accepted, Inbox
from sync_worker.store.parts import DuePart
from sync_worker.store.session import Database
from sync_worker.store.touches import Touched


@dataclass(frozen=True)
class Invoices:
    """``dates``: the handler's word on since when an invoice counts."""

    db: Database
    inbox: Inbox
    dates: Dates

    def resolve(self, connector: Connector, claimed: Sequence[DuePart]) -> tuple[Touched, ...]:
        """Read the invoices that notices named; what they permit becomes due. Raises SyncError: they stay due."""
        found = connector.read_invoices([one.key for one in claimed])
        read = {key: invoice for key, invoice in found.items() if invoice is not None}

        def work(conn: Connection) -> tuple[Touched, ...]:
            store.answered_in(conn, claimed, read)
            return self.hear_in(conn, connector.system, list(read.values())).touched

        return self.db.run(work)

    def hear_in(self, conn: Connection, system: str, read: Sequence[Invoice]) -> Accepted:
        """Take in invoices as they are now. One that a flow counts makes its customer's link due."""
        drafts = {one.key for one in read if one.state == "draft"}
        were = store.drafts_in(conn, system, {one.key for one in read} - drafts)
        news = [change for one in read if (change := self._announced(system, one, one.key in were)) is not None]
        store.remember_drafts_in(conn, system, drafts)
        store.forget_drafts_in(conn, system, were)
        return self.inbox.accept_in(conn, news)

    def _announced(self, system: str, invoice: Invoice, was_draft: bool) -> Change | None:
        since = self.dates(invoice, was_draft)
        if since is None:
            return None
        told = f"invoice {invoice.key} final"  # by whomever it was read: one notice
        return Change(system, INVOICE, invoice.key, "finalised", "poll", told, since, invoice.customer)
