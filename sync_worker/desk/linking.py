"""Links as a person arranges them: which of several on one CRM record is its default (E21)."""

from __future__ import annotations

from sqlalchemy import Connection, select

from sync_worker.desk.shared import ACTOR, ring
from sync_worker.errors import PermanentError
from sync_worker.store import defaults
from sync_worker.store.session import lock_crm_records
from sync_worker.store.tables import link
from sync_worker.store.touches import Touched
from sync_worker.wiring import App


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
