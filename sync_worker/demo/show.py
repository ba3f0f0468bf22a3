"""How the tour is shown: a table that grows on a terminal, plain lines in a pipe."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from sync_worker.demo.measure import Edit, Side

NAMES: dict[Side, str] = {"erp": "ERP", "crm": "CRM"}


def say(console: Console, line: str, style: str = "") -> None:
    """One line, as it is: never wrapped, never read as markup."""
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


def follow(console: Console, edits: Iterable[Edit]) -> list[Edit]:
    """Show every edit as it ends; all of them."""
    seen: list[Edit] = []
    if not console.is_terminal:
        for edit in edits:
            seen.append(edit)
            say(console, _line(edit))
        return seen
    with Live(_table(seen), console=console, auto_refresh=False) as live:
        for edit in edits:
            seen.append(edit)
            live.update(_table(seen), refresh=True)
    return seen


def write_report(path: Path, edits: list[Edit], writes_after_rest: int | None) -> bool:
    """Write the report; whether everything arrived and nothing was written at rest."""
    ok = bool(edits) and all(edit.arrived for edit in edits) and writes_after_rest == 0
    document: dict[str, Any] = {
        "ok": ok,
        "edits": [edit.as_dict() for edit in edits],
        "writes_after_rest": writes_after_rest,
    }
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return ok


def _line(edit: Edit) -> str:
    came = f"arrived in {edit.latency_ms} ms, {edit.vendor_calls} vendor calls" if edit.arrived else "DID NOT ARRIVE"
    return f"{NAMES[edit.source]} -> {NAMES[edit.target]}: {edit.what}: {came}"


def _table(edits: list[Edit]) -> Table:
    table = Table(title="ERP: Sage Intacct, CRM: Sage CRM (both emulated)", title_justify="left")
    table.add_column("from")
    table.add_column("to")
    table.add_column("what")
    table.add_column("arrived in", justify="right")
    table.add_column("vendor calls", justify="right")
    for edit in edits:
        came = f"{edit.latency_ms} ms" if edit.arrived else "did not arrive"
        style = None if edit.arrived else "red"
        table.add_row(NAMES[edit.source], NAMES[edit.target], edit.what, came, str(edit.vendor_calls), style=style)
    return table
