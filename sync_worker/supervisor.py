"""Everything in one: ``run`` starts the parts as processes of their own, keeps them up, and ends them in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import structlog

from sync_worker.errors import SyncError
from sync_worker.processes import (
    IDENTITY_ENV,
    PROCESSES_ENV,
    STOP_SECONDS,
    SUPERVISOR_ENV,
    StopSignal,
    end_with_parent,
    exit_on_signal,
    listen,
    succession,
    worker_processes,
)

if TYPE_CHECKING:
    from sync_worker.config import Config

LOOK_SECONDS = 0.2
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
SERVER_PAUSE = 5.0
# A part that lived this long had started well: its next death is a new one.
SETTLED_SECONDS = 60.0
# The last seconds of the time to stop are kept for killing what did not end, and for the queue server.
RESERVE_SECONDS = 3.0
# A second Ctrl-C kills; the same keypress arriving twice (shell, make and terminal pass it on) does not.
IMPATIENT_AFTER = 0.5

log = structlog.get_logger(__name__)


class QueueServer(Protocol):
    """The embedded queue server, as far as it is looked after here."""

    def running(self) -> bool: ...

    def start(self) -> object: ...

    def stop(self) -> None: ...


@dataclass
class Part:
    """A child process: what to start, and what became of it."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    pause: float = FIRST_PAUSE
    identity: str = ""

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it in a session of its own, so that a Ctrl-C in the terminal reaches the supervisor only."""
        mine = succession(self.identity)
        self.identity = mine[IDENTITY_ENV]
        environment = {**os.environ, **self.env, **mine, SUPERVISOR_ENV: str(os.getpid())}
        self.process = subprocess.Popen(  # noqa: S603  # our own command line, no shell
            self.argv, env=environment, start_new_session=True, stdin=subprocess.DEVNULL
        )
        self.started_at = time.monotonic()
        log.info("part.started", part=self.name, pid=self.process.pid)

    def send(self, number: signal.Signals) -> None:
        if self.process is not None and self.alive:
            self.process.send_signal(number)


@dataclass
class Supervisor:
    """Keeps ``parts`` up until a stop signal, then ends them group by group.

    ``parts``: groups in the order in which they are stopped. ``server``: looked after and stopped last.
    ``announce``: called at every look until it returns true, for saying once that all is up.
    """

    parts: Sequence[Sequence[Part]]
    server: QueueServer | None = None
    announce: Callable[[], bool] = field(default=lambda: True)
    _server_at: float = field(default=0.0, init=False)

    def run(self, stop: StopSignal) -> int:
        """Blocks until everything has ended; the exit code of the process (130 after a second Ctrl-C)."""
        announced = False
        try:
            while not stop.wait(LOOK_SECONDS):
                self._look()
                announced = announced or self.announce()
            return self._end(stop)
        finally:
            self._kill()
            if self.server is not None:
                self.server.stop()

    def _look(self) -> None:
        now = time.monotonic()
        if self.server is not None and now >= self._server_at and not self.server.running():
            self._restart(self.server, now)
        for part in self._all():
            if part.alive:
                continue
            if part.process is not None:
                self._note_death(part, part.process, now)
            if now >= part.start_at:
                part.start()

    def _restart(self, server: QueueServer, now: float) -> None:
        """The parts stay up meanwhile: without rings they are idle, with the server back they go on by themselves."""
        log.error("queue_server.died")
        try:
            server.start()
        except (SyncError, OSError) as error:  # the latter of a disk that is full, or a folder that is gone
            log.error("queue_server.not_started", reason=str(error))
            self._server_at = now + SERVER_PAUSE

    def _note_death(self, part: Part, process: subprocess.Popen[bytes], now: float) -> None:
        if now - part.started_at >= SETTLED_SECONDS:
            part.pause = FIRST_PAUSE
        log.error("part.died", part=part.name, pid=process.pid, code=process.returncode, again_in=part.pause)
        part.process = None
        part.start_at = now + part.pause
        part.pause = min(LONGEST_PAUSE, part.pause * 2)

    def _end(self, stop: StopSignal) -> int:
        log.info("stopping")
        begun = time.monotonic()
        deadline = begun + STOP_SECONDS - RESERVE_SECONDS
        for left, group in zip(range(len(self.parts), 0, -1), self.parts, strict=True):
            for part in group:
                part.send(signal.SIGTERM)
            # Each group may use what is left, short of a fair share for those that come after it.
            until = deadline - (left - 1) * RESERVE_SECONDS
            while any(part.alive for part in group) and time.monotonic() < until:
                number = stop.wait(0.05)
                if number == signal.SIGINT and time.monotonic() - begun > IMPATIENT_AFTER:
                    log.warning("killed", reason="second Ctrl-C")
                    return 130
            for part in group:
                part.send(signal.SIGKILL)
        log.info("stopped", seconds=round(time.monotonic() - begun, 1))
        return 0

    def _kill(self) -> None:
        for part in self._all():
            part.send(signal.SIGKILL)
        for part in self._all():
            if part.process is not None:
                part.process.wait()

    def _all(self) -> list[Part]:
        return [part for group in self.parts for part in group]


def run(config: Config, *, host: str, port: int, processes: int, threads: int, config_path: Path | None) -> int:
    """Everything in one, until Ctrl-C or SIGTERM; the exit code. Migrates the database first.

    Without a configured queue server an embedded one is started. ``config_path``: handed on to the parts.
    Raises ``CannotListen`` when the address is taken, and what the migration or the queue server raise.
    """
    from sync_worker import metrics
    from sync_worker.queue_server import EmbeddedQueue
    from sync_worker.store import migrate

    exit_on_signal()  # a migration may wait long for the database
    end_with_parent()
    with listen(host, port) as sock:
        port = sock.getsockname()[1]
    migrate.upgrade(config.database.url)
    stop = StopSignal()
    server = None
    env = {PROCESSES_ENV: str(processes)}
    if not config.queue.url:
        server = EmbeddedQueue(config.data_dir)
        server.start()
        env["REDIS_URL"] = server.url
    # not earlier: a run that is refused beside another one would wipe that one's figures
    metrics.prepare(config.data_dir / "metrics", clean=True)
    tail = ["--config", str(config_path)] if config_path is not None else []
    site = ["web", "--host", host, "--port", str(port)]
    first = [Part("web", _command(*site, *tail), env), Part("scheduler", _command("scheduler", *tail), env)]
    return Supervisor([first, _workers(processes, threads, tail, env)], server, _Announcement(host, port)).run(stop)


def run_workers(*, processes: int, threads: int, config_path: Path | None) -> int:
    """Several worker processes and nothing else, until Ctrl-C or SIGTERM; the exit code. Raises ``ConfigError``."""
    tail = ["--config", str(config_path)] if config_path is not None else []
    in_total = max(processes, worker_processes())  # other machines may have workers too
    return Supervisor([_workers(processes, threads, tail, {PROCESSES_ENV: str(in_total)})]).run(StopSignal())


def _workers(processes: int, threads: int, tail: Sequence[str], env: Mapping[str, str]) -> list[Part]:
    argv = _command("worker", "--processes", "1", "--threads", str(threads), *tail)
    return [Part(f"worker-{number}", argv, env) for number in range(1, processes + 1)]


def _command(*args: str) -> list[str]:
    return [sys.executable, "-m", "sync_worker.cli", *args]


class _Announcement:
    """Says the status page's address once everything is ready."""

    def __init__(self, host: str, port: int) -> None:
        self._host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # compared, not bound
        self._port = port

    def __call__(self) -> bool:
        connection = HTTPConnection(self._host, self._port, timeout=1.0)
        try:
            connection.request("GET", "/readyz")
            ready = connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()
        if ready:
            shown = f"[{self._host}]" if ":" in self._host else self._host
            sys.stdout.write(f"Console: http://{shown}:{self._port}/\n")
            sys.stdout.flush()
        return ready
