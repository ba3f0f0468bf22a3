"""Links as a person arranges them: made, ended (E20), and which of several on one CRM record is its default (E21)."""

from __future__ import annotations

import copy
from typing import Any

from sqlalchemy import Connection, select

from sync_worker import reports
from sync_worker.connectors.base import Record
from sync_worker.desk.link_rows import known_customer, shown
from sync_worker.desk.link_upload import why_not
from sync_worker.desk.shared import ACTOR, ring
from sync_worker.engine.flow import Flow
from sync_worker.engine.preview import foresee
from sync_worker.errors import PermanentError
from sync_worker.events import SIDES, Side, other
from sync_worker.routing import rule_for
from sync_worker.store import defaults, pairing
from sync_worker.store.pairing import By, Paired, Wanted
from sync_worker.store.rows import LinkRow
from sync_worker.store.session import lock_crm_records
from sync_worker.store.tables import link
from sync_worker.store.touches import Touched
from sync_worker.wiring import App

WHY = "a person's choice"
_BEFORE = "was linked with it before"


def link_two(app: App, flow_name: str, erp: str, crm: str, *, relink: bool = False) -> str:
    """Link two existing records. Raises PermanentError for unknown ones, and for those that are linked otherwise."""
    flow = _flow(app, flow_name)
    customer, company = _there(flow, "erp", erp), _there(flow, "crm", crm)
    wanted = Wanted(company.key, company.ref, customer.key, customer.ref)
    (made,), touched = pairing.pair(app.db, flow.scope, [wanted], By(ACTOR, WHY), relink=relink)
    two = f"{flow.systems['erp']} {wanted.erp_key} and {flow.systems['crm']} {wanted.crm_key}"
    if made.verdict in ("refused", "busy"):
        raise PermanentError(f"{two} were not linked: {why_not(flow, made)}")
    if made.verdict == "unchanged":
        return f"{two} are linked already (link {made.link_id})"
    ring(app, touched)
    return f"{two} are linked (link {made.link_id}); {_ended(flow, made)}the worker compares them now"


def _ended(flow: Flow, made: Paired) -> str:
    """The links that gave way, by their records: the CRM's keeps its link's id, so that would name the new one."""
    crm, erp = flow.systems["crm"], flow.systems["erp"]
    return "".join(f"{crm} {one.crm_key} is not linked with {erp} {one.erp_key} any more; " for one in made.others)


def unlink(app: App, link_id: int) -> str:
    """End a link: both records stay as they are, each on a half row, until a person links them again (E20)."""
    with app.db.read() as conn:
        row = conn.execute(select(link.c.flow, link.c.entity).where(link.c.id == link_id)).first()
    flow = app.flows.get(row.flow) if row is not None else None
    if flow is None:
        raise PermanentError(f"there is no link {link_id}: sync-worker links list shows their ids")
    by, scope = By(ACTOR, WHY), flow.scope
    new_id, touched = app.db.run(lambda conn: pairing.unlink_in(conn, scope, link_id, by, app.db.now(conn)))
    if new_id is None:
        raise PermanentError(f"link {link_id} has no partner, so there is nothing to unlink")
    ring(app, touched)
    return f"link {link_id} is ended; its {flow.systems['erp']} record stands alone as link {new_id} from now on"


def candidates(app: App, system: str, key: str) -> list[dict[str, Any]]:
    """Per flow: who may be the partner of a record without one, and why: as waits for a person, else asked now.

    Raises PermanentError for a record that nobody knows, and RetryableError when a vendor cannot be asked.
    """
    if system not in app.systems:
        raise PermanentError(f"no system {system}; there are: {', '.join(sorted(app.systems))}")
    rows = {row.flow: row for row in reports.find_links(app.db, app.flows, system, key)}
    found = []
    for name, flow in app.flows.items():
        for side in (s for s in SIDES if flow.systems[s] == system):
            row = rows.get(name) or _unheard_of(flow, side, key)
            if row is not None:
                found.append(_offers(app, flow, row, side))
    if not found:
        raise PermanentError(f"{system} has no record {shown(key)}: give its API key or its human reference")
    return found


def _unheard_of(flow: Flow, side: Side, key: str) -> LinkRow | None:
    """A half row that is nowhere stored, for a record that no notice told of yet."""
    record = known_customer(flow, side, key)
    if record is None:
        return None
    row = LinkRow(-1, flow.name, flow.entity)
    row.put(side, key=record.key, ref=record.ref)
    return row


def _offers(app: App, flow: Flow, row: LinkRow, side: Side) -> dict[str, Any]:
    about: dict[str, Any] = {"flow": flow.name, "link": row.id if row.id > 0 else None, "state": row.state}
    into = other(side)
    about["record"] = _shown(flow, row, side)
    if row.linked:
        return {**about, "linked_with": _shown(flow, row, into), "candidates": []}
    whole = row.opens.get("")
    listed = list(whole.params.get("candidates", [])) if whole is not None else []
    if not listed:
        listed = _asked(app, flow, row, into)
    before = row.was_linked_to
    if before and before.get("key") and all(c["key"] != before["key"] for c in listed):
        listed.append({"key": before["key"], "ref": before.get("ref", ""), "name": None, "why": _BEFORE})
    offered = [{"system": flow.systems[into], "name": None, **one} for one in listed]
    return {**about, "linked_with": None, "candidates": offered}


def _asked(app: App, flow: Flow, row: LinkRow, into: Side) -> list[dict[str, Any]]:
    """What the ladder says today, as if nobody had unlinked the record."""
    fresh = copy.deepcopy(row)
    fresh.was_linked_to = fresh.may_create = None
    (found,) = foresee(app.db, flow, rule_for(flow.entity), [fresh])
    if found.verdict == "link":
        why = _STEPS.get(found.step, found.step)
        return [{"key": found.row.key(into), "ref": found.row.ref(into), "why": why}]
    return found.candidates


_STEPS = {
    "key_columns": "its key column names it",
    "id_and_name": "customer id and name agree",
    "all_three": "record number, customer id and name agree",
    "own_id": "its customer id was made for this record",
}


def _shown(flow: Flow, row: LinkRow, side: Side) -> dict[str, Any]:
    return {"system": flow.systems[side], "key": row.key(side), "ref": row.ref(side)}


def _flow(app: App, name: str) -> Flow:
    if name not in app.flows:
        raise PermanentError(f"no flow {name}; there are: {', '.join(sorted(app.flows))}")
    return app.flows[name]


def _there(flow: Flow, side: Side, key: str) -> Record:
    found = known_customer(flow, side, key)
    if found is None:
        raise PermanentError(
            f"{flow.systems[side]} has no record {shown(key)}: give its API key or its human reference"
        )
    return found


def make_default(app: App, link_id: int) -> str:
    """Let the shared fields of a CRM record come from this link from now on. Raises PermanentError for what is none."""
    c = link.c
    with app.db.read() as conn:
        row = conn.execute(select(c.flow, c.entity, c.erp_key, c.crm_key).where(c.id == link_id)).first()
    flow = app.flows.get(row.flow) if row is not None else None
    if row is None or flow is None:
        raise PermanentError(f"there is no link {link_id}: sync-worker explain SYSTEM KEY shows the ids of links")
    if row.erp_key is None or row.crm_key is None:
        raise PermanentError(f"link {link_id} has no partner, so it is nobody's default: link it first")
    sharing = flow.shared_crm or (row.flow,)

    def work(conn: Connection) -> tuple[Touched, ...]:
        lock_crm_records(conn, row.entity, [row.crm_key])
        now = app.db.now(conn)
        live = conn.execute(select(c.is_default, c.crm_key, c.erp_key).where(c.id == link_id)).first()
        if live is None or (live.crm_key, live.erp_key) != (row.crm_key, row.erp_key):
            raise PermanentError(f"link {link_id} has just changed: look at it again")
        if live.is_default:
            return ()
        before = defaults.default_of(conn, row.entity, row.crm_key, sharing, but=link_id)
        why = "a person's choice"
        touched = [] if before is None else list(defaults.step_back(conn, before, why, now, ACTOR))
        return (*touched, *defaults.take_over(conn, link_id, why, now, ACTOR))

    touched = app.db.run(work)
    if not touched:
        return f"link {link_id} is its record's default already"
    ring(app, touched)
    return f"link {link_id} (flow {row.flow}) is now the default of its CRM record; its shared fields are compared anew"
