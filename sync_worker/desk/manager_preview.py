"""What new mapping rows would write: the passes of the links they would release, with every write refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from sqlalchemy import select

from mappings.account_managers import waiting_key
from sync_worker.desk.managers import Proposal
from sync_worker.engine.flow import Flow
from sync_worker.engine.preview import Foreseen, foresee
from sync_worker.events import SIDES, Side
from sync_worker.routing import rule_for
from sync_worker.store import managers
from sync_worker.store.managers import NewRow
from sync_worker.store.rows import LinkRow, rows_of
from sync_worker.store.session import Database
from sync_worker.store.tables import link
from sync_worker.wiring import App, translator_over

CHUNK = 100


def preview(app: App, made: Sequence[Proposal]) -> Iterator[Foreseen]:
    """One verdict per link that waits for one of these rows. Raises AmbiguousMapping, and SyncError from vendors."""
    for name in dict.fromkeys(one.flow for one in made):
        mine = [one for one in made if one.flow == name]
        flow = _as_mapped(app, app.flows[name], mine)
        keys = sorted({waiting_key(who.system, who.key) for one in mine for who in (one.erp, one.crm)})
        ids = managers.waiting_links(app.db, name, keys)
        for start in range(0, len(ids), CHUNK):
            rows = _released(app.db, ids[start : start + CHUNK])
            yield from foresee(app.db, flow, rule_for(flow.entity), rows)


def _as_mapped(app: App, flow: Flow, made: Sequence[Proposal]) -> Flow:
    """The flow as if these rows stood."""
    usable: Mapping[Side, set[str]] = {
        "erp": {one.erp.key for one in made if one.erp.active},
        "crm": {one.crm.key for one in made if one.crm.active},
    }
    wanted = [NewRow(one.erp.key, one.crm.key, one.preferred) for one in made]
    rows = managers.ways_with(app.db, flow.name, wanted, usable)
    return replace(flow, translator=lambda: translator_over(lambda: rows, flow.systems))


def _released(db: Database, ids: Sequence[int]) -> list[LinkRow]:
    """Links as their release makes them due: both sides, all parts."""
    with db.read() as conn:
        rows = rows_of(conn, select(link).where(link.c.id.in_(ids)).order_by(link.c.id))
    for row in rows:
        for side in SIDES:
            row.put(side, dirty=(row.erp_dirty if side == "erp" else row.crm_dirty) + 1, parts=-1)
    return rows
