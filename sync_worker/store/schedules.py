"""Named schedules (polls, sweeps, folding …): one runner at a time over all processes, by lease and fencing token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, case, or_, select, update

from sync_worker.store.bulk import inserter
from sync_worker.store.session import Database
from sync_worker.store.tables import schedule

LEASE = 60.0


@dataclass(frozen=True, slots=True)
class Claimed:
    """A schedule that is ours to run until the lease ends. ``last_at``: when it last ended well (None: never)."""

    name: str
    token: int
    due_at: float
    last_at: float | None


@dataclass(frozen=True, slots=True)
class Status:
    """A schedule as ``status`` and ``doctor`` show it."""

    name: str
    due_at: float
    running: bool
    last_at: float | None
    last_error: str | None


def ensure(db: Database, first_due: Mapping[str, float]) -> None:
    """Create the schedules that do not exist yet, due at these seconds; what exists keeps its time."""
    if not first_due:
        return
    rows = [{"name": name, "due_at": due_at} for name, due_at in sorted(first_due.items())]
    stmt = inserter(schedule, sqlite=db.is_sqlite).on_conflict_do_nothing()
    db.run(lambda conn: conn.execute(stmt, rows).close())


def claim_due(db: Database, *, lease: float = LEASE, limit: int = 1) -> list[Claimed]:
    """Take the schedules that have been due longest and that nobody runs; an expired lease frees one."""
    c = schedule.c

    def work(conn: Connection) -> list[Claimed]:
        now = db.now(conn)
        due = (
            select(c.name, c.lease_token, c.due_at, c.last_at)
            .where(c.due_at <= now, or_(c.lease_until.is_(None), c.lease_until <= now))
            .order_by(c.due_at, c.name)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        found = [Claimed(row.name, row.lease_token + 1, row.due_at, row.last_at) for row in conn.execute(due)]
        mine = c.name.in_([one.name for one in found])
        if found:
            conn.execute(update(schedule).where(mine).values(lease_token=c.lease_token + 1, lease_until=now + lease))
        return found

    return db.run(work)


def claim(db: Database, name: str, *, lease: float = LEASE) -> int | None:
    """Take this one, due or not; its token, or None while somebody else runs it."""
    c = schedule.c
    stmt = inserter(schedule, sqlite=db.is_sqlite).on_conflict_do_nothing()

    def work(conn: Connection) -> int | None:
        now = db.now(conn)
        conn.execute(stmt, {"name": name, "due_at": now})
        free = update(schedule).where(c.name == name, or_(c.lease_until.is_(None), c.lease_until <= now))
        taken = free.values(lease_token=c.lease_token + 1, lease_until=now + lease).returning(c.lease_token)
        return conn.execute(taken).scalar_one_or_none()

    return db.run(work)


def leased(db: Database, name: str) -> tuple[float, float]:
    """Until when it is somebody's (seconds since 1970), and how many seconds that still is; zeros: it is nobody's."""
    c = schedule.c
    with db.read() as conn:
        until = conn.execute(select(c.lease_until).where(c.name == name)).scalar_one_or_none()
        left = (until or 0.0) - db.now(conn)
    return (until, left) if until is not None and left > 0 else (0.0, 0.0)


def renew(db: Database, name: str, token: int, *, lease: float = LEASE) -> bool:
    """Prolong a lease that is still ours; False: somebody else runs it, stop."""
    c = schedule.c

    def work(conn: Connection) -> bool:
        mine = update(schedule).where(c.name == name, c.lease_token == token, c.lease_until.is_not(None))
        return conn.execute(mine.values(lease_until=db.now(conn) + lease)).rowcount == 1

    return db.run(work)


def finish(db: Database, name: str, token: int, next_due: float, error: str | None = None) -> bool:
    """End a run and say when the next one is due (seconds since 1970). False: the token no longer counted."""
    c = schedule.c

    def work(conn: Connection) -> bool:
        mine = update(schedule).where(c.name == name, c.lease_token == token)
        last = db.now(conn) if error is None else c.last_at
        done = mine.values(lease_until=None, due_at=next_due, last_at=last, last_error=error)
        return conn.execute(done).rowcount == 1

    return db.run(work)


def make_due(db: Database, name: str) -> bool:
    """Run it as soon as possible; says whether there is such a schedule."""
    return db.run(lambda conn: make_due_in(conn, name, db.now(conn)))


def make_due_in(conn: Connection, name: str, now: float) -> bool:
    """The same in the caller's transaction."""
    c = schedule.c
    sooner = update(schedule).where(c.name == name).values(due_at=case((c.due_at < now, c.due_at), else_=now))
    return conn.execute(sooner).rowcount == 1


def directory_task(system: str) -> str:
    """The schedule that reads a system's directory of account managers."""
    return f"managers:{system}"


def statuses(db: Database) -> list[Status]:
    """All schedules by name."""
    c = schedule.c
    with db.read() as conn:
        now = db.now(conn)
        rows = conn.execute(select(c.name, c.due_at, c.lease_until, c.last_at, c.last_error).order_by(c.name))
        return [
            Status(
                row.name, row.due_at, row.lease_until is not None and row.lease_until > now, row.last_at, row.last_error
            )
            for row in rows
        ]
