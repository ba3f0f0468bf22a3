"""The account manager mapping as a person maintains it: who stands for whom, and who waits for whom (E16)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mappings.account_managers import waiting_key
from sync_worker import directories
from sync_worker.desk.records import ACTOR, ring
from sync_worker.engine.flow import Flow
from sync_worker.errors import PermanentError
from sync_worker.events import SIDES, Side
from sync_worker.reports import iso
from sync_worker.store import directory, managers
from sync_worker.store.directory import Known
from sync_worker.wiring import App


@dataclass(frozen=True, slots=True)
class Proposal:
    """A row about to be made. ``waiting``: links it releases. ``replaces``: the CRM user the ERP manager had before."""

    flow: str
    erp: Known
    crm: Known
    preferred: bool
    waiting: int
    replaces: str | None


def listing(app: App, flow: str | None = None) -> dict[str, Any]:
    """Per flow: the rows, and on each side who has none, with how many links wait for them."""
    chosen = app.flows.values() if flow is None else [_flow(app, flow)]
    return {"flows": {one.name: _of_flow(app, one) for one in chosen}}


def propose(app: App, flow_name: str, erp: str, crm: str, *, preferred: bool = False) -> Proposal:
    """What making this row would mean. KEYs are API keys or human references.

    Raises PermanentError for an unknown flow, and for a manager that is not, or not uniquely, in a directory.
    """
    flow = _flow(app, flow_name)
    ours, theirs = _entry(app, flow, "erp", erp), _entry(app, flow, "crm", crm)
    counts = managers.waiting_counts(app.db, flow.name)
    waits = {waiting_key(one.system, one.key) for one in (ours, theirs)}
    old = next((row.crm_key for row in managers.mappings(app.db, flow.name) if row.erp_key == ours.key), None)
    waiting = sum(counts.get((flow.name, key), 0) for key in waits)
    return Proposal(flow.name, ours, theirs, preferred, waiting, old)


def map_manager(app: App, made: Proposal, *, actor: str = ACTOR) -> int:
    """Make the proposed row and release exactly who waits for it; how many. Raises ``AmbiguousMapping``."""
    systems = (made.erp.system, made.crm.system)
    released = managers.map_manager(
        app.db, made.flow, made.erp.key, made.crm.key, systems=systems, preferred=made.preferred, actor=actor
    )
    ring(app, released)
    return len(released)


def unmap_manager(app: App, flow_name: str, erp: str, *, actor: str = ACTOR) -> str:
    """Remove a row, whether or not that manager is still in the directory; the key it stood for is returned."""
    flow = _flow(app, flow_name)
    known = [row.erp_key for row in managers.mappings(app.db, flow.name)]
    listed = {one.ref: one.key for one in directory.directory(app.db, flow.systems["erp"])}
    key = erp if erp in known else listed.get(erp, erp)
    if not managers.unmap_manager(app.db, flow.name, key, actor=actor):
        raise PermanentError(
            f"flow {flow.name} has no row for {erp}; rows: sync-worker managers list --flow {flow.name}"
        )
    return key


def _flow(app: App, name: str) -> Flow:
    if name not in app.flows:
        raise PermanentError(f"no flow {name}; there are: {', '.join(sorted(app.flows))}")
    return app.flows[name]


def _entry(app: App, flow: Flow, side: Side, wanted: str) -> Known:
    """The directory's entry; asks the vendor once when it is not known yet."""
    system = flow.systems[side]
    found = _matching(directory.directory(app.db, system), wanted)
    if not found:
        ring(app, directories.refresh(app.db, app.systems[system]))
        found = _matching(directory.directory(app.db, system), wanted)
    if len(found) == 1:
        return found[0]
    if found:
        named = ", ".join(f"key:{one.key}" for one in found)
        raise PermanentError(f"{system} has several account managers {wanted}; name one: {named}")
    raise PermanentError(
        f"{system} has no account manager {wanted}: give the key or reference that sync-worker managers list shows"
    )


def _matching(listed: Iterable[Known], wanted: str) -> list[Known]:
    """By key, else by reference; to the letter, else regardless of case and spaces around."""
    kind, _, rest = wanted.partition(":")
    kinds, text = ((kind,), rest) if kind in ("key", "ref") and rest else (("key", "ref"), wanted)
    everybody = list(listed)
    exact = next((hits for name in kinds if (hits := [x for x in everybody if getattr(x, name) == text])), [])
    flat = text.strip().casefold()
    return exact or [one for one in everybody if flat in {str(getattr(one, name)).casefold() for name in kinds}]


def _of_flow(app: App, flow: Flow) -> dict[str, Any]:
    people: dict[Side, dict[str, Known]] = {
        side: {one.key: one for one in directory.directory(app.db, flow.systems[side])} for side in SIDES
    }
    counts = managers.waiting_counts(app.db, flow.name)
    rows = managers.mappings(app.db, flow.name)

    def show(side: Side, key: str) -> dict[str, Any]:
        return _shown(people[side], key, counts.get((flow.name, waiting_key(flow.systems[side], key)), 0))

    mapped: dict[Side, set[str]] = {"erp": {r.erp_key for r in rows}, "crm": {r.crm_key for r in rows}}
    unmapped: dict[str, list[dict[str, Any]]] = {}
    for side in SIDES:
        asked_for = {key.split(":", 2)[2] for _, key in counts if key.split(":", 2)[1] == flow.systems[side]}
        active = {key for key, one in people[side].items() if one.active}
        missing = sorted((active | asked_for) - mapped[side])
        unmapped[side] = sorted((show(side, key) for key in missing), key=lambda one: -one["waiting"])
    return {
        "erp_system": flow.systems["erp"],
        "crm_system": flow.systems["crm"],
        "map": [
            {
                "erp": show("erp", row.erp_key), "crm": show("crm", row.crm_key), "preferred": row.preferred,
                "actor": row.actor, "at": iso(row.at),
            }
            for row in rows
        ],
        "unmapped": unmapped,
    }  # fmt: skip


def _shown(people: Mapping[str, Known], key: str, waiting: int) -> dict[str, Any]:
    one = people.get(key)
    return {
        "key": key,
        "ref": one.ref if one else "",
        "name": one.name if one else "",
        "active": one.active if one else None,
        "waiting": waiting,
    }
