"""What a preview foretold of a rewrite, kept so that the run that follows can name what it did otherwise.

A link was planned anew when somebody edited it, its partner or a mapping since the preview, or linked it since.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy import Connection

from sync_worker.rewrites.foresight import Foretold
from sync_worker.rewrites.run import VERDICTS, row_about
from sync_worker.store import runs
from sync_worker.store.runs import Row, Run
from sync_worker.store.session import Database

CHUNK = 500


def kept(db: Database, run: Run, found: Iterable[Foretold]) -> Iterator[Foretold]:
    """The same, each stored under the preview's run as it passes by; the run ends with the last."""
    chunk: list[Row] = []
    for one in found:
        chunk.append(row_about(one.wish.link_id, _verdict(one), one.wish.detail(), one.came))
        if len(chunk) >= CHUNK:
            _put(db, run.id, chunk)
            chunk = []
        yield one
    _put(db, run.id, chunk)
    runs.end(db, run.id, "done", runs.tally(db, run.id))


def _verdict(one: Foretold) -> str:
    """As the run will give it."""
    if one.wish.unlink and one.came.verdict != "failed":
        return "unlinked"
    return "linked" if one.wish.join is not None else one.came.verdict


def _put(db: Database, run_id: int, rows: Sequence[Row]) -> None:
    def work(conn: Connection) -> None:
        runs.put_rows_in(conn, run_id, rows)

    db.run(work)


def planned_anew(db: Database, run_id: int, preview_id: int) -> Iterator[tuple[int, bool]]:
    """Links with which the run did something else than the preview foretold, and whether that knew them; then those it
    did not come to at all."""
    for chunk in runs.rows(db, run_id, VERDICTS, CHUNK):
        told = {row.key: row for row in runs.rows_by_key(db, preview_id, [row.key for row in chunk])}
        yield from ((int(row.key), row.key in told) for row in chunk if told.get(row.key) != row)
    for chunk in runs.rows(db, preview_id, VERDICTS, CHUNK):
        done = {row.key for row in runs.rows_by_key(db, run_id, [row.key for row in chunk])}
        yield from ((int(row.key), True) for row in chunk if row.key not in done)
