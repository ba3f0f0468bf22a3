"""One verify run from its beginning, or from where it was left, to its report."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import structlog

from sync_worker import metrics
from sync_worker.connectors.context import call_class
from sync_worker.engine.flow import Flow
from sync_worker.engine.rule import Rule
from sync_worker.events import SIDES, Change, Side
from sync_worker.reconcile.position import Position
from sync_worker.reconcile.verdicts import DIFFERING, GONE, IN_FLIGHT, SecondLook, Tally
from sync_worker.reconcile.walk import ONLY, Walk
from sync_worker.store import runs
from sync_worker.store.inbox import Inbox
from sync_worker.store.runs import Row, Run
from sync_worker.store.session import Database
from sync_worker.wording import counted

KIND = "verify"
EXAMPLES = 20
WORK = (DIFFERING, ONLY, GONE)  # verdicts that become ordinary work

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may become work without a person saying so: records that differ or are new here, and gone ones."""

    changed: int = 1000
    unlinked: int = 20


@dataclass(frozen=True, slots=True)
class Report:
    """What a run found. ``by_settings``: of the records only there, those the flow's own settings leave so.

    ``held_back``: why nothing was made due, "" where it was. ``examples``: keys only.
    """

    flow: str
    run: int
    seen: Mapping[Side, int]
    totals: Mapping[Side, int | None]
    complete: bool
    matched: int
    differing: int
    only: Mapping[Side, int]
    by_settings: Mapping[Side, int]
    gone: int
    in_flight: int
    waiting: int
    left_out: int
    unlinked: int
    handed_over: int
    held_back: str
    calls: Mapping[str, int]
    seconds: float
    examples: list[dict[str, Any]] = field(default_factory=list)

    @property
    def left(self) -> int:
        """Differences that are left: what has to be none."""
        only = sum(self.only[side] - self.by_settings[side] for side in SIDES)
        return self.differing + only + self.gone + self.in_flight + self.waiting

    @property
    def ok(self) -> bool:
        return self.complete and not self.left

    def document(self) -> dict[str, Any]:
        """As the command line and the run show it."""
        return {
            "ok": self.ok,
            "flow": self.flow,
            "run": self.run,
            "complete": self.complete,
            "seen": dict(self.seen),
            "totals": dict(self.totals),
            "matched": self.matched,
            "differing": self.differing,
            "only_erp": self.only["erp"],
            "only_crm": self.only["crm"],
            "by_settings": dict(self.by_settings),
            "gone": self.gone,
            "in_flight": self.in_flight,
            "waiting": self.waiting,
            "left_out": self.left_out,
            "unlinked": self.unlinked,
            "handed_over": self.handed_over,
            "held_back": self.held_back,
            "calls": dict(self.calls),
            "seconds": round(self.seconds, 2),
            "examples": self.examples,
        }


def verify(
    db: Database,
    inbox: Inbox,
    flow: Flow,
    rule: Rule,
    *,
    actor: str,
    resume: Run | None = None,
    limits: Limits | None = None,
    progress: Callable[[Side, int, int | None], None] = lambda _side, _seen, _total: None,
    sleep: Callable[[float], None] = time.sleep,
    say: Callable[[str], None] = lambda _text: None,
) -> Report:
    """Walk both sides, judge what differs, hand it over. ``resume``: an unfinished run to go on with.

    ``limits``: None hands over whatever is found. ``say``: is told why a vendor is waited for. Raises SyncError when a
    vendor stays away, and KeyboardInterrupt; either leaves a run to go on with.
    """
    run = resume or runs.begin(db, KIND, flow.name, actor)
    position = Position.load(run.position)
    walk = Walk(db, flow, rule, run.id, position, progress, sleep, say)
    began, before = time.monotonic() - position.seconds, dict(position.calls)
    kind = call_class.set("bulk")
    try:
        with metrics.counting() as calls:
            walk_state = _Clock(position, began, before, calls)
            try:
                for side in SIDES:
                    walk.side(side)
                second = SecondLook(db, flow, rule, run.id, position.links, walk.patiently)
                second.all()
            finally:
                walk_state.note()
    except BaseException:
        walk.save()
        runs.end(db, run.id, "stopped")
        raise
    finally:
        call_class.reset(kind)
    report = _report(db, inbox, flow, run.id, position, second.tally(), limits)
    runs.end(db, run.id, "done", report.document())
    log.info("verify.done", flow=flow.name, run=run.id, complete=report.complete, left=report.left)
    return report


@dataclass
class _Clock:
    """Brings seconds and calls of this go, added to those of earlier ones, into the position."""

    position: Position
    began: float
    before: Mapping[str, int]
    calls: Mapping[str, int]

    def note(self) -> None:
        self.position.seconds = time.monotonic() - self.began
        names = self.before.keys() | self.calls.keys()
        self.position.calls = {n: self.before.get(n, 0) + self.calls.get(n, 0) for n in sorted(names)}


def _report(
    db: Database, inbox: Inbox, flow: Flow, run_id: int, position: Position, tally: Tally, limits: Limits | None
) -> Report:
    found = runs.tally(db, run_id)
    only = dict(tally.only)
    for chunk in runs.rows(db, run_id, (ONLY,)):
        for row in chunk:
            side = (row.detail or {})["side"]
            only[side] = only.get(side, 0) + 1
    held_back = _too_much(found, limits) if limits is not None else ""
    return Report(
        flow=flow.name,
        run=run_id,
        seen={side: position.seen(side) for side in SIDES},
        totals={side: position.totals.get(side) for side in SIDES},
        complete=all(position.walked.get(side) for side in SIDES),
        matched=tally.matched,
        differing=found.get(DIFFERING, 0),
        only={side: only.get(side, 0) for side in SIDES},
        by_settings={side: tally.by_settings[side] for side in SIDES},
        gone=found.get(GONE, 0),
        in_flight=found.get(IN_FLIGHT, 0),
        waiting=tally.waiting,
        left_out=tally.left_out + sum(position.left_out(side) for side in SIDES),
        unlinked=tally.unlinked,
        handed_over=0 if held_back else _hand_over(db, inbox, flow, run_id),
        held_back=held_back,
        calls=position.calls,
        seconds=position.seconds,
        examples=_examples(db, flow, run_id),
    )


def _too_much(found: Mapping[str, int], limits: Limits) -> str:
    """Which limit would be passed; "" for none. A side that suddenly shows fewer records unlinks nobody (E8)."""
    changed, gone = found.get(DIFFERING, 0) + found.get(ONLY, 0), found.get(GONE, 0)
    if gone > limits.unlinked:
        return f"{counted(gone, 'record is', 'records are')} gone, more than limits.unlinked = {limits.unlinked}"
    if changed > limits.changed:
        told = counted(changed, "record differs or is", "records differ or are")
        return f"{told} new, more than limits.changed = {limits.changed}"
    return ""


def _hand_over(db: Database, inbox: Inbox, flow: Flow, run_id: int) -> int:
    """Differences become ordinary work: the worker looks at each and decides. Returns how many links are due."""
    count = 0
    for rows in runs.rows(db, run_id, WORK):
        changes = [_change(flow, row) for row in rows]
        count += len(inbox.accept(changes, klass="bulk").touched)
    return count


def _change(flow: Flow, row: Row) -> Change:
    detail = row.detail or {}
    return Change(flow.systems[detail["side"]], flow.entity, str(detail["key"]), via="reconcile")


def _examples(db: Database, flow: Flow, run_id: int) -> list[dict[str, Any]]:
    """The first findings by key, without anybody's data."""
    rows = (row for chunk in runs.rows(db, run_id, (*WORK, IN_FLIGHT), EXAMPLES) for row in chunk)
    shown = []
    for row in islice(rows, EXAMPLES):
        detail = row.detail or {}
        one = {"verdict": row.verdict, "system": flow.systems[detail["side"]], "key": detail["key"]}
        shown.append(one | ({"fields": detail["fields"]} if detail.get("fields") else {}))
    return shown
