"""Runs to look at: the latest, and what one of them says about each record."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from sync_worker import causes, imports, reports
from sync_worker.desk.managers import flow_of
from sync_worker.desk.refusals import NotKnown
from sync_worker.events import SIDES
from sync_worker.reports import iso
from sync_worker.rewrites import LEFT
from sync_worker.store import lists
from sync_worker.store.runs import UNDER_WAY
from sync_worker.store.tables import link
from sync_worker.wiring import App


def latest(app: App, flow: str | None, limit: int) -> list[dict[str, Any]]:
    """The latest runs. Raises NotKnown."""
    where = {} if flow is None else {"flow": flow_of(app, flow).name}
    return [
        {
            "run": one["id"], "kind": one["kind"], "flow": one["flow"], "params": one["params"] or {},
            "actor": one["actor"], "state": one["state"], "counts": _counts(app, one),
            "started_at": iso(one["started_at"]), "ended_at": iso(one["ended_at"]),
        }
        for one in lists.latest_runs(app.db, where, None, limit).rows
    ]  # fmt: skip


def _counts(app: App, one: lists.Row) -> dict[str, Any]:
    """What a run says in numbers: of an import that rests, as far as its customers have come by now."""
    said: dict[str, Any] = one["counts"] or {}
    open_ended = one["state"] in ("stopped", "replaced") and (not said or UNDER_WAY in said)
    if one["kind"] != imports.KIND or not open_ended:
        return said
    return imports.settle(app.db, one["id"], one["state"])


def records(app: App, run_id: int, verdict: str | None, after: str | None, limit: int) -> dict[str, Any]:
    """A page of what a run says, by its own keys, beside how the link of each stands now. Raises NotKnown.

    ``next``: what to give as ``after`` for the next page; None at the end.
    """
    run = lists.one_run(app.db, run_id)
    if run is None:
        raise NotKnown(f"there is no run {run_id}: sync-worker runs lists them")
    _counts(app, run)
    page = lists.rows_of_run(app.db, run_id, verdict, (after,) if after else None, limit)
    ids = [row["link_id"] for row in page.rows if row["link_id"] is not None]
    with app.db.read() as conn:
        standing = {row["id"]: row for row in conn.execute(select(link).where(link.c.id.in_(ids))).mappings()}
    now = app.clock()
    found = []
    for row in page.rows:
        one: dict[str, Any] = {"key": row["key"], "verdict": row["verdict"], "link": row["link_id"], "state": None}
        stands = standing.get(row["link_id"])
        if stands is not None:
            args = (stands["state"], stands["cause"], stands["cause_params"], stands["due_at"])
            state, code, params = reports.shown(*args, now)
            one |= {side: {"key": stands[f"{side}_key"], "ref": stands[f"{side}_ref"]} for side in SIDES}
            one |= {"state": state, "cause": {"code": code, "text": causes.text(code, params)}}
        detail = row["detail"] or {}
        left = {name: LEFT.get(why, why) for name, why in detail.get("left", {}).items()}
        found.append({**one, "errors": list(detail.get("errors", [])), "left": left})
    return {"run": run_id, "records": found, "next": page.next[0] if page.next else None}
