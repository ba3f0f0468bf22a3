"""What a preview foretold, kept as hashes, so that the run that follows can name those it did something else with.

A record was planned anew when somebody edited it, its partner or a mapping since the preview, or made it since.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from sync_worker.engine.preview import Foreseen
from sync_worker.imports.verdicts import DONE, taken_at
from sync_worker.store import runs
from sync_worker.store.runs import Row, Run
from sync_worker.store.session import Database, dumps
from sync_worker.store.tables import journal

KIND = "preview"
CHUNK = 500
# a preview's verdict -> the run's
VERDICTS: Mapping[str, str] = {
    "create": "created",
    "link": "linked",
    "update": "updated",
    "unchanged": "unchanged",
    "skip": "skipped",
    "unlink": "skipped",
    "ambiguous": "waiting",
    "waiting": "waiting",
    "conflict": "waiting",
    "failed": "failed",
}


def kept(db: Database, run: Run, found: Iterable[Foreseen]) -> Iterator[Foreseen]:
    """The same, each stored under the preview's run as it passes by; the run ends with the last."""
    chunk: list[Row] = []
    counts: dict[str, int] = {}
    for one in found:
        counts[one.verdict] = counts.get(one.verdict, 0) + 1
        written = {(f["side"], name): f["after"] for name, f in one.fields.items()}
        link_id = one.row.id if one.row.id > 0 else None
        chunk.append(Row(str(one.row.erp_key), VERDICTS[one.verdict], link_id, {"plan": digest(written)}))
        if len(chunk) >= CHUNK:
            _put(db, run.id, chunk)
            chunk = []
        yield one
    _put(db, run.id, chunk)
    runs.end(db, run.id, "done", dict(sorted(counts.items())))


def _put(db: Database, run_id: int, rows: Sequence[Row]) -> None:
    def work(conn: Connection) -> None:
        runs.put_rows_in(conn, run_id, rows)

    db.run(work)


def digest(written: Mapping[tuple[str, str], Any]) -> str:
    """A hash of what is written, by side and field; "" for nothing."""
    told = sorted([side, name, value] for (side, name), value in written.items() if value is not None)
    emptied = sorted([side, name] for (side, name), value in written.items() if value is None)
    return hashlib.sha256(dumps([told, emptied]).encode()).hexdigest() if written else ""


def planned_anew(db: Database, run_id: int, preview_id: int) -> Iterator[tuple[str, bool]]:
    """ERP keys of the customers with whom the run did something else than the preview foretold, in order; and whether
    that knew them."""
    for chunk in runs.rows(db, run_id, tuple(set(VERDICTS.values())), CHUNK):
        told = {row.key: row for row in runs.rows_by_key(db, preview_id, [row.key for row in chunk])}
        done = _written(db, run_id, chunk)
        for row in chunk:
            mine = told.get(row.key)
            plan = digest(done.get(row.link_id or 0, {}))
            if mine is None or mine.verdict != row.verdict or (mine.detail or {}).get("plan") != plan:
                yield row.key, mine is not None


def _written(db: Database, run_id: int, rows: Sequence[Row]) -> dict[int, dict[tuple[str, str], Any]]:
    """Link -> what was written of it for the run since that took it, the last value of each field."""
    since = {row.link_id: taken_at(row) for row in rows if row.link_id is not None and taken_at(row)}
    j = journal.c
    query = select(j.link_id, j.what, j.side, j.at, j.after).where(
        j.run_id == run_id, j.link_id.in_(since), j.what.in_(DONE)
    )
    found: dict[int, dict[tuple[str, str], Any]] = {}
    with db.read() as conn:
        for link_id, what, side, at, after in conn.execute(query.order_by(j.id)):
            if at >= since[link_id]:
                values = {(side, n): v for n, v in (after or {}).items() if what != "create" or v is not None}
                found.setdefault(link_id, {}).update(values)
    return found
