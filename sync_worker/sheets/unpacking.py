"""How large a workbook really is, told before it is opened: what its zip directory says need not be true.

The reader makes a full rectangle from the first cell to the last, and an allocation that fails there ends the process.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

PIECE = 1 << 20
_OVERLAP = 64  # bytes: a cell's reference may stand across two pieces
_PLACE = re.compile(rb"""\br\s*=\s*["']([A-Za-z]{0,3})([0-9]{1,9})["']""")  # of a cell, B7, or of a row, 7


class TooLarge(Exception):
    """What is too large, and of what size."""


def check(path: Path, *, most_bytes: int, most_cells: int) -> None:
    """Raises ``TooLarge``, and ``zipfile.BadZipFile`` for what is no XLSX workbook."""
    with zipfile.ZipFile(path) as packed:
        if "xl/workbook.xml" not in packed.namelist():
            raise zipfile.BadZipFile("no workbook")
        left = most_bytes
        for one in packed.infolist():
            columns, rows = 0, 0
            sheet = one.filename.startswith("xl/worksheets/")
            for piece in _pieces(packed, one, left):
                left -= len(piece)
                if left < 0:
                    raise TooLarge(f"more than {most_bytes // 1024**2} MB unpacked")
                places = _PLACE.findall(piece) if sheet else []
                columns = max([columns, *map(_number, {letters for letters, _ in places})])
                rows = max([rows, *(int(number) for number in {number for _, number in places})])
            if columns * rows > most_cells:
                raise TooLarge(f"{rows:,} rows by {columns:,} columns")


def _pieces(packed: zipfile.ZipFile, one: zipfile.ZipInfo, most: int) -> Iterator[bytes]:
    """Unpacked, one overlapping the next a little, and on past the size that the directory gives."""
    one.file_size = most + PIECE
    before = b""
    try:
        with packed.open(one) as file:
            while piece := file.read(PIECE):
                yield before[-_OVERLAP:] + piece
                before = piece
    except (zlib.error, EOFError, NotImplementedError, RuntimeError) as error:  # damaged, or encrypted
        raise zipfile.BadZipFile(str(error)) from None


def _number(letters: bytes) -> int:
    """A is 1, Z is 26, AA is 27."""
    found = 0
    for letter in letters.upper():
        found = found * 26 + letter - ord("A") + 1
    return found
