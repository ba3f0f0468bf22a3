"""Verify as a person starts it: which flow, which unfinished run, which limits."""

from __future__ import annotations

from collections.abc import Callable

from sync_worker import reconcile
from sync_worker.desk.holding import Say
from sync_worker.desk.shared import ACTOR
from sync_worker.errors import PermanentError
from sync_worker.events import Side
from sync_worker.reconcile import Limits, Report
from sync_worker.reconcile.report import KIND
from sync_worker.routing import rule_for
from sync_worker.store import runs
from sync_worker.store.runs import Run
from sync_worker.wiring import App


def unfinished(app: App, flow: str) -> Run | None:
    """A verify run of this flow that was interrupted. Raises PermanentError for an unknown flow."""
    _known(app, flow)
    return runs.unfinished(app.db, KIND, flow)


def verify(
    app: App,
    flow: str,
    *,
    resume: Run | None = None,
    unlimited: bool = False,
    progress: Callable[[Side, int, int | None], None] = lambda _side, _seen, _total: None,
    say: Say = lambda _text: None,
) -> Report:
    """Compare both sides of a flow. ``unlimited``: hand over whatever is found. ``say``: is told why a vendor is waited
    for. Raises SyncError."""
    _known(app, flow)
    one = app.flows[flow]
    given = app.config.flows[flow].limits
    limits = None if unlimited else Limits(given.changed, given.unlinked)
    return reconcile.verify(
        app.db,
        app.inbox,
        one,
        rule_for(one.entity),
        actor=ACTOR,
        resume=resume,
        limits=limits,
        progress=progress,
        say=say,
    )


def _known(app: App, flow: str) -> None:
    if flow not in app.flows:
        raise PermanentError(f"no flow {flow}; there are: {', '.join(sorted(app.flows))}")
