"""Records and links as a person handles them: look, sync now, settle a conflict, try again, resume."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import redis
from sqlalchemy import Connection, delete, insert, select, update

from mappings.canonical import read_typed
from mappings.memory import SIDES, Memory
from sync_worker import broker, reports, wiring
from sync_worker.config import Config
from sync_worker.connectors.base import Ask, Criteria
from sync_worker.desk import ways
from sync_worker.doorbell import Doorbell
from sync_worker.errors import ConfigError, PermanentError
from sync_worker.events import Change
from sync_worker.store import migrate, pauses, waiting
from sync_worker.store.rows import LinkRow
from sync_worker.store.tables import journal, link, open_field
from sync_worker.store.touches import Touched, touch_ids_in
from sync_worker.wiring import App

ACTOR = "cli"
WAIT_SECONDS = 30.0  # a lease


@contextmanager
def opened(config: Config) -> Iterator[App]:
    """An application for one command. Raises ConfigError when the database was never migrated."""
    if migrate.standing(config.database.url) == "behind":
        raise ConfigError("the database is not at this version's tables: run sync-worker migrate (or run)")
    app = wiring.build(config, starting=False)
    try:
        yield app
    finally:
        app.close()


def status(app: App) -> dict[str, Any]:
    return reports.status(app.db, app.flows)


def explain(app: App, system: str, key: str) -> list[dict[str, Any]]:
    """Every flow's view of one record. Raises PermanentError when nobody knows it or the reference is ambiguous."""
    return [reports.explain(app.db, app.flows[row.flow], row) for row in _records(app, system, key)]


def sync_record(app: App, system: str, key: str, flow: str | None = None) -> list[dict[str, Any]]:
    """Manual sync of one record, which may create its partner; runs it here and now and says how it ended.

    ``flow``: the one to go through, where several listen to the system. Raises PermanentError where the direction does
    not lead there, or where it is not said which of several flows should create.
    """
    known = reports.find_links(app.db, app.flows, _system(app, system), key)
    chosen = ways.chosen(app, system, key, known, _flow(app, flow))
    key = _one_key(app, system, known) if known else _key_at_vendor(app, system, key)
    app.inbox.accept([Change(system, "customer", key, via="manual")], may_create="manual", flows=chosen)
    rows = [row for row in reports.find_links(app.db, app.flows, system, f"key:{key}") if row.flow in chosen]
    for row in rows:
        _run_until_rest(app, row.id)
    return [one for one in explain(app, system, f"key:{key}") if one["flow"] in chosen]


def _key_at_vendor(app: App, system: str, key: str) -> str:
    """The API key of a record we have never heard of, asked by key, then by human reference."""
    kind, _, rest = key.partition(":")
    wanted = rest if kind in ("key", "ref") and rest else key
    connector = app.systems[system]
    if kind != "ref" and connector.read_many("customer", [Ask(wanted)]).get(wanted) is not None:
        return wanted
    found = [] if kind == "key" else connector.find_many("customer", [Criteria(ref=wanted)])[0]
    matching = [r.key for r in found if r.ref == wanted]
    if len(matching) != 1:
        raise PermanentError(f"{system} has no record {wanted}: give its API key or its human reference")
    return matching[0]


def _run_until_rest(app: App, link_id: int) -> None:
    """Run passes while this link is due right away: finding a partner, then comparing, then keys.

    A worker that holds it already is waited for.
    """
    give_up = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < give_up:
        with app.db.read() as conn:
            row = conn.execute(select(link.c.due_at, link.c.lease_until).where(link.c.id == link_id)).first()
            now = app.db.now(conn)
        leased = row is not None and row.lease_until is not None and row.lease_until > now
        if row is None or (not leased and (row.due_at is None or row.due_at > now)):
            return
        if leased or app.engine.run_link(link_id).claimed == 0:
            time.sleep(0.05)


def sync_due(app: App, flow: str | None) -> int:
    """Bring everything that is due to an end, here and now."""
    flow = _flow(app, flow)
    count = 0
    while True:
        due = [(name, klass) for name, _, klass, _, _ in waiting.due_counts(app.db) if flow in (None, name)]
        ended = sum(app.engine.run_due(name, klass).claimed for name, klass in due)
        if ended == 0:
            return count
        count += ended


def resolve(app: App, system: str, key: str, field: str, take: str) -> str:
    """Record a person's choice and make the link due; the engine writes it like any other change."""
    rows = [row for row in _records(app, system, key) if field in row.opens]
    if not rows:
        known = sorted({name for row in _records(app, system, key) for name in row.opens})
        hint = f"open fields: {', '.join(known)}" if known else "no field of it is open"
        raise PermanentError(f"{system} {key}: field {field} is not in conflict; {hint}")
    for row in rows:
        choice = _choice(field, take)
        ways.refuse_against(app.flows[row.flow], field, take)

        def work(conn: Connection, row: LinkRow = row, choice: Any = choice) -> tuple[Touched, ...]:
            live = conn.execute(select(link.c.memory).where(link.c.id == row.id).with_for_update()).scalar_one()
            memory = Memory.load(live)
            memory.take[field] = choice
            memory.bounce.pop(field, None)
            conn.execute(update(link).where(link.c.id == row.id).values(memory=memory.dump()))
            _note(conn, app, row, "resolved", {field: take if take in SIDES else "="})
            return touch_ids_in(conn, [row.id], app.db.now(conn))

        ring(app, app.db.run(work))
    return (
        f"{len(rows)} link{'s' if len(rows) > 1 else ''} due: {field} takes {take if take in SIDES else 'your value'}"
    )


def _choice(field: str, take: str) -> Any:
    if take in SIDES:
        return take
    if not take.startswith("="):
        raise PermanentError(f"--take {take}: allowed are erp, crm, or =VALUE")
    if field == "account_manager":
        raise PermanentError("account_manager: take erp or crm; a manager of one system has no name in the other")
    try:
        return {"value": read_typed(field, take[1:])}
    except ValueError as error:
        raise PermanentError(f"{field}: {error}") from None


def resume(app: App, name: str) -> str:
    """End the pause of a flow or a system; what waited is rung for within a second."""
    kinds: list[pauses.Kind] = ["flow"] if name in app.flows else []
    kinds += ["system"] if name in app.systems else []
    if not kinds:
        raise PermanentError(f"no flow or system {name}; there are: {', '.join(sorted([*app.flows, *app.systems]))}")
    ended = [kind for kind in kinds if pauses.resume(app.db, kind, name)]
    if not ended:
        raise PermanentError(f"{name} is not paused")
    values = {"flow": name, "what": "resumed", "why": "a person's choice", "actor": ACTOR}
    app.db.run(lambda conn: conn.execute(insert(journal).values(**values, at=app.db.now(conn))) and None)
    return f"{name} goes on"


def replay(
    app: App,
    *,
    link: int | None = None,
    state: str | None = None,
    waiting_on: str | None = None,
    flow: str | None = None,
) -> int:
    """Make links due again; refused values are tried once more. Returns how many."""
    if state is not None and state not in reports.STATES:
        raise PermanentError(f"no state {state}; there are: {', '.join(reports.STATES)}")

    def work(conn: Connection) -> tuple[Touched, ...]:
        ids = _chosen(conn, link, state, waiting_on, flow)
        conn.execute(delete(open_field).where(open_field.c.link_id.in_(ids), open_field.c.why == "refused"))
        touched = touch_ids_in(conn, ids, app.db.now(conn))
        if ids:
            rows = [
                {"link_id": t.link_id, "flow": t.flow, "at": app.db.now(conn), "what": "replayed", "actor": ACTOR}
                for t in touched
            ]
            conn.execute(insert(journal), rows)
        return touched

    touched = app.db.run(work)
    ring(app, touched)
    return len(touched)


def _chosen(
    conn: Connection, one: int | None, state: str | None, waiting_on: str | None, flow: str | None
) -> list[int]:
    wanted = select(link.c.id)
    if one is not None:
        wanted = wanted.where(link.c.id == one)
    if state is not None:
        wanted = wanted.where(link.c.state == state)
    if waiting_on is not None:
        wanted = wanted.where(link.c.id.in_(select(open_field.c.link_id).where(open_field.c.waiting_on == waiting_on)))
    if flow is not None:
        wanted = wanted.where(link.c.flow == flow)
    return list(conn.execute(wanted).scalars())


def _note(conn: Connection, app: App, row: LinkRow, what: str, after: Mapping[str, Any]) -> None:
    values = {"link_id": row.id, "flow": row.flow, "at": app.db.now(conn), "what": what, "after": dict(after)}
    conn.execute(insert(journal).values(**values, why="a person's choice", actor=ACTOR))


def _flow(app: App, flow: str | None) -> str | None:
    if flow is not None and flow not in app.flows:
        raise PermanentError(f"no flow {flow}; there are: {', '.join(sorted(app.flows))}")
    return flow


def _system(app: App, system: str) -> str:
    if system not in app.systems:
        raise PermanentError(f"no system {system}; there are: {', '.join(sorted(app.systems))}")
    return system


def _records(app: App, system: str, key: str) -> list[LinkRow]:
    rows = reports.find_links(app.db, app.flows, _system(app, system), key)
    if not rows:
        raise PermanentError(
            f"{system} {key}: this record is not known here; sync it first: sync-worker sync {system} {key}"
        )
    _one_key(app, system, rows)
    return rows


def _one_key(app: App, system: str, rows: list[LinkRow]) -> str:
    """The API key these rows share; several keys mean the reference was ambiguous."""
    keys = {row.key(side) for row in rows for side in SIDES if app.flows[row.flow].systems[side] == system}
    if len(keys) > 1:
        named = ", ".join(f"key:{k}" for k in sorted(map(str, keys)))
        raise PermanentError(f"{system} has several records of this key or reference; name one: {named}")
    return str(next(iter(keys)))


def ring(app: App, touched: tuple[Touched, ...]) -> None:
    """Ring at once where a queue server is known; otherwise the ringer finds them within a second."""
    if not app.config.queue.url:
        return
    queue = broker.make_broker(app.config.queue.url)
    try:
        Doorbell(queue).ring(touched)
    except redis.RedisError:
        return
    finally:
        queue.close()
