"""How large a workbook really is, told before it is read: neither its zip directory nor its parts need say the truth.

The reader makes a full rectangle from the first cell to the last, with its text in every cell that shares it; an
allocation that fails there ends the process. So it is never given the file, but a copy of just what was measured.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from xml.parsers import expat

PIECE = 1 << 20
_DEEPEST = 200  # elements in elements; a workbook has a dozen
_CELL = re.compile(r"([A-Za-z]{1,3})([1-9][0-9]{0,8})")  # B7
_ORDERED = ("sheetData", "row", "c")  # one in the other, and nowhere else in a sheet
_SHEET = b"sheetData"
_COUNT = re.compile(r"[0-9]{1,9}")
# What no reader needs for the cells, and what would make it take the copy for a workbook of another kind.
_LEFT_OUT = ("customxml/", "docprops/", "content.xml")


class TooLarge(Exception):
    """What is too large, and of what size."""


def measured(path: Path, *, most_bytes: int, most_cells: int) -> io.BytesIO:
    """A copy with the parts that hold cells, all of them measured: where its cells stand and how much text they have.

    Raises ``TooLarge``, and ``zipfile.BadZipFile`` for what is no XLSX workbook or counts in a way of its own.
    """
    copy = io.BytesIO()
    with zipfile.ZipFile(path) as packed, zipfile.ZipFile(copy, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as kept:
        parts = {_plain(one.filename): one for one in packed.infolist()}
        if "xl/workbook.xml" not in parts or len(parts) < len(packed.infolist()):
            raise zipfile.BadZipFile("no workbook, or a part that stands there twice")
        strings = _Strings(most_cells)
        left = most_bytes
        for name in sorted(parts, key=lambda name: not _holds_strings(name)):  # before the cells that share them
            needed = name.endswith((".xml", ".rels")) and not name.startswith(_LEFT_OUT)
            part: _Part | None = None
            if _holds_strings(name):
                part = strings
            elif needed and _may_hold_cells(_pieces(packed, parts[name], left), left):
                part = _Cells(strings, most_cells, most_bytes)
            with kept.open(parts[name].filename, "w") if needed else io.BytesIO() as target:
                for piece in _pieces(packed, parts[name], left):
                    left -= len(piece)
                    if left < 0:
                        raise TooLarge(f"more than {most_bytes // 1024**2} MB unpacked")
                    if part is not None:
                        part.feed(piece)
                    if needed:
                        target.write(piece)
            if part is not None:
                part.close()
    copy.seek(0)
    return copy


def _may_hold_cells(pieces: Iterator[bytes], most: int) -> bool:
    """Without these bytes the reader finds no cells in a part, and how it is written otherwise is no matter."""
    before = b""
    for piece in pieces:
        most -= len(piece)
        if most < 0 or _SHEET in before[-len(_SHEET) :] + piece:
            return True
        before = piece
    return False


def _plain(name: str) -> str:
    """A part's name as the reader compares it."""
    return name.replace("\\", "/").lower()


def _holds_strings(name: str) -> bool:
    return name.endswith("sharedstrings.xml")


def _pieces(packed: zipfile.ZipFile, one: zipfile.ZipInfo, most: int) -> Iterator[bytes]:
    """Unpacked, and on past the size that the directory gives."""
    one.file_size = most + PIECE
    try:
        with packed.open(one) as file:
            while piece := file.read(PIECE):
                yield piece
    except (zlib.error, EOFError, NotImplementedError, RuntimeError) as error:  # damaged, or encrypted
        raise zipfile.BadZipFile(str(error)) from None


class _Part(ABC):
    """One part as XML of the strict kind, of which there are no two opinions.

    Always UTF-8, since the reader looks at bytes, whatever encoding the part claims: the parser would believe a mark at
    its start. No document type, which could give attributes to elements that show none.
    """

    def __init__(self) -> None:
        self._open = [""]  # local names of the elements that are open, behind nothing
        self._parser = expat.ParserCreate("utf-8")
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.StartDoctypeDeclHandler = self._doctype

    def feed(self, piece: bytes) -> None:
        if b"\0" in piece:  # in UTF-8 no XML has one, in UTF-16 each
            raise zipfile.BadZipFile("a part that is not UTF-8")
        self._parse(piece, final=False)

    def close(self) -> None:
        self._parse(b"", final=True)

    def _parse(self, piece: bytes, *, final: bool) -> None:
        try:
            self._parser.Parse(piece, final)
        except expat.ExpatError as error:
            raise zipfile.BadZipFile(str(error)) from None

    def _doctype(self, *_declared: object) -> None:
        raise zipfile.BadZipFile("a document type")

    def _enter(self, name: str) -> tuple[str, str]:
        """The element's local name, and that of the one it is in."""
        within = self._open[-1]
        if ":" in name:
            prefix, _, name = name.partition(":")
            if ":" in name or not prefix:
                raise zipfile.BadZipFile("an element with two prefixes")
        self._open.append(name)
        if len(self._open) > _DEEPEST:
            raise zipfile.BadZipFile("elements too deep in each other")
        return name, within

    @abstractmethod
    def _start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""

    @abstractmethod
    def _end(self, name: str) -> None:
        """It ends."""

    @abstractmethod
    def _text(self, text: str) -> None:
        """What stands in it, in pieces."""


class _Strings(_Part):
    """The texts that cells share: how long each is, in bytes."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self._in_string = False
        self._sizes = array("L")
        self._longest = 0

    def size(self, index: str | None) -> int:
        """Of the text with this index; of the longest where the reader may understand another index than we do."""
        if index is None or not _COUNT.fullmatch(index):
            return self._longest
        return self._sizes[int(index)] if int(index) < len(self._sizes) else 0

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        local, within = self._enter(name)
        if local == "sheetData" or (local == "sst" and within) or (local == "si" and within != "sst"):
            raise zipfile.BadZipFile(f"{local} among the texts")
        if local == "sst":
            count = attributes.get("uniqueCount", "0")  # the reader makes room for so many
            if count and not (count.isascii() and count.isdigit()):
                raise zipfile.BadZipFile("a count of texts that is none")
            if len(count) > 9 or int(count or 0) > self._most:
                raise TooLarge(f"more than {self._most:,} texts")
        elif local == "si":
            if len(self._sizes) >= self._most:
                raise TooLarge(f"more than {self._most:,} texts")
            self._sizes.append(0)
            self._in_string = True

    def _text(self, text: str) -> None:
        if self._in_string:
            self._sizes[-1] += len(text.encode())
            self._longest = max(self._longest, self._sizes[-1])

    def _end(self, _name: str) -> None:
        local = self._open.pop()
        if local == "si":
            self._in_string = False


class _Cells(_Part):
    """Where the cells of a part stand, if it is a sheet: by their names, or one after the other where they have none.

    Cells without a value take no room.
    """

    def __init__(self, strings: _Strings, most: int, most_text: int) -> None:
        super().__init__()
        self._strings, self._most, self._most_text = strings, most, most_text
        self._in_sheet = False
        self._row, self._column = 0, 0  # where the next cell stands that has no name
        self._place: tuple[int, int] | None = None  # of the cell that is open, until it is seen to have a value
        self._shares = False  # is its value the index of a text?
        self._index: list[str] | None = None  # such a value, in as many pieces as it came
        self._cells = self._rows = self._columns = self._size = 0

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        local, within = self._enter(name)
        if not self._in_sheet:
            self._in_sheet = local == "sheetData"
        elif local == "c" and within == "row":
            place = attributes.get("r")
            row, column = (self._row, self._column) if place is None else _located(place)
            self._place = (row, column)
            self._column = column + 1
            self._shares = attributes.get("t") == "s"
        elif within == "c" and local not in _ORDERED:
            if self._place is not None:
                self._occupy(*self._place)
            if self._shares and local == "v":
                self._index = []
        elif local == "row" and within == "sheetData":
            if "r" in attributes:
                self._row = _located("A" + attributes["r"])[0]
        elif local in _ORDERED:
            raise zipfile.BadZipFile(f"{local} in {within}")

    def _occupy(self, row: int, column: int) -> None:
        self._place = None
        self._cells += 1
        self._rows, self._columns = max(self._rows, row + 1), max(self._columns, column + 1)
        if self._rows * self._columns > self._most:
            raise TooLarge(f"{self._rows:,} rows by {self._columns:,} columns")
        if self._cells > self._most:
            raise TooLarge(f"more than {self._most:,} cells")

    def _text(self, text: str) -> None:
        if self._index is not None:
            self._index.append(text)

    def _end(self, _name: str) -> None:
        local = self._open.pop()
        if local == "v" and self._index is not None:
            # of a value in several pieces the reader takes the first, and only some of them are ours
            if self._index:
                self._size += self._strings.size(self._index[0] if len(self._index) == 1 else None)
            self._index = None
            if self._size > self._most_text:
                raise TooLarge(f"more than {self._most_text // 1024**2} MB of text in its cells")
        elif local == "row" and self._in_sheet:
            self._row += 1
            self._column = 0
        elif local == "sheetData":
            self._in_sheet = False


def _located(name: str) -> tuple[int, int]:
    """Row and column of a cell's name, from 0."""
    found = _CELL.fullmatch(name)
    if found is None:
        raise zipfile.BadZipFile("a cell or a row with a name that is none")
    letters, number = found.groups()
    return int(number) - 1, _column(letters)


@lru_cache(maxsize=1024)
def _column(letters: str) -> int:
    column = 0
    for letter in letters.upper():
        column = column * 26 + ord(letter) - ord("A") + 1
    return column - 1
