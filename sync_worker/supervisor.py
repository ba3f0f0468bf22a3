"""Everything in one: ``run`` starts the parts as processes of their own, keeps them up, and ends them in order."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from sync_worker.errors import SyncError
from sync_worker.processes import STOP_SECONDS, SUPERVISOR_ENV, StopSignal

LOOK_SECONDS = 0.2
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
# A part that lived this long had started well: its next death is a new one.
SETTLED_SECONDS = 60.0
# The last seconds of the time to stop are kept for killing what did not end, and for the queue server.
RESERVE_SECONDS = 3.0
# A second Ctrl-C kills; the same keypress arriving twice (shell, make and terminal pass it on) does not.
IMPATIENT_AFTER = 0.5

log = structlog.get_logger(__name__)


class CannotStart(SyncError):
    """Something that ``run`` needs is not to be had; the message says what and what to do."""

    code = "cannot_start"


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
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    pause: float = FIRST_PAUSE

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it in a session of its own, so that a Ctrl-C in the terminal reaches the supervisor only."""
        environment = os.environ | {SUPERVISOR_ENV: str(os.getpid())}
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
        if self.server is not None and not self.server.running():
            log.error("queue_server.died")
            self.server.start()
        now = time.monotonic()
        for part in self._all():
            if part.alive:
                continue
            if part.process is not None:
                self._note_death(part, part.process, now)
            if now >= part.start_at:
                part.start()

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
