"""Two records are one customer because a person says so, or are no longer (E20). Many at once, in one transaction.

A worker that holds one of the rows loses it: its token counts no more, so what it did is looked at again (E3).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import Connection, bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from mappings.memory import Memory
from sync_worker.events import SIDES, LinkClass, Side
from sync_worker.store import counters, defaults, joins
from sync_worker.store.rows import LinkRow, from_row
from sync_worker.store.session import Database, lock_crm_records
from sync_worker.store.tables import journal, link, open_field
from sync_worker.store.touches import Touched, touch_ids_in
from sync_worker.store.waiting import Scope

Verdict = Literal["linked", "relinked", "unchanged", "refused", "busy"]
TRIES = 4  # a notice may make a half row of a key between our look and our write
_SAVED = (
    "erp_key", "erp_ref", "crm_key", "crm_ref", "erp_was", "crm_was", "erp_children", "crm_children", "is_default",
    "memory", "state", "state_at", "cause", "cause_params", "erp_dirty", "erp_done", "crm_dirty", "crm_done",
    "erp_look_at", "crm_look_at", "erp_gone_at", "crm_gone_at", "due_at", "klass", "attempts", "claims", "lease_until",
    "lease_token", "may_create", "was_linked_to", "first_synced_at", "noticed_at", "run_id",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wanted:
    """Two records that are to be linked, by key and by what people see."""

    crm_key: str
    crm_ref: str
    erp_key: str
    erp_ref: str


@dataclass(frozen=True, slots=True)
class By:
    """Who says so, why, in which run; ``klass``: which work the comparison belongs to."""

    actor: str
    why: str
    run_id: int | None = None
    klass: LinkClass = "live"


@dataclass(frozen=True, slots=True)
class Other:
    """A link that is in the way."""

    link_id: int
    erp_key: str | None
    crm_key: str | None


@dataclass(frozen=True, slots=True)
class Paired:
    """``refused``: ``others`` link one of the records with another. ``busy``: a partner of it is just being made."""

    verdict: Verdict
    link_id: int | None = None
    others: tuple[Other, ...] = ()


Stored = tuple[list[Paired], tuple[Touched, ...]]


def pair(
    db: Database,
    scope: Scope,
    wanted: Sequence[Wanted],
    by: By,
    *,
    relink: bool = False,
    dry_run: bool = False,
    also: Callable[[Connection, list[Paired]], None] = lambda _conn, _paired: None,
) -> Stored:
    """Link them; no key may stand there twice. What is linked otherwise is refused, or unlinked first (``relink``).

    ``also``: stored in the same transaction. ``dry_run``: only ``also`` is kept.
    """

    def work(conn: Connection) -> Stored:
        if not dry_run:
            done = pair_in(conn, scope, wanted, by, db.now(conn), relink=relink)
        else:
            tried = conn.begin_nested()
            done = pair_in(conn, scope, wanted, by, db.now(conn), relink=relink)[0], ()
            tried.rollback()
        also(conn, done[0])
        return done

    for _ in range(TRIES - 1):
        try:
            return db.run(work)
        except IntegrityError:
            continue
    return db.run(work)


def pair_in(
    conn: Connection, scope: Scope, wanted: Sequence[Wanted], by: By, now: float, *, relink: bool = False
) -> Stored:
    """One verdict each, in order, and the links that became due."""
    joining = _Joining(conn, scope, by, now)
    joining.load(wanted)
    if relink:
        joining.recall()
    paired = [joining.one(w, relink=relink) for w in wanted]
    touched = joining.store()
    ended = zip(wanted, paired, strict=True)
    return [Paired(p.verdict, joining.new_ids.get(w, p.link_id), p.others) for w, p in ended], touched


def unlink_in(
    conn: Connection, scope: Scope, link_id: int, by: By, now: float
) -> tuple[int | None, tuple[Touched, ...]]:
    """Split a link (E20). Returns the id of the new half row, None when the link is none any more."""
    joining = _Joining(conn, scope, by, now)
    joining.lock([link_id])
    row = next((row for row in joining.rows["crm"].values() if row.id == link_id), None)
    if row is None or not row.linked:
        return None, ()
    new = joining.split(row)
    return new.id, joining.store()


@dataclass
class _Joining:
    """Rows by side and key as they stand now, and what is to be stored of them.

    ``parted``: half rows whose link ended for this very run, for this pair or one before it.
    """

    conn: Connection
    scope: Scope
    by: By
    now: float
    rows: dict[Side, dict[str, LinkRow]] = field(default_factory=lambda: {"erp": {}, "crm": {}})
    changed: dict[int, LinkRow] = field(default_factory=dict)
    made: dict[Wanted, dict[str, Any]] = field(default_factory=dict)
    new_ids: dict[Wanted, int] = field(default_factory=dict)
    absorbed: list[tuple[int, int]] = field(default_factory=list)
    parted: set[int] = field(default_factory=set)
    entries: list[dict[str, Any]] = field(default_factory=list)
    deltas: Counter[counters.Key] = field(default_factory=Counter)
    touched: list[Touched] = field(default_factory=list)

    def load(self, wanted: Sequence[Wanted]) -> None:
        c = link.c
        mine = (c.flow == self.scope.flow, c.entity == self.scope.entity)
        named = ((c.crm_key, [w.crm_key for w in wanted]), (c.erp_key, [w.erp_key for w in wanted]))
        ids = {i for column, keys in named for i in self._ids(select(c.id).where(*mine, column.in_(keys)))}
        self.lock(sorted(ids), [w.crm_key for w in wanted])

    def _ids(self, query: Any) -> Iterable[int]:
        return self.conn.execute(query).scalars()

    def lock(self, ids: Sequence[int], crm_keys: Sequence[str] = ()) -> None:
        """The CRM records first, then the rows, in id order."""
        c = link.c
        if self.scope.shared_crm:
            shown = self.conn.execute(select(c.crm_key).where(c.id.in_(ids), c.crm_key.is_not(None))).scalars()
            lock_crm_records(self.conn, self.scope.entity, {*crm_keys, *shown})
        found = select(link).where(c.id.in_(ids)).order_by(c.id).with_for_update()
        for row in self.conn.execute(found):
            self._know(from_row(row))

    def _know(self, row: LinkRow) -> None:
        for side in SIDES:
            key = row.key(side)
            if key is not None:
                self.rows[side][key] = row

    def recall(self) -> None:
        """Which half rows earlier portions of this run made: a preview, which ends no link, still sees their links."""
        if self.by.run_id is None:
            return
        ended = {row.id: at for rows in self.rows.values() for row in rows.values() if (at := _ended_link(row))}
        c = journal.c
        ids = {link_id for link_id, _ in ended.values()}
        mine = select(c.link_id, c.key).where(c.run_id == self.by.run_id, c.link_id.in_(ids), c.what == "unlinked")
        found = {(link_id, key) for link_id, key in self.conn.execute(mine)} if ids else set()
        self.parted |= {i for i, at in ended.items() if at in found}

    def one(self, wanted: Wanted, *, relink: bool) -> Paired:
        """Decide about a pair, and note what that changes."""
        standing = self._standing(wanted)
        if standing and (standing[0].crm_key, standing[0].erp_key) == (wanted.crm_key, wanted.erp_key):
            return Paired("unchanged", standing[0].id)
        if any(row.intent is not None for row in standing):
            return Paired("busy", standing[0].id)
        others = tuple(Other(row.id, row.erp_key, row.crm_key) for row in standing if row.linked)
        if others and not relink:
            return Paired("refused", standing[0].id, others)
        for row in standing:
            if row.linked:
                self.split(row)
        standing = self._standing(wanted)
        parted = any(row.id in self.parted for row in standing)
        return Paired("relinked" if parted else "linked", self._join(wanted, standing), others)

    def _standing(self, wanted: Wanted) -> list[LinkRow]:
        """The rows on either key, the CRM's first: it is the one that stays."""
        found = (self.rows["crm"].get(wanted.crm_key), self.rows["erp"].get(wanted.erp_key))
        return list({row.id: row for row in found if row is not None}.values())

    def split(self, row: LinkRow) -> LinkRow:
        """Unlink: the row keeps the CRM's side and its history, a new half row takes the ERP's."""
        before, was_default, crm_key = row.state, row.is_default, str(row.crm_key)
        erp_key = str(row.erp_key)
        self._note(row.id, "unlinked", "erp", erp_key)
        new_id = joins.split(self.conn, row, "erp", "unlinked", {}, self.now)
        self.deltas[row.flow, before] -= 1
        self.deltas[row.flow, row.state] += 1
        self._lose(row)
        self.parted |= {row.id, new_id}
        new = from_row(self.conn.execute(select(link).where(link.c.id == new_id)).one())
        self.rows["erp"].pop(erp_key, None)
        self._know(new)
        if was_default and self.scope.shared_crm:
            why = f"link {row.id} ended: unlinked"
            heirs = defaults.pass_on(self.conn, row.entity, crm_key, self.scope.shared_crm, why, self.now, but=row.id)
            self.touched += heirs
        return new

    def _lose(self, row: LinkRow) -> None:
        """Whoever works on it saves nothing any more; it is stored at the end."""
        row.lease_token, row.lease_until, row.claims = row.lease_token + 1, None, 0
        row.state_at = self.now
        self.changed[row.id] = row

    def _join(self, wanted: Wanted, standing: list[LinkRow]) -> int | None:
        """One full row of these two, one or no half rows; None: its id is not known before it is stored."""
        is_default = self._first(wanted.crm_key, standing)
        if not standing:
            self.made[wanted] = {**self._begun(wanted), "is_default": is_default}
            return None
        row = standing[0]
        before = row.state
        for other in standing[1:]:
            joins.take(row, other, "erp")
            self.absorbed.append((other.id, row.id))
            self.changed.pop(other.id, None)
            self.deltas[row.flow, other.state] -= 1
        side: Side = "crm" if row.crm_key is None else "erp"
        for name, value in self._begun(wanted).items():
            setattr(row, name, value)
        row.due_at = None  # being touched makes it due
        row.put("erp", gone_at=None, look_at=None)
        row.put("crm", gone_at=None, look_at=None)
        row.put(side, children=None)
        row.may_create = row.was_linked_to = row.first_synced_at = None
        row.attempts, row.is_default = 0, is_default
        self._lose(row)
        self._know(row)
        self.deltas[row.flow, before] -= 1
        self.deltas[row.flow, row.state] += 1
        self._note(row.id, "linked", side, str(row.key(side)))
        return row.id

    def _begun(self, wanted: Wanted) -> dict[str, Any]:
        """Both keys and no past: the first comparison decides by the flow's ``initial`` (E9)."""
        return {
            "erp_key": wanted.erp_key,
            "erp_ref": wanted.erp_ref,
            "crm_key": wanted.crm_key,
            "crm_ref": wanted.crm_ref,
            "erp_was": None,
            "crm_was": None,
            "memory": Memory().dump(),
            "state": "pending",
            "cause": "linking",
            "cause_params": {"step": "by_hand"},
            "klass": self.by.klass,
            "run_id": self.by.run_id,
        }

    def _first(self, crm_key: str, standing: Sequence[LinkRow]) -> bool:
        """E21: the first link of a CRM record is its default."""
        sharing = self.scope.shared_crm
        but = standing[0].id if standing else 0
        return not sharing or defaults.default_of(self.conn, self.scope.entity, crm_key, sharing, but=but) is None

    def _note(self, link_id: int, what: str, side: Side, key: str) -> None:
        by = self.by
        about = {"link_id": link_id, "flow": self.scope.flow, "at": self.now, "side": side, "key": key}
        self.entries.append({**about, "what": what, "why": by.why, "actor": by.actor, "run_id": by.run_id})

    def store(self) -> tuple[Touched, ...]:
        """Half rows that were taken over go first: their keys are needed."""
        conn = self.conn
        joins.drop(conn, self.absorbed)
        if self.changed:
            conn.execute(delete(open_field).where(open_field.c.link_id.in_(list(self.changed))))
            rows = [{"b_id": i, **{n: getattr(row, n) for n in _SAVED}} for i, row in sorted(self.changed.items())]
            conn.execute(update(link).where(link.c.id == bindparam("b_id")), rows)
        self._insert()
        if self.entries:
            conn.execute(insert(journal), self.entries)
        counters.add(conn, self.deltas)
        joined = [i for i, row in self.changed.items() if row.linked]
        return (*self.touched, *touch_ids_in(conn, joined, self.now))

    def _insert(self) -> None:
        if not self.made:
            return
        scope, now = self.scope, self.now
        fresh: dict[str, Any] = {"flow": scope.flow, "entity": scope.entity, "created_at": now, "state_at": now}
        fresh |= {"due_at": now, "noticed_at": now}
        for side in SIDES:
            fresh |= {f"{side}_dirty": 1, f"{side}_parts": -1}
        stmt = insert(link).returning(link.c.id, sort_by_parameter_order=True)
        ids = self.conn.execute(stmt, [{**fresh, **values} for values in self.made.values()]).scalars()
        for wanted, link_id in zip(self.made, ids, strict=True):
            self.new_ids[wanted] = link_id
            self._note(link_id, "linked", "erp", wanted.erp_key)
            self.touched.append(Touched(link_id, scope.flow, scope.entity, self.by.klass))
        self.deltas[scope.flow, "pending"] += len(self.made)


def _ended_link(row: LinkRow) -> tuple[int, str] | None:
    """Of a half row: under which id and ERP key the journal has the end of its link."""
    was = row.was_linked_to
    if was is None or row.linked:
        return None
    return (row.id, str(was["key"])) if row.crm_key is not None else (int(was["id"]), str(row.erp_key))
