"""Looking at links, and settling what is open."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sync_worker.cli.shared import ConfigPath, Json, Key, System, app, done, load
from sync_worker.errors import PermanentError
from sync_worker.events import LARGEST_ID
from sync_worker.output import Printer, records, shown
from sync_worker.wording import counted

if TYPE_CHECKING:
    from sync_worker.wiring import App


@app.command()
def status(config: ConfigPath = None, json: Json = False) -> None:
    """Links by state, due now, oldest due, lag per flow, systems up or down."""
    from sync_worker import desk

    with desk.opened(load(config)) as worker_app:
        records.status(Printer(json), desk.status(worker_app))


@app.command()
def explain(system: System, key: Key, config: ConfigPath = None, json: Json = False) -> None:
    """Why one record is the way it is, and what happens next."""
    from sync_worker import desk

    with desk.opened(load(config)) as worker_app:
        found = desk.explain(worker_app, system, key)
        records.explanations(Printer(json), found)


@app.command()
def sync(
    system: Annotated[str | None, typer.Argument(help="system name from sync.toml")] = None,
    keys: Annotated[list[str] | None, typer.Argument(metavar="[KEY]...", help="API keys or human references")] = None,
    flow: Annotated[str | None, typer.Option("--flow", help="through this flow only")] = None,
    due: Annotated[bool, typer.Option("--due", help="everything that is due")] = False,
    config: ConfigPath = None,
) -> None:
    """Sync one record or several now (their partners may be created), or everything that is due."""
    from sync_worker import desk

    if (system is None or not keys) == (not due):
        raise typer.BadParameter("name the records (SYSTEM KEY...), or give --due [--flow F]")
    with desk.opened(load(config)) as worker_app:
        if system is not None and keys and len(keys) == 1:
            found = desk.sync_record(worker_app, system, keys[0], flow)
            records.explanations(Printer(False), found)
            done(0 if _well(found) else 1)
        elif system is not None and keys:
            done(0 if _sync_list(worker_app, system, keys, flow) else 1)
        else:
            print(f"{counted(desk.sync_due(worker_app, flow), 'link')} brought to an end")


def _sync_list(worker_app: App, system: str, keys: list[str], flow: str | None) -> bool:
    """A line per record as it ends; says whether all of them ended well."""
    from sync_worker import desk

    ended = []
    for key, found, wrong in desk.sync_records(worker_app, system, keys, flow):
        for one in found:
            partners = " <-> ".join(f"{one[s]['system']} {one[s]['key'] or '(none)'}" for s in ("erp", "crm"))
            print(f"{shown(key)}\t{one['state']}\t{shown(partners)}\t{shown(one['cause']['text'])}", flush=True)
        if wrong:
            print(f"{shown(key)}\trefused\t\t{shown(wrong)}", flush=True)
        ended.append(not wrong and _well(found))
    print(f"{counted(len(ended), 'record')}, {ended.count(False)} of them to look at", file=sys.stderr)
    return all(ended)


def _well(found: list[dict[str, Any]]) -> bool:
    return all(one["state"] not in ("failing", "conflict", "waiting") for one in found)


@app.command()
def resolve(
    system: System,
    key: Key,
    field: Annotated[str, typer.Option("--field")],
    take: Annotated[str, typer.Option("--take", help="erp, crm, or =VALUE")],
    config: ConfigPath = None,
) -> None:
    """Settle a conflict: take one side's value, or one of your own for both."""
    from sync_worker import desk

    with desk.opened(load(config)) as worker_app:
        print(desk.resolve(worker_app, system, key, field, take))


@app.command()
def replay(
    link: Annotated[int | None, typer.Option("--link", min=1, max=LARGEST_ID, help="one link by its id")] = None,
    state: Annotated[str | None, typer.Option("--state", help="all links in a state")] = None,
    waiting_on: Annotated[str | None, typer.Option("--waiting-on", help="all links waiting on a key")] = None,
    flow: Annotated[str | None, typer.Option("--flow")] = None,
    config: ConfigPath = None,
) -> None:
    """Make links due again."""
    from sync_worker import desk

    if sum(x is not None for x in (link, state, waiting_on)) != 1:
        raise typer.BadParameter("give exactly one of --link, --state, --waiting-on")
    with desk.opened(load(config)) as worker_app:
        count = desk.replay(worker_app, link=link, state=state, waiting_on=waiting_on, flow=flow)
    if not count:
        raise PermanentError("there is no such link, so nothing is due again; see sync-worker links list")
    print(f"{counted(count, 'link is', 'links are')} due again")


@app.command()
def resume(
    name: Annotated[str, typer.Argument(help="a flow or a system that is paused")], config: ConfigPath = None
) -> None:
    """Let a paused flow or system go on."""
    from sync_worker import desk

    with desk.opened(load(config)) as worker_app:
        print(desk.resume(worker_app, name))
