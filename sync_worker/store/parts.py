"""Child rows (a phone, an e-mail, a contact …) and the records that show them.

A notice about a child names only the child. What earlier reads showed is looked up here; what nobody has shown yet
becomes a due row (owner ``""``) that a worker resolves by asking the vendor.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from sqlalchemy import (
    Case,
    Connection,
    Double,
    Integer,
    String,
    and_,
    bindparam,
    case,
    delete,
    literal,
    select,
    true,
    tuple_,
    update,
)

from sync_worker.store.bulk import CHUNK, inserter, json_rows, packed
from sync_worker.store.session import Database
from sync_worker.store.tables import part

Child = tuple[str, str]  # entity, key

# A new child may be invisible for the vendor's stale window; each wait also outlasts one vendor call (seconds).
BACKOFF = (20.0, 40.0, 80.0, 160.0, 320.0)


@dataclass(frozen=True, slots=True)
class DuePart:
    """A child somebody has to be found for. ``attempts`` counts this claim."""

    id: int
    entity: str
    key: str
    attempts: int


def owners_in(conn: Connection, system: str, children: Collection[Child]) -> dict[Child, list[str]]:
    """Which records are known to show these children."""
    found: dict[Child, list[str]] = {}
    wanted = sorted(children)
    for start in range(0, len(wanted), CHUNK):
        query = select(part.c.entity, part.c.key, part.c.owner_key).where(
            part.c.system == system,
            tuple_(part.c.entity, part.c.key).in_(wanted[start : start + CHUNK]),
            part.c.owner_key != "",
        )
        for entity, key, owner in conn.execute(query):
            found.setdefault((entity, key), []).append(owner)
    return found


def mark_unknown_in(conn: Connection, system: str, children: Iterable[Child], now: float) -> int:
    """Make children due for resolving, from the first attempt. Returns how many."""
    rows = sorted(set(children))
    is_sqlite = conn.dialect.name == "sqlite"
    source, (entity, key) = json_rows(String(), String(), sqlite=is_sqlite)
    same = [literal(system, String), literal("", String), literal(now, Double), literal(0, Integer)]
    values = select(entity, key, *same).select_from(source).where(true())
    names = ["entity", "key", "system", "owner_key", "due_at", "attempts"]
    stmt = inserter(part, sqlite=is_sqlite).from_select(names, values)
    stmt = stmt.on_conflict_do_update(
        index_elements=[part.c.system, part.c.entity, part.c.key, part.c.owner_key],
        set_={"due_at": case((part.c.due_at < now, part.c.due_at), else_=now), "attempts": 0},
    )
    for rows_json in packed(rows):
        conn.execute(stmt, {"rows": rows_json})
    return len(rows)


def claim_parts(db: Database, system: str, limit: int = 100) -> list[DuePart]:
    """Take due unknown children; whoever takes one and never answers loses it to the next after its backoff."""

    def work(conn: Connection) -> list[DuePart]:
        now = db.now(conn)
        due = (
            select(part.c.id, part.c.entity, part.c.key, part.c.attempts)
            .where(part.c.system == system, part.c.owner_key == "", part.c.due_at <= now)
            .order_by(part.c.due_at, part.c.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        claimed = [DuePart(row.id, row.entity, row.key, row.attempts + 1) for row in conn.execute(due)]
        if claimed:
            mine = part.c.id.in_([row.id for row in claimed])
            conn.execute(update(part).where(mine).values(attempts=part.c.attempts + 1, due_at=_next_try(now)))
        return claimed

    return db.run(work)


def due_systems(db: Database) -> list[str]:
    """Systems with children to resolve now."""
    with db.read() as conn:
        query = select(part.c.system).where(part.c.owner_key == "", part.c.due_at <= db.now(conn)).distinct()
        return sorted(conn.execute(query).scalars())


def settle_in(conn: Connection, system: str, found: Mapping[Child, Sequence[str]]) -> None:
    """Store what the vendor said: owners replace the due row; nobody's children are dropped after the last attempt."""
    known = [child for child, owners in found.items() if owners]
    nobody = [child for child, owners in found.items() if not owners]
    same_child = tuple_(part.c.entity, part.c.key)
    unknown = and_(part.c.system == system, part.c.owner_key == "")
    _remember(conn, system, [(entity, key, owner) for entity, key in known for owner in found[entity, key]])
    for start in range(0, len(known), CHUNK):
        conn.execute(delete(part).where(unknown, same_child.in_(known[start : start + CHUNK])))
    for start in range(0, len(nobody), CHUNK):
        spent = part.c.attempts >= len(BACKOFF)
        conn.execute(delete(part).where(unknown, spent, same_child.in_(nobody[start : start + CHUNK])))


def remember_parts(conn: Connection, system: str, shown: Mapping[str, AbstractSet[Child]]) -> None:
    """Replace what is known of records' children by what a read showed; ``shown``: owner's key -> its children.

    A due row of the same child stays: its notice may be younger than that read.
    """
    known: set[tuple[str, str, str]] = set()
    owners = sorted(shown)
    for start in range(0, len(owners), CHUNK):
        found = conn.execute(_CHILDREN, {"system": system, "owners": owners[start : start + CHUNK]})
        known |= {(row.entity, row.key, row.owner_key) for row in found}
    wanted = {(entity, key, owner) for owner, children in shown.items() for entity, key in children}
    gone = sorted(known - wanted)
    if gone:
        conn.execute(_DROP, [{"b_system": system, "b_entity": e, "b_key": k, "b_owner": o} for e, k, o in gone])
    _remember(conn, system, wanted - known)


_CHILDREN = select(part.c.entity, part.c.key, part.c.owner_key).where(
    part.c.system == bindparam("system"), part.c.owner_key.in_(bindparam("owners", expanding=True))
)
_DROP = delete(part).where(
    part.c.system == bindparam("b_system"),
    part.c.entity == bindparam("b_entity"),
    part.c.key == bindparam("b_key"),
    part.c.owner_key == bindparam("b_owner"),
)


def _remember(conn: Connection, system: str, rows: Iterable[tuple[str, str, str]]) -> None:
    values = [
        {"system": system, "entity": entity, "key": key, "owner_key": owner} for entity, key, owner in sorted(rows)
    ]
    if values:
        stmt = inserter(part, sqlite=conn.dialect.name == "sqlite").on_conflict_do_nothing()
        conn.execute(stmt, values)


def _next_try(now: float) -> Case[float]:
    """When a claimed row is due again, by the attempts before this claim."""
    whens = {attempts: now + wait for attempts, wait in enumerate(BACKOFF)}
    return case(whens, value=part.c.attempts, else_=now + BACKOFF[-1])
