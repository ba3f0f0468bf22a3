"""What makes a process a good child: it hears a stop signal once, never outlives its parent, never hangs at the end."""

from __future__ import annotations

import ctypes
import gc
import os
import select
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable
from types import FrameType

from sync_worker.errors import ConfigError, SyncError

STOP_SECONDS = 20.0
"""From the stop signal to the end of the process, at most."""

WATCHDOG_EXIT = 70
"""Exit code of a process that found a part of itself dead: whoever started it should start it again."""

SUPERVISOR_ENV = "SYNC_SUPERVISOR_PID"
"""Environment variable by which a child knows that it is supervised, and by whom."""

PROCESSES_ENV = "SYNC_PROCESSES"
"""Environment variable that says how many worker processes there are, on all machines together."""

IDENTITY_ENV = "SYNC_PROCESS"
"""Environment variable with the name of a supervised process, which no other process ever has."""

PREDECESSOR_ENV = "SYNC_PREDECESSOR"
"""Environment variable with the name of the process that has ended and in whose place this one was started."""

YOUNG_OBJECTS = 5_000
"""New objects after which a process that works in batches looks for garbage; Python's own number is 700."""

LOST_SECONDS = 3.0
"""How long the end of a process that has no parts yet may take, from the stop signal on."""

_STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
)
_HANGUP = getattr(signal, "SIGHUP", None)
_PR_SET_PDEATHSIG = 1


def worker_processes() -> int:
    """How many worker processes share the vendors' limits when the queue server, which knows, is away.

    Raises ``ConfigError`` when the environment variable is no such number.
    """
    given = os.environ.get(PROCESSES_ENV) or "1"
    if not given.isdecimal() or int(given) < 1:
        raise ConfigError(f"the environment variable {PROCESSES_ENV} must be a number of processes, 1 or more")
    return int(given)


def succession(predecessor: str) -> dict[str, str]:
    """Environment of a process that is started in the place of one that has surely ended, or of nobody ("")."""
    return {IDENTITY_ENV: uuid.uuid4().hex, PREDECESSOR_ENV: predecessor}


class StopSignal:
    """Lets the main thread wait for the stop signals of its process.

    A pipe carries them: a handler may run in the middle of anything, where taking a lock could wait for ever.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        _on_stop(self._heard)

    def _heard(self, number: int, _frame: FrameType | None) -> None:
        os.write(self._write, bytes([number]))

    def wait(self, seconds: float) -> int:
        """The number of the next stop signal, as soon as it has come; 0 when none comes within ``seconds``."""
        ready, _, _ = select.select([self._read], [], [], max(0.0, seconds))
        return os.read(self._read, 1)[0] if ready else 0


def exit_on_signal() -> None:
    """Until this process has parts that must be stopped in order, a stop signal simply ends it, with exit code 0.

    Safe at any moment, so it also ends where the signal came in the midst of a finaliser: Python only prints what is
    raised in one, and the signal would be lost. A garbage collection is long, and finalisers are what it calls.
    """
    signal.signal(signal.SIGALRM, lambda _number, _frame: os._exit(0))
    _on_stop(_exit)


def _on_stop(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in _STOP_SIGNALS:
        if number != _HANGUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup: outlive the terminal
            signal.signal(number, handler)


def _exit(_number: int, _frame: FrameType | None) -> None:
    signal.setitimer(signal.ITIMER_REAL, LOST_SECONDS)
    sys.exit(0)


def settled(*, in_batches: bool) -> None:
    """All that this process needs has been imported and built: no garbage collection has to look at it again.

    ``in_batches``: it works on a hundred records at a time. Nothing of them is garbage before their batch ends, so it
    looks less often; by Python's own measure it looked through them a dozen times.
    """
    gc.collect()
    gc.freeze()
    if in_batches:
        gc.set_threshold(YOUNG_OBJECTS)


def end_with_parent() -> None:
    """Have this process stopped (SIGTERM) when its supervisor ends, however that ended; without a supervisor, nothing.

    Linux does it by itself; elsewhere, and for a supervisor that ended before we could ask, a thread looks every
    second. Call it from the main thread, before any work starts.
    """
    supervisor = os.environ.get(SUPERVISOR_ENV)
    if not supervisor:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    threading.Thread(target=_watch_parent, args=(int(supervisor),), name="parent-watch", daemon=True).start()


def _watch_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)


def end_within(seconds: float, code: int = 0) -> None:
    """End this process with ``code`` after ``seconds`` even if a thread of it hangs.

    Safe at any moment: leases run out and other workers take over what was left.
    """
    timer = threading.Timer(seconds, os._exit, (code,))
    timer.daemon = True
    timer.start()


class CannotListen(SyncError):
    """The address is taken or not ours; the message says which and what to do."""

    code = "cannot_listen"


def listen(host: str, port: int, options: str = "--host or --port") -> socket.socket:
    """A listening socket; port 0 takes a free one. ``options``: those that choose. Raises ``CannotListen``."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(2048)
    except OSError as error:
        sock.close()
        reason = error.strerror or type(error).__name__
        raise CannotListen(f"cannot listen on {host}:{port}: {reason}; choose another with {options}") from None
    return sock
