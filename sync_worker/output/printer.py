"""On a terminal tables, in a pipe plain lines, on request one JSON document."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from rich.console import Console
from rich.table import Table

PAGE = 1000  # rows of one table on a terminal
SPOOLED = 1_000_000  # characters of a document that are held in memory

STYLE = {
    "in_sync": "green",
    "pending": "cyan",
    "waiting": "yellow",
    "conflict": "magenta",
    "failing": "red",
    "in_step": "green",
    "differs": "yellow",
    "refused": "red",
    "stale": "cyan",
}

# Controls, marks that turn the line round, line ends of every kind; those that join letters and pictures are shown.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JOINERS = "\u200c\u200d"


def shown(text: str) -> str:
    r"""What others typed, in one line: characters that a screen obeys or hides are written out (``\n``, ``\x1b``)."""
    if text.isprintable():
        return text
    hidden = {c for c in text if unicodedata.category(c) in _UNSEEN and c not in _JOINERS}
    return text.translate({ord(c): c.encode("unicode_escape").decode() for c in hidden})


def moment(iso: str) -> str:
    """A time in UTC (``reports.iso``) to the second: people need no more, and a narrow table has no room for it."""
    return f"{iso[:10]} {iso[11:19]}Z"


class Printer:
    """``as_json``: one document and nothing else on stdout."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self._rich = sys.stdout.isatty()
        self._console = Console(highlight=False, emoji=False)  # a company may be called :cat:

    def document(self, value: Any) -> bool:
        """Shows it where JSON was asked for; False: it is to be shown for people."""
        if self.as_json:
            print(json.dumps(value, ensure_ascii=False, indent=2))
        return self.as_json

    def documents(self, values: Iterable[Any]) -> bool:
        """The same for a list that may be long: it is kept outside memory until its last item is known, so that
        whatever stops it leaves no half of a document."""
        if not self.as_json:
            return False
        with tempfile.SpooledTemporaryFile(SPOOLED, "w+", encoding="utf-8") as spool:
            between = "[\n  "
            for value in values:
                spool.write(between + json.dumps(value, ensure_ascii=False, indent=2).replace("\n", "\n  "))
                between = ",\n  "
            spool.write("[]\n" if between.startswith("[") else "\n]\n")
            spool.seek(0)
            shutil.copyfileobj(spool, sys.stdout)
        return True

    def line(self, name: str, value: str) -> None:
        """One thing by name, coloured as a state is."""
        self.styled(f"{name}: {value}", STYLE.get(value, ""))

    def styled(self, text: str, style: str) -> None:
        """A line, coloured on a terminal."""
        text = shown(text)
        if self._rich:
            self._console.print(text, style=style, markup=False, soft_wrap=True)  # a command stays one line to copy
        else:
            print(text)

    def table(
        self, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, keep: Sequence[str] = ()
    ) -> None:
        """Rows, coloured by the state in their last or first column; in a pipe with tabs, and no head.

        A long list is several tables on a terminal: it is never held whole. One without rows is a line that says so.
        Columns in which nobody has anything are left out there, since the others need the room, but for those to
        ``keep``: where being empty says something.
        """
        cells = ([shown(cell) for cell in row] for row in rows)
        if not self._rich:
            for row in cells:
                print("\t".join(row))
            return
        first = list(islice(cells, PAGE))
        if not first:
            print(f"{title}: none")
            return
        self._page(title, columns, first, keep)
        while page := list(islice(cells, PAGE)):
            self._page(title, columns, page, keep)

    def _page(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], keep: Sequence[str]) -> None:
        table = Table(title=title, title_justify="left")
        used = [n for n, column in enumerate(columns) if column in keep or any(row[n] for row in rows)]
        for n in used:
            table.add_column(columns[n], overflow="fold")  # an id that was cut could not be copied
        for row in rows:
            table.add_row(*(row[n] for n in used), style=STYLE.get(row[-1]) or STYLE.get(row[0]))
        self._console.print(table, markup=False)
