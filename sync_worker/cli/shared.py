"""What all commands share: the typer application, their common options, the configuration, the exit code."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from sync_worker import config as configuration
from sync_worker import logs

app = typer.Typer(
    name="sync-worker",
    help="Keeps customers in step between a CRM and a Sage ERP.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ConfigPath = Annotated[Path | None, typer.Option("--config", help="sync.toml (else SYNC_CONFIG, else ./sync.toml)")]
Json = Annotated[bool, typer.Option("--json", help="one JSON document on stdout and nothing else")]
System = Annotated[str, typer.Argument(help="system name from sync.toml, e.g. erp")]
Key = Annotated[str, typer.Argument(help="API key or human reference of the record")]


def writable(path: Path | None) -> Path | None:
    """Said before the work that fills it. Raises SheetError."""
    if path is not None:
        from sync_worker import sheets

        sheets.check_target(path)
    return path


Out = Annotated[Path | None, typer.Option("--out", help="with --dry-run: write it to .xlsx or .csv", callback=writable)]
Errors = Annotated[
    Path | None, typer.Option("--errors", help="where wrong rows go, with what is wrong", callback=writable)
]


def out_needs_dry_run(out: Path | None, dry_run: bool) -> None:
    """Whoever wants a preview in a file, and forgets to say so, must not get the run. Raises BadParameter."""
    if out is not None and not dry_run:
        raise typer.BadParameter("--out goes with --dry-run: a run itself has no file to write")


def other_than(file: Path, targets: Mapping[str, Path | None]) -> None:
    """No target may be the uploaded file, which would be written over. ``targets``: by option. Raises BadParameter."""
    for option, target in targets.items():
        with suppress(OSError):  # one of them is not there
            if target is not None and target.samefile(file):
                raise typer.BadParameter(f"{option} {target} is the uploaded file itself: give another name")


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"sync-worker {importlib.metadata.version('sync-worker')}")
        raise typer.Exit


@app.callback()
def _everywhere(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="show the version and end")
    ] = False,
) -> None:
    """Keeps customers in step between a CRM and a Sage ERP."""


def load(path: Path | None) -> configuration.Config:
    """The configuration, and logging as it should be. Raises ConfigError."""
    found = configuration.load(path)
    logs.configure()
    return found


def done(code: int) -> None:
    """End the command with this exit code."""
    raise typer.Exit(code)
