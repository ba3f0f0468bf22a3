"""``managers``: which ERP account manager stands for which CRM user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sync_worker.cli.shared import ConfigPath, Json, app, load
from sync_worker.output import Printer

if TYPE_CHECKING:
    from sync_worker.desk.managers import Proposal

group = typer.Typer(help="Account managers: who stands for whom, and who waits for it.", no_args_is_help=True)
app.add_typer(group, name="managers")

FlowName = Annotated[str, typer.Option("--flow", help="the flow whose mapping it is")]
ErpKey = Annotated[str, typer.Option("--erp", help="key or reference of the ERP's account manager")]
CrmKey = Annotated[str, typer.Option("--crm", help="key or reference of the CRM's user")]


@group.command("list")
def list_managers(
    flow: Annotated[str | None, typer.Option("--flow", help="only this flow")] = None,
    config: ConfigPath = None,
    json: Json = False,
) -> None:
    """The mapping of every flow, and who has no row yet."""
    from sync_worker import desk
    from sync_worker.desk import managers

    with desk.opened(load(config)) as worker_app:
        Printer(json).managers(managers.listing(worker_app, flow))


@group.command("map")
def map_manager(
    flow: FlowName,
    erp: ErpKey,
    crm: CrmKey,
    preferred: Annotated[
        bool, typer.Option("--preferred", help="the way back, where several stand for the same user")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what it would release")] = False,
    config: ConfigPath = None,
) -> None:
    """Let an ERP manager and a CRM user stand for one another; releases exactly the customers that wait for it."""
    from sync_worker import desk
    from sync_worker.desk import managers

    with desk.opened(load(config)) as worker_app:
        made = managers.propose(worker_app, flow, erp, crm, preferred=preferred)
        for line in _about(made):
            print(line, flush=True)
        if not dry_run:
            print(f"mapped; {managers.map_manager(worker_app, made)} links released")


@group.command("unmap")
def unmap_manager(flow: FlowName, erp: ErpKey, config: ConfigPath = None) -> None:
    """Remove a row; every record keeps the manager it has, later changes wait."""
    from sync_worker import desk
    from sync_worker.desk import managers

    with desk.opened(load(config)) as worker_app:
        key = managers.unmap_manager(worker_app, flow, erp)
        print(f"{key} has no row in flow {flow} any more; records keep the manager they have")


def _about(made: Proposal) -> list[str]:
    """What is about to happen, one line each."""
    lines = [f"{made.erp.system} {made.erp.ref} <-> {made.crm.system} {made.crm.ref}: {made.waiting} links wait for it"]
    if made.replaces is not None and made.replaces != made.crm.key:
        lines.append(f"it stood for {made.replaces} before; records that have that manager keep it")
    lines += [
        f"note: {one.system} {one.ref} is disabled; customers that need it go on waiting"
        for one in (made.erp, made.crm)
        if not one.active
    ]
    return lines
