"""Syncing by hand: one record or all that is due, here and now, or left to the workers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, select

from sync_worker import reports
from sync_worker.connectors.base import Ask, Criteria
from sync_worker.desk import ways
from sync_worker.desk.managers import flow_of
from sync_worker.desk.records import explain
from sync_worker.desk.refusals import NotKnown
from sync_worker.desk.shared import ACTOR, Bell, known_system, note, one_key
from sync_worker.engine.rule import INSISTED
from sync_worker.errors import AuthFailed, PermanentError, RetryableError
from sync_worker.events import Change
from sync_worker.store import waiting
from sync_worker.store.tables import link, open_field
from sync_worker.store.touches import Touched
from sync_worker.wiring import App

WAIT_SECONDS = 30.0  # a lease


def sync_record(app: App, system: str, key: str, flow: str | None = None) -> list[dict[str, Any]]:
    """Manual sync of one record, which may create its partner; runs it here and now and says how it ended.

    ``flow``: the one to go through, where several listen to the system. Raises PermanentError where the direction does
    not lead there, or where it is not said which of several flows should create.
    """
    known = reports.find_links(app.db, app.flows, known_system(app, system), key)
    chosen = ways.chosen(app, system, key, known, _named(app, flow))
    key = one_key(app, system, known) if known else _key_at_vendor(app, system, key)
    for one in _accept(app, system, key, chosen, ACTOR):
        _run_until_rest(app, one.link_id)
    return [one for one in explain(app, system, f"key:{key}") if one["flow"] in chosen]


def sync_records(
    app: App, system: str, keys: Sequence[str], flow: str | None = None
) -> Iterator[tuple[str, list[dict[str, Any]], str]]:
    """A list of records, one after the other (GUMU-11): key, how it ended, and why it could not begin.

    One that cannot be synced stops none of the others. Raises what would stop all of them: a system that is away or
    shuts us out, a name that is wrong.
    """
    known_system(app, system)
    _named(app, flow)
    for key in dict.fromkeys(keys):
        try:
            yield key, sync_record(app, system, key, flow), ""
        except (RetryableError, AuthFailed):
            raise
        except PermanentError as error:
            yield key, [], str(error)


def ask_sync(
    app: App, system: str, key: str, flow: str | None = None, *, actor: str, bell: Bell
) -> tuple[Touched, ...]:
    """The same, left to the workers; asks no vendor. Returns the links that are due by it.

    A record that nobody has heard of is taken at its API key. Raises ``NotKnown``, ``Ambiguous``, and PermanentError.
    """
    known = reports.find_links(app.db, app.flows, known_system(app, system), key)
    chosen = ways.chosen(app, system, key, known, _named(app, flow))
    kind, _, rest = key.partition(":")
    if known:
        key = one_key(app, system, known)
    elif kind == "ref" and rest:
        raise NotKnown(f"{system} {key}: no record of this reference is known here; give its API key")
    elif kind == "key" and rest:
        key = rest
    touched = _accept(app, system, key, chosen, actor)
    if not touched:
        raise NotKnown(f"{system}: no flow takes records of this system, or {key!r} cannot be a key")
    bell(touched)
    return touched


def _accept(app: App, system: str, key: str, flows: Sequence[str], actor: str) -> tuple[Touched, ...]:
    """Store a person's notice for these flows, and who that was, in one transaction.

    Who asks again for a record that waits since others resemble it (LAY-4) insists on one of its own.
    """

    def work(conn: Connection) -> tuple[Touched, ...]:
        notice = Change(system, "customer", key, via="manual")
        waits = select(open_field.c.link_id).where(open_field.c.waiting_on == f"match:{system}:{key}")
        permission = INSISTED if conn.execute(waits).first() is not None else "manual"
        touched = app.inbox.accept_in(conn, [notice], may_create=permission, flows=flows).touched
        note(conn, app, [(t.link_id, t.flow) for t in touched], "sync_asked", actor)
        return touched

    return app.db.run(work)


def _named(app: App, flow: str | None) -> str | None:
    return None if flow is None else flow_of(app, flow).name


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
    flow = _named(app, flow)
    count = 0
    while True:
        due = [(name, klass) for name, _, klass, _, _ in waiting.due_counts(app.db) if flow in (None, name)]
        ended = sum(app.engine.run_due(name, klass).claimed for name, klass in due)
        if ended == 0:
            return count
        count += ended
