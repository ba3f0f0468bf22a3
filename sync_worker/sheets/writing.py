"""Writing XLSX and CSV that spreadsheets show and never run: every cell is a text."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import xlsxwriter

from sync_worker.sheets.reading import LONGEST_CELL, SheetError

ERRORS = ("_line", "_errors")  # columns behind the others in a file of wrong rows: where each stood, and what is wrong
_RUN_BY_SPREADSHEETS = ("=", "+", "-", "@", "\t", "\r")


def write(path: Path, headers: Sequence[str], rows: Iterable[Sequence[str]]) -> int:
    """Write a file whole or not at all; returns its rows. The form goes by the name's ending: .xlsx or .csv.

    Raises SheetError for another ending, and when the file cannot be written.
    """
    forms: dict[str, Callable[[Path, Sequence[str], Iterable[Sequence[str]]], int]] = {".xlsx": _xlsx, ".csv": _csv}
    form = forms.get(path.suffix.lower())
    if form is None:
        raise SheetError(f"{path}: the file's name must end in .xlsx or .csv")
    half = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        count = form(half, headers, rows)
        half.replace(path)
    except (OSError, xlsxwriter.exceptions.FileCreateError) as error:
        raise SheetError(f"{path} cannot be written: {error}") from None
    finally:
        half.unlink(missing_ok=True)
    return count


def _xlsx(path: Path, headers: Sequence[str], rows: Iterable[Sequence[str]]) -> int:
    count = 0
    with xlsxwriter.Workbook(path, {"constant_memory": True, "strings_to_formulas": False}) as book:
        sheet = book.add_worksheet()
        bold = book.add_format({"bold": True})
        for column, name in enumerate(headers):
            sheet.write_string(0, column, name, bold)
        sheet.freeze_panes(1, 0)
        sheet.set_column(0, max(0, len(headers) - 1), 22)
        for count, cells in enumerate(rows, 1):
            for column, cell in enumerate(cells):
                sheet.write_string(count, column, cell[:LONGEST_CELL])
        sheet.autofilter(0, 0, count, max(0, len(headers) - 1))
    return count


def _csv(path: Path, headers: Sequence[str], rows: Iterable[Sequence[str]]) -> int:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        out = csv.writer(file)
        out.writerow(headers)
        return sum(1 for cells in rows if out.writerow([_guarded(cell) for cell in cells]))


def _guarded(cell: str) -> str:
    """A quote in front keeps a spreadsheet from running the cell; ``read`` takes it off again."""
    return "'" + cell if cell.startswith(_RUN_BY_SPREADSHEETS) else cell
