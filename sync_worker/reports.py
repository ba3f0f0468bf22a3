"""What people and scripts ask: how is everything, and why is this record the way it is? Reads only our own tables."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, func, select

from mappings.canonical import NOT_SHARED
from mappings.memory import SIDES, Memory
from sync_worker import causes
from sync_worker.engine.flow import Flow
from sync_worker.store import pauses
from sync_worker.store.lists import named_by
from sync_worker.store.rows import LinkRow, from_mapping, load_opens, shown_state
from sync_worker.store.session import Database
from sync_worker.store.tables import event, journal, link

STATES = ("in_sync", "pending", "waiting", "conflict", "failing", "not_synced", "excluded", "unlinked")
LAG_SAMPLE = 1000


def iso(at: float | None) -> str | None:
    """Seconds since 1970 as ISO 8601 in UTC."""
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


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
    systems = {}
    for name in sorted({s for flow in flows.values() for s in flow.systems.values()}):
        paused = held.get(("system", name))
        systems[name] = {"up": paused is None, "reason": paused.text or paused.reason if paused else None}
    paused_flows = {name: p.text or p.reason for (kind, name), p in held.items() if kind == "flow"}
    return {
        "ok": not held and counts["failing"] == 0,
        "links": counts,
        "due": total,
        "oldest_due_seconds": None if oldest is None else round(max(0.0, now - oldest), 1),
        "flows": {name: {**lag, "paused": paused_flows.get(name)} for name, lag in lags.items()},
        "systems": systems,
    }


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
                rows += [from_mapping(row) for row in conn.execute(found).mappings()]
        load_opens(conn, rows)
    return rows


def find_link(db: Database, flows: Mapping[str, Flow], link_id: int) -> LinkRow | None:
    """A link of a configured flow by its id, with its open fields."""
    with db.read() as conn:
        found = conn.execute(select(link).where(link.c.id == link_id)).mappings().first()
        if found is None or found["flow"] not in flows:
            return None
        row = from_mapping(found)
        load_opens(conn, [row])
    return row


def explain(db: Database, flow: Flow, row: LinkRow) -> dict[str, Any]:
    """One record: state, cause, next step and when, both sides field by field, its timeline (``explain --json``)."""
    with db.read() as conn:
        now = db.now(conn)
        timeline = _timeline(conn, flow, row)
    held = pauses.current(db)
    state, code, params = shown(row.state, row.cause, row.cause_params, row.due_at, now)
    step: dict[str, Any] = {"what": causes.next_step(code, _words(flow, row, params)), "at": None}
    if state == "pending":
        step["at"] = iso(row.due_at)
    paused = [p for (kind, name), p in held.items() if name == row.flow or name in flow.systems.values()]
    if paused and state == "pending":
        step = {"what": f"waits: {paused[0].kind} {paused[0].name} is paused ({paused[0].text})", "at": None}
    whole = row.opens.get("")
    waits = [o.waiting_on for o in row.opens.values() if o.waiting_on]
    return {
        "flow": row.flow,
        "entity": row.entity,
        "link": row.id,
        "default": row.is_default if row.linked else None,
        "state": state,
        "cause": {"code": code, "text": causes.text(code, params)},
        "waiting_on": waits[0] if waits else None,
        "next_step": step,
        **{s: {"system": flow.systems[s], "key": row.key(s), "ref": row.ref(s)} for s in SIDES},
        "fields": _fields(flow, row),
        "candidates": _candidates(whole.params if whole else None),
        "timeline": timeline,
    }


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
