"""Account managers: which of them stand for one another (E16).

A mapping row is made by a person. It may leave links waiting for a manager; making it releases exactly those (E5).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    and_,
    bindparam,
    case,
    delete,
    false,
    func,
    insert,
    or_,
    select,
    true,
    update,
)

from mappings.account_managers import WAITING, MapRow, Translated, translate, waiting_key
from sync_worker.errors import PermanentError
from sync_worker.events import SIDES, Side
from sync_worker.store.bulk import inserter
from sync_worker.store.session import Database, lock_waiting_key
from sync_worker.store.tables import journal, link, manager, manager_map, open_field
from sync_worker.store.touches import Touched, touch_ids_in

_TABLE_LOCK = "manager_map"

Way = tuple[str, bool]
"""Of one ERP key: the CRM user it stands for, and whether it is that user's preferred way back."""


class AmbiguousMapping(PermanentError):
    """Several ERP managers stand on one CRM user, and none (or more than one) is the preferred way back.

    ``user``: that one's key. ``managers``: the keys of those that would stand for it.
    """

    code = "ambiguous_mapping"

    def __init__(self, user: str, managers: Sequence[str]) -> None:
        super().__init__(
            f"ERP managers {', '.join(managers)} would all stand for CRM user {user}, and none of them is the "
            "preferred way back: map one of them again with --preferred first"
        )
        self.user, self.managers = user, tuple(managers)


@dataclass(frozen=True, slots=True)
class Mapped:
    """A mapping row. ``preferred``: this ERP key is the way back when several stand on the same CRM user."""

    flow: str
    erp_key: str
    crm_key: str
    preferred: bool
    erp_system: str
    crm_system: str
    actor: str
    at: float


def mappings(db: Database, flow: str) -> list[Mapped]:
    """The flow's mapping rows by ERP key."""
    with db.read() as conn:
        return _rows(conn, flow)


class NewRow(NamedTuple):
    """A mapping row somebody wants."""

    erp_key: str
    crm_key: str
    preferred: bool = False


def ways(db: Database, flow: str) -> list[MapRow]:
    """The flow's rows as the merge uses them, each side with what its directory says of it."""
    with db.read() as conn:
        return ways_in(conn, flow)


def ways_with(db: Database, flow: str, made: Sequence[NewRow], usable: Mapping[Side, set[str]]) -> list[MapRow]:
    """The flow's rows as they would be with these. ``usable``: keys of the new rows' people who are there and active.

    Raises ``AmbiguousMapping`` as ``map_managers`` would.
    """
    with db.read() as conn:
        standing = ways_in(conn, flow)
        _, after = _with_rows(conn, flow, made)
    erp = {one.erp_key for one in standing if one.erp_active} | usable["erp"]
    crm = {one.crm_key for one in standing if one.crm_active} | usable["crm"]
    return [MapRow(key, user, mark, key in erp, user in crm) for key, (user, mark) in after.items()]


def waiting_links(db: Database, flow: str, keys: Sequence[str]) -> list[int]:
    """Ids of the flow's links that wait on any of these."""
    with db.read() as conn:
        return sorted(int(found) for found in conn.execute(_waiting_links(flow, *keys)).scalars())


def ways_in(conn: Connection, flow: str) -> list[MapRow]:
    """Who is not in a directory that was ever read counts as gone; an unread directory says nothing."""
    rows = conn.execute(_WAYS, {"flow": flow})
    return [MapRow(r.erp_key, r.crm_key, r.preferred, bool(r.erp_ok), bool(r.crm_ok)) for r in rows]


def _ways() -> Select[Any]:
    c = manager_map.c
    erp, crm = manager.alias("erp"), manager.alias("crm")
    erp_ok, crm_ok = _usable(erp, c.erp_system), _usable(crm, c.crm_system)
    return (
        select(c.erp_key, c.crm_key, c.preferred, erp_ok.label("erp_ok"), crm_ok.label("crm_ok"))
        .outerjoin(erp, and_(erp.c.system == c.erp_system, erp.c.key == c.erp_key))
        .outerjoin(crm, and_(crm.c.system == c.crm_system, crm.c.key == c.crm_key))
        .where(c.flow == bindparam("flow"))
    )


def _usable(listed: FromClause, system: ColumnElement[str]) -> ColumnElement[bool]:
    anybody = manager.alias()
    never_read = ~select(anybody.c.key).where(anybody.c.system == system).exists()
    return func.coalesce(listed.c.active, case((never_read, true()), else_=false()))


_WAYS = _ways()  # put together once: every batch asks


def resolves_in(conn: Connection, flow: str, waiting_on: str) -> bool:
    """Whether what a field waits on has appeared, asked under the lock that its writers take (E5).

    Keys that no mapping row can satisfy (``match:…``) are answered with False.
    """
    if not waiting_on.startswith(f"{WAITING}:"):
        return False
    lock_waiting_key(conn, flow, waiting_on)
    return _resolves(ways_in(conn, flow), _systems_in(conn, flow), waiting_on)


def _systems_in(conn: Connection, flow: str) -> set[tuple[Side, str]]:
    """Whose keys the flow's rows hold."""
    c = manager_map.c
    rows = conn.execute(select(c.erp_system, c.crm_system).where(c.flow == flow).distinct())
    return {(side, name) for row in rows for side, name in zip(SIDES, row, strict=True)}


def _resolves(rows: Sequence[MapRow], systems: Iterable[tuple[Side, str]], waiting_on: str) -> bool:
    _, system, key = waiting_on.split(":", 2)
    sides = [side for side, name in systems if name == system]
    return any(isinstance(translate(rows, side, key), Translated) for side in sides)


def waiting_counts(db: Database, flow: str | None = None) -> dict[tuple[str, str], int]:
    """(flow, key waited on) -> how many links wait for that account manager."""
    f = open_field.c
    query = (
        select(link.c.flow, f.waiting_on, func.count())
        .join(link, link.c.id == f.link_id)
        .where(f.waiting_on.startswith(f"{WAITING}:", autoescape=True))
        .group_by(link.c.flow, f.waiting_on)
    )
    if flow is not None:
        query = query.where(link.c.flow == flow)
    with db.read() as conn:
        return {(name, key): count for name, key, count in conn.execute(query)}


def map_manager(
    db: Database,
    flow: str,
    erp_key: str,
    crm_key: str,
    *,
    systems: tuple[str, str],
    preferred: bool = False,
    actor: str = "",
) -> tuple[Touched, ...]:
    """One row; see ``map_managers``."""
    return map_managers(db, flow, [NewRow(erp_key, crm_key, preferred)], systems=systems, actor=actor)


def map_managers(
    db: Database, flow: str, made: Sequence[NewRow], *, systems: tuple[str, str], actor: str = ""
) -> tuple[Touched, ...]:
    """Let ERP managers and CRM users stand for one another; returns the links that waited for it, released.

    ``systems``: the flow's ERP and CRM. ``preferred`` takes that mark over from any other ERP key on the same user. A
    changed row rewrites nobody. All rows or none, in one transaction, journalled under ``actor``. Raises
    ``AmbiguousMapping`` when a way back would have several answers once all of them stand.
    """
    waits = [waiting_key(system, key) for one in made for system, key in zip(systems, one[:2], strict=True)]

    def work(conn: Connection) -> tuple[Touched, ...]:
        lock_waiting_key(conn, flow, _TABLE_LOCK, *waits)
        before, after = _with_rows(conn, flow, made)
        now = db.now(conn)
        for key in sorted({one.erp_key for one in made}):
            _store(conn, Mapped(flow, key, *after[key], *systems, actor, now))
            _note(conn, flow, key, before.get(key), after[key], actor, now)
        unmarked = [key for key, way in before.items() if way[1] and not after[key][1]]
        c = manager_map.c
        conn.execute(update(manager_map).where(c.flow == flow, c.erp_key.in_(unmarked)).values(preferred=False))
        return release_waiting_in(conn, flow, *waits, now=now)

    return db.run(work)


def check_managers(db: Database, flow: str, made: Sequence[NewRow]) -> None:
    """Could these rows be made? Changes nothing. Raises ``AmbiguousMapping`` as ``map_managers`` would."""
    with db.read() as conn:
        _with_rows(conn, flow, made)


def _with_rows(conn: Connection, flow: str, made: Sequence[NewRow]) -> tuple[dict[str, Way], dict[str, Way]]:
    """The flow's rows before and after, by ERP key. Raises ``AmbiguousMapping``."""
    before: dict[str, Way] = {row.erp_key: (row.crm_key, row.preferred) for row in _rows(conn, flow)}
    after: Mapping[str, Way] = before
    for one in made:
        after = _with_row(after, *one)
    moved = [before[one.erp_key][0] for one in made if one.erp_key in before]
    _refuse_ambiguous(after, {*(one.crm_key for one in made), *moved})
    return before, dict(after)


def unmap_manager(db: Database, flow: str, erp_key: str, *, actor: str = "") -> bool:
    """Remove a row; records keep the manager they have. Says whether there was one. Raises ``AmbiguousMapping``."""

    def work(conn: Connection) -> bool:
        lock_waiting_key(conn, flow, _TABLE_LOCK)
        ways = {row.erp_key: (row.crm_key, row.preferred) for row in _rows(conn, flow)}
        gone = ways.pop(erp_key, None)
        if gone is None:
            return False
        _refuse_ambiguous(ways, {gone[0]})
        conn.execute(delete(manager_map).where(manager_map.c.flow == flow, manager_map.c.erp_key == erp_key))
        _note(conn, flow, erp_key, gone, None, actor, db.now(conn))
        return True

    return db.run(work)


def release_waiting_in(conn: Connection, flow: str, *keys: str, now: float) -> tuple[Touched, ...]:
    """Make exactly those links of the flow due that have a field waiting on one of these keys (E5)."""
    return touch_ids_in(conn, conn.execute(_waiting_links(flow, *keys)).scalars(), now)


def release_for_in(conn: Connection, system: str, keys: Sequence[str], now: float) -> tuple[Touched, ...]:
    """Release what waited because these people of ``system`` were disabled or not to be seen, now that they are."""
    c = manager_map.c
    named = or_(and_(c.erp_system == system, c.erp_key.in_(keys)), and_(c.crm_system == system, c.crm_key.in_(keys)))
    waits: dict[str, set[str]] = {}
    for row in conn.execute(select(c.flow, c.erp_system, c.erp_key, c.crm_system, c.crm_key).where(named)):
        pair = (waiting_key(row.erp_system, row.erp_key), waiting_key(row.crm_system, row.crm_key))
        waits.setdefault(row.flow, set()).update(pair)
    released: list[Touched] = []
    for flow, keys_waited_on in sorted(waits.items()):
        lock_waiting_key(conn, flow, *keys_waited_on)
        released.extend(release_waiting_in(conn, flow, *sorted(keys_waited_on), now=now))
    return tuple(released)


def wait_sweep(db: Database) -> tuple[Touched, ...]:
    """Release the waits that could end all the same, on a slow schedule; what is due anyway stays."""
    waits = sorted(waiting_counts(db))

    def work(conn: Connection) -> tuple[Touched, ...]:
        now = db.now(conn)
        ended = [(flow, key) for flow, key in waits if resolves_in(conn, flow, key)]
        ids: list[int] = []
        for flow, key in ended:
            idle = or_(link.c.due_at.is_(None), link.c.due_at > now)
            ids += conn.execute(_waiting_links(flow, key).where(idle)).scalars()
        return touch_ids_in(conn, ids, now)

    return db.run(work) if waits else ()


def _waiting_links(flow: str, *keys: str) -> Select[int]:
    waiting = select(open_field.c.link_id).where(open_field.c.waiting_on.in_(keys))
    return select(link.c.id).where(link.c.flow == flow, link.c.id.in_(waiting))


def _note(conn: Connection, flow: str, erp_key: str, old: Way | None, new: Way | None, actor: str, now: float) -> None:
    """The audit: who changed which row, from what to what."""
    before, after = ({"crm": way[0], "preferred": way[1]} if way else None for way in (old, new))
    entry: dict[str, Any] = {"flow": flow, "at": now, "side": "erp", "key": erp_key, "before": before, "after": after}
    what = "manager_mapped" if new else "manager_unmapped"
    conn.execute(insert(journal).values(**entry, what=what, why="a person's choice", actor=actor or "worker"))


def _rows(conn: Connection, flow: str) -> list[Mapped]:
    c = manager_map.c
    columns = [c[name] for name in Mapped.__dataclass_fields__]
    return [
        Mapped(**row) for row in conn.execute(select(*columns).where(c.flow == flow).order_by(c.erp_key)).mappings()
    ]


def _with_row(before: Mapping[str, Way], erp_key: str, crm_key: str, preferred: bool) -> dict[str, Way]:
    """The flow's ways once this row is made. Repeating a row without the mark keeps the mark it has."""
    after = dict(before)
    kept = after.get(erp_key) == (crm_key, True)
    if preferred:
        after = {key: (user, mark and user != crm_key) for key, (user, mark) in after.items()}
    after[erp_key] = (crm_key, preferred or kept)
    return after


def _refuse_ambiguous(ways: Mapping[str, Way], users: Iterable[str]) -> None:
    for user in sorted(users):
        marks = {key: mark for key, (crm_key, mark) in ways.items() if crm_key == user}
        if len(marks) > 1 and sum(marks.values()) != 1:
            raise AmbiguousMapping(user, sorted(marks))


def _store(conn: Connection, row: Mapped) -> None:
    values = asdict(row)
    stmt = inserter(manager_map, sqlite=conn.dialect.name == "sqlite").values(values)
    key = [manager_map.c.flow, manager_map.c.erp_key]
    conn.execute(stmt.on_conflict_do_update(index_elements=key, set_=values))
