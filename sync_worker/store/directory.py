"""Each system's directory of account managers, as its connector last listed it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Connection, func, select, update

from sync_worker.store.bulk import inserter
from sync_worker.store.managers import release_for_in
from sync_worker.store.session import Database
from sync_worker.store.tables import manager
from sync_worker.store.touches import Touched


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
class Refreshed:
    """What a new listing changed; ``released``: links that waited for somebody who is (again) to be seen."""

    listed: int
    new: int = 0
    renamed: int = 0
    disabled: int = 0
    enabled: int = 0
    left: int = 0
    released: tuple[Touched, ...] = ()


def refresh(db: Database, system: str, listed: Iterable[DirectoryEntry]) -> Refreshed:
    """Store a system's list of managers, in one transaction with the release of who waited for somebody on it.

    Who is missing counts as gone only when the listing before lacked them too: one short answer disables nobody (E8).
    """
    rows = {one.key: one for one in listed}

    def work(conn: Connection) -> Refreshed:
        before = {one.key: one for one in _rows(conn, system)}
        now = db.now(conn)
        last = max((one.seen_at for one in before.values()), default=now)
        _store(conn, system, rows.values(), now)
        gone = [k for k, one in before.items() if one.active and k not in rows and one.seen_at < last]
        if gone:
            left = update(manager).where(manager.c.system == system, manager.c.key.in_(gone))
            conn.execute(left.values(active=False))
        enabled = [k for k, one in rows.items() if one.active and not (k in before and before[k].active)]
        both = [(before[k], one) for k, one in rows.items() if k in before]
        return Refreshed(
            listed=len(rows),
            new=len(rows.keys() - before.keys()),
            renamed=sum((old.ref, old.name) != (one.ref[:255], one.name[:255]) for old, one in both),
            disabled=sum(old.active and not one.active for old, one in both),
            enabled=sum(one.active and not old.active for old, one in both),
            left=len(gone),
            released=release_for_in(conn, system, enabled, now) if enabled else (),
        )

    return db.run(work)


def directory(db: Database, system: str) -> list[Known]:
    """Everybody ever listed by a system, by reference and key."""
    with db.read() as conn:
        return _rows(conn, system)


def _rows(conn: Connection, system: str) -> list[Known]:
    c = manager.c
    columns = [c[name] for name in Known.__dataclass_fields__]
    query = select(*columns).where(c.system == system).order_by(func.lower(c.ref), c.key)
    return [Known(**row) for row in conn.execute(query).mappings()]


def _store(conn: Connection, system: str, listed: Iterable[DirectoryEntry], now: float) -> None:
    values: list[dict[str, Any]] = [
        {
            "system": system, "key": one.key, "ref": one.ref[:255], "name": one.name[:255],
            "email": one.email[:255] if one.email else None, "active": one.active, "seen_at": now,
        }
        for one in sorted(listed, key=lambda one: one.key)
    ]  # fmt: skip
    if not values:
        return
    stmt = inserter(manager, sqlite=conn.dialect.name == "sqlite")
    names = ("ref", "name", "email", "active", "seen_at")
    updated = {name: stmt.excluded[name] for name in names}
    conn.execute(stmt.on_conflict_do_update(index_elements=[manager.c.system, manager.c.key], set_=updated), values)
