"""The journal as an undo reads it: what a run did, or what was last done to a link, portion by portion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from sync_worker.engine.flow import Flow
from sync_worker.rewrites.undoing import Entry, wish_of
from sync_worker.rewrites.wishes import Wish, Wishes
from sync_worker.store.rows import LinkRow, rows_of
from sync_worker.store.session import Database
from sync_worker.store.tables import journal, link, run

PORTION = 500
UNDO = "undo"
_WRITES = ("update", "create", "linked", "unlinked")
_ABOUT_FIELDS = ("update", "blocked", "conflict", "waiting", "refused")


def of_run(db: Database, flows: Mapping[str, Flow], run_id: int, after: int, *, of_undo: bool) -> Wishes:
    """What undoing a run wants of the links behind id ``after``."""
    c = journal.c
    mine = and_(c.run_id == run_id, c.what.in_(_WRITES))
    while True:
        with db.read() as conn:
            query = select(c.link_id).distinct().where(mine, c.link_id > after).order_by(c.link_id).limit(PORTION)
            ids = [int(one) for one in conn.execute(query).scalars()]
            wishes = _wishes(conn, flows, ids, mine, of_undo=of_undo)
        if not ids:
            return
        after = ids[-1]
        yield after, wishes


def of_link(db: Database, flows: Mapping[str, Flow], link_id: int, entries: Sequence[int], *, of_undo: bool) -> Wishes:
    """What undoing these journal entries of one link wants of it."""
    with db.read() as conn:
        wishes = _wishes(conn, flows, [link_id], journal.c.id.in_(entries), of_undo=of_undo)
    yield link_id, wishes


def last_done(db: Database, link_id: int) -> tuple[list[int], int | None]:
    """The journal entries of the last write through a link, or of the run that made it; and that run."""
    c = journal.c
    ended = and_(c.what == "unlinked", c.run_id.is_not(None))  # by an undo; what a person ended stays so
    written = select(c.id, c.at, c.run_id).where(c.link_id == link_id, or_(c.what.in_(("update", "create")), ended))
    with db.read() as conn:
        last = conn.execute(written.order_by(c.id.desc()).limit(1)).first()
        if last is None:
            return [], None
        same = c.run_id == last.run_id if last.run_id is not None else and_(c.run_id.is_(None), c.at == last.at)
        wanted = select(c.id).where(c.link_id == link_id, c.what.in_(_WRITES), same)
        return [int(one) for one in conn.execute(wanted.order_by(c.id)).scalars()], last.run_id


def links_by_id(conn: Connection, ids: Sequence[int]) -> dict[int, LinkRow]:
    """These links, open fields included."""
    return {row.id: row for row in rows_of(conn, select(link).where(link.c.id.in_(ids)))}


def _wishes(
    conn: Connection, flows: Mapping[str, Flow], ids: Sequence[int], mine: ColumnElement[bool], *, of_undo: bool
) -> list[Wish]:
    if not ids:
        return []
    rows = links_by_id(conn, ids)
    c = journal.c
    done: dict[int, list[Entry]] = {}
    last: dict[int, int] = {}
    for one in conn.execute(select(journal).where(c.link_id.in_(ids), mine).order_by(c.id)).mappings():
        entry = Entry(one["what"], one["side"], one["key"], one["before"] or {}, one["after"] or {})
        done.setdefault(one["link_id"], []).append(entry)
        last[one["link_id"]] = one["id"]
    edited = _edited(conn, ids, last)
    return [
        wish_of(rows[i], flows[rows[i].flow].maps, done[i], edited.get(i, set()), of_undo=of_undo)
        for i in ids
        if i in rows and i in done and rows[i].flow in flows
    ]


def _edited(conn: Connection, ids: Sequence[int], last: Mapping[int, int]) -> dict[int, set[str]]:
    """Fields that work of no run has been about since. What other runs did shows in the values."""
    c = journal.c
    since = select(c.link_id, c.id, c.before, c.after).where(
        c.link_id.in_(ids), c.run_id.is_(None), c.id > min(last.values(), default=0), c.what.in_(_ABOUT_FIELDS)
    )
    found: dict[int, set[str]] = {}
    for link_id, entry_id, before, after in conn.execute(since):
        if entry_id > last.get(link_id, 0):
            found.setdefault(link_id, set()).update(_fields(before or {}, after or {}))
    return found


def _fields(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    if "field" in after:
        yield str(after["field"])
    else:
        yield from before
        yield from after


def wrote(db: Database, run_id: int) -> bool:
    """Did a run write anything, or make or end a link?"""
    c = journal.c
    with db.read() as conn:
        return conn.execute(select(c.id).where(c.run_id == run_id, c.what.in_(_WRITES)).limit(1)).first() is not None


def undone_by(db: Database, run_id: int) -> int | None:
    """The last undo of a run that has come to its end, and was not undone itself."""
    c = run.c
    query = select(c.id, c.params).where(c.kind == UNDO, c.state == "done", c.id > run_id).order_by(c.id.desc())
    with db.read() as conn:
        undos = {int(one.id): one.params or {} for one in conn.execute(query)}
    mine = (i for i, params in undos.items() if params.get("run") == run_id)
    return next((i for i in mine if undone_by(db, i) is None), None)


def under_way(db: Database, run_id: int) -> int:
    """Links that are still due for a run."""
    with db.read() as conn:
        query = select(func.count()).where(link.c.run_id == run_id, link.c.due_at.is_not(None))
        return int(conn.execute(query).scalar_one())
