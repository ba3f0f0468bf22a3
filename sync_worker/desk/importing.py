"""An import as a person starts it: what to take, what it would do, one at a time, going on with what stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from sync_worker import imports
from sync_worker.desk.shared import ACTOR
from sync_worker.engine.flow import Flow
from sync_worker.engine.preview import Foreseen
from sync_worker.errors import PermanentError
from sync_worker.imports import Import, Progress, Selection
from sync_worker.routing import rule_for
from sync_worker.store import runs, schedules
from sync_worker.store.runs import Run
from sync_worker.wiring import App

LEASE = 60.0
RENEW_SECONDS = 15.0


def selection(app: App, flow: str, since: str | None, first: str | None, last: str | None) -> Selection:
    """What a person typed, in the time zone of the flow's CRM. Raises PermanentError before anything is read."""
    one = _importable(app, flow)
    zone = getattr(app.config.systems[one.systems["crm"]], "timezone", "") or "UTC"
    return imports.select_by(since, first, last, zone)


def unfinished(app: App, flow: str) -> Run | None:
    """An import of this flow that was stopped or killed."""
    return runs.unfinished(app.db, imports.KIND, _importable(app, flow).name)


def preview(app: App, flow: str, chosen: Selection) -> Iterator[Foreseen]:
    """What the import would do with every customer; writes nothing."""
    one = _importable(app, flow)
    return imports.preview(app.db, one, rule_for(one.entity), chosen)


def run_import(
    app: App,
    flow: str,
    chosen: Selection,
    *,
    resume: Run | None = None,
    progress: Callable[[Progress], None] = lambda _progress: None,
) -> dict[str, int]:
    """Import, or go on; customers by verdict. Raises PermanentError while another import of the flow runs."""
    one = _importable(app, flow)
    name = f"{imports.KIND}:{flow}"
    token = schedules.claim(app.db, name, lease=LEASE)
    if token is None:
        raise PermanentError(f"an import of {flow} is running; wait for it, or a minute if it was killed just now")
    held = _Holding(app, name, token, progress)
    run = resume or runs.begin(app.db, imports.KIND, flow, ACTOR, chosen.as_params())
    if resume is not None:
        chosen = Selection(**resume.params)
    threads = max(2, int(app.config.systems[one.systems["crm"]].concurrency))
    try:
        return Import(app.db, app.inbox, app.engine, one, run, chosen, threads, held.tell).go()
    except KeyboardInterrupt:
        runs.end(app.db, run.id, "stopped")
        raise
    finally:
        schedules.finish(app.db, name, token, time.time())


class _Holding:
    """Prolongs the import's lease as it goes on."""

    def __init__(self, app: App, name: str, token: int, progress: Callable[[Progress], None]) -> None:
        self._app, self._name, self._token, self._progress = app, name, token, progress
        self._renewed = time.monotonic()

    def tell(self, progress: Progress) -> None:
        if time.monotonic() - self._renewed > RENEW_SECONDS:
            self._renewed = time.monotonic()
            if not schedules.renew(self._app.db, self._name, self._token, lease=LEASE):
                raise PermanentError("another import of this flow has begun meanwhile; it goes on with this one's work")
        self._progress(progress)


def _importable(app: App, flow: str) -> Flow:
    if flow not in app.flows:
        raise PermanentError(f"no flow {flow}; there are: {', '.join(sorted(app.flows))}")
    direction = app.flows[flow].policy.direction
    if direction not in ("both", "to_crm"):
        raise PermanentError(f"flow {flow} has direction {direction}: an import would write against it")
    return app.flows[flow]
