"""Runs: long jobs that a person starts, with how far they have come, so that they can be gone on with.

A run is ``running`` until it is ``done``, ``stopped`` (Ctrl-C) or ``replaced`` by a newer one; a process that was
killed leaves it ``running``. ``run_row`` holds what it found worth remembering, by a key of the run's own choice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, RowMapping, delete, func, insert, select, update

from sync_worker.store.bulk import inserter
from sync_worker.store.session import Database, dumps
from sync_worker.store.tables import run, run_row

State = Literal["running", "done", "stopped", "replaced"]
UNDER_WAY = "under_way"  # verdict of a record on which no end is said yet
UNFINISHED: tuple[State, ...] = ("running", "stopped")
CHUNK = 500
FRESH_SECONDS = 24 * 3600.0  # an older preview is nobody's expectation any more


@dataclass(frozen=True, slots=True)
class Run:
    """``counts``: what is to be shown of it. ``position``: where to go on, None before the first step."""

    id: int
    kind: str
    flow: str
    params: Mapping[str, Any]
    actor: str
    state: State
    counts: Mapping[str, Any]
    position: Any
    started_at: float
    ended_at: float | None


@dataclass(frozen=True, slots=True)
class Row:
    """One finding of a run."""

    key: str
    verdict: str
    link_id: int | None = None
    detail: Mapping[str, Any] | None = None


def begin(db: Database, kind: str, flow: str, actor: str, params: Mapping[str, Any] | None = None) -> Run:
    """A new run; unfinished ones of the same kind and flow are replaced by it."""

    def work(conn: Connection) -> int:
        c = run.c
        old = update(run).where(c.kind == kind, c.flow == flow, c.state.in_(UNFINISHED))
        conn.execute(old.values(state="replaced", ended_at=db.now(conn)))
        values = {"kind": kind, "flow": flow, "actor": actor, "params": dict(params or {}), "state": "running"}
        made = conn.execute(insert(run).values(**values, started_at=db.now(conn)).returning(c.id))
        return int(made.scalar_one())

    return get(db, db.run(work))


def get(db: Database, run_id: int) -> Run:
    """A run that is known to exist."""
    with db.read() as conn:
        return _run(conn.execute(select(run).where(run.c.id == run_id)).mappings().one())


def unfinished(db: Database, kind: str, flow: str) -> Run | None:
    """The newest run that has not come to its end."""
    c = run.c
    query = select(run).where(c.kind == kind, c.flow == flow, c.state.in_(UNFINISHED)).order_by(c.id.desc()).limit(1)
    with db.read() as conn:
        found = conn.execute(query).mappings().first()
    return _run(found) if found is not None else None


def newest(db: Database, kind: str, flow: str, state: State) -> Run | None:
    """The newest run of a kind that is in this state."""
    c = run.c
    query = select(run).where(c.kind == kind, c.flow == flow, c.state == state).order_by(c.id.desc()).limit(1)
    with db.read() as conn:
        found = conn.execute(query).mappings().first()
    return _run(found) if found is not None else None


def previewed(db: Database, run: Run, kind: str, but: str = "") -> Run | None:
    """The preview, a run of this kind, that a person looked at before this run: of the same parameters, and no run came
    between. ``but``: a parameter that may differ. Ask before the run has ended."""
    found, last = newest(db, kind, run.flow, "done"), newest(db, run.kind, run.flow, "done")
    if found is None or {**found.params, but: None} != {**run.params, but: None} or found.id > run.id:
        return None
    stale = found.started_at < run.started_at - FRESH_SECONDS
    return None if stale or (last is not None and last.id > found.id) else found


def note_in(conn: Connection, run_id: int, position: Any, counts: Mapping[str, Any]) -> None:
    """Store how far a run has come, in the transaction that stores its rows."""
    values = {"position": dumps(position), "counts": dict(counts), "state": "running", "ended_at": None}
    conn.execute(update(run).where(run.c.id == run_id).values(**values))


def end(db: Database, run_id: int, state: State, counts: Mapping[str, Any] | None = None) -> None:
    """The run has come to its end, or rests."""

    def work(conn: Connection) -> None:
        values: dict[str, Any] = {"state": state, "ended_at": db.now(conn)}
        if counts is not None:
            values["counts"] = dict(counts)
        conn.execute(update(run).where(run.c.id == run_id).values(**values))

    db.run(work)


def stop(db: Database, run_id: int, about: Mapping[str, Any] | None = None) -> None:
    """The run rests, and can be gone on with; it shows its findings so far, beside ``about``."""
    end(db, run_id, "stopped", {**(about or {}), **tally(db, run_id)})


def recount(db: Database, run_id: int) -> dict[str, int]:
    """Show a run that rests with its findings as they are by now; these."""
    found = tally(db, run_id)
    resting = update(run).where(run.c.id == run_id, run.c.state.in_(("stopped", "replaced")))
    db.run(lambda conn: conn.execute(resting.values(counts=found)).close())
    return found


def put_rows_in(conn: Connection, run_id: int, rows: Iterable[Row]) -> None:
    """Store findings; a later one under the same key takes the place of the earlier."""
    values = [
        {"run_id": run_id, "key": r.key, "verdict": r.verdict, "link_id": r.link_id, "detail": r.detail} for r in rows
    ]
    if not values:
        return
    c = run_row.c
    stmt = inserter(run_row, sqlite=conn.dialect.name == "sqlite")
    fresh = {"verdict": stmt.excluded.verdict, "link_id": stmt.excluded.link_id, "detail": stmt.excluded.detail}
    conn.execute(stmt.on_conflict_do_update(index_elements=[c.run_id, c.key], set_=fresh), values)


def drop_rows_in(conn: Connection, run_id: int, keys: Sequence[str]) -> None:
    """Forget findings."""
    for start in range(0, len(keys), CHUNK):
        some = keys[start : start + CHUNK]
        conn.execute(delete(run_row).where(run_row.c.run_id == run_id, run_row.c.key.in_(some)))


def drop_prefix_in(conn: Connection, run_id: int, prefix: str) -> None:
    """Forget the findings whose key begins so."""
    conn.execute(delete(run_row).where(run_row.c.run_id == run_id, run_row.c.key.startswith(prefix, autoescape=True)))


def rows(db: Database, run_id: int, verdicts: Sequence[str], chunk: int = CHUNK) -> Iterator[list[Row]]:
    """Findings of some verdicts by key, chunk by chunk; what is dropped or changed meanwhile does no harm."""
    c = run_row.c
    after = ""
    while True:
        query = select(c.key, c.verdict, c.link_id, c.detail).where(
            c.run_id == run_id, c.verdict.in_(verdicts), c.key > after
        )
        with db.read() as conn:
            found = [Row(*row) for row in conn.execute(query.order_by(c.key).limit(chunk))]
        if not found:
            return
        yield found
        after = found[-1].key


def rows_by_key(db: Database, run_id: int, keys: Sequence[str]) -> list[Row]:
    """The findings that stand under these keys."""
    c = run_row.c
    query = select(c.key, c.verdict, c.link_id, c.detail).where(c.run_id == run_id, c.key.in_(list(keys)))
    with db.read() as conn:
        return [Row(*row) for row in conn.execute(query)]


def link_ids_in(conn: Connection, run_id: int, first: int, last: int) -> set[int]:
    """The links, by id from ``first`` to ``last``, that a run found something about."""
    query = select(run_row.c.link_id).where(run_row.c.run_id == run_id, run_row.c.link_id.between(first, last))
    return {int(found) for found in conn.execute(query).scalars()}


def tally(db: Database, run_id: int) -> dict[str, int]:
    """Findings by verdict."""
    query = select(run_row.c.verdict, func.count()).where(run_row.c.run_id == run_id).group_by(run_row.c.verdict)
    with db.read() as conn:
        return {verdict: int(count) for verdict, count in conn.execute(query)}


def _run(row: RowMapping) -> Run:
    values: dict[str, Any] = {str(name): value for name, value in row.items()}
    position = values.pop("position")
    values["params"], values["counts"] = values["params"] or {}, values["counts"] or {}
    return Run(**values, position=json.loads(position) if position else None)
