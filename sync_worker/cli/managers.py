"""``managers``: which ERP account manager stands for which CRM user."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sync_worker.cli.previews import show
from sync_worker.cli.shared import ConfigPath, Errors, Json, Out, app, done, load, other_than, out_needs_dry_run
from sync_worker.output import Printer, records, shown
from sync_worker.wording import counted

if TYPE_CHECKING:
    from sync_worker.desk.manager_files import Upload
    from sync_worker.desk.managers import Proposal
    from sync_worker.wiring import App

group = typer.Typer(help="Account managers: who stands for whom, and who waits for it.", no_args_is_help=True)
app.add_typer(group, name="managers")

FlowName = Annotated[str, typer.Option("--flow", help="the flow whose mapping it is")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="only say whom it would release, and what would be written")]
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
    dry_run: DryRun = False,
    out: Out = None,
    config: ConfigPath = None,
    json: Json = False,
) -> None:
    """Let an ERP manager and a CRM user stand for one another; releases exactly the customers that wait for it."""
    from sync_worker import desk
    from sync_worker.desk import managers

    out_needs_dry_run(out, dry_run)
    with desk.opened(load(config)) as worker_app:
        made = managers.propose(worker_app, flow, erp, crm, preferred=preferred)
        managers.check_managers(worker_app, [made])
        _tell([made], json=json)
        if dry_run:
            _foresee(worker_app, [made], out, json=json)
            return
        released = managers.map_managers(worker_app, [made])
        if not Printer(json).document({"released": released}):
            print(f"mapped; {counted(released, 'link')} released")


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
    waiting = counted(made.waiting, "link waits", "links wait")
    lines = [f"{made.erp.system} {made.erp.ref} <-> {made.crm.system} {made.crm.ref}: {waiting} for it"]
    if made.replaces is not None and made.replaces != made.crm.key:
        lines.append(f"it stood for {made.replaces_ref} before; records that have that manager keep it")
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
        print(f"{counted(len(rows), 'row')} made, {counted(released, 'link')} released")


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
        print(f"{file}: {counted(manager_files.export(worker_app, file, flow), 'row')}")


@group.command("upload")
def upload(
    file: Annotated[Path, typer.Argument(help=".xlsx or .csv")],
    flow: Annotated[str | None, typer.Option("--flow", help="for files without the column Flow")] = None,
    errors: Errors = None,
    dry_run: DryRun = False,
    out: Out = None,
    config: ConfigPath = None,
    json: Json = False,
) -> None:
    """Make the rows of a file, all or none. Rows without a CRM user are left alone; no row is ever removed."""
    from sync_worker import desk
    from sync_worker.desk import manager_files, managers

    out_needs_dry_run(out, dry_run)
    other_than(file, {"--errors": errors, "--out": out})
    with desk.opened(load(config)) as worker_app:
        found = manager_files.read(worker_app, file, flow)
        if found.errors:
            _refuse(file, found, errors, json=json)
        managers.check_managers(worker_app, found.rows)
        _tell(found.rows, json=json)
        if dry_run:
            _foresee(worker_app, found.rows, out, json=json)
        released = 0 if dry_run else managers.map_by_flow(worker_app, found.rows)
    counts = {"rows": len(found.rows), "released": released, "same": found.same, "left": found.left, "errors": []}
    if (dry_run and json) or Printer(json).document(counts):
        return
    said = "would change" if dry_run else f"changed, {counted(released, 'link')} released"
    same = counted(found.same, "stands", "stand")
    print(f"{counted(len(found.rows), 'row')} {said}; {same} so already, {found.left} without a CRM user")


def _refuse(file: Path, found: Upload, errors: Path | None, *, json: bool) -> None:
    """Nothing of a file with wrong rows is made; ends the command with 1."""
    from sync_worker.desk import manager_files

    if errors is not None:
        count = manager_files.write_errors(file, errors, found)
        print(f"{errors}: {counted(count, 'row')} to correct and upload again", file=sys.stderr)
    wrong = [{"line": number, "errors": texts} for number, texts in found.errors]
    if not Printer(json).document({"rows": 0, "released": 0, "same": found.same, "left": found.left, "errors": wrong}):
        for number, texts in found.errors:
            print(shown(f"line {number}: {'; '.join(texts)}"))
        print(f"{counted(len(found.errors), 'row is', 'rows are')} wrong; nothing was changed")
    done(1)


def _tell(made: Sequence[Proposal], *, json: bool) -> None:
    """Before anything is done; beside a JSON document on stderr."""
    for one in made:
        for line in _about(one):
            print(line, flush=True, file=sys.stderr if json else sys.stdout)


def _foresee(worker_app: App, made: Sequence[Proposal], out: Path | None, *, json: bool) -> None:
    """What the links that these rows release would write."""
    from sync_worker.desk import manager_preview

    show(manager_preview.preview(worker_app, made), ", ".join(sorted({one.flow for one in made})), out, json=json)
