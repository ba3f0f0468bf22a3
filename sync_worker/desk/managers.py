"""The account manager mapping as a person maintains it: who stands for whom, and who waits for whom (E16)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mappings.account_managers import waiting_key
from sync_worker import directories
from sync_worker.desk.refusals import Ambiguous, NotKnown
from sync_worker.desk.shared import ACTOR, Bell, ring
from sync_worker.engine.flow import Flow
from sync_worker.events import SIDES, Side
from sync_worker.reports import iso
from sync_worker.store import directory, managers
from sync_worker.store.directory import Known
from sync_worker.wiring import App


@dataclass(frozen=True, slots=True)
class Proposal:
    """A row about to be made. ``waiting``: links it releases. ``replaces``: the CRM user the ERP manager had before.

    ``replaces_ref``: that one as people see it. ``unchanged``: it stands so already.
    """

    flow: str
    erp: Known
    crm: Known
    preferred: bool
    waiting: int
    replaces: str | None
    replaces_ref: str | None = None
    unchanged: bool = False


class People:
    """Who may stand in a flow's rows: both directories, found by key or reference. A vendor is asked at most once."""

    def __init__(self, app: App, flow: Flow, *, ask: bool = True) -> None:
        self._app, self._flow = app, flow
        self._may_ask = dict.fromkeys(SIDES, ask)
        self._listed: dict[Side, list[Known]] = {}
        self._rows = {row.erp_key: row for row in managers.mappings(app.db, flow.name)}
        self._counts = managers.waiting_counts(app.db, flow.name)

    def one(self, side: Side, wanted: str) -> Known:
        """Raises ``NotKnown`` when nobody is meant, ``Ambiguous`` for more than one."""
        system = self._flow.systems[side]
        found = _matching(self._list(side), wanted)
        if not found and wanted and self._may_ask[side]:
            self._may_ask[side] = False
            ring(self._app, directories.refresh(self._app.db, self._app.systems[system]))
            self._listed.pop(side)
            found = _matching(self._list(side), wanted)
        if len(found) == 1:
            return found[0]
        if found:
            named = ", ".join(f"key:{one.key}" for one in found)
            raise Ambiguous(f"{system} has several account managers {wanted}; name one: {named}")
        raise NotKnown(
            f"{system} has no account manager {wanted}: give the key or reference that sync-worker managers list shows"
        )

    def _list(self, side: Side) -> list[Known]:
        return self._listed.setdefault(side, directory.directory(self._app.db, self._flow.systems[side]))

    def proposal(self, erp: Known, crm: Known, *, preferred: bool = False) -> Proposal:
        """What making this row would mean."""
        waits = {waiting_key(one.system, one.key) for one in (erp, crm)}
        waiting = sum(self._counts.get((self._flow.name, key), 0) for key in waits)
        old = self._rows.get(erp.key)
        unchanged = old is not None and old.crm_key == crm.key and (old.preferred or not preferred)
        key = old.crm_key if old else None
        ref = next((one.ref for one in self._list("crm") if one.key == key), key)
        return Proposal(self._flow.name, erp, crm, preferred, waiting, key, ref, unchanged)


def listing(app: App, flow: str | None = None) -> dict[str, Any]:
    """Per flow: the rows, and on each side who has none, with how many links wait for them."""
    chosen = app.flows.values() if flow is None else [flow_of(app, flow)]
    return {"flows": {one.name: _of_flow(app, one) for one in chosen}}


def propose(app: App, flow_name: str, erp: str, crm: str, *, preferred: bool = False, ask: bool = True) -> Proposal:
    """What making this row would mean. KEYs are API keys or human references.

    ``ask``: the vendor, about somebody who is not in its directory. Raises ``NotKnown`` for an unknown flow or manager,
    ``Ambiguous`` for a reference that several have.
    """
    people = People(app, flow_of(app, flow_name), ask=ask)
    return people.proposal(people.one("erp", erp), people.one("crm", crm), preferred=preferred)


def map_managers(app: App, made: Sequence[Proposal], *, actor: str = ACTOR, bell: Bell | None = None) -> int:
    """Make the proposed rows of one flow, all or none, and release exactly who waits for them; how many.

    Raises ``AmbiguousMapping``.
    """
    if not made:
        return 0
    systems = (made[0].erp.system, made[0].crm.system)
    released = managers.map_managers(app.db, made[0].flow, _rows(made), systems=systems, actor=actor)
    ring(app, released, bell)
    return len(released)


def check_managers(app: App, made: Sequence[Proposal]) -> None:
    """Could the proposed rows be made? Changes nothing. Raises ``AmbiguousMapping``."""
    for name in dict.fromkeys(one.flow for one in made):
        managers.check_managers(app.db, name, _rows(one for one in made if one.flow == name))


def _rows(made: Iterable[Proposal]) -> list[managers.NewRow]:
    return [managers.NewRow(one.erp.key, one.crm.key, one.preferred) for one in made]


def map_by_flow(app: App, made: Sequence[Proposal], *, actor: str = ACTOR) -> int:
    """The rows of several flows: none where any flow's are ambiguous. Raises ``AmbiguousMapping``."""
    check_managers(app, made)
    flows = dict.fromkeys(one.flow for one in made)
    return sum(map_managers(app, [one for one in made if one.flow == name], actor=actor) for name in flows)


def unmap_manager(app: App, flow_name: str, erp: str, *, actor: str = ACTOR) -> str:
    """Remove a row, whether or not that manager is still in the directory; the key it stood for is returned."""
    flow = flow_of(app, flow_name)
    known = [row.erp_key for row in managers.mappings(app.db, flow.name)]
    listed = {one.ref: one.key for one in directory.directory(app.db, flow.systems["erp"])}
    key = erp if erp in known else listed.get(erp, erp)
    if not managers.unmap_manager(app.db, flow.name, key, actor=actor):
        raise NotKnown(f"flow {flow.name} has no row for {erp}; rows: sync-worker managers list --flow {flow.name}")
    return key


def flow_of(app: App, name: str) -> Flow:
    """A configured flow. Raises ``NotKnown``."""
    if name not in app.flows:
        raise NotKnown(f"no flow {name}; there are: {', '.join(sorted(app.flows))}")
    return app.flows[name]


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
