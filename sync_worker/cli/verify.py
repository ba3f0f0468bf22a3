"""``sync-worker verify FLOW``: are both sides the same? A bar on a terminal, a line now and then in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from sync_worker.cli.shared import ConfigPath, Json, app, done, load
from sync_worker.errors import RetryableError
from sync_worker.output import Printer

if TYPE_CHECKING:
    from collections.abc import Callable

    from sync_worker.events import Side
    from sync_worker.store.runs import Run
    from sync_worker.wiring import App

LINE_SECONDS = 10.0


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
        try:
            with _progress() as progress:
                report = verifying.verify(worker_app, flow, resume=run, unlimited=yes, progress=progress)
        except KeyboardInterrupt:
            print(f"sync-worker: stopped; sync-worker verify {flow} --resume goes on from here", file=sys.stderr)
            raise typer.Exit(130) from None
        except RetryableError as error:
            raise RetryableError(f"{error}; sync-worker verify {flow} --resume goes on from here") from error
        Printer(json).verified(report.document())
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


@contextmanager
def _progress() -> Iterator[Callable[[Side, int, int | None], None]]:
    """Where the walk is, on stderr: stdout is the report's."""
    if not sys.stderr.isatty():
        yield _Lines().tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks = {side: bars.add_task(side, total=None) for side in ("erp", "crm")}
        yield lambda side, seen, total: bars.update(tasks[side], completed=seen, total=total)


class _Lines:
    """A plain line per side at its end, and now and then between."""

    def __init__(self) -> None:
        self._said_at = time.monotonic()

    def tell(self, side: Side, seen: int, total: int | None) -> None:
        now = time.monotonic()
        if seen == total or now - self._said_at > LINE_SECONDS:
            self._said_at = now
            print(f"{side}: {seen} of {total if total is not None else '?'} records", file=sys.stderr, flush=True)
