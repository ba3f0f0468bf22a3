"""Table files that people edit: XLSX and CSV in, XLSX and CSV out. Every cell is text; nothing is evaluated.

What is wrong with a file as a whole is a ``SheetError`` of one line; what is wrong with a row is up to the reader.
"""

from sync_worker.sheets.reading import Line, Sheet, SheetError, read
from sync_worker.sheets.writing import ERRORS, check_target, write

__all__ = ["ERRORS", "Line", "Sheet", "SheetError", "check_target", "read", "write"]
