"""Reading XLSX and CSV. CSV: UTF-8 (with or without BOM), UTF-16 with BOM, else cp1252; comma, semicolon or tab."""

from __future__ import annotations

import codecs
import csv
import datetime
import io
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from python_calamine import CalamineError, CalamineWorkbook

from sync_worker.errors import PermanentError
from sync_worker.sheets import unpacking

LARGEST = 50 * 1024 * 1024  # bytes of a file
LARGEST_UNPACKED = 10 * LARGEST  # an XLSX is a zip file; what is in it may be far larger than it looks
MOST_CELLS = 20_000_000  # from the first to the last, empty ones included
MOST_COLUMNS = 1000  # of a CSV
LONGEST_CELL = 32_767  # characters, as in Excel
_GUARDED = re.compile(r"'(?=[=+\-@\t\r])")  # how ``write`` keeps spreadsheets from running a CSV's cell


class SheetError(PermanentError):
    """A file that cannot be used: which, why, and what to do."""

    code = "unusable_file"


@dataclass(frozen=True, slots=True)
class Line:
    """One row. ``number``: as people count, the header being 1. ``cells``: column -> text, without spaces around."""

    number: int
    cells: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Sheet:
    """``headers``: as written. ``lines``: the rows that are not blank, read as they are asked for, once."""

    path: Path
    headers: tuple[str, ...]
    lines: Iterator[Line]


def flat(header: str) -> str:
    """A header for comparing: "Customer Id", "customer_id" and "CustomerId" are the same column."""
    return re.sub(r"[\s_\-]+", "", header).casefold()


def read(
    path: Path, *, required: Sequence[str] = (), known: Sequence[str] = (), also: Mapping[str, str] | None = None
) -> Sheet:
    """The first sheet of a file. ``required``, ``known``: columns, found however they are spaced and cased.

    ``also``: other names of such columns -> the name given here.

    Cells come under the name given here. Raises SheetError: not there, too large, unreadable, columns missing or twice.
    """
    rows = _rows(path)
    first = next((cells for _, cells in rows if any(cells)), None)
    if first is None:
        raise SheetError(f"{path} is empty: it needs a row of column names, and rows below it")
    spelling = {flat(name): name for name in (*required, *known)}
    spelling |= {flat(name): column for name, column in (also or {}).items()}
    headers = tuple(spelling.get(flat(cell), cell) for cell in first)
    named = [name for name in headers if name]
    doubled = sorted({name for name in named if named.count(name) > 1})
    if doubled:
        raise SheetError(f"{path}: the column {doubled[0]} stands there twice; leave one of them")
    missing = [name for name in required if name not in headers]
    if missing:
        raise SheetError(f"{path} lacks the column {', '.join(missing)}; it has: {', '.join(named)}")
    return Sheet(path, headers, _lines(headers, rows))


def _lines(headers: Sequence[str], rows: Iterator[tuple[int, list[str]]]) -> Iterator[Line]:
    for number, cells in rows:
        if any(cells):
            given = [*cells, *[""] * (len(headers) - len(cells))]
            yield Line(number, {name: given[i] for i, name in enumerate(headers) if name})


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        size = path.stat().st_size
        head = path.open("rb").read(4)
    except OSError as error:
        raise SheetError(f"{path} cannot be read: {error.strerror}") from None
    if size > LARGEST:
        raise SheetError(
            f"{path} has {size // 1024**2} MB; at most {LARGEST // 1024**2} MB: split it into several files"
        )
    if size == 0:
        raise SheetError(f"{path} is empty: it needs a row of column names, and rows below it")
    if head.startswith(b"PK\x03\x04"):
        return _xlsx(path)
    if path.suffix.lower() in (".xlsx", ".xls", ".xlsm"):
        raise SheetError(f"{path} is no XLSX workbook: save it as XLSX or CSV")
    return _csv(path)


def _xlsx(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        copy = unpacking.measured(path, most_bytes=LARGEST_UNPACKED, most_cells=MOST_CELLS)
        sheet = CalamineWorkbook.from_filelike(copy).get_sheet_by_index(0)
        rows: Iterator[list[Any]] = sheet.iter_rows()
    except unpacking.TooLarge as error:
        raise SheetError(f"{path} holds {error}: delete what is not needed, or split it into several files") from None
    except (CalamineError, zipfile.BadZipFile, IndexError) as error:
        raise SheetError(f"{path} is no readable XLSX workbook ({type(error).__name__}): save it again") from None
    return ((i, [_text(cell) for cell in cells]) for i, cells in enumerate(rows, 1))


def _text(cell: Any) -> str:
    """A typed cell as people see it: 1001.0 is 1001, a date is written as ISO 8601."""
    if isinstance(cell, bool):
        return "TRUE" if cell else "FALSE"
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, datetime.datetime | datetime.date | datetime.time):
        return cell.isoformat()
    return str(cell).strip()[:LONGEST_CELL]


def _csv(path: Path) -> Iterator[tuple[int, list[str]]]:
    file = path.open(encoding=_encoding(path), newline="")
    try:
        start = file.read(64 * 1024)
    except UnicodeError:
        file.close()
        raise _no_text(path) from None
    file.seek(0)
    if "\x00" in start:
        file.close()
        raise _no_text(path)
    return _csv_rows(path, file, _delimiter(start))


def _csv_rows(path: Path, file: io.TextIOWrapper, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    with file:
        # strict: else a quote that is never closed would make all rows behind it one cell
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        begun = 1  # the line on which the row begins
        try:
            for number, cells in enumerate(reader, 1):
                if len(cells) > MOST_COLUMNS:
                    raise SheetError(f"{path}, line {begun}: more than {MOST_COLUMNS} columns: delete the others")
                begun = reader.line_num + 1
                yield number, [_GUARDED.sub("", cell.strip(), count=1)[:LONGEST_CELL] for cell in cells]
        except UnicodeError:
            raise _no_text(path) from None
        except csv.Error as error:
            why = f"{error}; are its quotes closed? Save it again as CSV or XLSX"
            raise SheetError(f"{path}, line {begun}: {why}") from None


def _no_text(path: Path) -> SheetError:
    return SheetError(f"{path} is no text in UTF-8, UTF-16 or Windows-1252: save it as XLSX or CSV (UTF-8)")


def _encoding(path: Path) -> str:
    """By the byte-order mark; else UTF-8 where all of it is; else what Excel writes on Windows."""
    with path.open("rb") as file:
        head = file.read(4)
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        file.seek(0)
        decoder = codecs.getincrementaldecoder("utf-8-sig")()
        try:
            while piece := file.read(1 << 16):
                decoder.decode(piece)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "cp1252"
    return "utf-8-sig"


def _delimiter(start: str) -> str:
    """The one that the header is cut by most often; a quoted header's own commas do not count."""
    header = re.sub(r'"[^"]*"', "", start.splitlines()[0] if start.strip() else "")
    return max(",;\t", key=lambda mark: (header.count(mark), mark == ","))
