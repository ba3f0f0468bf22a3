"""The files in which each process keeps its figures (prometheus_client's multiprocess mode), and what becomes of them.

A process that died leaves its files behind. Deleting them would make counters fall, which Prometheus takes for a
restart and counts anew; so they are added to an archive file instead, and files nobody can read are passed over.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

DIRECTORY_ENV = "PROMETHEUS_MULTIPROC_DIR"
# A file of another machine (or container) whose process has not written for so long: it is gone.
OTHERS_SILENT_SECONDS = 86_400.0
_ARCHIVE = "archive"
_HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:10]


def use(directory: Path) -> None:
    """Keep this process's figures there. To be called before its first figure is made."""
    directory.mkdir(parents=True, exist_ok=True)
    os.environ[DIRECTORY_ENV] = str(directory)
    from prometheus_client import values

    # By pid alone, containers that share a directory would write into each other's files.
    values.ValueClass = values.MultiProcessValue(_identity)  # type: ignore[no-untyped-call]  # the library has no types


def be_there() -> None:
    """Make the directory again where it was cleaned away: a process's first figure opens its file there."""
    if directory := os.environ.get(DIRECTORY_ENV):
        Path(directory).mkdir(parents=True, exist_ok=True)


@functools.cache
def _identity() -> str:
    """Asked for at every figure; our processes are started, not forked."""
    return f"{_HOST}.{os.getpid()}"


def clear(directory: Path) -> None:
    """Forget what processes counted that have ended, for a start from nothing; another start may be up already."""
    with _alone(directory):
        for file in directory.glob("*.db"):
            if _is_archive(file) or _is_dead(file):
                file.unlink()


def archive_dead(directory: Path) -> None:
    """Add the counts of processes that ended to the archive."""
    with _alone(directory):
        for file in directory.glob("*.db"):
            if _is_dead(file):
                _add_to_archive(file)
                file.unlink()


def collect(directory: Path) -> Iterable[Any]:
    """The sum over all processes, dead ones included, as prometheus_client's metrics."""
    from prometheus_client.multiprocess import MultiProcessCollector

    with _alone(directory):
        readable = [str(file) for file in directory.glob("*.db") if _read(file) is not None]
        return list(MultiProcessCollector.merge(readable))  # type: ignore[no-untyped-call]  # the library has no types


def _is_archive(file: Path) -> bool:
    return file.stem.partition("_")[2] == _ARCHIVE


def _is_dead(file: Path) -> bool:
    """Whether ``counter_HOST.PID.db`` belongs to a process that is gone."""
    if _is_archive(file):
        return False
    host, _, pid = file.stem.partition("_")[2].partition(".")
    if host != _HOST or not pid.isdigit():
        return time.time() - file.stat().st_mtime > OTHERS_SILENT_SECONDS
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # somebody else's process has that number now, or it is ours under another user
        return False
    return False


def _add_to_archive(file: Path) -> None:
    from prometheus_client.mmap_dict import MmapedDict

    kept = MmapedDict(str(file.with_name(f"{file.stem.partition('_')[0]}_{_ARCHIVE}.db")))  # type: ignore[no-untyped-call]
    with contextlib.closing(kept):
        for key, value in (_read(file) or {}).items():
            before, _ = kept.read_value(key)  # type: ignore[no-untyped-call]
            kept.write_value(key, before + value, 0.0)  # type: ignore[no-untyped-call]


def _read(file: Path) -> dict[str, float] | None:
    """What a file holds; None when it is not, or not yet, one of figures (its process died while making it)."""
    from prometheus_client.mmap_dict import MmapedDict

    try:
        return {key: value for key, value, _, _ in MmapedDict.read_all_values_from_file(str(file))}  # type: ignore[no-untyped-call]
    except (struct.error, RuntimeError, UnicodeDecodeError):
        return None


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Nobody else archives, clears or adds up meanwhile; writing figures goes on."""
    directory.mkdir(parents=True, exist_ok=True)  # somebody may have cleaned it away
    handle = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
