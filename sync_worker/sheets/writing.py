"""Writing XLSX and CSV that spreadsheets show and never run: every cell is a text."""

from __future__ import annotations

import csv
import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import xlsxwriter

from sync_worker.sheets.reading import LONGEST_CELL, SheetError

Form = Callable[[Path, Sequence[str], Iterable[Sequence[str]]], int]

MOST_ROWS = 1_048_576  # of an XLSX, the header's among them
ERRORS = ("_line", "_errors")  # columns behind the others in a file of wrong rows: where each stood, and what is wrong
_RUN_BY_SPREADSHEETS = ("=", "+", "-", "@", "\t", "\r")


def check_target(path: Path) -> None:
    """Can ``write`` put a file there? To be asked before the work that fills it; leaves nothing behind.

    Raises SheetError, as ``write`` would.
    """
    _form(path)
    with _half(path) as half:
        half.touch()


def write(path: Path, headers: Sequence[str], rows: Iterable[Sequence[str]]) -> int:
    """Write a file whole or not at all; returns its rows. The form goes by the name's ending: .xlsx or .csv.

    Raises SheetError for another ending, when the file cannot be written, and for more rows than an XLSX holds.
    """
    form = _form(path)
    with _half(path) as half:
        count = form(half, headers, rows)
        half.replace(path)
    return count


def _form(path: Path) -> Form:
    form = {".xlsx": _xlsx, ".csv": _csv}.get(path.suffix.lower())
    if form is None:
        raise SheetError(f"{path}: the file's name must end in .xlsx or .csv")
    return form


@contextmanager
def _half(path: Path) -> Iterator[Path]:
    """Where a file is written before it takes its place; it is gone afterwards."""
    half = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        yield half
    except OSError as error:
        raise SheetError(f"{path} cannot be written: {error.strerror or error}") from None
    except xlsxwriter.exceptions.FileCreateError as error:  # tells what the OSError told
        raise SheetError(f"{path} cannot be written: {getattr(error.args[0], 'strerror', None) or error}") from None
    finally:
        with suppress(OSError):
            half.unlink(missing_ok=True)


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
            if count >= MOST_ROWS:  # the writer would leave them out without a word
                raise SheetError(
                    f"an XLSX holds at most {MOST_ROWS - 1:,} rows: give the file a name that ends in .csv"
                )
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
