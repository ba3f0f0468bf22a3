"""Account managers: each system's directory, and which of them stand for one another (E16).

A mapping row is made by a person. It may leave links waiting for a manager; making it releases exactly those (E5).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Protocol

from sqlalchemy import Connection, and_, delete, literal, or_, select, update

from sync_worker.errors import PermanentError
from sync_worker.events import Side
from sync_worker.store.bulk import inserter
from sync_worker.store.session import Database, lock_waiting_key
from sync_worker.store.tables import link, manager, manager_map, open_field
from sync_worker.store.touches import Touched, touch_ids_in

WAITING = "account_manager"
_TABLE_LOCK = "manager_map"

Way = tuple[str, bool]
"""Of one ERP key: the CRM user it stands for, and whether it is that user's preferred way back."""


class AmbiguousMapping(PermanentError):
    """Several ERP managers stand on one CRM user, and none (or more than one) is the preferred way back."""

    code = "ambiguous_mapping"


class DirectoryEntry(Protocol):
    """An account manager as a connector lists it. ``key``: what stands in a customer's manager field."""

    @property
    def key(self) -> str: ...
    @property
    def ref(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def email(self) -> str | None: ...
    @property
    def active(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Known:
    """A row of the directory. A manager that left the vendor's list stays, inactive: mappings may name it."""

    system: str
    key: str
    ref: str
    name: str
    email: str | None
    active: bool
    seen_at: float


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


def waiting_key(system: str, key: str) -> str:
    """What a field waits on while this manager has no mapping row."""
    return f"{WAITING}:{system}:{key}"


def replace_directory(db: Database, system: str, listed: Iterable[DirectoryEntry]) -> int:
    """Store a system's list of managers; whoever is no longer on it becomes inactive. Returns how many are on it."""
    rows = {one.key: one for one in listed}

    def work(conn: Connection) -> int:
        now = db.now(conn)
        values = [
            {
                "system": system, "key": key, "ref": one.ref[:255], "name": one.name[:255],
                "email": one.email[:255] if one.email else None, "active": one.active, "seen_at": now,
            }
            for key, one in sorted(rows.items())
        ]  # fmt: skip
        if values:
            stmt = inserter(manager, sqlite=db.is_sqlite)
            names = ("ref", "name", "email", "active", "seen_at")
            stmt = stmt.on_conflict_do_update(
                index_elements=[manager.c.system, manager.c.key], set_={name: stmt.excluded[name] for name in names}
            )
            conn.execute(stmt, values)
        known = conn.execute(select(manager.c.key).where(manager.c.system == system, manager.c.active)).scalars()
        gone = sorted(set(known) - rows.keys())
        if gone:
            stmt_gone = update(manager).where(manager.c.system == system, manager.c.key.in_(gone))
            conn.execute(stmt_gone.values(active=False))
        return len(values)

    return db.run(work)


def directory(db: Database, system: str) -> list[Known]:
    """Everybody ever listed by a system, by reference and key."""
    c = manager.c
    columns = [c[name] for name in Known.__dataclass_fields__]
    with db.read() as conn:
        query = select(*columns).where(c.system == system).order_by(c.ref, c.key)
        return [Known(**row) for row in conn.execute(query).mappings()]


def mappings(db: Database, flow: str) -> list[Mapped]:
    """The flow's mapping rows by ERP key."""
    with db.read() as conn:
        return _rows(conn, flow)


def translate_in(conn: Connection, flow: str, side: Side, key: str) -> str | None:
    """The manager on the other side that stands for ``side``'s ``key``; None: nobody yet."""
    c = manager_map.c
    if side == "erp":
        query = select(c.crm_key).where(c.flow == flow, c.erp_key == key)
    else:
        query = select(c.erp_key).where(c.flow == flow, c.crm_key == key).order_by(c.preferred.desc()).limit(1)
    return conn.execute(query).scalar_one_or_none()


def exists_in(conn: Connection, flow: str, waiting_on: str) -> bool:
    """Whether what a field waits on has appeared, asked under the lock that the mapping writer takes (E5).

    Keys that no mapping row can satisfy (``match:…``) are answered with False.
    """
    kind, _, rest = waiting_on.partition(":")
    if kind != WAITING:
        return False
    lock_waiting_key(conn, flow, waiting_on)
    c = manager_map.c
    system, _, key = rest.partition(":")
    names = or_(and_(c.erp_system == system, c.erp_key == key), and_(c.crm_system == system, c.crm_key == key))
    return conn.execute(select(literal(1)).where(c.flow == flow, names).limit(1)).first() is not None


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
    """Let an ERP manager and a CRM user stand for one another; returns the links that waited for it, released.

    ``systems``: the flow's ERP and CRM. ``preferred`` takes that mark over from any other ERP key on the same user. A
    changed row rewrites nobody. Raises ``AmbiguousMapping`` when a way back would have several answers.
    """
    waits = (waiting_key(systems[0], erp_key), waiting_key(systems[1], crm_key))

    def work(conn: Connection) -> tuple[Touched, ...]:
        lock_waiting_key(conn, flow, _TABLE_LOCK, *waits)
        before = _rows(conn, flow)
        after = _with_row(before, erp_key, crm_key, preferred)
        users = {crm_key, *(row.crm_key for row in before if row.erp_key == erp_key)}
        _refuse_ambiguous(after, users)
        now = db.now(conn)
        _store(conn, Mapped(flow, erp_key, *after[erp_key], *systems, actor, now))
        unmarked = [
            row.erp_key for row in before if row.preferred and row.erp_key != erp_key and not after[row.erp_key][1]
        ]
        c = manager_map.c
        conn.execute(update(manager_map).where(c.flow == flow, c.erp_key.in_(unmarked)).values(preferred=False))
        return release_waiting_in(conn, flow, *waits, now=now)

    return db.run(work)


def unmap_manager(db: Database, flow: str, erp_key: str) -> bool:
    """Remove a row; records keep the manager they have. Says whether there was one. Raises ``AmbiguousMapping``."""

    def work(conn: Connection) -> bool:
        lock_waiting_key(conn, flow, _TABLE_LOCK)
        ways = {row.erp_key: (row.crm_key, row.preferred) for row in _rows(conn, flow)}
        gone = ways.pop(erp_key, None)
        if gone is None:
            return False
        _refuse_ambiguous(ways, {gone[0]})
        conn.execute(delete(manager_map).where(manager_map.c.flow == flow, manager_map.c.erp_key == erp_key))
        return True

    return db.run(work)


def release_waiting_in(conn: Connection, flow: str, *keys: str, now: float) -> tuple[Touched, ...]:
    """Make exactly those links of the flow due that have a field waiting on one of these keys (E5)."""
    waiting = select(open_field.c.link_id).where(open_field.c.waiting_on.in_(keys))
    ids = conn.execute(select(link.c.id).where(link.c.flow == flow, link.c.id.in_(waiting))).scalars()
    return touch_ids_in(conn, ids, now)


def wait_sweep(db: Database) -> tuple[Touched, ...]:
    """Release the waits whose mapping row exists all the same, on a slow schedule; what is due anyway stays."""
    c = manager_map.c
    satisfied = open_field.c.waiting_on.in_(
        [
            literal(f"{WAITING}:") + c.erp_system + ":" + c.erp_key,
            literal(f"{WAITING}:") + c.crm_system + ":" + c.crm_key,
        ]
    )

    def work(conn: Connection) -> tuple[Touched, ...]:
        now = db.now(conn)
        ids = conn.execute(
            select(link.c.id)
            .join(open_field, open_field.c.link_id == link.c.id)
            .join(manager_map, and_(c.flow == link.c.flow, satisfied))
            .where(or_(link.c.due_at.is_(None), link.c.due_at > now))
        ).scalars()
        return touch_ids_in(conn, ids, now)

    return db.run(work)


def _rows(conn: Connection, flow: str) -> list[Mapped]:
    c = manager_map.c
    columns = [c[name] for name in Mapped.__dataclass_fields__]
    return [
        Mapped(**row) for row in conn.execute(select(*columns).where(c.flow == flow).order_by(c.erp_key)).mappings()
    ]


def _with_row(before: Iterable[Mapped], erp_key: str, crm_key: str, preferred: bool) -> dict[str, Way]:
    """The flow's ways once this row is made. Repeating a row without the mark keeps the mark it has."""
    after = {row.erp_key: (row.crm_key, row.preferred) for row in before}
    kept = after.get(erp_key) == (crm_key, True)
    if preferred:
        after = {key: (user, mark and user != crm_key) for key, (user, mark) in after.items()}
    after[erp_key] = (crm_key, preferred or kept)
    return after


def _refuse_ambiguous(ways: Mapping[str, Way], users: Iterable[str]) -> None:
    for user in sorted(users):
        marks = {key: mark for key, (crm_key, mark) in ways.items() if crm_key == user}
        if len(marks) > 1 and sum(marks.values()) != 1:
            raise AmbiguousMapping(
                f"ERP managers {', '.join(sorted(marks))} would all stand for CRM user {user}, and none of them is the "
                "preferred way back: map one of them again with --preferred first"
            )


def _store(conn: Connection, row: Mapped) -> None:
    values = asdict(row)
    stmt = inserter(manager_map, sqlite=conn.dialect.name == "sqlite").values(values)
    key = [manager_map.c.flow, manager_map.c.erp_key]
    conn.execute(stmt.on_conflict_do_update(index_elements=key, set_=values))
