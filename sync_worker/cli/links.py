"""Links as a table of their own: looked at, made, ended, choosing between several on one record."""

from __future__ import annotations

from typing import Annotated

import typer

from sync_worker.cli.shared import ConfigPath, Json, Key, System, app, load
from sync_worker.events import LARGEST_ID
from sync_worker.output import Printer, records

group = typer.Typer(no_args_is_help=True, help="Links by hand and as a file: who is whose partner.")
app.add_typer(group, name="links")

LinkId = Annotated[
    int, typer.Option("--link", min=1, max=LARGEST_ID, help="the link, by the id that explain and links list show")
]


@group.command("list")
def list_links(
    flow: Annotated[str | None, typer.Option("--flow", help="only this flow")] = None,
    state: Annotated[str | None, typer.Option("--state", help="only links in this state")] = None,
    cause: Annotated[str | None, typer.Option("--cause", help="only links with this cause, by its code")] = None,
    system: Annotated[str | None, typer.Option("--system", help="with --key: only this record's links")] = None,
    key: Annotated[str | None, typer.Option("--key", help="API key or human reference of the record")] = None,
    unsynced: Annotated[bool, typer.Option("--unsynced", help="only what has never been synced")] = False,
    limit: Annotated[int, typer.Option("--limit", help="links on a page")] = 100,
    after: Annotated[
        int, typer.Option("--after", min=0, max=LARGEST_ID, help="the cursor that the page before ended with")
    ] = 0,
    config: ConfigPath = None,
    json: Json = False,
) -> None:
    """A page of links, by id."""
    from sync_worker import desk
    from sync_worker.desk import link_lists

    with desk.opened(load(config)) as worker_app:
        found = link_lists.listed(
            worker_app,
            flow=flow,
            state=state,
            cause=cause,
            system=system,
            key=key,
            unsynced=unsynced,
            limit=limit,
            after=after,
        )
    records.links(Printer(json), found)


@group.command()
def candidates(system: System, key: Key, config: ConfigPath = None, json: Json = False) -> None:
    """Who may be the partner of a record, and what speaks for it. Changes nothing."""
    from sync_worker import desk
    from sync_worker.desk import linking

    with desk.opened(load(config)) as worker_app:
        found = linking.candidates(worker_app, system, key)
    records.candidates(Printer(json), found)


@group.command("link")
def link_two(
    flow: Annotated[str, typer.Option("--flow", help="the flow that shall join them")],
    erp: Annotated[str, typer.Option("--erp", help="API key or number of the ERP's customer")],
    crm: Annotated[str, typer.Option("--crm", help="API key of the CRM's record")],
    relink: Annotated[bool, typer.Option("--relink", help="unlink either from its partner first")] = False,
    config: ConfigPath = None,
) -> None:
    """Link two records that exist. Nothing is created."""
    from sync_worker import desk
    from sync_worker.desk import linking

    with desk.opened(load(config)) as worker_app:
        print(linking.link_two(worker_app, flow, erp, crm, relink=relink))


@group.command()
def unlink(link: LinkId, config: ConfigPath = None) -> None:
    """End a link: both records stay, and stay apart until a person links them."""
    from sync_worker import desk
    from sync_worker.desk import linking

    with desk.opened(load(config)) as worker_app:
        print(linking.unlink(worker_app, link))


@group.command()
def default(link: LinkId, config: ConfigPath = None) -> None:
    """Let the shared fields of a CRM record come from this link."""
    from sync_worker import desk
    from sync_worker.desk import linking

    with desk.opened(load(config)) as worker_app:
        print(linking.make_default(worker_app, link))
