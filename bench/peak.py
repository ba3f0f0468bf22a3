"""The peak memory of a command of ours, told by the command itself at its end."""

from __future__ import annotations

import sys
from pathlib import Path

# A child's ru_maxrss begins at what its parent held when it was forked; VmHWM counts from the exec on (Linux).
_COMMAND = """
import atexit, pathlib, sys
from sync_worker.cli import main
def tell(file=sys.argv.pop(1)):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    pathlib.Path(file).write_text(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
atexit.register(tell)
main()
"""


def command(told: Path) -> list[str]:
    """``sync-worker`` as a command line to be gone on with, which writes its peak to ``told`` when it ends."""
    return [sys.executable, "-c", _COMMAND, str(told)]


def megabytes(told: Path) -> float:
    """What it wrote."""
    return int(told.read_text(encoding="utf-8")) / 1024
