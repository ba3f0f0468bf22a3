"""What the engine would do, decided by the same code, with every write refused in the HTTP layer.

A preview reads the vendors as a pass does. It claims nothing and stores nothing: it works on copies of the rows, and
wherever a pass would write, it notes what, and stops.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mappings.fields import Value
from mappings.merge import Plan, Sides
from sync_worker.connectors.context import call_class, writes_allowed
from sync_worker.engine import halves, linked
from sync_worker.engine.flow import Flow
from sync_worker.engine.reading import Pass
from sync_worker.engine.rule import Rule
from sync_worker.events import SIDES, Side
from sync_worker.store import defaults, waiting
from sync_worker.store.rows import LinkRow
from sync_worker.store.saves import Save
from sync_worker.store.session import Database

Verdict = Literal[
    "create", "link", "update", "unchanged", "skip", "ambiguous", "waiting", "conflict", "unlink", "failed"
]


@dataclass(slots=True)
class Foreseen:
    """What would become of one record.

    ``fields``: name -> {"side", "before", "after"} of what would be written; a field that is written on both sides
    stands there a second time as ``name@side``. ``cause`` and ``params`` as on the link
    afterwards; ``candidates``: records that may be its partner. ``step``: of the ladder, where it found one.
    """

    row: LinkRow
    verdict: Verdict = "unchanged"
    fields: dict[str, dict[str, Any]] = field(default_factory=dict)
    cause: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    open: list[str] = field(default_factory=list)
    step: str = ""

    @property
    def candidates(self) -> list[dict[str, Any]]:
        return list((self.params or {}).get("candidates", []))


@dataclass(slots=True)
class Taken:
    """Keys that a preview has found a partner for so far: for the records that follow they count as linked."""

    keys: dict[Side, set[str]] = field(default_factory=lambda: {"erp": set(), "crm": set()})


def foresee(
    db: Database, flow: Flow, rule: Rule, rows: Sequence[LinkRow], taken: Taken | None = None
) -> list[Foreseen]:
    """One verdict per row, in order. ``rows`` are left as they are; those nobody stored yet have ids below zero.

    ``taken``: of a preview in several batches. Raises RetryableError and AuthFailed when a vendor cannot be asked.
    """
    desk = _Preview(db, flow, [copy.deepcopy(row) for row in rows], taken or Taken())
    allowed, kind = writes_allowed.set(False), call_class.set("bulk")
    try:
        desk.run(rule)
    finally:
        writes_allowed.reset(allowed)
        call_class.reset(kind)
    return [desk.found[row.id] for row in rows]


class _Preview:
    """A desk (``desk.Desk``) that never lets a pass write."""

    def __init__(self, db: Database, flow: Flow, rows: list[LinkRow], taken: Taken) -> None:
        self._db, self._flow, self._rows, self._taken = db, flow, rows, taken
        self.found = {row.id: Foreseen(row) for row in rows}

    def run(self, rule: Rule) -> None:
        """Half rows first: those that find their partner go on to be compared with it."""
        halfway = halves.sync(self, self._flow, rule, [row for row in self._rows if not row.linked])
        for save in halfway:
            self._ended(save)
        whole = [row for row in self._rows if row.linked]
        for save in linked.sync(self, self._flow, rule, whole):
            self._ended(save)

    @property
    def clock(self) -> Callable[[], float]:
        return self._db.clock

    def jitter(self) -> float:
        return 0.5

    def planned(self, p: Pass, sides: Sides, plan: Plan) -> None:
        one = self.found[p.row.id]
        for side in SIDES:
            for name, value in plan.writes(side).items():
                fitted = self._flow.maps[side].fit(name, value)
                shown = name if name not in one.fields else f"{name}@{side}"
                one.fields[shown] = {"side": side, "before": sides.look(side).now.get(name), "after": fitted}
        one.open = [step.name for step in plan.steps if step.open is not None]
        if one.fields and one.verdict != "link":
            one.verdict = "update"

    def hold(self, passes: Sequence[Pass]) -> list[Pass]:
        return []

    def commit(self, saves: Sequence[Save]) -> set[int]:
        """The one thing stored in the middle of a pass is the intent of a create; none counts, so none is sent."""
        for save in saves:
            one = self.found[save.row.id]
            side: Side = save.row.intent_side or "crm"
            payload: Mapping[str, Value] = (save.row.intent or {}).get("payload", {}).get(side, {})
            one.verdict = "create"
            one.fields = {n: {"side": side, "before": None, "after": v} for n, v in payload.items() if v is not None}
            one.open = sorted(save.row.opens)
        return set()

    def finish(self, *saves: Save) -> None:
        for save in saves:
            self._ended(save)

    def portion(self, target: Side) -> int:
        return max(1, len(self._rows))

    def note_portion(self, target: Side, seconds: float, count: int) -> None:
        """Nothing is written, so nothing is sized."""

    def open_intents(self, row: LinkRow, side: Side) -> int:
        with self._db.read() as conn:
            return waiting.intents_before(conn, row.flow, row.entity, side, row.created_at)

    def alive(self) -> set[int]:
        return set(self.found)

    def linked_elsewhere(self, flow: Flow, row: LinkRow) -> str | None:
        return defaults.flow_elsewhere(self._db, row.entity, row.crm_key, flow.shared_crm, but=row.id)

    def linked_keys(self, flow: str, entity: str, side: Side, keys: Sequence[str]) -> set[str]:
        return waiting.linked_keys(self._db, flow, entity, side, keys) | self._taken.keys[side].intersection(keys)

    def _ended(self, save: Save) -> None:
        one = self.found[save.row.id]
        one.row = save.row
        if one.verdict == "create":
            return
        one.cause, one.params = save.row.cause, save.row.cause_params or {}
        if save.brings is not None:
            one.verdict, one.step = "link", str(one.params.get("step", ""))
            self._taken.keys[save.brings].add(str(save.row.key(save.brings)))
        elif save.gone is not None:
            one.verdict = "unlink"
        elif one.verdict == "unchanged":
            one.verdict = _VERDICTS.get(save.row.state, "unchanged")
            if save.row.state == "waiting" and one.candidates:
                one.verdict = "ambiguous"
            one.open = one.open or sorted(name for name in save.row.opens if name)


_VERDICTS: Mapping[str, Verdict] = {
    "waiting": "waiting",
    "conflict": "conflict",
    "failing": "failed",
    "not_synced": "skip",
    "excluded": "skip",
    "unlinked": "skip",
}
