"""Feeds: what the vendors' own lists of changes say, compared with what we know before it becomes work.

A feed row that carries the record is compared with the past: the echo of our own write costs nothing (E7). A page is
stored together with its watermark, and acknowledged only after that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog
from sqlalchemy import Connection, select

from mappings.canonical import NOT_SHARED
from mappings.memory import changed_fields
from sync_worker.connectors.base import Connector, FeedRow, Page, Record
from sync_worker.engine.flow import Flow
from sync_worker.engine.invoices import Invoices
from sync_worker.events import INVOICE, SIDES, Change, LinkClass, Side
from sync_worker.store import watermarks
from sync_worker.store.inbox import Inbox
from sync_worker.store.session import Database
from sync_worker.store.tables import link, open_field
from sync_worker.store.touches import Touched

log = structlog.get_logger()

CHUNK = 500


@dataclass(frozen=True, slots=True)
class Known:
    """What our table holds of a record a feed shows. ``default``: its shared fields are this link's (E21)."""

    linked: bool
    default: bool
    was: dict[str, Any]
    children: Mapping[str, str]


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
        """Empty the vendor's event queue: persist a batch, then acknowledge it, until there is none."""
        touched: list[Touched] = []
        for page in self.connectors[system].queue_events():
            touched.extend(self._store(system, "customer", "queue", page, only_known=False, klass="live"))
            if page.ack is not None:
                self.connectors[system].acknowledge(page.ack)
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
        carried = [row for row in rows if row.record is not None]
        ears = self._ears(system)
        known = {(flow.name, side): self._known(conn, flow, side, carried) for flow, side in ears}
        for row in rows:
            if row.record is None:
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

    def _known(self, conn: Connection, flow: Flow, side: Side, rows: Iterable[FeedRow]) -> dict[str, Known]:
        c = link.c
        key, was, children = c[f"{side}_key"], c[f"{side}_was"], c[f"{side}_children"]
        keys = sorted({row.change.key for row in rows})
        found: dict[str, Known] = {}
        for start in range(0, len(keys), CHUNK):
            wanted = select(c.id, key, was, children, c.erp_key, c.crm_key, c.is_default).where(
                c.flow == flow.name, c.entity == flow.entity, key.in_(keys[start : start + CHUNK])
            )
            by_id: dict[int, Known] = {}
            for link_id, k, w, ch, erp, crm, default in conn.execute(wanted):
                full = erp is not None and crm is not None
                found[k] = by_id[link_id] = Known(full, default or not full, dict(w or {}), ch or {})
            o = open_field.c
            seen = select(o.link_id, o.field, o[f"{side}_seen"]).where(o.link_id.in_(by_id), o.why != "stale")
            for link_id, name, value in conn.execute(seen):
                if name:  # a parked field is known by the value it was parked with: only another one is news
                    by_id[link_id].was[name] = value
        return found


def _differs(flow: Flow, side: Side, record: Record, known: Mapping[str, Known]) -> str:
    """ "same", "linked" (a known link differs), or "new" (nobody's, or a half row that differs)."""
    mine = known.get(record.key)
    if mine is None:
        return "new"
    values = flow.maps[side].get(record.native)
    if not mine.default:
        values = {name: value for name, value in values.items() if name in NOT_SHARED}
    moved = changed_fields(mine.was, values, flow.maps[side])
    switched = {name for name, key in record.children.items() if mine.default and mine.children.get(name, key) != key}
    if not moved and not switched:
        return "same"
    return "linked" if mine.linked else "new"
