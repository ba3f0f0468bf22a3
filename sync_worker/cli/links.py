"""Links as a table of their own: choosing between several on one record."""

from __future__ import annotations

from typing import Annotated

import typer

from sync_worker.cli.shared import ConfigPath, app, load

group = typer.Typer(no_args_is_help=True, help="Arrange links: which of several is a CRM record's default.")
app.add_typer(group, name="links")


@group.command()
def default(
    link: Annotated[int, typer.Option("--link", help="the link, by the id that explain shows")],
    config: ConfigPath = None,
) -> None:
    """Let the shared fields of a CRM record come from this link."""
    from sync_worker import desk
    from sync_worker.desk import linking

    with desk.opened(load(config)) as worker_app:
        print(linking.make_default(worker_app, link))
