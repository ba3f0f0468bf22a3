"""Saving links: the end of a pass, or a step on its way, each under its own token (E1, E3, E5, E17)."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, update
from sqlalchemy.exc import IntegrityError

from sync_worker.events import Side
from sync_worker.store import counters, defaults, joins, managers, parts
from sync_worker.store import link_statements as sql
from sync_worker.store.rows import LinkRow, open_values
from sync_worker.store.saves import Beforehand, Gone, Save, Saved, columns_of, journal_rows, values_of, written_down
from sync_worker.store.session import Database, lock_crm_records
from sync_worker.store.tables import link
from sync_worker.store.touches import Touched


def save(db: Database, saves: Sequence[Save]) -> Saved:
    """Store each link under its own token, in one transaction (E3); the counters say whether it stays due (E1)."""
    if not saves:
        return Saved()
    beforehand = {one.row.id: written_down(one) for one in saves}

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
                _lost(conn, one, beforehand[row.id].journal, found is not None, now)
            elif one.brings is None or _brings(conn, one, one.brings, done):
                if one.gone is not None:
                    done.again += _split(conn, one, one.gone, now)
                good.append((one, found, beforehand[row.id]))
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


def _lost(conn: Connection, one: Save, entries: list[dict[str, Any]], exists_still: bool, now: float) -> None:
    """E3: what was done after the token was lost is journalled, and both sides are looked at again."""
    rows = journal_rows(one, entries, now)
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
    conn: Connection, good: list[tuple[Save, Any, Beforehand]], appeared: set[tuple[str, str]], now: float, done: Saved
) -> None:
    updates: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    opens: list[dict[str, Any]] = []
    entries: list[dict[str, Any]] = []
    reopened: list[int] = []
    shown: dict[str, dict[str, frozenset[tuple[str, str]]]] = {}
    deltas: dict[tuple[str, str], int] = {}
    for one, found, beforehand in good:
        row = one.row
        values = values_of(one, found, now) | beforehand.columns
        if not one.light:
            _wake(row, values, appeared, now)
            reopened.append(row.id)
            opens.extend(open_values(row, now))
            if row.state != found["state"]:  # not as claimed: a pass may have saved another one on its way
                for state, delta in ((found["state"], -1), (row.state, 1)):
                    deltas[row.flow, state] = deltas.get((row.flow, state), 0) + delta
        names = columns_of(one, found)
        updates.setdefault(names, []).append({"b_id": row.id, **{name: values[name] for name in names}})
        entries.extend(journal_rows(one, beforehand.journal, now))
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


def _appeared(conn: Connection, saves: Sequence[Save]) -> set[tuple[str, str]]:
    """E5: of the keys these links are about to wait for, those that exist by now (asked under their writer's lock)."""
    waits = {(one.row.flow, o.waiting_on) for one in saves if not one.light for o in one.row.opens.values()}
    return {(flow, key) for flow, key in sorted(waits, key=str) if key and managers.resolves_in(conn, flow, key)}


def _wake(row: LinkRow, values: dict[str, Any], appeared: set[tuple[str, str]], now: float) -> None:
    """What this link would wait for is there already: it stays due, with both sides still to be answered."""
    if any((row.flow, o.waiting_on) in appeared for o in row.opens.values()):
        values["due_at"] = now
