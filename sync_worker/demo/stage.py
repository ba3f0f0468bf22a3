"""What the demo needs, as real processes; all of it ends whatever happens."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from sync_worker.demo.installation import CannotStart, Installation
from sync_worker.processes import StopSignal

LATENCY_MS = 20


class Stage(Installation):
    """Both vendors, ``sync-worker run``, and the folder everything of theirs lies in."""

    create_in_crm = "on_create"

    @property
    def log(self) -> Path:
        """What our processes log."""
        return self.log_of("run")

    def start(self, log_level: str) -> None:
        """Start both vendors and ours, and wait until all are ready. Raises ``CannotStart`` and ``Stopped``."""
        self.environment |= {"SYNC_LOG_LEVEL": log_level, "SYNC_LOG_FORMAT": "json"}
        self.write_config(self.create_in_crm, poll_seconds=2, stale_seconds=2)
        self.start_vendors(LATENCY_MS)
        self.serve("run", "run")
        self.announce()


@contextlib.contextmanager
def stage(
    folder: Path, stop: StopSignal, *, web_port: int | None = None, create_in_crm: str = "on_create"
) -> Iterator[Stage]:
    """An empty ``folder`` and free ports; everything that is started on it has ended afterwards.

    Emulated vendors forget everything when they end, so what an earlier demo stored is of no use and goes.
    Raises ``CannotStart`` when another demo is using the folder.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        _take(lock, folder)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        secret = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
        made = Stage(folder, secret, web_port=web_port, stop=stop)
        made.create_in_crm = create_in_crm
        try:
            yield made
        finally:
            made.close()


def _take(lock: TextIO, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CannotStart(f"another demo is running in {folder}: stop it first, or set SYNC_DATA_DIR") from None
