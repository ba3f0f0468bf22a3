"""The link table to look at: a page of it, and all of it as a file in the Customers template (LAY-6, LAY-7)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import RowMapping, Select, select

from sync_worker import causes, reports, sheets
from sync_worker.config.values import nearest
from sync_worker.desk.link_rows import OWN, TEMPLATE, company_of, sites_of
from sync_worker.errors import PermanentError
from sync_worker.events import SIDES
from sync_worker.store import lists
from sync_worker.store.lists import EVER_SYNCED, LinkFilter, Row
from sync_worker.store.tables import link
from sync_worker.wiring import App

CHUNK = 1000
MOST = 1000  # links on a page


def listed(
    app: App,
    *,
    flow: str | None = None,
    state: str | None = None,
    cause: str | None = None,
    system: str | None = None,
    key: str | None = None,
    unsynced: bool = False,
    limit: int = 100,
    after: int = 0,
) -> dict[str, Any]:
    """A page of links by id. ``next``: what to give as ``after`` for the next page; None at the end.

    Raises PermanentError for a flow, state, cause or system that there is not.
    """
    _known(app, flow, state, system, cause)
    if (system is None) != (key is None):
        raise PermanentError("--system and --key go together: they name one record")
    if not 1 <= limit <= MOST:
        raise PermanentError(f"--limit {limit}: allowed are 1 to {MOST}")
    seats = [
        (name, one.entity, side)
        for name, one in app.flows.items()
        for side in SIDES
        if flow in (None, name) and system in (None, one.systems[side])
    ]
    wanted = LinkFilter(seats, state, cause, None, key, unsynced)
    page = lists.links(app.db, wanted, (after,) if after else None, limit)
    now = app.clock()
    return {"links": [_shown(app, row, now) for row in page.rows], "next": page.next[0] if page.next else None}


def _known(
    app: App, flow: str | None, state: str | None = None, system: str | None = None, cause: str | None = None
) -> None:
    for what, given, there in (
        ("flow", flow, sorted(app.flows)),
        ("state", state, reports.STATES),
        ("system", system, sorted(app.systems)),
        ("cause", cause, tuple(causes.CAUSES)),
    ):
        if given is not None and given not in there:
            named = ", ".join(filter(None, there))
            raise PermanentError(f"no {what} {given}{nearest(given, there)}; there are: {named}")


def _of_flows(app: App, flow: str | None, *, unsynced: bool) -> Select[Any]:
    query = select(link).where(link.c.flow.in_([flow] if flow is not None else sorted(app.flows)))
    return query.where(~EVER_SYNCED) if unsynced else query


def _ever_synced(row: Mapping[Any, Any]) -> bool:
    return row["first_synced_at"] is not None or row["last_synced_at"] is not None


def _shown(app: App, row: Row, now: float) -> dict[str, Any]:
    state, code, params = reports.shown(row["state"], row["cause"], row["cause_params"], row["due_at"], now)
    systems = app.flows[row["flow"]].systems
    linked = row["erp_key"] is not None and row["crm_key"] is not None
    return {
        "link": row["id"],
        "flow": row["flow"],
        "entity": row["entity"],
        "state": state,
        "since": reports.iso(row["state_at"]),
        "cause": {"code": code, "text": causes.text(code, params)},
        **{s: {"system": systems[s], "key": row[f"{s}_key"], "ref": row[f"{s}_ref"]} for s in SIDES},
        "default": row["is_default"] if linked else None,
        "synced": _ever_synced(row),
        "last_synced_at": reports.iso(row["last_synced_at"]),
    }


def export(app: App, path: Path, flow: str | None = None, *, unsynced: bool = False) -> int:
    """Every known record, also what is linked with nobody, as a file that can be uploaded again. Returns its rows."""
    _known(app, flow)
    return sheets.write(path, (*TEMPLATE, *OWN), _rows(app, flow, unsynced=unsynced))


def _rows(app: App, flow: str | None, *, unsynced: bool) -> Iterator[list[str]]:
    names = {name: (company_of(one), sites_of(app, one)[0]) for name, one in app.flows.items()}
    after = 0
    while True:
        query = _of_flows(app, flow, unsynced=unsynced).where(link.c.id > after).order_by(link.c.id).limit(CHUNK)
        with app.db.read() as conn:
            rows = conn.execute(query).mappings().all()
        for row in rows:
            yield _exported(row, *names[row["flow"]])
        if len(rows) < CHUNK:
            return
        after = rows[-1]["id"]


def _exported(row: RowMapping, company: str, site: str) -> list[str]:
    past = row["crm_was"] or row["erp_was"] or {}
    name = past.get("name")
    return [
        row["crm_key"] or "",
        company,
        site,
        row["erp_ref"],
        row["erp_key"] or "",
        "Yes" if _ever_synced(row) else "No",
        name if isinstance(name, str) else "",
        row["state"],
    ]
