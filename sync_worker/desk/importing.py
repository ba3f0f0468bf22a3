"""An import as a person starts it: what to take, what it would do, one at a time, going on with what stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import select

from sync_worker import imports
from sync_worker.desk import limits
from sync_worker.desk.anew import Anew
from sync_worker.desk.holding import Say, held, lease_of
from sync_worker.desk.limits import Extent
from sync_worker.desk.shared import ACTOR
from sync_worker.desk.stalls import Stall
from sync_worker.engine.core import BULK_SECONDS, DRAGS, LANES, Lanes
from sync_worker.engine.flow import Flow
from sync_worker.engine.preview import Foreseen
from sync_worker.errors import PermanentError, RetryableError
from sync_worker.imports import Import, Progress, Selection, foretold
from sync_worker.routing import rule_for
from sync_worker.store import runs
from sync_worker.store.runs import Run
from sync_worker.store.tables import link
from sync_worker.wiring import App

# At a time in the import's own process: one stores what it did, another reads, and a third has calls for the slots.
BATCHES = 3


@dataclass(frozen=True, slots=True)
class Imported:
    """``counts``: customers by verdict. ``anew``: ERP keys, where a preview of the same selection was looked at.

    ``refs``: their customer numbers, where they are known.
    """

    run: int
    flow: str
    counts: dict[str, int]
    anew: Anew[str] | None = None
    refs: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """As the command line shows it."""
        told: dict[str, Any] = {}
        if self.anew is not None:
            told = self.anew.document("keys")
            told["planned_anew_refs"] = [self.refs.get(key) or key for key in self.anew.named]
        return {"flow": self.flow, "run": self.run, "seen": sum(self.counts.values()), **self.counts, **told}


def selection(app: App, flow: str, since: str | None, first: str | None, last: str | None) -> Selection:
    """What a person typed, in the time zone of the flow's CRM. Raises PermanentError before anything is read."""
    one = _importable(app, flow)
    zone = getattr(app.config.systems[one.systems["crm"]], "timezone", "") or "UTC"
    return imports.select_by(since, first, last, zone)


def unfinished(app: App, flow: str) -> Run | None:
    """An import of this flow that was stopped or killed."""
    return runs.unfinished(app.db, imports.KIND, _importable(app, flow).name)


def preview(app: App, flow: str, chosen: Selection) -> Iterator[Foreseen]:
    """What the import would do with every customer; writes nothing at a vendor. What was foretold is remembered."""
    one = _importable(app, flow)
    run = runs.begin(app.db, foretold.KIND, flow, ACTOR, chosen.as_params())
    return imports.kept(app.db, run, imports.preview(app.db, one, rule_for(one.entity), chosen))


def extent(app: App, flow: str, chosen: Selection) -> Extent:
    """How much the import would do at most; asks the ERP for its pages only. Raises SyncError."""
    one = _importable(app, flow)
    return Extent(*imports.extent(app.db, one, rule_for(one.entity), chosen))


def run_import(
    app: App,
    flow: str,
    chosen: Selection,
    *,
    resume: Run | None = None,
    unlimited: bool = False,
    progress: Callable[[Progress], None] = lambda _progress: None,
    say: Say | None = None,
) -> Imported:
    """Import, or go on. ``unlimited``: also beyond the flow's limits; a run to go on with has passed them.

    ``say``: is told when the lease of a run that was killed is waited for, that one which was stopped is not gone on
    with, and why nobody comes to an end.
    Raises LimitReached before anything is done, and PermanentError while another import of the flow runs or where
    ``chosen`` is not what ``resume`` takes.
    """
    one = _importable(app, flow)
    with held(app, lease_of(imports.KIND, flow), f"an import of {flow}", say) as renew:
        if resume is not None and runs.get(app.db, resume.id).state not in runs.UNFINISHED:
            raise PermanentError(f"the import to go on with (run {resume.id}) has come to its end meanwhile")

        def tell(at: Progress) -> None:
            renew()
            progress(at)

        if resume is not None and chosen not in (Selection(), Selection(**resume.params)):
            raise PermanentError(
                f"the stopped import (run {resume.id}) takes other customers: leave out --updated-since, --from and "
                "--to to go on with it, or leave out --resume"
            )
        run = resume or _begun(app, flow, chosen, unlimited=unlimited, say=say)
        if resume is not None:
            chosen = Selection(**resume.params)
        stall = Stall(app.db, [one], run.id, ("import", "customer"), say, app.clock) if say is not None else None

        def watch(at: Progress) -> None:
            tell(at)
            if stall is not None:
                stall.look(at)

        return _run(app, one, run, chosen, watch)


def _begun(app: App, flow: str, chosen: Selection, *, unlimited: bool, say: Say | None) -> Run:
    """A new run, with the flow's lease held: whatever is unfinished now is under way no more. Raises LimitReached."""
    stopped = unfinished(app, flow)
    if stopped is not None and say is not None:
        say(f"an import was stopped (run {stopped.id}); beginning anew (--resume would go on with it)")
    if not unlimited:
        look = f"sync-worker import {flow} --dry-run"
        limits.check(extent(app, flow, chosen), app.config.flows[flow].limits, look)
    return runs.begin(app.db, imports.KIND, flow, ACTOR, chosen.as_params())


def _run(app: App, flow: Flow, run: Run, chosen: Selection, tell: Callable[[Progress], None]) -> Imported:
    threads = 1 + max(BATCHES, int(app.config.systems[flow.systems["crm"]].concurrency))  # one for what is not bulk
    engine = replace(app.engine, lanes=lanes())
    before = runs.previewed(app.db, run, foretold.KIND)
    work = Import(app.db, app.inbox, engine, flow, run, chosen, threads, tell)
    try:
        counts = work.go()
    except (KeyboardInterrupt, RetryableError):
        work.stop()
        raise
    anew = Anew.of(imports.planned_anew(app.db, run.id, before.id)) if before is not None else None
    return Imported(run.id, flow.name, counts, anew, _refs(app, flow, anew.named) if anew is not None else {})


def lanes() -> Lanes:
    """What an import's own process does side by side.

    A batch that is not full waits for the end of those that run: it would read back, bit by bit, what they have just
    made.
    """
    return Lanes({**LANES, "bulk": BATCHES}, {**DRAGS, "bulk": BULK_SECONDS})


def _refs(app: App, flow: Flow, keys: Sequence[str]) -> dict[str, str]:
    """Customers as people number them, by ERP key."""
    c = link.c
    query = select(c.erp_key, c.erp_ref).where(c.flow == flow.name, c.entity == flow.entity, c.erp_key.in_(keys))
    with app.db.read() as conn:
        return {str(key): str(ref or "") for key, ref in conn.execute(query)}


def _importable(app: App, flow: str) -> Flow:
    if flow not in app.flows:
        raise PermanentError(f"no flow {flow}; there are: {', '.join(sorted(app.flows))}")
    direction = app.flows[flow].policy.direction
    if direction not in ("both", "to_crm"):
        raise PermanentError(f"flow {flow} has direction {direction}: an import would write against it")
    return app.flows[flow]
