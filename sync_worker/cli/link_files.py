"""``links export`` and ``links upload``: the link table as a file that people edit."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sync_worker.cli.asking import within_limits
from sync_worker.cli.links import group
from sync_worker.cli.progress import long_job, say
from sync_worker.cli.shared import ConfigPath, Errors, Json, Out, done, load, other_than, out_needs_dry_run
from sync_worker.output import Printer, runs
from sync_worker.wording import counted

if TYPE_CHECKING:
    from sync_worker.desk.link_upload import Uploaded
    from sync_worker.wiring import App


@group.command("export")
def export_links(
    file: Annotated[Path, typer.Argument(help=".xlsx or .csv, written anew")],
    flow: Annotated[str | None, typer.Option("--flow", help="only this flow")] = None,
    unsynced: Annotated[bool, typer.Option("--unsynced", help="only what has never been synced")] = False,
    config: ConfigPath = None,
) -> None:
    """Every known record in the Customers template, also what is linked with nobody."""
    from sync_worker import desk
    from sync_worker.desk import link_lists

    with desk.opened(load(config)) as worker_app:
        print(f"{file}: {counted(link_lists.export(worker_app, file, flow, unsynced=unsynced), 'row')}")


@group.command("upload")
def upload_links(
    file: Annotated[Path, typer.Argument(help=".xlsx or .csv in the Customers template")],
    flow: Annotated[str | None, typer.Option("--flow", help="only this flow's companies count")] = None,
    relink: Annotated[bool, typer.Option("--relink", help="unlink what is linked otherwise first")] = False,
    errors: Errors = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="link nothing: say what would be written")] = False,
    out: Out = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the upload that was interrupted")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="also beyond the flow's limits")] = False,
    config: ConfigPath = None,
    json: Json = False,
) -> None:
    """Link existing records by a file. Good rows are linked, wrong ones are left. Nothing is created."""
    from sync_worker import desk
    from sync_worker.desk import link_sheet, link_upload

    out_needs_dry_run(out, dry_run)
    other_than(file, {"--errors": errors, "--out": out})
    with desk.opened(load(config)) as worker_app:

        def run(*, unlimited: bool) -> Uploaded:
            going_on = resume or (unlimited and not yes)  # a person is asked once all rows are checked
            with long_job("--resume") as tell:
                return link_upload.upload(
                    worker_app, file, flow, relink=relink, dry_run=dry_run, resume=going_on, unlimited=unlimited,
                    progress=tell, say=say,
                )  # fmt: skip

        found = within_limits(run, yes=yes)
        if errors is not None and found.wrong:
            count = link_sheet.write_errors(worker_app, file, errors, found.run)
            print(f"{errors}: {counted(count, 'row')} to correct and upload again", file=sys.stderr)
        document = found.document() | (_foreseen(worker_app, found, out, json=json) if dry_run else {})
    runs.uploaded(Printer(json), document)
    done(1 if found.wrong else 0)


def _foreseen(worker_app: App, uploaded: Uploaded, out: Path | None, *, json: bool) -> dict[str, Any]:
    """What the links would write: into a file, as a table, or as the key ``preview`` of the document."""
    from sync_worker import sheets
    from sync_worker.desk import foreseen, link_preview

    found = link_preview.preview(worker_app, uploaded.run)
    if out is not None:
        count = sheets.write(out, foreseen.COLUMNS, foreseen.lines(found, Counter()))
        print(f"{out}: {counted(count, 'line')}", file=sys.stderr)
        return {}
    documents = (foreseen.document(one) for one in found)
    if json:
        return {"preview": list(documents)}
    if any(uploaded.counts[verdict] for verdict in link_preview.WOULD_LINK):
        runs.foreseen(Printer(False), documents)
    return {}
