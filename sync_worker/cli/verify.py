"""``sync-worker verify FLOW``: are both sides the same? A bar on a terminal, a line now and then in a pipe."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from sync_worker.cli.progress import long_job, say
from sync_worker.cli.shared import ConfigPath, Json, app, done, load
from sync_worker.output import Printer, runs

if TYPE_CHECKING:
    from sync_worker.store.runs import Run
    from sync_worker.wiring import App


@app.command()
def verify(
    flow: Annotated[str, typer.Argument(help="flow name from sync.toml, e.g. customers")],
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run that was interrupted")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="hand over what is found, also beyond the flow's limits")] = False,
    config: ConfigPath = None,
    json: Json = False,
) -> None:
    """Walk both sides of a flow and say what differs; differences become ordinary work. Exit 1 while any is left."""
    from sync_worker.desk import opened, verifying

    with opened(load(config)) as worker_app:
        run = _which(worker_app, flow, resume=resume)
        with long_job(f"sync-worker verify {flow} --resume") as tell:
            report = verifying.verify(worker_app, flow, resume=run, unlimited=yes, progress=tell, say=say)
        runs.verified(Printer(json), report.document())
    done(0 if report.ok else 1)


def _which(worker_app: App, flow: str, *, resume: bool) -> Run | None:
    """The run to go on with. An interrupted one is offered: asked for on a terminal, told of elsewhere."""
    from sync_worker.desk import verifying

    found = verifying.unfinished(worker_app, flow)
    if found is None:
        if resume:
            print(f"sync-worker: no interrupted run of {flow}: beginning at the start", file=sys.stderr)
        return None
    if resume:
        return found
    at = time.strftime("%Y-%m-%d %H:%M", time.localtime(found.started_at))
    seen = ", ".join(f"{side} {found.counts.get(f'seen_{side}', 0)}" for side in ("erp", "crm"))
    told = f"the run of {at} was interrupted after {seen} records"
    if sys.stdin.isatty() and sys.stderr.isatty():
        return found if typer.confirm(f"{told}; go on with it?", default=True, err=True) else None
    print(f"sync-worker: {told}; beginning anew (--resume goes on with it)", file=sys.stderr)
    return None
