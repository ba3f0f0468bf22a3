"""The manager mapping as a file, and suggestions for it: out, corrected by people, and in again (AM-5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mappings.suggestions import Suggestion, suggest
from sync_worker import sheets
from sync_worker.desk.managers import People, Proposal, check_managers, flow_of, listing
from sync_worker.errors import PermanentError
from sync_worker.events import SIDES
from sync_worker.store import directory, managers
from sync_worker.store.directory import Known
from sync_worker.store.managers import AmbiguousMapping
from sync_worker.wiring import App

FLOW, ERP, CRM, PREFERRED = "Flow", "ErpManager", "CrmUser", "Preferred"
COLUMNS = (FLOW, ERP, "ErpName", CRM, "CrmName", PREFERRED, "Waiting")
_YES = frozenset(("yes", "y", "true", "1", "x", "preferred"))
_NO = frozenset(("", "no", "n", "false", "0"))


@dataclass
class Upload:
    """What a file says. ``rows``: those that change something; ``same``: those that stand so already.

    ``left``: rows without a CRM user. ``errors``: (line, what is wrong with it): then nothing is applied.
    """

    rows: list[Proposal] = field(default_factory=list)
    same: int = 0
    left: int = 0
    errors: list[tuple[int, list[str]]] = field(default_factory=list)


def suggestions(app: App, flow_name: str) -> list[dict[str, Any]]:
    """Ranked suggestions for whoever is active and has no row, best first."""
    return [
        {
            "erp": {"key": ours.key, "ref": ours.ref, "name": ours.name},
            "crm": {"key": theirs.key, "ref": theirs.ref, "name": theirs.name},
            "reasons": list(one.reasons),
            "exact": one.exact,
        }
        for one, ours, theirs in _suggested(app, flow_name)
    ]


def accept_exact(app: App, flow_name: str) -> list[Proposal]:
    """The rows that all exact suggestions together would make."""
    people = People(app, flow_of(app, flow_name))
    return [people.proposal(ours, theirs) for one, ours, theirs in _suggested(app, flow_name) if one.exact]


def _suggested(app: App, flow_name: str) -> Iterator[tuple[Suggestion, Known, Known]]:
    flow = flow_of(app, flow_name)
    rows = managers.mappings(app.db, flow.name)
    people = {side: directory.directory(app.db, flow.systems[side]) for side in SIDES}
    taken = {"erp": {row.erp_key for row in rows}, "crm": {row.crm_key for row in rows}}
    free = {side: [p for p in people[side] if p.active and p.key not in taken[side]] for side in SIDES}
    by_key = {side: {p.key: p for p in people[side]} for side in SIDES}
    for one in suggest(free["erp"], free["crm"]):
        yield one, by_key["erp"][one.erp_key], by_key["crm"][one.crm_key]


def export(app: App, path: Path, flow_name: str | None = None) -> int:
    """Write the mapping, and below it whoever has no row yet, for filling in. Returns the number of rows."""
    return sheets.write(path, COLUMNS, _exported(listing(app, flow_name)["flows"]))


def _exported(flows: dict[str, Any]) -> Iterator[list[str]]:
    for name, flow in flows.items():
        for row in flow["map"]:
            erp, crm = row["erp"], row["crm"]
            preferred = "yes" if row["preferred"] else ""
            yield [name, *_cells(erp), *_cells(crm), preferred, str(erp["waiting"] + crm["waiting"])]
        for one in flow["unmapped"]["erp"]:
            yield [name, *_cells(one), "", "", "", str(one["waiting"])]


def _cells(person: dict[str, Any]) -> list[str]:
    return [person["key"], " ".join(dict.fromkeys(x for x in (person["ref"], person["name"]) if x))]


def read(app: App, path: Path, flow_name: str | None = None) -> Upload:
    """Check a file row by row; all errors of a row at once. ``flow_name``: for files without the column Flow.

    Raises SheetError when the file as a whole cannot be used.
    """
    required = (ERP, CRM) if flow_name is not None else (FLOW, ERP, CRM)
    upload = Upload()
    good: list[tuple[int, Proposal]] = []  # by line
    seen: dict[tuple[str, str], int] = {}
    ways: dict[tuple[str, str], int] = {}  # back to an ERP manager, by the rows marked so
    people = {name: People(app, flow) for name, flow in app.flows.items()}
    for line in sheets.read(path, required=required, known=COLUMNS).lines:
        cells = dict(line.cells)
        name = cells.get(FLOW) or flow_name or ""
        errors: list[str] = []
        if not cells[CRM] and cells[ERP]:
            upload.left += 1
            continue
        made = _proposal(people, name, cells, errors)
        if made is not None:
            before = seen.setdefault((made.flow, made.erp.key), line.number)
            if before != line.number:
                errors.append(f"{made.erp.key} stands in line {before} already")
            marked = ways.setdefault((made.flow, made.crm.key), line.number) if made.preferred else line.number
            if marked != line.number:
                told = f"{CRM} {made.crm.ref} has its {PREFERRED} in line {marked} already"
                errors.append(f"{told}: only one of them is the way back")
        if errors or made is None:
            upload.errors.append((line.number, errors))
        elif made.unchanged:
            upload.same += 1
        else:
            good.append((line.number, made))
    for flow in app.flows:
        for _, made in _unambiguous(app, [(n, made) for n, made in good if made.flow == flow], upload.errors):
            upload.rows.append(made)
    upload.errors.sort()
    return upload


def _unambiguous(
    app: App, rows: list[tuple[int, Proposal]], errors: list[tuple[int, list[str]]]
) -> list[tuple[int, Proposal]]:
    """The rows of a flow but for those that would leave several ERP managers on one CRM user and no way back."""
    while True:
        try:
            check_managers(app, [made for _, made in rows])
        except AmbiguousMapping as error:
            onto = {number: made.crm.ref for number, made in rows if made.crm.key == error.user}
            off = {number: str(made.replaces_ref) for number, made in rows if made.replaces == error.user}
            told = f"would stand for {', '.join(error.managers)}, and none of them is the way back"
            wrong = onto or off
            errors += [(n, [f"{CRM} {ref} {told}: say yes under {PREFERRED} for one"]) for n, ref in wrong.items()]
            rows = [(number, made) for number, made in rows if number not in wrong]
        else:
            return rows


def _proposal(
    people: Mapping[str, People], flow_name: str, cells: Mapping[str, str], errors: list[str]
) -> Proposal | None:
    mark = cells.get(PREFERRED, "").casefold()
    if mark not in _YES | _NO:
        errors.append(f"{PREFERRED} {cells[PREFERRED]}: yes or nothing")
    if flow_name not in people:
        errors.append(f"{FLOW} {flow_name or '(blank)'}: there are {', '.join(sorted(people))}")
        return None
    here = people[flow_name]
    found: list[Known] = []
    for side, column in zip(SIDES, (ERP, CRM), strict=True):
        try:
            found.append(here.one(side, cells[column]))
        except PermanentError as error:
            errors.append(f"{column}: {error}")
    return here.proposal(*found, preferred=mark in _YES) if len(found) == len(SIDES) and not errors else None


def write_errors(source: Path, target: Path, upload: Upload) -> int:
    """The file as it was, with what is wrong beside its rows: none was made, so all are needed once it is corrected.

    Returns how many are wrong. Raises SheetError.
    """
    sheet = sheets.read(source, known=COLUMNS)
    headers = [name for name in sheet.headers if name and name not in sheets.ERRORS]
    wrong = dict(upload.errors)
    rows: Iterable[list[str]] = (
        [*(line.cells[name] for name in headers), str(line.number), "; ".join(wrong.get(line.number, ()))]
        for line in sheet.lines
    )
    sheets.write(target, [*headers, *sheets.ERRORS], rows)
    return len(wrong)
