"""Imports: a flow's ERP customers brought under sync, page by page, by the same passes as everything else.

A page is compared with what we know; what differs or is new becomes due bulk work that may create, in the transaction
that stores how far the run has come. So a run that was killed goes on where it was, and repeats nothing.
"""

from sync_worker.imports.extent import extent
from sync_worker.imports.foresight import preview
from sync_worker.imports.foretold import kept, planned_anew
from sync_worker.imports.run import KIND, Import, Progress
from sync_worker.imports.selection import Selection, select_by
from sync_worker.imports.verdicts import settle

__all__ = [
    "KIND",
    "Import",
    "Progress",
    "Selection",
    "extent",
    "kept",
    "planned_anew",
    "preview",
    "select_by",
    "settle",
]
