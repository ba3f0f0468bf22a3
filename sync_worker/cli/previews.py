"""``sync-worker preview FLOW``, and how every preview is shown: a table, JSON, or a file to look through."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sync_worker.cli.shared import ConfigPath, Json, app, load, writable
from sync_worker.output import Printer, runs
from sync_worker.wording import counted

if TYPE_CHECKING:
    from sync_worker.engine.preview import Foreseen

Lines = Callable[[Counter[str]], Iterator[list[str]]]
"""The lines of a preview; the verdicts are counted on the way."""


@app.command("preview")
def preview_flow(
    flow: Annotated[str, typer.Argument(help="flow name from sync.toml, e.g. customers")],
    out: Annotated[Path | None, typer.Option("--out", help="write it to .xlsx or .csv", callback=writable)] = None,
    config: ConfigPath = None,
    json: Json = False,
) -> None:
    """What would be written now for everything that is due or differs. Writes nothing."""
    from sync_worker.desk import opened, previewing

    with opened(load(config)) as worker_app:
        show(previewing.preview(worker_app, flow), flow, out, json=json)


def show(found: Iterable[Foreseen], flow: str, out: Path | None, *, json: bool) -> None:
    """A preview on stdout; with ``out`` in that file, and only the verdicts counted on stdout. Raises SheetError."""
    from sync_worker.desk import foreseen

    if out is None:
        runs.foreseen(Printer(json), (foreseen.document(one) for one in found))
        return
    write(out, flow, foreseen.COLUMNS, partial(foreseen.lines, found), json=json)


def write(out: Path, flow: str, columns: Sequence[str], lines: Lines, *, json: bool) -> None:
    """A preview's lines in a file, and its verdicts counted on stdout. Raises SheetError."""
    from sync_worker import sheets

    counts: Counter[str] = Counter()
    written = sheets.write(out, columns, lines(counts))
    print(f"{out}: {counted(written, 'line')}", file=sys.stderr)
    runs.imported(Printer(json), {"flow": flow, "seen": counts.total(), **dict(sorted(counts.items()))})
