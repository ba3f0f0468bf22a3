"""``undo``, ``managers reapply``, ``managers leaver``: fields of many links written as one run; and ``runs``."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sync_worker.cli import managers
from sync_worker.cli.asking import within_limits
from sync_worker.cli.previews import write
from sync_worker.cli.progress import long_job, say
from sync_worker.cli.shared import ConfigPath, Json, Out, app, done, load, out_needs_dry_run
from sync_worker.events import LARGEST_ID
from sync_worker.output import Printer, runs

if TYPE_CHECKING:
    from sync_worker.desk.rewriting import Ended, Plan
    from sync_worker.rewrites import Progress
    from sync_worker.wiring import App

DryRun = Annotated[bool, typer.Option("--dry-run", help="only say what it would write, field by field")]
Yes = Annotated[bool, typer.Option("--yes", help="also beyond the flow's limits")]


@app.command()
def undo(
    run: Annotated[
        int | None, typer.Option("--run", min=1, max=LARGEST_ID, help="everything that this run wrote")
    ] = None,
    link: Annotated[
        int | None, typer.Option("--link", min=1, max=LARGEST_ID, help="the last write through this link")
    ] = None,
    dry_run: DryRun = False,
    out: Out = None,
    yes: Yes = False,
    config: ConfigPath = None,
    json: Json = False,
) -> None:
    """Write back what was changed. What was edited since is left and named; nothing is ever deleted."""
    from sync_worker.desk import opened, rewriting

    if (run is None) == (link is None):
        raise typer.BadParameter("give exactly one of --run, --link")
    out_needs_dry_run(out, dry_run)
    with opened(load(config)) as worker_app:
        code = _carry_out(
            worker_app,
            rewriting.plan_undo(worker_app, run=run, link=link),
            dry_run=dry_run,
            out=out,
            yes=yes,
            json=json,
        )
    done(code)


@managers.group.command("reapply")
def reapply(
    flow: managers.FlowName,
    erp: Annotated[list[str] | None, typer.Option("--erp", help="only customers of this ERP manager")] = None,
    dry_run: DryRun = False,
    out: Out = None,
    yes: Yes = False,
    config: ConfigPath = None,
    json: Json = False,
) -> None:
    """Bring linked customers in step with the mapping as it is now: after a changed row, which rewrites nobody."""
    from sync_worker.desk import opened, rewriting

    out_needs_dry_run(out, dry_run)
    with opened(load(config)) as worker_app:
        code = _carry_out(
            worker_app, rewriting.plan_reapply(worker_app, flow, erp), dry_run=dry_run, out=out, yes=yes, json=json
        )
    done(code)


@managers.group.command("leaver")
def leaver(
    flow: managers.FlowName,
    successor: Annotated[str, typer.Option("--to", help="key or reference of who takes over, in the same system")],
    erp: Annotated[str | None, typer.Option("--erp", help="who leaves: the ERP's account manager")] = None,
    crm: Annotated[str | None, typer.Option("--crm", help="who leaves: the CRM's user")] = None,
    dry_run: DryRun = False,
    out: Out = None,
    yes: Yes = False,
    config: ConfigPath = None,
    json: Json = False,
) -> None:
    """All linked customers of one manager go to another, on both sides, as one run."""
    from sync_worker.desk import opened, rewriting

    if (erp is None) == (crm is None):
        raise typer.BadParameter("give exactly one of --erp, --crm")
    out_needs_dry_run(out, dry_run)
    with opened(load(config)) as worker_app:
        plan = (
            rewriting.plan_leaver(worker_app, flow, "erp", erp, successor)
            if erp is not None
            else rewriting.plan_leaver(worker_app, flow, "crm", str(crm), successor)
        )
        code = _carry_out(worker_app, plan, dry_run=dry_run, out=out, yes=yes, json=json)
    done(code)


@app.command("runs")
def list_runs(
    flow: Annotated[str | None, typer.Option("--flow", help="only this flow")] = None,
    run: Annotated[
        int | None, typer.Option("--run", min=1, max=LARGEST_ID, help="what this run says about each record")
    ] = None,
    verdict: Annotated[str | None, typer.Option("--verdict", help="with --run: only these, e.g. failed")] = None,
    after: Annotated[str | None, typer.Option("--after", help="with --run: those behind the page before")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="how many")] = 20,
    config: ConfigPath = None,
    json: Json = False,
) -> None:
    """The latest runs: imports, uploads, undos and the like, with their numbers; or the records of one of them."""
    from sync_worker.desk import opened, run_lists

    if run is None and (verdict or after):
        raise typer.BadParameter("--verdict and --after go with --run")
    with opened(load(config)) as worker_app:
        if run is None:
            runs.listed(Printer(json), run_lists.latest(worker_app, flow, limit))
        else:
            runs.records(Printer(json), run_lists.records(worker_app, run, verdict, after, limit))


def _carry_out(worker_app: App, plan: Plan, *, dry_run: bool, out: Path | None, yes: bool, json: bool) -> int:
    """Preview or do it; the exit code. Raises LimitReached."""
    from sync_worker.desk import rewriting
    from sync_worker.rewrites import VERDICTS

    if dry_run and out is not None:
        found_lines = partial(rewriting.lines, rewriting.preview(worker_app, plan))
        write(out, plan.flow, rewriting.COLUMNS, found_lines, json=json)
        return 0
    if dry_run:
        told = (rewriting.document(one) for one in rewriting.preview(worker_app, plan))
        runs.rewrite_foreseen(Printer(json), told)
        return 0
    if rewriting.unfinished(worker_app, plan) is not None:
        print("sync-worker: this was stopped half way; going on with it", file=sys.stderr)

    def run(*, unlimited: bool) -> Ended:
        with long_job(plan.again) as tell:

            def progress(at: Progress) -> None:
                tell("links", at.seen - at.under_way, None)

            return rewriting.carry_out(worker_app, plan, unlimited=unlimited, progress=progress, say=say)

    ended = within_limits(run, yes=yes)
    runs.rewritten(Printer(json), ended.document(), VERDICTS)
    return 0 if ended.ok else 1
