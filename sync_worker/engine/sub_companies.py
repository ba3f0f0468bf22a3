"""What waited for a sub-company is released once a flow takes it (LAY-15); the mapping is the configuration's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, or_, select

from mappings.account_managers import LONGEST_WAIT
from mappings.codecs import collapse, fold
from sync_worker.engine.flow import Flow
from sync_worker.store.session import Database
from sync_worker.store.tables import link, open_field
from sync_worker.store.touches import Touched, touch_ids_in

WAITING = "sub_company"
NONE = "-"  # in a key: the record names no sub-company


def waiting_key(system: str, named: str) -> str:
    """What a record of an unmapped sub-company waits on: ``sub_company:crm:West Ltd``."""
    return f"{WAITING}:{system}:{named or NONE}"[:LONGEST_WAIT]


def release_mapped(db: Database, flows: Mapping[str, Flow]) -> tuple[Touched, ...]:
    """Make due exactly the links whose sub-company is mapped by now, and the same records' links in other flows.

    The flow that takes the sub-company need not be the one that told of it. What is due anyway stays as it is.
    """
    mapping = {flow.systems["crm"]: flow.sub_companies.mapped for flow in flows.values() if flow.sub_companies}
    if not mapping:
        return ()
    f = open_field.c
    with db.read() as conn:
        waits = conn.execute(select(f.waiting_on).where(f.waiting_on.startswith(f"{WAITING}:")).distinct()).scalars()
        ended = {key: system for key in waits for system in [_mapped(mapping, key)] if system}
    over: dict[str, list[str]] = {}
    for key, system in ended.items():
        over.setdefault(system, []).append(key)
    touched: list[Touched] = []
    for system, keys in sorted(over.items()):
        touched += _release(db, keys, [name for name, flow in flows.items() if flow.systems["crm"] == system])
    return tuple(touched)


def _mapped(mapping: Mapping[str, Iterable[str]], waited_on: str) -> str | None:
    """The CRM of a key whose sub-company is taken by a flow now."""
    for system, taken in mapping.items():
        prefix = waiting_key(system, "")[: -len(NONE)]
        if waited_on.startswith(prefix):
            named = waited_on.removeprefix(prefix)
            return system if ("" if named == NONE else fold(collapse(named))) in taken else None
    return None


def _release(db: Database, keys: list[str], flows: list[str]) -> tuple[Touched, ...]:
    c, f = link.c, open_field.c
    waiting = select(f.link_id).where(f.waiting_on.in_(keys))
    records = select(c.crm_key).where(c.id.in_(waiting), c.flow.in_(flows), c.crm_key.is_not(None))
    mine = select(c.id).where(c.flow.in_(flows), c.crm_key.in_(records))

    def work(conn: Connection) -> tuple[Touched, ...]:
        now = db.now(conn)
        ids = conn.execute(mine.where(or_(c.due_at.is_(None), c.due_at > now))).scalars()
        return touch_ids_in(conn, ids, now)

    return db.run(work)
