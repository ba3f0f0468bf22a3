"""Rewrites: runs that change fields of many links because a person says so: undo, re-apply of a mapping row, a leaver.

What is wanted of a link is a ``Wish``. It is stored as that link's choice, in the transaction that stores how far the
run has come; ordinary passes write it, and a field that was edited since is left out and named. So a run that was
killed goes on where it was, and repeats nothing.
"""

from sync_worker.rewrites.foresight import Foretold, preview
from sync_worker.rewrites.foretold import kept, planned_anew
from sync_worker.rewrites.run import VERDICTS, Progress, Rewrite
from sync_worker.rewrites.wishes import LEFT, Wish, Wishes

__all__ = [
    "LEFT",
    "VERDICTS",
    "Foretold",
    "Progress",
    "Rewrite",
    "Wish",
    "Wishes",
    "kept",
    "planned_anew",
    "preview",
]
