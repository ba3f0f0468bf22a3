"""Saving links: the end of a pass, or a step on its way, each under its own token (E1, E3, E5, E17)."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, update
from sqlalchemy.exc import IntegrityError

from sync_worker.events import SIDES, Side
from sync_worker.store import counters, defaults, joins, managers, parts
from sync_worker.store import link_statements as sql
from sync_worker.store.leases import LEASE
from sync_worker.store.rows import LinkRow, open_values
from sync_worker.store.session import Database, lock_crm_records
from sync_worker.store.tables import link
from sync_worker.store.touches import Touched

_LIGHT = (
    "memory", "erp_done", "crm_done", "erp_parts", "crm_parts", "erp_look_at", "crm_look_at", "erp_gone_at",
    "crm_gone_at", "due_at", "klass", "attempts", "claims", "lease_until", "noticed_at", "run_id",
)  # fmt: skip
_FULL = (
    *_LIGHT, "erp_key", "erp_ref", "crm_key", "crm_ref", "erp_was", "crm_was", "erp_children", "crm_children", "state",
    "state_at", "cause", "cause_params", "may_create", "intent", "intent_at", "intent_side", "writes", "was_linked_to",
    "first_synced_at", "last_synced_at", "is_default", "unwritten_token",
)  # fmt: skip
# SQLite writes an index anew for every column that is named, changed or not.
_LISTED = ("erp_key", "crm_key", "state", "intent_side", "intent_at")
_FULL_AS_LISTED = tuple(name for name in _FULL if name not in _LISTED)


@dataclass(frozen=True, slots=True)
class Gone:
    """A side whose record was removed, or that a person unlinked: the row is split (E20)."""

    side: Side
    cause: str
    params: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shown:
    """The child rows a read showed: notices about them lead to this record."""

    system: str
    owner_key: str
    children: frozenset[tuple[str, str]]


@dataclass
class Save:
    """One link at the end (or, with ``keep_lease``, in the middle) of a pass.

    ``seen``: the pass has answered for the notices it was claimed with. ``brings``: a side whose key is new on this row
    and may stand on a half row (E17); ``sharing``: the flows whose links may show the same CRM record, of which one is
    its default (E21). ``light``: only bookkeeping columns changed.
    """

    row: LinkRow
    seen: bool = True
    light: bool = False
    keep_lease: bool = False
    brings: Side | None = None
    sharing: tuple[str, ...] = ()
    gone: Gone | None = None
    shown: list[Shown] = field(default_factory=list)
    journal: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Saved:
    """``lost``: ids whose token no longer counted. ``taken``: ids whose new key stands on another full link.

    ``busy``: ids whose new key stands on a half row that is just creating (try again). ``again``: due right away.
    """

    lost: set[int] = field(default_factory=set)
    taken: dict[int, int] = field(default_factory=dict)
    busy: set[int] = field(default_factory=set)
    again: list[Touched] = field(default_factory=list)


def save(db: Database, saves: Sequence[Save]) -> Saved:
    """Store each link under its own token, in one transaction (E3); the counters say whether it stays due (E1)."""
    if not saves:
        return Saved()

    def store(conn: Connection) -> Saved:
        done = Saved()
        now = db.now(conn)
        appeared = _appeared(conn, saves)  # takes the waiting keys' locks, so before any row lock
        _lock_records(conn, saves)
        current = _current(conn, saves)
        good = []
        for asked in saves:
            # joins change the row; a transaction that is repeated must start from what it was given
            one = replace(asked, row=replace(asked.row)) if asked.brings or asked.gone else asked
            row = one.row
            found = current.get(row.id)
            if found is None or found["lease_token"] != row.lease_token:
                done.lost.add(row.id)
                _lost(conn, one, found is not None, now)
            elif one.brings is None or _brings(conn, one, one.brings, done):
                if one.gone is not None:
                    done.again += _split(conn, one, one.gone, now)
                good.append((one, found))
        _store(conn, good, appeared, now, done)
        return done

    for _ in range(sum(one.brings is not None for one in saves)):
        # PostgreSQL: a notice may make a half row with a new key between our look and our write; the next look sees it.
        with contextlib.suppress(IntegrityError):
            return db.run(store)
    return db.run(store)


def _current(conn: Connection, saves: Sequence[Save]) -> dict[int, Any]:
    """What others may have changed since the claim, rows locked in id order (PostgreSQL)."""
    rows = conn.execute(sql.COUNTERS, {"b_ids": sorted({one.row.id for one in saves})}).mappings()
    return {row["id"]: row for row in rows}


def _brings(conn: Connection, one: Save, side: Side, done: Saved) -> bool:
    """E17: absorb the half row that stands on the key this save brings; False when the save must not happen."""
    verdict = joins.absorb(conn, one.row, side)
    if isinstance(verdict, int):
        done.taken[one.row.id] = verdict
        return False
    if verdict == "busy":
        done.busy.add(one.row.id)
        return False
    if verdict == "absorbed":
        one.seen = False
    row = one.row
    row.is_default = (
        not one.sharing or defaults.default_of(conn, row.entity, row.crm_key, one.sharing, but=row.id) is None
    )
    return True


def _lock_records(conn: Connection, saves: Sequence[Save]) -> None:
    """Where a link of a shared record begins or ends, nobody else decides about its default at the same time (E21)."""
    for entity in sorted({one.row.entity for one in saves}):
        mine = [one for one in saves if one.row.entity == entity and one.sharing and (one.brings or one.gone)]
        lock_crm_records(conn, entity, [one.row.crm_key for one in mine if one.row.crm_key is not None])


def _split(conn: Connection, one: Save, gone: Gone, now: float) -> list[Touched]:
    """E20, and E21: another link of the same CRM record becomes its default. Returns who is due for that."""
    row = one.row
    crm_key, was_default = row.crm_key, row.is_default
    joins.split(conn, row, gone.side, gone.cause, gone.params, now)
    if not one.sharing or not was_default or crm_key is None:
        return []
    why = f"link {row.id} ended: {gone.cause}"
    return list(defaults.pass_on(conn, row.entity, crm_key, one.sharing, why, now, but=row.id))


def _lost(conn: Connection, one: Save, exists_still: bool, now: float) -> None:
    """E3: what was done after the token was lost is journalled, and both sides are looked at again."""
    rows = _journal_rows(one, now)
    if rows:
        conn.execute(sql.JOURNAL, [{**r, "why": f"{r['why']} (after the lease was lost)"} for r in rows])
    if exists_still:
        c = link.c
        conn.execute(
            update(link)
            .where(c.id == one.row.id)
            .values(erp_dirty=c.erp_dirty + 1, crm_dirty=c.crm_dirty + 1, erp_parts=-1, crm_parts=-1, due_at=now)
        )


def _store(
    conn: Connection, good: list[tuple[Save, Any]], appeared: set[tuple[str, str]], now: float, done: Saved
) -> None:
    updates: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    opens: list[dict[str, Any]] = []
    entries: list[dict[str, Any]] = []
    reopened: list[int] = []
    shown: dict[str, dict[str, frozenset[tuple[str, str]]]] = {}
    deltas: dict[tuple[str, str], int] = {}
    for one, found in good:
        row = one.row
        values = _end(one, found, now)
        if not one.light:
            _wake(row, values, appeared, now)
            reopened.append(row.id)
            opens.extend(open_values(row, now))
            if row.state != found["state"]:  # not as claimed: a pass may have saved another one on its way
                for state, delta in ((found["state"], -1), (row.state, 1)):
                    deltas[row.flow, state] = deltas.get((row.flow, state), 0) + delta
        names = _names(one, found)
        updates.setdefault(names, []).append({"b_id": row.id, **{name: values[name] for name in names}})
        entries.extend(_journal_rows(one, now))
        for each in one.shown:
            shown.setdefault(each.system, {})[each.owner_key] = each.children
        if not one.keep_lease and values["due_at"] is not None and values["due_at"] <= now:
            done.again.append(Touched(row.id, row.flow, row.entity, values["klass"]))
    for rows in updates.values():
        conn.execute(sql.UPDATE, rows)
    if reopened:
        conn.execute(sql.REOPEN, {"b_ids": reopened})
    if opens:
        conn.execute(sql.OPEN, opens)
    if entries:
        conn.execute(sql.JOURNAL, entries)
    for system in sorted(shown):
        parts.remember_parts(conn, system, shown[system])
    counters.add(conn, deltas)


def _names(one: Save, found: Any) -> tuple[str, ...]:
    if one.light:
        return _LIGHT
    return _FULL_AS_LISTED if all(getattr(one.row, name) == found[name] for name in _LISTED) else _FULL


def _end(one: Save, found: Any, now: float) -> dict[str, Any]:
    """Column values for a save: done counters, what is still noticed, the due time, the lease, permission to create."""
    row = one.row
    values = {name: getattr(row, name) for name in (_LIGHT if one.light else _FULL)}
    if not one.light and row.state != row.state_before:  # what a pass goes through on its way counts from its end
        values["state_at"] = now
    if not one.light:
        values["unwritten_token"] = None  # an intent is stored right before its create is sent
    if not one.light and not row.linked:
        values["may_create"] = found["may_create"]  # it may have been given since the claim; only linking ends it
    again = False
    for side in SIDES:
        dirty, claimed = found[f"{side}_dirty"], getattr(row, f"{side}_dirty")
        newer = dirty > claimed
        again = again or newer
        if one.seen:
            values[f"{side}_done"] = claimed
        if newer or not one.seen:
            values[f"{side}_parts"] = found[f"{side}_parts"]
        else:
            values[f"{side}_parts"] = 0
    values["lease_until"] = now + LEASE if one.keep_lease else None
    values["run_id"] = found["run_id"] if found["run_id"] is not None else row.run_id
    if one.keep_lease:
        values["due_at"] = found["due_at"]
        return values
    values["claims"] = 0
    if again:
        values["due_at"], values["klass"] = now, found["klass"]
    if one.seen and not again:
        values["noticed_at"] = None
        if row.state != "pending" and (row.due_at is None or row.due_at > now):
            values["run_id"] = None  # at rest: what comes later is no part of that run
    return values


def _appeared(conn: Connection, saves: Sequence[Save]) -> set[tuple[str, str]]:
    """E5: of the keys these links are about to wait for, those that exist by now (asked under their writer's lock)."""
    waits = {(one.row.flow, o.waiting_on) for one in saves if not one.light for o in one.row.opens.values()}
    return {(flow, key) for flow, key in sorted(waits, key=str) if key and managers.resolves_in(conn, flow, key)}


def _wake(row: LinkRow, values: dict[str, Any], appeared: set[tuple[str, str]], now: float) -> None:
    """What this link would wait for is there already: it stays due, with both sides still to be answered."""
    if any((row.flow, o.waiting_on) in appeared for o in row.opens.values()):
        values["due_at"] = now


def _journal_rows(one: Save, now: float) -> list[dict[str, Any]]:
    row = one.row
    base = {
        "link_id": row.id, "flow": row.flow, "at": now, "side": None, "key": None, "before": None, "after": None,
        "why": "", "actor": "worker", "run_id": row.run_id, "noticed_at": row.noticed_at, "read_at": None,
    }  # fmt: skip
    return [{**base, **entry} for entry in one.journal]
