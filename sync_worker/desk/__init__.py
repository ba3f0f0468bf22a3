"""What a person does at the command line, and later in the console: look, sync, settle, retry. One place for both."""

from sync_worker.desk.records import explain, opened, replay, resolve, resume, status, sync_due, sync_record

__all__ = ["explain", "opened", "replay", "resolve", "resume", "status", "sync_due", "sync_record"]
