"""``/``: how it stands, on one plain page without login: numbers and systems, no customer's data."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sync_worker.reports import STATES, not_polled, systems_down
from sync_worker.store import counters, waiting
from sync_worker.store.session import Database

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="5"><title>sync-worker</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 48rem; padding: 0 1rem; color: #1f2933 }}
table {{ border-collapse: collapse; width: 100%; margin-bottom: 2rem }}
th, td {{ text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #d9e2ec }}
.down {{ color: #b42318; font-weight: 600 }}
</style></head><body>
<h1>sync-worker</h1>
<p>Due now: <strong>{due}</strong>{oldest}</p>
<h2>Links</h2>
<table><thead><tr><th>Flow</th><th>State</th><th>Links</th></tr></thead><tbody>{links}</tbody></table>
<h2>Systems</h2>
<table><thead><tr><th>System</th><th>State</th></tr></thead><tbody>{systems}</tbody></table>
</body></html>
"""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the page shows. ``down``: system -> reason; ``unknown``: system that is not down, but was never polled ->
    that; ``oldest``: seconds the longest due link has been due."""

    by_state: Mapping[tuple[str, str], int]
    due: int
    oldest: float | None
    systems: tuple[str, ...]
    down: Mapping[str, str]
    unknown: Mapping[str, str]


def look(db: Database, systems: Iterable[str]) -> Standing:
    """Read the standing from the database. Raises ``SQLAlchemyError``."""
    with db.read() as conn:
        now = db.now(conn)
    due = waiting.due_counts(db, now)
    names = tuple(sorted(systems))
    return Standing(
        by_state=counters.by_state(db),
        due=sum(count for _, _, _, count, _ in due),
        oldest=max((now - since for *_, since in due), default=None),
        systems=names,
        down=systems_down(db, names),
        unknown=not_polled(db, names),
    )


def render(standing: Standing) -> str:
    """The page. Everything that comes from configuration is escaped."""
    ordered = sorted(standing.by_state.items(), key=lambda item: (item[0][0], STATES.index(item[0][1])))
    rows = [_row(flow, state, str(count)) for (flow, state), count in ordered]
    systems = [
        _row(name, f"down: {standing.down[name]}", mark="down")
        if name in standing.down
        else _row(name, standing.unknown.get(name, "up"))
        for name in standing.systems
    ]
    oldest = "" if standing.oldest is None else f", the oldest for {standing.oldest:.0f} s"
    return _PAGE.format(
        due=standing.due,
        oldest=oldest,
        links="".join(rows) or '<tr><td colspan="3">none yet</td></tr>',
        systems="".join(systems),
    )


def _row(*cells: str, mark: str = "") -> str:
    open_row = f'<tr class="{mark}">' if mark else "<tr>"
    return open_row + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"
