"""The inbox: a notice becomes an event row and a due link, in one transaction, before anybody is told it was received.

Events are hints: nothing of a notice but "look at this record" is kept for the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from sqlalchemy import Connection, Double, Executable, String, bindparam, select, true

from sync_worker.events import INVOICE, Change, LinkClass, Op, Side
from sync_worker.store import invoices, parts, schedules
from sync_worker.store.bulk import finite, inserter, json_rows, packed, storable
from sync_worker.store.invoices import Final
from sync_worker.store.parts import Child
from sync_worker.store.session import Database
from sync_worker.store.tables import event
from sync_worker.store.touches import ALL_PARTS, Marks, Touched, Toucher

OPS = frozenset(get_args(Op))
PEOPLE = frozenset({"account_manager", "user"})  # a notice about one of them makes the directory be read again
Handed = tuple[Sequence[Change], LinkClass, str | None]
"""Changes that somebody handed over, their class, and what they permit to create."""

EVENT_COLUMNS = ("system", "entity", "key", "op", "via", "notice_id", "at")


@dataclass(frozen=True, slots=True)
class Listener:
    """A flow's ear on one system. ``masks``: notice entity -> parts to look at; all but ``entity`` are children.

    ``invoices``: final invoices of this system permit the flow to create their customers' partners.
    """

    flow: str
    entity: str
    side: Side
    system: str
    masks: Mapping[str, int]
    invoices: bool = False


@dataclass(frozen=True, slots=True)
class Accepted:
    """``events``: notices that were new. ``unresolved``: children nobody has shown yet, invoices to be read."""

    events: int
    touched: tuple[Touched, ...]
    unresolved: int


class Inbox:
    """Turns changes into due links for every flow that listens.

    ``switched_on``: flow -> seconds since 1970, read at every call. Feed rows the vendor stamped before that are no
    notices (E7).
    """

    def __init__(
        self,
        db: Database,
        listeners: Iterable[Listener],
        *,
        switched_on: Mapping[str, float] | None = None,
    ) -> None:
        self._db = db
        self._switched_on = {} if switched_on is None else switched_on
        self._ears: dict[tuple[str, str], list[Listener]] = {}
        for one in listeners:
            for entity in (*one.masks, *([INVOICE] if one.invoices else [])):
                self._ears.setdefault((one.system, entity), []).append(one)
        self._insert_events = _event_insert(sqlite=db.is_sqlite)
        self._toucher = Toucher(sqlite=db.is_sqlite)

    def accept(
        self,
        changes: Sequence[Change],
        *,
        klass: LinkClass = "live",
        may_create: str | None = None,
        flows: Collection[str] | None = None,
    ) -> Accepted:
        """Store notices and make their links due, durably. Raises ``SQLAlchemyError`` when nothing was stored.

        ``flows``: only these hear them (a person names them); None: all that listen.
        """
        return self._db.run(lambda conn: self.accept_in(conn, changes, klass=klass, may_create=may_create, flows=flows))

    def accept_in(
        self,
        conn: Connection,
        changes: Sequence[Change],
        *,
        klass: LinkClass = "live",
        may_create: str | None = None,
        flows: Collection[str] | None = None,
    ) -> Accepted:
        """The same in the caller's transaction (feeds store their watermark with it)."""
        for system in sorted({change.system for change in changes if change.entity in PEOPLE}):
            schedules.make_due_in(conn, schedules.directory_task(system), self._db.now(conn))
        heard = [change for change in changes if self._hears(change)]
        if not heard:
            return Accepted(0, (), 0)
        now = self._db.now(conn)
        fresh = self._store_events(conn, heard, now)
        told_invoices = [change for change in fresh if change.entity == INVOICE]
        marks, children = self._mark([change for change in fresh if change.entity != INVOICE], flows)
        unresolved = sum(self._mark_owners(conn, marks, system, told, now) for system, told in sorted(children.items()))
        touched = self._toucher.touch_in(conn, marks, now, klass=klass, may_create=may_create)
        if told_invoices:
            touched += self._permit(conn, told_invoices, now)
            unresolved += _mark_unread(conn, told_invoices, now)
        return Accepted(len(fresh), touched, unresolved)

    def _mark(
        self, fresh: Sequence[Change], flows: Collection[str] | None
    ) -> tuple[Marks, dict[str, dict[Child, bool]]]:
        """Records to touch, and per system the children that were named: did they come or go?"""
        marks = Marks()
        children: dict[str, dict[Child, bool]] = {}
        for change in fresh:
            for ear in self._listening(change):
                if flows is not None and ear.flow not in flows:
                    continue
                if change.entity == ear.entity:
                    whole = change.via not in ("webhook", "poll")  # people, imports and sweeps mean all of it
                    mask = ALL_PARTS if whole else ear.masks[change.entity]
                    marks.add(ear.side, ear.flow, ear.entity, change.key, mask)
                else:
                    child = (change.entity, change.key)
                    told = children.setdefault(change.system, {})
                    told[child] = told.get(child, False) or change.op in ("created", "deleted")
        return marks, children

    def accept_all(self, handed: Callable[[], Iterable[Handed]]) -> Accepted:
        """Several in one transaction; changes that agree on class and permission go together.

        ``handed`` is asked in the transaction, and again if that is repeated: it may know of more by then, not less.
        """

        def work(conn: Connection) -> Accepted:
            alike: dict[tuple[LinkClass, str | None], list[Change]] = {}
            for changes, klass, may_create in handed():
                alike.setdefault((klass, may_create), []).extend(changes)
            each = [self.accept_in(conn, c, klass=klass, may_create=permit) for (klass, permit), c in alike.items()]
            touched = tuple({t.link_id: t for one in each for t in one.touched}.values())
            return Accepted(sum(one.events for one in each), touched, sum(one.unresolved for one in each))

        return self._db.run(work)

    def resolve_parts_in(
        self, conn: Connection, system: str, found: Mapping[Child, Sequence[str]]
    ) -> tuple[Touched, ...]:
        """Store what the vendor said about claimed children: (entity, key) -> keys of the records that show it."""
        parts.settle_in(conn, system, found)
        marks = Marks()
        for (entity, _), owners in found.items():
            for ear in self._ears.get((system, entity), ()):
                for owner in owners if entity != ear.entity else ():
                    marks.add(ear.side, ear.flow, ear.entity, owner, ALL_PARTS)
        return self._toucher.touch_in(conn, marks, self._db.now(conn), klass="live", may_create=None)

    def _permit(self, conn: Connection, told: Sequence[Change], now: float) -> tuple[Touched, ...]:
        """What invoices permit that are known to be final, and whose."""
        finals = [
            Final(ear.flow, ear.entity, ear.side, change.customer, change.key)
            for change in told
            if change.op == "finalised" and change.customer and storable(change.customer)
            for ear in self._listening(change)
        ]
        return invoices.permit_in(conn, self._toucher, finals, now)

    def _hears(self, change: Change) -> bool:
        return change.op in OPS and storable(change.key) and bool(self._listening(change))

    def _listening(self, change: Change) -> list[Listener]:
        ears = self._ears.get((change.system, change.entity), [])
        if change.at is None or (change.via != "poll" and change.op != "finalised"):
            return ears
        return [ear for ear in ears if change.at >= self._switched_on.get(ear.flow, 0.0)]

    def _store_events(self, conn: Connection, heard: Sequence[Change], now: float) -> list[Change]:
        """Insert what is new and return it; a repeated notice id is dropped, here and within the call."""
        named: dict[tuple[str, str], Change] = {}
        unnamed: list[Change] = []
        for change in heard:
            if change.notice_id is not None and storable(change.notice_id):
                named.setdefault((change.system, change.notice_id), change)
            else:
                unnamed.append(change)
        rows = [_event_row(change, notice_id) for (_, notice_id), change in sorted(named.items(), key=_first)]
        rows += [_event_row(change, None) for change in unnamed]
        fresh = list(unnamed)
        for chunk in packed(rows):
            stored = conn.execute(self._insert_events, {"rows": chunk, "now": now}).all()
            fresh += [named[system, notice_id] for system, notice_id in stored if notice_id is not None]
        return fresh

    def _mark_owners(self, conn: Connection, marks: Marks, system: str, told: Mapping[Child, bool], now: float) -> int:
        """Mark the records that show these children; returns how many children are nobody's yet."""
        owners = parts.owners_in(conn, system, told.keys())
        for child, keys in owners.items():
            for ear in self._ears[system, child[0]]:
                for key in keys if child[0] != ear.entity else ():
                    # A child that came or went changes which rows the record shows: read all of them again.
                    mask = ALL_PARTS if told[child] else ear.masks[child[0]]
                    marks.add(ear.side, ear.flow, ear.entity, key, mask)
        return parts.mark_unknown_in(conn, system, told.keys() - owners.keys(), now)


def _mark_unread(conn: Connection, told: Sequence[Change], now: float) -> int:
    """Make the invoices due that have to be read before anybody knows what they permit. Returns how many."""
    unread: dict[str, set[Child]] = {}
    for change in told:
        if change.customer is None and change.op != "deleted":
            unread.setdefault(change.system, set()).add((INVOICE, change.key))
    return sum(parts.mark_unknown_in(conn, system, some, now) for system, some in sorted(unread.items()))


def _first(item: tuple[tuple[str, str], Change]) -> tuple[str, str]:
    return item[0]


def _event_row(change: Change, notice_id: str | None) -> list[Any]:
    return [change.system, change.entity, change.key, change.op, change.via, notice_id, finite(change.at)]


def _event_insert(*, sqlite: bool) -> Executable:
    texts = [String()] * (len(EVENT_COLUMNS) - 1)
    source, columns = json_rows(*texts, Double(), sqlite=sqlite)
    values = select(*columns, bindparam("now", type_=Double)).select_from(source).where(true())
    stmt = inserter(event, sqlite=sqlite).from_select([*EVENT_COLUMNS, "received_at"], values)
    stmt = stmt.on_conflict_do_nothing(index_elements=[event.c.system, event.c.notice_id])
    return stmt.returning(event.c.system, event.c.notice_id)
