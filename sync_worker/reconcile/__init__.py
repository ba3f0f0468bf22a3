"""``verify``: walk both sides of a flow, compare every record with what we know of it, and say what is apart.

walk        each side in ranges of keys; only what differs is remembered        (walk.py)
complete    the ranges together must be as many as the vendor counts            (walk.py)
look again  what differs is read once more, by key: edits in flight are no find  (verdicts.py)
hand over   what is left becomes ordinary work; nothing is written here         (report.py)
"""

from sync_worker.reconcile.report import Limits, Report, verify

__all__ = ["Limits", "Report", "verify"]
