"""Tokens of the API: make, list, remove."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from sync_worker.cli.shared import ConfigPath, Json, app, load
from sync_worker.output import Printer, records

tokens = typer.Typer(no_args_is_help=True, help="Tokens for the API: make, list, remove.")
app.add_typer(tokens, name="tokens")

Name = Annotated[str, typer.Argument(help="who or what uses it; it signs the journal")]
# As store.accounts.Role says; that module is not imported for --help.
ChosenRole = Annotated[Literal["read", "operate"], typer.Option("--role", help="look only, or change things too")]


@tokens.command()
def add(name: Name, role: ChosenRole = "read", config: ConfigPath = None, json: Json = False) -> None:
    """Make a token and show it, once."""
    from sync_worker import desk
    from sync_worker.store import accounts

    with desk.opened(load(config)) as worker_app:
        records.token(Printer(json), name, role, accounts.add_token(worker_app.db, name, role, actor=desk.ACTOR))


@tokens.command("list")
def list_(config: ConfigPath = None, json: Json = False) -> None:
    """Whose tokens there are, and what they may do."""
    from sync_worker import desk, reports
    from sync_worker.store import accounts

    with desk.opened(load(config)) as worker_app:
        found = accounts.tokens(worker_app.db)
        listed = [{"name": t.name, "role": t.role, "since": reports.iso(t.created_at)} for t in found]
        records.tokens(Printer(json), listed)


@tokens.command()
def remove(name: Name, config: ConfigPath = None) -> None:
    """Make a token useless from now on."""
    from sync_worker import desk
    from sync_worker.errors import PermanentError
    from sync_worker.store import accounts

    with desk.opened(load(config)) as worker_app:
        if not accounts.remove_token(worker_app.db, name, actor=desk.ACTOR):
            raise PermanentError(f"there is no token {name}; sync-worker tokens list shows those there are")
    print(f"the token of {name} is removed")
