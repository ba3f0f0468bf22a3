"""``managers``: which ERP account manager stands for which CRM user."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sync_worker.cli.shared import ConfigPath, Json, app, done, load
from sync_worker.output import Printer, records

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
        records.managers(Printer(json), managers.listing(worker_app, flow))


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
        if dry_run:
            managers.check_managers(worker_app, [made])
        else:
            print(f"mapped; {managers.map_managers(worker_app, [made])} links released")


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


@group.command("suggest")
def suggest(
    flow: FlowName,
    accept_exact: Annotated[
        bool, typer.Option("--accept-exact", help="make the rows of all exact suggestions")
    ] = False,
    config: ConfigPath = None,
    json: Json = False,
) -> None:
    """Who may stand for whom, with reasons. Nothing is mapped unless you say so."""
    from sync_worker import desk
    from sync_worker.desk import manager_files, managers

    with desk.opened(load(config)) as worker_app:
        if not accept_exact:
            records.suggestions(Printer(json), manager_files.suggestions(worker_app, flow))
            return
        rows = manager_files.accept_exact(worker_app, flow)
        released = managers.map_managers(worker_app, rows)
        print(f"{len(rows)} rows made, {released} links released")


@group.command("export")
def export(
    file: Annotated[Path, typer.Argument(help=".xlsx or .csv, written anew")],
    flow: Annotated[str | None, typer.Option("--flow", help="only this flow")] = None,
    config: ConfigPath = None,
) -> None:
    """The mapping as a file, with whoever has no row yet, to be filled in and uploaded."""
    from sync_worker import desk
    from sync_worker.desk import manager_files

    with desk.opened(load(config)) as worker_app:
        print(f"{file}: {manager_files.export(worker_app, file, flow)} rows")


@group.command("upload")
def upload(
    file: Annotated[Path, typer.Argument(help=".xlsx or .csv")],
    flow: Annotated[str | None, typer.Option("--flow", help="for files without the column Flow")] = None,
    errors: Annotated[Path | None, typer.Option("--errors", help="where wrong rows go, with what is wrong")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what it would change")] = False,
    config: ConfigPath = None,
) -> None:
    """Make the rows of a file, all or none. Rows without a CRM user are left alone; no row is ever removed."""
    from sync_worker import desk
    from sync_worker.desk import manager_files, managers

    with desk.opened(load(config)) as worker_app:
        found = manager_files.read(worker_app, file, flow)
        for number, _, wrong in found.errors:
            print(f"line {number}: {'; '.join(wrong)}")
        if found.errors:
            if errors is not None:
                print(f"{errors}: {manager_files.write_errors(errors, found)} rows to correct and upload again")
            print(f"{len(found.errors)} rows are wrong; nothing was changed")
            done(1)
        for made in found.rows:
            for line in _about(made):
                print(line)
        if dry_run:
            managers.check_managers(worker_app, found.rows)
        released = 0 if dry_run else managers.map_by_flow(worker_app, found.rows)
        said = "would change" if dry_run else f"changed, {released} links released"
        print(f"{len(found.rows)} rows {said}; {found.same} stand so already, {found.left} without a CRM user")
