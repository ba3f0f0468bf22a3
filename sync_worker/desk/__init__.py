"""What a person does at the command line, and scripts by the API: look, sync, settle, retry. One place for both."""

from sync_worker.desk.records import explain, replay, resolve, resume, settle, status
from sync_worker.desk.shared import ACTOR, opened
from sync_worker.desk.syncing import ask_sync, sync_due, sync_record, sync_records

__all__ = [
    "ACTOR",
    "ask_sync",
    "explain",
    "opened",
    "replay",
    "resolve",
    "resume",
    "settle",
    "status",
    "sync_due",
    "sync_record",
    "sync_records",
]
