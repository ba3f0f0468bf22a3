"""``sync-worker import FLOW``: bring ERP customers into the CRM. A bar on a terminal, a line now and then in a pipe."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sync_worker.cli.shared import ConfigPath, Json, app, done, load
from sync_worker.output import Printer

if TYPE_CHECKING:
    from collections.abc import Callable

    from sync_worker.imports import Progress, Selection
    from sync_worker.wiring import App

LINE_SECONDS = 10.0


@app.command("import")
def import_customers(
    flow: Annotated[str, typer.Argument(help="flow name from sync.toml, e.g. customers")],
    since: Annotated[str | None, typer.Option("--updated-since", help="a day: 2026-11-22")] = None,
    first: Annotated[str | None, typer.Option("--from", help="customer number, inclusive")] = None,
    last: Annotated[str | None, typer.Option("--to", help="customer number, inclusive")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would become of each customer")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="with --dry-run: write it to .xlsx or .csv")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the import that was stopped")] = False,
    config: ConfigPath = None,
    json: Json = False,
) -> None:
    """Bring ERP customers under sync: all of them, or those changed since a day and numbered from and to."""
    from sync_worker.desk import importing, opened

    with opened(load(config)) as worker_app:
        chosen = importing.selection(worker_app, flow, since, first, last)
        if dry_run:
            _preview(worker_app, flow, chosen, out, json=json)
            return
        found = importing.unfinished(worker_app, flow)
        if found is not None and not resume:
            print("sync-worker: an import was stopped; beginning anew (--resume goes on with it)", file=sys.stderr)
        try:
            with _progress() as progress:
                counts = importing.run_import(
                    worker_app, flow, chosen, resume=found if resume else None, progress=progress
                )
        except KeyboardInterrupt:
            print(f"sync-worker: stopped; sync-worker import {flow} --resume goes on from here", file=sys.stderr)
            raise typer.Exit(130) from None
        Printer(json).imported(flow, counts)
    done(1 if counts.get("failed") else 0)


def _preview(worker_app: App, flow: str, chosen: Selection, out: Path | None, *, json: bool) -> None:
    from sync_worker import sheets
    from sync_worker.desk import foreseen, importing

    found = importing.preview(worker_app, flow, chosen)
    if out is not None:
        counts: Counter[str] = Counter()
        print(f"{out}: {sheets.write(out, foreseen.COLUMNS, foreseen.lines(found, counts))} lines", file=sys.stderr)
        Printer(json).imported(flow, dict(counts))
        return
    Printer(json).foreseen([foreseen.document(one) for one in found])


@contextmanager
def _progress() -> Iterator[Callable[[Progress], None]]:
    if not sys.stderr.isatty():
        yield _Lines().tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TaskProgressColumn(show_speed=True), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("customers", total=None)
        yield lambda at: bars.update(task, completed=at.seen - at.under_way, total=at.total)


class _Lines:
    """A plain line now and then."""

    def __init__(self) -> None:
        self._said_at = time.monotonic()

    def tell(self, at: Progress) -> None:
        now = time.monotonic()
        if now - self._said_at > LINE_SECONDS:
            self._said_at = now
            total = at.total if at.total is not None else "?"
            print(f"{at.seen - at.under_way} of {total} customers", file=sys.stderr, flush=True)
