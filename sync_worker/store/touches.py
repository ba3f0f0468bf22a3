"""Making links due: the one way every reason to run takes (E1: dirty + 1, due now, under the row's lock)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Connection,
    Double,
    Executable,
    Integer,
    String,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
    update,
)

from sync_worker.events import SIDES, LinkClass, Side
from sync_worker.store import counters
from sync_worker.store.bulk import CHUNK, inserter, json_rows, packed
from sync_worker.store.tables import link

ALL_PARTS = -1
# An import of thousands is announced by the vendor as thousands of changes, and these must not stand before what people
# edit meanwhile. Of records that a run has in hand, or that were linked so lately, they are bulk work too; and while
# bulk work creates, an unknown record waits a moment and beside the live ones: most likely it is ours, and absorbed by
# then (E17).
ECHO_SECONDS = 5.0
ABSORB_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Touched:
    """A link that became due."""

    link_id: int
    flow: str
    entity: str
    klass: LinkClass


class Marks:
    """Records to touch, gathered first so that each is touched once: (flow, entity, key) -> parts, per side."""

    def __init__(self) -> None:
        self.by_side: dict[Side, dict[tuple[str, str, str], int]] = {side: {} for side in SIDES}

    def add(self, side: Side, flow: str, entity: str, key: str, mask: int) -> None:
        name = (flow, entity, key)
        self.by_side[side][name] = self.by_side[side].get(name, 0) | mask


class Toucher:
    """Upserts links by key: a record nobody knows yet becomes a half row."""

    def __init__(self, *, sqlite: bool) -> None:
        self._sqlite = sqlite
        self._upsert = {side: _link_upsert(side, sqlite=sqlite) for side in SIDES}

    def touch_in(
        self, conn: Connection, marks: Marks, now: float, *, klass: LinkClass, may_create: str | None
    ) -> tuple[Touched, ...]:
        """Touch every marked link, in key order: PostgreSQL's row locks are taken in the same order by everybody."""
        touched: list[Touched] = []
        new: Counter[counters.Key] = Counter()
        for side in SIDES:
            rows = [(*name, mask) for name, mask in sorted(marks.by_side[side].items())]
            if not rows:
                continue
            # SQLite cannot say which rows an upsert inserted; with the write lock held, ids above the last one are.
            last_id = conn.execute(_LAST_ID).scalar_one() if self._sqlite else 0
            values = {"now": now, "new_klass": klass, "permit": may_create, "last_id": last_id}
            for chunk in packed(rows):
                found = conn.execute(self._upsert[side], {**values, "rows": chunk}).all()
                touched += [Touched(link_id, flow, entity, now_class) for link_id, flow, entity, now_class, _ in found]
                new.update((flow, "pending") for _, flow, _, _, is_new in found if is_new)
        counters.add(conn, new)
        return tuple(touched)


def touch_ids_in(conn: Connection, ids: Iterable[int], now: float) -> tuple[Touched, ...]:
    """Touch both sides of links that stand, all parts of them; their class stays. Rows are locked in id order."""
    c = link.c
    wanted = sorted(set(ids))
    touched: list[Touched] = []
    for start in range(0, len(wanted), CHUNK):
        chunk = wanted[start : start + CHUNK]
        conn.execute(select(c.id).where(c.id.in_(chunk)).order_by(c.id).with_for_update()).all()
        stmt = (
            update(link)
            .where(c.id.in_(chunk))
            .values(
                erp_dirty=c.erp_dirty + 1,
                crm_dirty=c.crm_dirty + 1,
                erp_parts=ALL_PARTS,
                crm_parts=ALL_PARTS,
                due_at=case((c.due_at < now, c.due_at), else_=now),
                noticed_at=func.coalesce(c.noticed_at, now),
            )
            .returning(c.id, c.flow, c.entity, c.klass)
        )
        touched += [Touched(link_id, flow, entity, klass) for link_id, flow, entity, klass in conn.execute(stmt)]
    return tuple(touched)


_LAST_ID = select(func.coalesce(func.max(link.c.id), 0))


def _link_upsert(side: Side, *, sqlite: bool) -> Executable:
    """Insert half rows or touch what stands; ``permit`` is stored only where a record may still be created (E19)."""
    source, (flow, entity, key, mask) = json_rows(String(), String(), String(), Integer(), sqlite=sqlite)
    now, klass = bindparam("now", type_=Double), bindparam("new_klass", type_=String)
    permit = bindparam("permit", type_=String)
    making = link.alias("making")
    making_some = exists().where(
        making.c.flow == flow, making.c.entity == entity, making.c.intent_side == side, making.c.klass == "bulk"
    )
    made_in_bulk = and_(permit.is_(None), making_some)  # what a person or an invoice asks for is no echo
    given: dict[str, Any] = {
        "flow": flow, "entity": entity, f"{side}_key": key, f"{side}_parts": mask, f"{side}_dirty": literal(1, Integer),
        "state": literal("pending", String), "state_at": now,
        "due_at": case((made_in_bulk, now + ABSORB_SECONDS), else_=now),
        "klass": case((made_in_bulk, "retry"), else_=klass), "may_create": permit,
        "created_at": now, "noticed_at": now,
    }  # fmt: skip
    stmt = inserter(link, sqlite=sqlite).from_select(
        list(given), select(*given.values()).select_from(source).where(true())
    )
    c, new = link.c, stmt.excluded
    dirty = c[f"{side}_dirty"]
    of_a_run = or_(c.run_id.is_not(None), c.first_synced_at > now - ECHO_SECONDS)
    linked = and_(c.erp_key.is_not(None), c.crm_key.is_not(None))
    stmt = stmt.on_conflict_do_update(
        index_elements=[c.flow, c.entity, c[f"{side}_key"]],
        set_={
            dirty: dirty + 1,
            c[f"{side}_parts"]: c[f"{side}_parts"].bitwise_or(new[f"{side}_parts"]),
            c.due_at: case((c.due_at < now, c.due_at), else_=now),
            c.noticed_at: func.coalesce(c.noticed_at, new.noticed_at),
            c.klass: case(
                (and_(c.klass == "bulk", of_a_run), "bulk"),
                (or_(new.klass == "live", c.due_at.is_(None)), new.klass),
                else_=c.klass,
            ),
            c.may_create: case(
                (linked, c.may_create),
                # A person's outweighs an invoice's. Not ``in_``: its list would be put together at every execution.
                (or_(new.may_create == "manual", new.may_create == "insisted"), new.may_create),
                # Only a person's to this record ends ``unlinked``: a run over everybody must not take that wish away.
                (
                    and_(or_(c.may_create == "manual", c.may_create == "insisted"), c.was_linked_to.is_not(None)),
                    c.may_create,
                ),
                (new.may_create == "import", new.may_create),
                else_=func.coalesce(c.may_create, new.may_create),
            ),
        },
    )
    is_new = c.id > bindparam("last_id", type_=Integer) if sqlite else literal_column("(link.xmax = 0)")
    return stmt.returning(c.id, c.flow, c.entity, c.klass, is_new.label("is_new"))
