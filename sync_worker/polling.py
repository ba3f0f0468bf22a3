"""Feeds: what the vendors' own lists of changes say, compared with what we know before it becomes work.

A feed row that carries the record is compared with the past: the echo of our own write costs nothing (E7). A page is
stored together with its watermark, and acknowledged only after that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import structlog
from sqlalchemy import Connection

from sync_worker.connectors import backlog
from sync_worker.connectors.base import Connector, FeedRow, Page, Record
from sync_worker.engine import comparing
from sync_worker.engine.comparing import Known
from sync_worker.engine.flow import Flow
from sync_worker.engine.invoices import Invoices
from sync_worker.events import INVOICE, SIDES, Change, LinkClass, Side
from sync_worker.routing import rule_for
from sync_worker.store import watermarks
from sync_worker.store.inbox import Inbox
from sync_worker.store.session import Database
from sync_worker.store.touches import Touched

log = structlog.get_logger()

CUSTOMER = "customer"  # what an event queue tells of: customers, and what belongs to them


@dataclass
class Feeds:
    """Polls the systems of the given flows. One instance per scheduler; calls for one system never overlap (leases)."""

    db: Database
    inbox: Inbox
    flows: Sequence[Flow]
    connectors: Mapping[str, Connector]
    invoices: Invoices

    def poll(self, system: str) -> tuple[Touched, ...]:
        """Follow the time-stamp feed of every entity from its watermark on. Raises SyncError; what was stored stays."""
        touched: list[Touched] = []
        for entity in self._entities(system):
            mark = watermarks.get(self.db, system, entity, "changes")
            for page in self.connectors[system].changes(entity, mark):
                touched.extend(self._store(system, entity, "changes", page, only_known=False, klass="live"))
        return tuple(touched)

    def reads_invoices(self, system: str) -> bool:
        """Does a flow wait for invoices of this system, and can they be read?"""
        waits = any(side in flow.invoices_of for flow, side in self._ears(system))
        return waits and self.connectors[system].capabilities.invoices_readable

    def poll_invoices(self, system: str) -> tuple[Touched, ...]:
        """Follow the feed of invoices, where a flow waits for them: a lost notice heals (LAY-2). Raises SyncError."""
        if not self.reads_invoices(system):
            return ()
        touched: list[Touched] = []
        for page in self.connectors[system].changes(INVOICE, watermarks.get(self.db, system, INVOICE, "changes")):
            touched.extend(self._store_invoices(system, page))
        return tuple(touched)

    def _store_invoices(self, system: str, page: Page) -> tuple[Touched, ...]:
        def work(conn: Connection) -> tuple[Touched, ...]:
            read = [row.invoice for row in page.rows if row.invoice is not None]
            accepted = self.invoices.hear_in(conn, system, read)
            if page.watermark is not None:
                watermarks.put_in(conn, system, INVOICE, "changes", page.watermark, self.db.now(conn))
            return accepted.touched

        touched = self.db.run(work)
        if touched:
            log.info("feed.stored", system=system, feed="invoices", rows=len(page.rows), touched=len(touched))
        return touched

    def drain(self, system: str) -> tuple[Touched, ...]:
        """Empty the vendor's event queue: persist a batch, then acknowledge it, until there is none.

        Until that has been done once after every flow was switched on, events may be older than a flow (E7).
        """
        touched: list[Touched] = []
        connector = self.connectors[system]
        with self.db.read() as conn:
            began = self.db.now(conn)
        since = max((flow.switched_on_at for flow, _ in self._ears(system)), default=0.0)
        emptied = float(watermarks.get(self.db, system, CUSTOMER, "queue") or 0.0)
        for page in connector.queue_events():
            rows = backlog.as_feed_rows(connector, CUSTOMER, page.rows) if emptied < since else page.rows
            told = replace(page, rows=rows)
            touched.extend(self._store(system, CUSTOMER, "queue", told, only_known=False, klass="live"))
            if page.ack is not None:
                connector.acknowledge(page.ack)
        if emptied < since:
            watermarks.put(self.db, system, CUSTOMER, "queue", f"{began:.3f}")
        return tuple(touched)

    def sweep(self, system: str) -> tuple[Touched, ...]:
        """Compare the content of every record we know with its past: what has no time stamp (contacts) is found so.

        Resumes after the last key it stored. Records without a link are left to the feeds.
        """
        touched: list[Touched] = []
        for entity in self._entities(system):
            after = watermarks.get(self.db, system, entity, "sweep")
            for page in self.connectors[system].sweep(entity, after):
                touched.extend(self._store(system, entity, "sweep", page, only_known=True, klass="bulk"))
            watermarks.put(self.db, system, entity, "sweep", None)
        return tuple(touched)

    def _entities(self, system: str) -> list[str]:
        return sorted({flow.entity for flow in self.flows if system in flow.systems.values()})

    def _store(
        self, system: str, entity: str, feed: str, page: Page, *, only_known: bool, klass: LinkClass
    ) -> tuple[Touched, ...]:
        def work(conn: Connection) -> tuple[Touched, ...]:
            news = self._news(conn, system, page.rows, only_known=only_known)
            accepted = self.inbox.accept_in(conn, news, klass=klass)
            if page.watermark is not None:
                watermarks.put_in(conn, system, entity, feed, page.watermark, self.db.now(conn))
            return accepted.touched

        touched = self.db.run(work)
        if touched:
            log.info("feed.stored", system=system, feed=feed, rows=len(page.rows), touched=len(touched))
        return touched

    def _news(self, conn: Connection, system: str, rows: Sequence[FeedRow], *, only_known: bool) -> list[Change]:
        """The changes of a page that say something new to at least one flow."""
        news: list[Change] = []
        ears = self._ears(system)
        keys = [row.change.key for row in rows if row.record is not None or _is_gone(row, self.flows)]
        known = {(flow.name, side): comparing.known_in(conn, flow, side, keys) for flow, side in ears}
        for row in rows:
            if row.record is None:
                if not _is_gone(row, self.flows) or any(row.change.key in mine for mine in known.values()):
                    news.append(row.change)
                continue
            verdicts = [_differs(flow, side, row.record, known[flow.name, side]) for flow, side in ears]
            if any(v == "linked" for v in verdicts):
                # an edit is an edit, however old its stamp: contacts of Intacct do not move their customer's
                via = "reconcile" if only_known else row.change.via
                news.append(replace(row.change, at=None, via=via))
            elif any(v == "new" for v in verdicts) and not only_known:
                news.append(row.change)
        return news

    def _ears(self, system: str) -> list[tuple[Flow, Side]]:
        return [(flow, side) for flow in self.flows for side in SIDES if flow.systems[side] == system]


def _is_gone(row: FeedRow, flows: Sequence[Flow]) -> bool:
    """A record, and no child, that the vendor tells was deleted: news only of a record we know."""
    return row.change.op == "deleted" and any(row.change.entity == flow.entity for flow in flows)


def _differs(flow: Flow, side: Side, record: Record, known: Mapping[str, Known]) -> str:
    """ "same", "linked" (a known link differs), or "new" (nobody's, or a half row that differs)."""
    mine = known.get(record.key)
    if mine is None:
        return "new"
    if not comparing.moved(flow, side, record, mine) and not comparing.switched(record, mine):
        left_out = rule_for(flow.entity).takes_part(flow, side, record)
        if not comparing.let_in_or_out(left_out, side, mine):
            return "same"
    return "linked" if mine.linked else "new"
