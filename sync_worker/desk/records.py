"""Records and links as a person handles them: look, settle a conflict, try again, resume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, select

from mappings.canonical import read_typed
from mappings.memory import SIDES
from sync_worker import reports
from sync_worker.desk import ways
from sync_worker.desk.managers import flow_of
from sync_worker.desk.refusals import BadChoice, NotKnown, NotOpen
from sync_worker.desk.shared import ACTOR, Bell, note, records, ring
from sync_worker.errors import PermanentError
from sync_worker.store import choices, pauses
from sync_worker.store.rows import LinkRow, shown_as
from sync_worker.store.tables import link, open_field
from sync_worker.store.touches import Touched, touch_ids_in
from sync_worker.wiring import App
from sync_worker.wording import counted


def status(app: App) -> dict[str, Any]:
    return reports.status(app.db, app.flows)


def explain(app: App, system: str, key: str) -> list[dict[str, Any]]:
    """Every flow's view of one record. Raises PermanentError when nobody knows it or the reference is ambiguous."""
    return [reports.explain(app.db, app.flows[row.flow], row) for row in records(app, system, key)]


def resolve(app: App, system: str, key: str, field: str, take: str) -> str:
    """Record a person's choice and make the link due; the engine writes it like any other change."""
    count = len(settle(app, records(app, system, key), field, take, called=f"{system} {key}"))
    return f"{counted(count, 'link')} due: {field} takes {take if take in SIDES else 'your value'}"


def settle(
    app: App,
    found: Sequence[LinkRow],
    field: str,
    take: str,
    *,
    called: str,
    actor: str = ACTOR,
    bell: Bell | None = None,
) -> tuple[Touched, ...]:
    """The same for links at hand. ``called``: as errors name them. Raises ``NotOpen``, ``BadChoice``, ``NotKnown``."""
    rows = [row for row in sorted(found, key=lambda one: one.id) if field in row.opens]
    if not rows:
        known = sorted({name for row in found for name in row.opens})
        hint = f"open fields: {', '.join(known)}" if known else "no field of it is open"
        raise NotOpen(f"{called}: field {field} is not in conflict; {hint}")
    choice = _choice(field, take)
    for row in rows:
        ways.refuse_against(app.flows[row.flow], field, take)

    def work(conn: Connection) -> tuple[Touched, ...]:
        there = choices.choose_in(conn, {row.id: {field: choice} for row in rows})
        gone = next((row.id for row in rows if row.id not in there), None)
        if gone is not None:
            raise NotKnown(f"{called}: link {gone} was joined to another one just now; look at the record again")
        taken = {field: take if take in SIDES else "="}
        note(conn, app, [(row.id, row.flow) for row in rows], "resolved", actor, taken)
        return touch_ids_in(conn, [row.id for row in rows], app.db.now(conn))

    touched = app.db.run(work)
    ring(app, touched, bell)
    return touched


def _choice(field: str, take: str) -> Any:
    if take in SIDES:
        return take
    if not take.startswith("="):
        raise BadChoice(f"take {take}: allowed are erp, crm, or =VALUE")
    if field == "account_manager":
        raise BadChoice("account_manager: take erp or crm; a manager of one system has no name in the other")
    try:
        return {"value": read_typed(field, take[1:])}
    except ValueError as error:
        raise BadChoice(f"{field}: {error}") from None


def resume(app: App, name: str) -> str:
    """End the pause of a flow or a system; what waited is rung for within a second."""
    kinds: list[pauses.Kind] = ["flow"] if name in app.flows else []
    kinds += ["system"] if name in app.systems else []
    if not kinds:
        raise PermanentError(f"no flow or system {name}; there are: {', '.join(sorted([*app.flows, *app.systems]))}")
    ended = [kind for kind in kinds if pauses.resume(app.db, kind, name)]
    if not ended:
        raise PermanentError(f"{name} is not paused")

    app.db.run(lambda conn: note(conn, app, [(None, name)], "resumed", ACTOR))
    return f"{name} goes on"


def replay(
    app: App,
    *,
    link: int | None = None,
    state: str | None = None,
    waiting_on: str | None = None,
    flow: str | None = None,
    actor: str = ACTOR,
    bell: Bell | None = None,
) -> int:
    """Make links due again; refused values are tried once more. Returns how many.

    Raises PermanentError for a state or a flow that there is not.
    """
    if state is not None and state not in reports.STATES:
        raise PermanentError(f"no state {state}; there are: {', '.join(reports.STATES)}")
    if flow is not None:
        flow_of(app, flow)

    def work(conn: Connection) -> tuple[Touched, ...]:
        now = app.db.now(conn)
        touched = touch_ids_in(conn, _chosen(conn, now, link, state, waiting_on, flow), now)
        choices.retry_in(conn, [one.link_id for one in touched])
        note(conn, app, [(t.link_id, t.flow) for t in touched], "replayed", actor)
        return touched

    touched = app.db.run(work)
    ring(app, touched, bell)
    return len(touched)


def _chosen(
    conn: Connection, now: float, one: int | None, state: str | None, waiting_on: str | None, flow: str | None
) -> list[int]:
    wanted = select(link.c.id)
    if one is not None:
        wanted = wanted.where(link.c.id == one)
    if state is not None:
        wanted = wanted.where(shown_as(now, state=state))
    if waiting_on is not None:
        wanted = wanted.where(link.c.id.in_(select(open_field.c.link_id).where(open_field.c.waiting_on == waiting_on)))
    if flow is not None:
        wanted = wanted.where(link.c.flow == flow)
    return list(conn.execute(wanted).scalars())
