"""Invoices: what they permit, and which of them still have to be read. Nothing else of an invoice is kept.

A notice that names the customer permits at once. One that names only the invoice becomes a due row of ``part``, which a
worker answers by reading the invoice. Drafts that were seen are remembered there too (never due), since no vendor says
when an invoice was posted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select, tuple_

from sync_worker.events import INVOICE, SIDES, Side
from sync_worker.store.bulk import CHUNK, inserter
from sync_worker.store.parts import BACKOFF, DuePart
from sync_worker.store.tables import journal, link, part
from sync_worker.store.touches import ALL_PARTS, Marks, Touched, Toucher

DRAFT = "draft_invoice"  # entity of a remembered draft's row in ``part``


@dataclass(frozen=True, slots=True)
class Final:
    """A final invoice as one flow hears it: it permits the partner of ``customer``, a record of ``side``."""

    flow: str
    entity: str
    side: Side
    customer: str
    invoice: str


def permit_in(conn: Connection, toucher: Toucher, finals: Iterable[Final], now: float) -> tuple[Touched, ...]:
    """Leave the permission on every half row that has none yet (E19) and make it due; unknown customers become one.

    A link that is full already has nothing to gain. One that was unlinked is not revived: its journal says that it was
    asked, and a person decides.
    """
    by_half: dict[tuple[str, str, Side], dict[str, str]] = {}
    for one in finals:
        by_half.setdefault((one.flow, one.entity, one.side), {}).setdefault(one.customer, one.invoice)
    marks = Marks()
    for (flow, entity, side), asked in sorted(by_half.items()):
        key: ColumnElement[str] = link.c[f"{side}_key"]
        mine = and_(link.c.flow == flow, link.c.entity == entity)
        settled: set[str] = set()
        wanted = sorted(asked)
        for start in range(0, len(wanted), CHUNK):
            c = link.c
            standing = select(c.id, key, c.erp_key.is_not(None) & c.crm_key.is_not(None), c.may_create, c.was_linked_to)
            for row in conn.execute(standing.where(mine, key.in_(wanted[start : start + CHUNK]))).all():
                link_id, customer, full, permission, was_linked_to = row
                if full or permission is not None or was_linked_to is not None:
                    settled.add(customer)
                if not full and was_linked_to is not None:
                    _note(conn, link_id, flow, side, asked[customer], now, "unlinked: waits for a person")
        for customer in wanted:
            if customer not in settled:
                marks.add(side, flow, entity, customer, ALL_PARTS)
    touched = toucher.touch_in(conn, marks, now, klass="live", may_create=INVOICE)
    _note_permitted(conn, touched, by_half, now)
    return touched


def _note_permitted(
    conn: Connection, touched: Sequence[Touched], by_half: Mapping[tuple[str, str, Side], Mapping[str, str]], now: float
) -> None:
    ids = [one.link_id for one in touched]
    for start in range(0, len(ids), CHUNK):
        c = link.c
        wanted = select(c.id, c.flow, c.entity, c.erp_key, c.crm_key).where(c.id.in_(ids[start : start + CHUNK]))
        for link_id, flow, entity, *keys in conn.execute(wanted).all():
            for side, key in zip(SIDES, keys, strict=True):
                invoice = by_half.get((flow, entity, side), {}).get(key)
                if invoice is not None:
                    _note(conn, link_id, flow, side, invoice, now, "its partner may be created")


def _note(conn: Connection, link_id: int, flow: str, side: Side, invoice: str, now: float, why: str) -> None:
    values = {"link_id": link_id, "flow": flow, "side": side, "key": invoice, "at": now, "what": "final invoice"}
    conn.execute(insert(journal).values(**values, why=f"invoice {invoice}: {why}", actor="worker"))


def drafts_in(conn: Connection, system: str, keys: Collection[str]) -> set[str]:
    """Which of these invoices were seen as drafts before."""
    wanted = sorted(keys)
    found: set[str] = set()
    for start in range(0, len(wanted), CHUNK):
        chunk = wanted[start : start + CHUNK]
        query = select(part.c.key).where(part.c.system == system, part.c.entity == DRAFT, part.c.key.in_(chunk))
        found.update(conn.execute(query).scalars())
    return found


def remember_drafts_in(conn: Connection, system: str, keys: Collection[str]) -> None:
    """Note that these invoices are drafts now."""
    rows = [{"system": system, "entity": DRAFT, "key": key, "owner_key": ""} for key in sorted(keys)]
    if rows:
        conn.execute(inserter(part, sqlite=conn.dialect.name == "sqlite").on_conflict_do_nothing(), rows)


def forget_drafts_in(conn: Connection, system: str, keys: Collection[str]) -> None:
    """These invoices are drafts no more."""
    wanted = sorted(keys)
    for start in range(0, len(wanted), CHUNK):
        chunk = wanted[start : start + CHUNK]
        mine = and_(part.c.system == system, part.c.entity == DRAFT, part.c.key.in_(chunk))
        conn.execute(delete(part).where(mine))


def answered_in(conn: Connection, claimed: Sequence[DuePart], found: Collection[str]) -> None:
    """Drop the due rows of invoices that were read, and of those that stayed away until the last attempt.

    A row that a younger notice has made due since it was claimed stays.
    """
    over = [(one.id, one.attempts) for one in claimed if one.key in found or one.attempts >= len(BACKOFF)]
    for start in range(0, len(over), CHUNK):
        same = tuple_(part.c.id, part.c.attempts).in_(over[start : start + CHUNK])
        conn.execute(delete(part).where(part.c.entity == INVOICE, same))
