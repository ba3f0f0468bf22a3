"""What all commands share: the typer application, their common options, the configuration, the exit code."""

from __future__ import annotations

import importlib.metadata
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
