"""``sync-worker import FLOW``: bring ERP customers into the CRM."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from sync_worker.cli.asking import within_limits
from sync_worker.cli.previews import show
from sync_worker.cli.progress import long_job, once, say
from sync_worker.cli.shared import ConfigPath, Json, Out, app, done, load, out_needs_dry_run
from sync_worker.output import Printer, runs

if TYPE_CHECKING:
    from sync_worker.desk.importing import Imported
    from sync_worker.imports import Progress, Selection
    from sync_worker.store.runs import Run
    from sync_worker.wiring import App


@app.command("import")
def import_customers(
    flow: Annotated[str, typer.Argument(help="flow name from sync.toml, e.g. customers")],
    since: Annotated[str | None, typer.Option("--updated-since", help="a day: 2026-11-22")] = None,
    first: Annotated[str | None, typer.Option("--from", help="customer number, inclusive")] = None,
    last: Annotated[str | None, typer.Option("--to", help="customer number, inclusive")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would become of each customer")] = False,
    out: Out = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the import that was stopped")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="also beyond the flow's limits")] = False,
    config: ConfigPath = None,
    json: Json = False,
) -> None:
    """Bring ERP customers under sync: all of them, or those changed since a day and numbered from and to."""
    from sync_worker.desk import importing, opened

    out_needs_dry_run(out, dry_run)
    with opened(load(config)) as worker_app:
        chosen = importing.selection(worker_app, flow, since, first, last)
        if dry_run:
            show(importing.preview(worker_app, flow, chosen), flow, out, json=json)
            return
        found = importing.unfinished(worker_app, flow)
        if found is None and resume:
            print(f"sync-worker: no stopped import of {flow}: beginning at the start", file=sys.stderr)
        ended = _import(worker_app, flow, chosen, found if resume else None, yes=yes)
        runs.imported(Printer(json), ended.document())
    done(1 if ended.counts.get("failed") else 0)


def _import(worker_app: App, flow: str, chosen: Selection, resume: Run | None, *, yes: bool) -> Imported:
    from sync_worker.desk import importing
    from sync_worker.processes import settled

    tell_once = once(say)
    # a full garbage collection stops all calls for a tenth of a second, and they come every few seconds
    settled(in_batches=True)

    def run(*, unlimited: bool) -> Imported:
        with long_job(f"sync-worker import {flow} --resume") as tell:

            def progress(at: Progress) -> None:
                tell("customers", at.seen - at.under_way, at.total)

            return importing.run_import(
                worker_app, flow, chosen, resume=resume, unlimited=unlimited, progress=progress, say=tell_once
            )

    return within_limits(run, yes=yes)
