"""What the links of a dry upload would write, record by record: the engine's own preview of their first comparison."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from sqlalchemy import select

from mappings.memory import Memory
from sync_worker.engine.flow import Flow
from sync_worker.engine.preview import Foreseen, foresee
from sync_worker.routing import rule_for
from sync_worker.store import defaults, runs
from sync_worker.store.rows import LinkRow
from sync_worker.store.runs import Row
from sync_worker.store.session import Database, dumps
from sync_worker.store.tables import link
from sync_worker.wiring import App

CHUNK = 100
WOULD_LINK = ("linked", "relinked")


def preview(app: App, run_id: int) -> Iterator[Foreseen]:
    """One verdict per row that a dry upload would link, in the order of the file, flow by flow within a chunk.

    ``link``, or what stops the comparison: ``conflict``, ``waiting``, ``skip``. What was foretold is remembered with
    the rows. Raises SyncError when a vendor cannot be asked.
    """
    for some in runs.rows(app.db, run_id, WOULD_LINK, CHUNK):
        by_flow = sorted(some, key=lambda row: str((row.detail or {})["flow"]))
        for name, of_flow in groupby(by_flow, key=lambda row: str((row.detail or {})["flow"])):
            rows = list(of_flow)
            found = _compared(app.db, app.flows[name], [row.detail or {} for row in rows])
            kept = [
                Row(row.key, row.verdict, row.link_id, {**(row.detail or {}), "plan": _plan(one)})
                for row, one in zip(rows, found, strict=True)
            ]
            app.db.run(lambda conn, kept=kept: runs.put_rows_in(conn, run_id, kept))  # type: ignore[misc]  # bound per turn
            yield from found


def planned_anew(db: Database, flow: Flow, told: Mapping[str, Row], rows: Sequence[Row]) -> set[str]:
    """Of rows about to be linked, those of which something else would be written by now than was foretold.

    ``told``: what the preview kept, by the key of the row. Raises SyncError when a vendor cannot be asked.
    """
    asked = [row for row in rows if row.key in told and "plan" in (told[row.key].detail or {})]
    found: set[str] = set()
    for start in range(0, len(asked), CHUNK):
        some = asked[start : start + CHUNK]
        now = _compared(db, flow, [row.detail or {} for row in some])
        found |= {row.key for row, one in zip(some, now, strict=True) if _plan(one) != told[row.key].detail["plan"]}  # type: ignore[index]  # asked above
    return found


def _plan(one: Foreseen) -> str:
    """A hash of what would be written, and over what."""
    told = dumps([one.verdict, one.fields, one.open, one.cause])
    return hashlib.blake2b(told.encode(), digest_size=8).hexdigest()


def _compared(db: Database, flow: Flow, pairs: Sequence[Mapping[str, Any]]) -> list[Foreseen]:
    found = foresee(db, flow, rule_for(flow.entity), _as_linked(db, flow, pairs))
    for one in found:
        if one.verdict in ("update", "unchanged"):
            one.verdict = "link"
    return found


def _as_linked(db: Database, flow: Flow, pairs: Sequence[Mapping[str, Any]]) -> list[LinkRow]:
    """Links as the upload would store them: both keys, no past, both sides to be looked at (E9)."""
    with db.read() as conn:
        now = db.now(conn)
        c = link.c
        mine = select(c.crm_key, c.id).where(
            c.flow == flow.name, c.entity == flow.entity, c.crm_key.in_([one["crm_key"] for one in pairs])
        )
        ids = {row.crm_key: row.id for row in conn.execute(mine)}
        sharing = flow.shared_crm
        first = {
            key: not sharing or defaults.default_of(conn, flow.entity, key, sharing, but=ids.get(key, 0)) is None
            for key in {one["crm_key"] for one in pairs}
        }
    return [
        LinkRow(
            -number,
            flow.name,
            flow.entity,
            erp_key=one["erp_key"],
            erp_ref=one.get("erp_ref", ""),
            crm_key=one["crm_key"],
            crm_ref=one.get("crm_ref", ""),
            is_default=first[one["crm_key"]],
            memory=Memory().dump(),
            cause="linking",
            erp_dirty=1,
            crm_dirty=1,
            erp_parts=-1,
            crm_parts=-1,
            created_at=now,
        )
        for number, one in enumerate(pairs, 1)
    ]
