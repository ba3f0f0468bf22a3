"""What people and scripts ask: how is everything, and why is this record the way it is? Reads only our own tables."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, func, select

from mappings.canonical import NOT_SHARED
from mappings.memory import SIDES, Memory
from sync_worker import causes
from sync_worker.engine import states
from sync_worker.engine.flow import Flow
from sync_worker.errors import AuthFailed, SystemUnavailable
from sync_worker.store import pauses, schedules
from sync_worker.store.lists import named_by
from sync_worker.store.rows import LinkRow, rows_of, shown_state
from sync_worker.store.session import Database
from sync_worker.store.tables import event, journal, link
from sync_worker.wording import counted

STATES = ("in_sync", "pending", "waiting", "conflict", "failing", "not_synced", "excluded", "unlinked")
LAG_SAMPLE = 1000
FEEDS = ("poll", "events", "invoices")
NOT_POLLED = "not polled yet"


def iso(at: float | None) -> str | None:
    """Seconds since 1970 as ISO 8601 in UTC."""
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def _second(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}Z"


def status(db: Database, flows: Mapping[str, Flow]) -> dict[str, Any]:
    """Links by state, due now, oldest due, lag per flow, systems up or down (``status --json``)."""
    with db.read() as conn:
        now = db.now(conn)
        c = link.c
        due = c.due_at <= now
        counts: dict[str, int] = dict.fromkeys(STATES, 0)
        for state, is_due, count in conn.execute(select(c.state, due, func.count()).group_by(c.state, due)):
            counts[shown_state(state, now if is_due else None, now)] += count
        total, oldest = conn.execute(select(func.count(), func.min(c.due_at)).where(due)).one()
        lags = {name: _lag(conn, flow) for name, flow in flows.items()}
    held = pauses.current(db)
    names = sorted({s for flow in flows.values() for s in flow.systems.values()})
    down, unknown = systems_down(db, names), not_polled(db, names)
    paused_flows = {name: p.text or p.reason for (kind, name), p in held.items() if kind == "flow"}
    return {
        "ok": not held and not down and counts["failing"] == 0,
        "links": counts,
        "due": total,
        "oldest_due_seconds": None if oldest is None else round(max(0.0, now - oldest), 1),
        "flows": {name: {**lag, "paused": paused_flows.get(name)} for name, lag in lags.items()},
        "systems": {name: {"up": name not in down, "reason": down.get(name, unknown.get(name))} for name in names},
    }


def systems_down(db: Database, systems: Iterable[str]) -> dict[str, str]:
    """The systems that are paused, or that did not let us in when they were last asked -> why, in words for people.

    A pause alone does not tell: it ends by itself within seconds, and begins after several failures of one process.
    """
    held = pauses.current(db, lately=pauses.PROBE_SECONDS)
    with db.read() as conn:
        now = db.now(conn)
        waits = _waits(conn)
    tasks = {one.name: one for one in schedules.statuses(db)}
    found = {}
    for name in systems:
        feeds = [tasks[task] for kind in FEEDS if (task := f"{kind}:{name}") in tasks]
        why = _why_down(held.get(("system", name)), feeds, *waits.get(name, (0, 0.0)), now)
        if why:
            found[name] = why
    return found


def not_polled(db: Database, systems: Iterable[str]) -> dict[str, str]:
    """Systems of which no poll has ended yet, well or not, so that nothing speaks for them either -> that, in words."""
    ended = {one.name for one in schedules.statuses(db) if one.last_at is not None or one.last_error}
    return {name: NOT_POLLED for name in systems if not any(f"{kind}:{name}" in ended for kind in FEEDS)}


def _why_down(
    pause: pauses.Pause | None, feeds: Sequence[schedules.Status], waiting: int, tried: float, now: float
) -> str:
    """``feeds``: of the system, its poll first. ``waiting``: links; ``tried``: when the last of them was, at most."""
    if pause is not None and pause.reason != pauses.UNAVAILABLE:
        return pause.text or pause.reason if pause.until is None or pause.until > now else ""
    code, _, said = ((feeds[0].last_error if feeds else None) or "").partition(": ")
    if code == AuthFailed.code:
        return said
    reached = max((one.last_at for one in feeds if one.last_at is not None), default=None)
    failed = [pause.until or now] if pause is not None else []
    failed += [tried] if waiting else []
    failed += [now] if code == SystemUnavailable.code else []
    if not failed or (reached or 0.0) > max(failed):
        return ""
    why = f"not reached since {_second(reached)}" if reached is not None else "not reached"
    why += f" ({said.removeprefix('not reached: ')})" if code == SystemUnavailable.code and said else ""
    return why + (f", {counted(waiting, 'link waits', 'links wait')} for it" if waiting else "")


def _waits(conn: Connection) -> dict[str, tuple[int, float]]:
    """System -> how many links wait since it was not reached, and when the last of them was tried, at the latest."""
    c = link.c
    system = c.cause_params["system"].as_string()
    query = select(system, c.attempts, func.count(), func.max(c.due_at)).group_by(system, c.attempts)
    away = query.where(c.due_at.is_not(None), c.state == "pending", c.cause == SystemUnavailable.code)
    found: dict[str, tuple[int, float]] = {}
    for name, attempts, count, due_at in conn.execute(away):
        before, tried = found.get(name, (0, 0.0))
        found[name] = before + count, max(tried, due_at - states.backoff(attempts, 0.0))
    return found


def _lag(conn: Connection, flow: Flow) -> dict[str, float | None]:
    """Seconds from a notice to the write it led to, over the latest writes."""
    latest = (
        select(journal.c.at - journal.c.noticed_at)
        .where(journal.c.flow == flow.name, journal.c.what.in_(("update", "create")), journal.c.noticed_at.is_not(None))
        .order_by(journal.c.at.desc())
        .limit(LAG_SAMPLE)
    )
    lags = sorted(conn.execute(latest).scalars())
    if not lags:
        return {"lag_seconds_p50": None, "lag_seconds_p95": None}
    return {
        "lag_seconds_p50": round(lags[len(lags) // 2], 3),
        "lag_seconds_p95": round(lags[min(len(lags) - 1, int(len(lags) * 0.95))], 3),
    }


def find_links(db: Database, flows: Mapping[str, Flow], system: str, key: str) -> list[LinkRow]:
    """Links of a record by API key or human reference, with their open fields.

    ``key:K`` and ``ref:R`` say which of the two is meant, for where one record's key is another one's reference.
    """
    rows: list[LinkRow] = []
    with db.read() as conn:
        for flow in flows.values():
            for side in (s for s in SIDES if flow.systems[s] == system):
                matches = named_by(side, key)
                found = select(link).where(link.c.flow == flow.name, link.c.entity == flow.entity, matches)
                rows += rows_of(conn, found)
    return rows


def find_link(db: Database, flows: Mapping[str, Flow], link_id: int) -> LinkRow | None:
    """A link of a configured flow by its id, with its open fields."""
    with db.read() as conn:
        found = rows_of(conn, select(link).where(link.c.id == link_id))
    return next((row for row in found if row.flow in flows), None)


def explain(db: Database, flow: Flow, row: LinkRow) -> dict[str, Any]:
    """One record: state, cause, next step and when, both sides field by field, its timeline (``explain --json``)."""
    with db.read() as conn:
        now = db.now(conn)
        timeline = _timeline(conn, flow, row)
    held = pauses.current(db)
    state, code, params = shown(row.state, row.cause, row.cause_params, row.due_at, now)
    paused = [p for (kind, name), p in held.items() if name == row.flow or name in flow.systems.values()]
    # what waited before a dead end goes on behind it: until then one next step is enough
    dead_end = state == "failing" and all(one.why != "refused" for one in row.opens.values())
    opens = {} if dead_end else row.opens
    whole = opens.get("")
    waits = [o.waiting_on for o in opens.values() if o.waiting_on]
    return {
        "flow": row.flow,
        "entity": row.entity,
        "link": row.id,
        "default": row.is_default if row.linked else None,
        "state": state,
        "cause": {"code": code, "text": causes.text(code, params)},
        "waiting_on": waits[0] if waits else None,
        "next_step": _next_step(flow, row, state, code, params, paused, now),
        **{s: {"system": flow.systems[s], "key": row.key(s), "ref": row.ref(s)} for s in SIDES},
        "fields": _fields(flow, row),
        "candidates": _candidates(whole.params if whole else None),
        "timeline": timeline,
    }


def _next_step(
    flow: Flow,
    row: LinkRow,
    state: str,
    code: str,
    params: Mapping[str, Any] | None,
    paused: Sequence[pauses.Pause],
    now: float,
) -> dict[str, Any]:
    """The one thing that moves it on, and when. ``state``, ``code``, ``params``: as they are shown."""
    given = params or {}
    chosen = sorted(row.opens.keys() & Memory.load(row.memory).take.keys())
    open_ones = [name for name in given.get("fields") or () if name not in chosen]
    decided = bool(chosen) and not open_ones and row.due_at is not None
    if paused and (decided or state == "pending"):
        return {"what": f"waits: {paused[0].kind} {paused[0].name} is paused ({paused[0].text})", "at": None}
    if decided:
        later = row.due_at is not None and row.due_at > now
        what = f"the choice made for {', '.join(chosen)} is {'written' if later else 'being written'}"
        return {"what": what, "at": iso(row.due_at) if later else None}
    if code == "removed" and not row.linked and given.get("side") == row.known_side:
        return {"what": causes.AT_REST, "at": None}  # it is gone itself: nobody can be made for it
    words = _words(flow, row, {**given, "fields": open_ones} if chosen else params)
    return {"what": causes.next_step(code, words), "at": iso(row.due_at) if state == "pending" else None}


def _words(flow: Flow, row: LinkRow, params: Mapping[str, Any] | None) -> dict[str, str]:
    """What a person would type for the words of the next step's command, as far as it is known of this record."""
    side = row.known_side
    keys = {side: str(row.key(side))} if not row.linked else {}
    kind, _, named = str((params or {}).get("waiting_on") or "").partition(":")
    if kind == "account_manager":
        system, _, key = named.partition(":")
        keys = {s: key for s in SIDES if flow.systems[s] == system}
    fields = (params or {}).get("fields") or []
    words = {"SYSTEM KEY": f"{flow.systems[side]} {shlex.quote(str(row.key(side)))}"}
    words |= {f"--{s} KEY": f"--{s} {shlex.quote(key)}" for s, key in keys.items()}
    words |= {"FIELD": fields[0]} if isinstance(fields, list) and fields and fields[0] else {}
    return {**words, "FLOW": row.flow, "LINK": str(row.id)}


def shown(
    state: str, cause: str, params: Mapping[str, Any] | None, due_at: float | None, now: float
) -> tuple[str, str, Mapping[str, Any] | None]:
    """State, cause and its parameters as people see them (see ``shown_state``)."""
    seen = shown_state(state, due_at, now)
    return (state, cause, params) if seen == state else (seen, "new", None)


def _candidates(params: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    system = (params or {}).get("system")
    return [{"system": system, "name": None, **one} for one in (params or {}).get("candidates", [])]


def _fields(flow: Flow, row: LinkRow) -> list[dict[str, Any]]:
    """Every field the link shares, with both values as last seen; of one that differs also why it does not travel."""
    if not row.linked:
        side = row.known_side
        blank: dict[str, Any] = {"erp": None, "crm": None}
        return [{"name": n, **blank, side: v, "status": "differs"} for n, v in sorted(row.was(side).items())]
    memory = Memory.load(row.memory)
    rows = []
    for name in sorted(flow.maps["erp"].fields.keys() & flow.maps["crm"].fields.keys()):
        if not row.is_default and name not in NOT_SHARED:
            continue
        values: dict[str, Any] = {s: row.was(s).get(name) for s in SIDES}
        parked = row.opens.get(name)
        if parked is not None:
            values = {s: values[s] if parked.why == "stale" else parked.seen(s) for s in SIDES}
        status_of = parked.why if parked is not None else "differs" if name in memory.apart else "in_step"
        why = {"why": memory.apart[name]} if status_of == "differs" else {}
        rows.append({"name": name, **values, "status": status_of, **why})
    return rows


def _named(entry: RowMapping) -> str:
    """Which fields a journal entry is about: a parked one by name, else those whose value changed."""
    after, before = entry["after"] or {}, entry["before"] or {}
    if "field" in after:
        return str(after["field"])
    return ", ".join(sorted(name for name, value in after.items() if value is not None or before.get(name) is not None))


def _timeline(conn: Connection, flow: Flow, row: LinkRow) -> list[dict[str, Any]]:
    """Notices and what was done about them, oldest first."""
    entries: list[tuple[float, str, str]] = []
    keys = [(s, row.key(s)) for s in SIDES if row.key(s) is not None]
    for side, key in keys:
        told = select(event.c.received_at, event.c.op, event.c.via, event.c.system).where(
            event.c.system == flow.systems[side], event.c.entity == row.entity, event.c.key == key
        )
        for at, op, via, system in conn.execute(told.order_by(event.c.id.desc()).limit(100)):
            entries.append((at, f"notice from {side}", f"{op} in {system}, by {via}"))
    done = select(journal).where(journal.c.link_id == row.id).order_by(journal.c.id.desc()).limit(100)
    for one in conn.execute(done).mappings():
        what = " ".join(x for x in (one["what"], f"on {one['side']}" if one["side"] else "", _named(one)) if x)
        entries.append((one["at"], what, one["why"] + (f" (by {one['actor']})" if one["actor"] != "worker" else "")))
    return [{"at": iso(at), "what": what, "why": why} for at, what, why in sorted(entries)]
