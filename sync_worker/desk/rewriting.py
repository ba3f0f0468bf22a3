"""Undo, re-apply of the mapping and a leaver, as a person starts them: what would change, then as one run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sync_worker import rewrites
from sync_worker.desk import foreseen, limits
from sync_worker.desk.anew import NAMED, Anew
from sync_worker.desk.holding import LEASE, Say, held, is_held, lease_of
from sync_worker.desk.limits import Extent
from sync_worker.desk.managers import People, flow_of
from sync_worker.desk.refusals import NotKnown
from sync_worker.desk.shared import ACTOR
from sync_worker.desk.stalls import Stall
from sync_worker.engine.flow import Flow
from sync_worker.errors import PermanentError
from sync_worker.events import SIDES, Side, other
from sync_worker.rewrites import LEFT, Foretold, Progress, Rewrite, Wishes, history, reassigning
from sync_worker.rewrites.reassigning import MANAGER
from sync_worker.routing import rule_for
from sync_worker.store import lists, managers, runs
from sync_worker.store.runs import Run
from sync_worker.wiring import App
from sync_worker.wording import counted

UNDO, REAPPLY, LEAVER = history.UNDO, "reapply", "leaver"
COLUMNS = ("Link", *foreseen.COLUMNS)
LEFT_OUT = "left"  # stands for the verdict on a line about a field that is left as it is


@dataclass(frozen=True)
class Plan:
    """``wishes``: what is wanted of the links behind an id. ``again``: the command that goes on with it."""

    kind: str
    flow: str
    params: Mapping[str, Any]
    wishes: Callable[[int], Wishes]
    again: str


@dataclass(frozen=True, slots=True)
class Ended:
    """``counts``: links by verdict. ``left``: of the first ``NAMED`` links with fields left, those and why.

    ``linked``: links that what was undone has made, and that go on. ``anew``: links, where a preview of the same plan
    had been looked at.
    """

    run: int
    kind: str
    params: Mapping[str, Any]
    counts: Mapping[str, int]
    left: list[dict[str, Any]] = field(default_factory=list)
    linked: list[int] = field(default_factory=list)
    anew: Anew[int] | None = None

    @property
    def ok(self) -> bool:
        """Did no vendor refuse anything, and was anything to be undone at all?"""
        nothing = self.kind == UNDO and set(self.counts) == {"left_out"}
        return not (nothing or self.counts.get("failed"))

    def document(self) -> dict[str, Any]:
        about = {"run": self.run, "kind": self.kind, "params": dict(self.params), "seen": sum(self.counts.values())}
        anew = self.anew.document("links") if self.anew is not None else {}
        return {**about, **self.counts, "left": self.left, "linked_by_it": self.linked, **anew}


def plan_undo(app: App, *, run: int | None = None, link: int | None = None) -> Plan:
    """Undo a run, or the last write through a link. Raises NotKnown, and PermanentError where nothing can be undone."""
    return _undo_run(app, run) if run is not None else _undo_link(app, int(link or 0))


def _undo_run(app: App, run_id: int) -> Plan:
    found = lists.one_run(app.db, run_id)
    if found is None:
        raise NotKnown(f"there is no run {run_id}: sync-worker runs lists them")
    flows = {found["flow"], *(() if found["flow"] else app.flows)}  # an upload without one holds a lease of each
    if found["state"] == "running" and any(is_held(app, lease_of(found["kind"], flow)) for flow in flows):
        raise PermanentError(
            f"run {run_id} is under way: let it come to its end, or stop it by Ctrl-C, then undo it "
            f"(after a kill: in {LEASE:.0f} s)"
        )
    busy = history.under_way(app.db, run_id)
    if busy:
        raise PermanentError(
            f"{counted(busy, 'record is', 'records are')} still due for run {run_id}: "
            "let it come to rest (sync-worker status), then undo it"
        )
    if not history.wrote(app.db, run_id):
        raise PermanentError(f"run {run_id} ({found['kind']}) wrote nothing that could be undone")

    def wishes(after: int) -> Wishes:
        return history.of_run(app.db, app.flows, run_id, after, of_undo=found["kind"] == UNDO)

    plan = Plan(UNDO, str(found["flow"]), {"run": run_id}, wishes, f"sync-worker undo --run {run_id}")
    before = history.undone_by(app.db, run_id)
    if before is not None and runs.unfinished(app.db, UNDO, plan.flow) is None and _idle(plan):
        raise PermanentError(
            f"run {run_id} is undone already, by run {before}: sync-worker runs --run {before} says what that has left"
        )
    return plan


def _idle(plan: Plan) -> bool:
    """Would it leave everything as it is?"""
    return all(wish.idle for _, portion in plan.wishes(0) for wish in portion)


def _undo_link(app: App, link_id: int) -> Plan:
    with app.db.read() as conn:
        row = history.links_by_id(conn, [link_id]).get(link_id)
    if row is None or row.flow not in app.flows:
        raise NotKnown(f"there is no link {link_id}: sync-worker links list shows their ids")
    again = f"sync-worker undo --link {link_id}"
    stopped = runs.unfinished(app.db, UNDO, row.flow)
    if stopped is not None and stopped.params.get("link") == link_id:
        params = dict(stopped.params)  # what it has written by now is not what is to be undone
    else:
        entries, run_id = history.last_done(app.db, link_id)
        if not entries:
            raise PermanentError(f"nothing was written through link {link_id} that could be undone")
        of_run = lists.one_run(app.db, run_id) if run_id is not None else None
        of_undo = of_run is not None and of_run["kind"] == UNDO
        params = {"link": link_id, "entries": entries, "of_undo": of_undo}

    def wishes(after: int) -> Wishes:
        if after >= link_id:
            return iter(())
        return history.of_link(app.db, app.flows, link_id, params["entries"], of_undo=params["of_undo"])

    return Plan(UNDO, row.flow, params, wishes, again)


def plan_reapply(app: App, flow_name: str, erp: list[str] | None = None) -> Plan:
    """Bring managers in step with the mapping as it is now. ``erp``: only those of these ERP managers.

    Raises NotKnown and Ambiguous.
    """
    flow = flow_of(app, flow_name)
    people = People(app, flow, ask=False)
    keys = sorted({_key_of(app, flow, people, "erp", one) for one in erp}) if erp else None
    only = None if keys is None else frozenset(keys)

    def wishes(after: int) -> Wishes:
        return reassigning.reapplied(app.db, flow, only, after)

    again = f"sync-worker managers reapply --flow {flow.name}" + "".join(f" --erp {key}" for key in keys or ())
    return Plan(REAPPLY, flow.name, {"erp": keys}, wishes, again)


def plan_leaver(app: App, flow_name: str, side: Side, leaver: str, successor: str) -> Plan:
    """All customers of one manager go to another, on both sides. Both are named by a key or reference of ``side``.

    Raises NotKnown, Ambiguous, and PermanentError for a successor who cannot take them.
    """
    flow = flow_of(app, flow_name)
    people = People(app, flow, ask=False)
    gone, heir = _key_of(app, flow, people, side, leaver), people.one(side, successor)
    if not heir.active:
        raise PermanentError(f"{heir.system} {heir.ref} is disabled and cannot take customers over")
    across = flow.translator()[0](MANAGER, side, heir.key)
    if not isinstance(across, str):
        raise PermanentError(
            f"{heir.system} {heir.ref} stands for nobody usable in {flow.systems[other(side)]}: "
            f"sync-worker managers map --flow {flow.name} --erp KEY --crm KEY first"
        )
    leaving = _leaving(app, flow.name, side, gone)
    heirs: dict[Side, str] = {side: heir.key, other(side): across}
    if any(heirs[s] in leaving[s] for s in SIDES):
        raise PermanentError(f"{leaver} and {successor} are the same person by the mapping: nothing to reassign")

    def wishes(after: int) -> Wishes:
        return reassigning.reassigned(app.db, flow, leaving, heirs, after)

    params = {"leaving": {s: sorted(leaving[s]) for s in SIDES}, "successor": heirs}
    again = f"sync-worker managers leaver --flow {flow.name} --{side} {gone} --to {heir.key}"
    return Plan(LEAVER, flow.name, params, wishes, again)


def _key_of(app: App, flow: Flow, people: People, side: Side, wanted: str) -> str:
    """Somebody who is in the directory, or is not any more and still has a row or a customer. Raises NotKnown."""
    try:
        return people.one(side, wanted).key
    except NotKnown:
        mapped = {getattr(row, f"{side}_key") for row in managers.mappings(app.db, flow.name)}
        if wanted in mapped or reassigning.has_customers(app.db, flow, side, wanted):
            return wanted
        raise


def _leaving(app: App, flow: str, side: Side, key: str) -> dict[Side, set[str]]:
    """The manager's keys on both sides. A CRM user who stands for other ERP managers too does not leave with one."""
    rows = managers.mappings(app.db, flow)
    if side == "crm":
        return {"erp": {row.erp_key for row in rows if row.crm_key == key}, "crm": {key}}
    users = {row.crm_key for row in rows if row.erp_key == key}
    shared = {row.crm_key for row in rows if row.erp_key != key}
    return {"erp": {key}, "crm": users - shared}


def preview(app: App, plan: Plan) -> Iterator[Foretold]:
    """What the run would do; writes nothing at a vendor. What was foretold is remembered.

    Raises SyncError when a vendor cannot be asked.
    """
    run = runs.begin(app.db, _dry(plan.kind), plan.flow, ACTOR, plan.params)
    rules = {flow.entity: rule_for(flow.entity) for flow in app.flows.values()}
    return rewrites.kept(app.db, run, rewrites.preview(app.db, app.flows, rules, plan.wishes(0)))


def _dry(kind: str) -> str:
    """The kind of the run that a preview of these leaves."""
    return f"{kind}_dry"


def document(one: Foretold) -> dict[str, Any]:
    """A link of a preview, as people and scripts read it."""
    told = {**foreseen.document(one.seen), "link": one.wish.link_id, "linked_by_it": one.wish.linked}
    return {**told, "left": _in_words(one.came.left)}


def lines(found: Iterable[Foretold], counts: Counter[str]) -> Iterator[list[str]]:
    """The same for a file, under ``COLUMNS``: what would be written, then what would be left, and why."""
    for one in found:
        link = str(one.wish.link_id)
        told = list(foreseen.lines([one.seen], counts))
        yield from ([link, *line] for line in told)
        for name, why in _in_words(one.came.left).items():
            yield [link, LEFT_OUT, *told[0][1:5], name, "", "", "", why, ""]


def unfinished(app: App, plan: Plan) -> Run | None:
    """The run that carries out this plan already, stopped or killed.

    Raises PermanentError where one of the same kind and flow, but of another plan, is unfinished.
    """
    found = runs.unfinished(app.db, plan.kind, plan.flow)
    if found is not None and found.params != plan.params:
        asked = ", ".join(f"{name} {value}" for name, value in found.params.items() if name in ("run", "link"))
        raise PermanentError(
            f"another {plan.kind} was stopped half way (run {found.id}{': ' + asked if asked else ''}): "
            "give the same command again to let it come to its end first"
        )
    return found


def carry_out(
    app: App,
    plan: Plan,
    *,
    unlimited: bool = False,
    progress: Callable[[Progress], None] = lambda _progress: None,
    threads: int | None = None,
    say: Say | None = None,
) -> Ended:
    """Do it as one run, or go on with it. ``unlimited``: also beyond the limits; one to go on with has passed them.

    ``say``: is told when the lease of a run that was killed is waited for, and why nobody comes to an end.
    Raises LimitReached before anything is done, and PermanentError while one of this kind and flow is under way.
    """
    what = f"an {plan.kind}" if plan.kind == UNDO else f"a {plan.kind}"
    with held(app, lease_of(plan.kind, plan.flow), what, say) as renew:
        stopped = unfinished(app, plan)
        if stopped is None and not unlimited:
            _check_limits(app, plan)
        run = stopped or runs.begin(app.db, plan.kind, plan.flow, ACTOR, plan.params)
        before = runs.previewed(app.db, run, _dry(plan.kind))
        crew = max(2, *(int(one.concurrency) for one in app.config.systems.values())) if threads is None else threads
        flows = [flow for name, flow in app.flows.items() if plan.flow in ("", name)]
        stall = Stall(app.db, flows, run.id, (plan.kind, "link"), say, app.clock) if say is not None else None

        def tell(at: Progress) -> None:
            renew()
            progress(at)
            if stall is not None:
                stall.look(at)

        work = Rewrite(app.db, app.engine, app.flows, run, plan.wishes, crew, tell)
        try:
            counts = work.go()
        except KeyboardInterrupt:
            work.stop()
            raise
    return _ended(app, run, counts, before)


def _check_limits(app: App, plan: Plan) -> None:
    """Links that would change, and fields that would be emptied, by flow. Raises LimitReached."""
    changed: Counter[str] = Counter()
    blanked: Counter[str] = Counter()
    for _, portion in plan.wishes(0):
        for wish in portion:
            changed[wish.flow] += not wish.idle
            blanked[wish.flow] += sum(
                value is None for take in wish.takes.values() for value in take["values"].values()
            )
    for flow in changed:
        extent = Extent(changed[flow], blanked[flow])
        limits.check(extent, app.config.flows[flow].limits, f"{plan.again} --dry-run")


def _ended(app: App, run: Run, counts: Mapping[str, int], before: Run | None) -> Ended:
    left: list[dict[str, Any]] = []
    linked: list[int] = []
    for chunk in runs.rows(app.db, run.id, list(counts)):
        for row in chunk:
            detail = row.detail or {}
            if detail.get("left") and len(left) < NAMED:
                left.append({"link": row.link_id, "fields": _in_words(detail["left"])})
            if detail.get("linked") and row.link_id is not None and row.verdict != "unlinked" and len(linked) < NAMED:
                linked.append(row.link_id)
    anew = Anew.of(rewrites.planned_anew(app.db, run.id, before.id)) if before is not None else None
    return Ended(run.id, run.kind, run.params, counts, left, linked, anew)


def _in_words(left: Mapping[str, str]) -> dict[str, str]:
    return {name: LEFT.get(why, why) for name, why in left.items()}
