"""What became of a customer in a run: read from its link and from what was journalled for the run since it took it.

What passes of another run, or of none, did meanwhile is theirs: a run counts just what an undo of it takes back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, select

from sync_worker.store import runs
from sync_worker.store.runs import UNDER_WAY, Row, State
from sync_worker.store.session import Database
from sync_worker.store.tables import journal, link

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


@dataclass
class Verdicts:
    """A run's rows. Only those under way are held in memory, a page or two of them; of the others, how many."""

    db: Database
    run_id: int
    counts: Counter[str] = field(default_factory=Counter)
    under_way: dict[str, Row] = field(default_factory=dict)

    @classmethod
    def load(cls, db: Database, run_id: int) -> Verdicts:
        """Those of a run that may have begun already."""
        made = cls(db, run_id, Counter(runs.tally(db, run_id)))
        for chunk in runs.rows(db, run_id, [UNDER_WAY], CHUNK):
            made.under_way.update((row.key, row) for row in chunk)
        return made

    def note(self, rows: Iterable[Row]) -> None:
        """These rows were stored; they may have stood under another verdict before."""
        for row in rows:
            self.counts[UNDER_WAY] -= self.under_way.pop(row.key, None) is not None
            self.counts[row.verdict] += 1
            if row.verdict == UNDER_WAY:
                self.under_way[row.key] = row

    def judge(self, *, only_done: bool = False) -> None:
        """Give a verdict to everybody whose pass has ended. ``only_done``: where it has done something for this run."""
        waiting = list(self.under_way.values())
        for start in range(0, len(waiting), CHUNK):
            some = waiting[start : start + CHUNK]
            self.note(self.db.run(lambda conn, some=some: _judge_in(conn, self.run_id, some, only_done)))  # type: ignore[misc]

    def tally(self) -> dict[str, int]:
        """Customers by verdict; none of those that nobody has."""
        return {verdict: self.counts[verdict] for verdict in VERDICTS if self.counts[verdict]}


def settle(db: Database, run_id: int, state: State) -> dict[str, int]:
    """Workers go on with what a run had begun that rests in ``state``: give those verdicts too; customers by verdict.

    Those that a ``replaced`` run has not come to are the newer run's: they stay under way.
    """
    found = Verdicts.load(db, run_id)
    found.judge(only_done=state == "replaced")
    return runs.recount(db, run_id)


def _judge_in(conn: Connection, run_id: int, chunk: list[Row], only_done: bool) -> list[Row]:
    asked: Mapping[int, Row] = {row.link_id: row for row in chunk if row.link_id is not None}
    c = link.c
    states = conn.execute(select(c.id, c.state, c.erp_done).where(c.id.in_(asked), c.state != "pending")).all()
    ended = {i: state for i, state, done in states if done >= (asked[i].detail or {}).get("dirty", 0)}
    told: dict[int, set[str]] = {}
    since = min((taken_at(row) for row in asked.values()), default=0.0)
    j = journal.c
    written = select(j.link_id, j.what, j.at).where(
        j.run_id == run_id, j.link_id.in_(ended), j.at >= since, j.what.in_(DONE)
    )
    for link_id, what, at in conn.execute(written):
        if at >= taken_at(asked[link_id]):
            told.setdefault(link_id, set()).add(what)
    rows = [
        Row(asked[i].key, verdict_of(state, told.get(i, ())), i, {"state": state, "at": taken_at(asked[i])})
        for i, state in sorted(ended.items())
        if i in told or not only_done
    ]
    runs.put_rows_in(conn, run_id, rows)
    return rows


def taken_at(row: Row) -> float:
    """When the run took a customer; 0 where it had nothing to do."""
    return float((row.detail or {}).get("at", 0.0))
