"""The link file itself: read with the columns of the template, and its wrong rows given back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sync_worker import sheets
from sync_worker.desk.link_rows import ACCOUNT, ALSO, OWN, REQUIRED, SAGE_ID, TEMPLATE
from sync_worker.sheets import Line, Sheet, SheetError
from sync_worker.store import runs
from sync_worker.store.session import Database
from sync_worker.wiring import App

WRONG = "wrong"
NOT_DONE = (WRONG, "refused")


def open_sheet(path: Path) -> Sheet:
    """A file with the template's columns, spaced or not. Raises SheetError."""
    sheet = sheets.read(path, required=REQUIRED, known=(*TEMPLATE, *OWN), also=ALSO)
    if ACCOUNT not in sheet.headers and SAGE_ID not in sheet.headers:
        raise SheetError(f"{path} has neither the column {ACCOUNT} nor {SAGE_ID}: one of them says which customer")
    return sheet


def digest(path: Path) -> str:
    """Which file it is, whatever its name."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def wrong_rows(db: Database, run_id: int) -> Iterator[tuple[int, list[str]]]:
    """Lines that were not linked, in order, with everything that is wrong."""
    for some in runs.rows(db, run_id, NOT_DONE):
        for row in some:
            yield int(row.key), list((row.detail or {}).get("errors", []))


def write_errors(app: App, source: Path, target: Path, run_id: int) -> int:
    """The wrong rows as they were, with what is wrong: corrected, the file can be uploaded as it is."""
    sheet = open_sheet(source)
    headers = [name for name in sheet.headers if name and name not in sheets.ERRORS]
    return sheets.write(
        target, [*headers, *sheets.ERRORS], _error_rows(headers, sheet.lines, wrong_rows(app.db, run_id))
    )


def _error_rows(
    headers: Sequence[str], lines: Iterable[Line], errors: Iterator[tuple[int, list[str]]]
) -> Iterator[list[str]]:
    wanted = next(errors, None)
    for line in lines:
        if wanted is None:
            return
        if line.number == wanted[0]:
            yield [*(line.cells.get(name, "") for name in headers), str(line.number), "; ".join(wanted[1])]
            wanted = next(errors, None)
