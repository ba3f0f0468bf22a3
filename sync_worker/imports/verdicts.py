"""What became of a customer in a run: read from its link and from what was journalled since it was taken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, select

from sync_worker.store import runs
from sync_worker.store.runs import Row
from sync_worker.store.session import Database
from sync_worker.store.tables import journal, link

UNDER_WAY = "under_way"
CHUNK = 500
# what was journalled -> verdict, the strongest first
DONE = {"create": "created", "linked": "linked", "update": "updated"}
BY_STATE = {
    "in_sync": "unchanged",
    "waiting": "waiting",
    "conflict": "waiting",
    "failing": "failed",
    "not_synced": "skipped",
    "excluded": "skipped",
    "unlinked": "skipped",
}
VERDICTS = ("created", "linked", "updated", "unchanged", "skipped", "waiting", "failed")


def verdict_of(state: str, done: Iterable[str]) -> str:
    """The verdict on a customer whose link has come to rest in ``state``; ``done``: what was journalled of it."""
    told = set(done)
    return next((verdict for what, verdict in DONE.items() if what in told), BY_STATE.get(state, "failed"))


def judge(db: Database, run_id: int) -> int:
    """Give a verdict to everybody whose pass has ended; returns how many are still under way."""
    left = 0
    for chunk in runs.rows(db, run_id, [UNDER_WAY], CHUNK):
        ended = db.run(lambda conn, some=chunk: _judge_in(conn, run_id, some))  # type: ignore[misc]
        left += len(chunk) - ended
    return left


def _judge_in(conn: Connection, run_id: int, chunk: list[Row]) -> int:
    asked: Mapping[int, Row] = {row.link_id: row for row in chunk if row.link_id is not None}
    c = link.c
    states = conn.execute(select(c.id, c.state, c.erp_done).where(c.id.in_(asked), c.state != "pending")).all()
    ended = {i: state for i, state, done in states if done >= (asked[i].detail or {}).get("dirty", 0)}
    told: dict[int, set[str]] = {}
    since = min(((row.detail or {}).get("at", 0.0) for row in asked.values()), default=0.0)
    j = journal.c
    written = select(j.link_id, j.what, j.at).where(j.link_id.in_(ended), j.at >= since, j.what.in_(DONE))
    for link_id, what, at in conn.execute(written):
        if at >= (asked[link_id].detail or {}).get("at", 0.0):
            told.setdefault(link_id, set()).add(what)
    rows = [
        Row(asked[i].key, verdict_of(state, told.get(i, ())), i, {"state": state}) for i, state in sorted(ended.items())
    ]
    runs.put_rows_in(conn, run_id, rows)
    return len(rows)
