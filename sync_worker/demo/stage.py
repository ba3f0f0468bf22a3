"""Starts what the demo needs as real processes, and ends all of it whatever happens."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TextIO

from sync_worker import config as configuration
from sync_worker.config import Config
from sync_worker.demo.vendor import Crm, Erp
from sync_worker.errors import SyncError
from sync_worker.processes import STOP_SECONDS, SUPERVISOR_ENV, StopSignal

LATENCY_MS = 20
START_SECONDS = 90.0
LOOK_SECONDS = 0.02
# The demo brings its own parts; what a person has configured for the real thing must not leak in.
_OTHERS = ("DATABASE_URL", "REDIS_URL", "SYNC_CONFIG", "SYNC_SECRET_KEY")

_CONFIG = """\
# Written by the demo at every start.
[web]
public_url = "{web}"

[systems.erp]
connector = "intacct"
base_url = "{erp}/ia/api/v1"
client_id = "demo-client"
client_secret = "demo-secret"
username = "sync@ACME"
company = "Acme UK"
poll_seconds = 2
stale_seconds = 2

[systems.crm]
connector = "sage_crm"
base_url = "{crm}/sdata/crmj/sagecrm2/-"
username = "sync"
password = "demo-password"
webhook_secret = "{secret}"
default_country = "GB"
poll_seconds = 2
stale_seconds = 2
  [systems.crm.columns]
  tax_number = "comp_vatnumber"
  erp_key = "comp_intacct_recordno"
  erp_ref = "comp_intacct_customerid"
  erp_company = "comp_intacct_company"

[flows.customers]
entity = "customer"
erp = "erp"
crm = "crm"
"""


class CannotStart(SyncError):
    """Something the demo needs does not start; the message says what and why."""

    code = "cannot_start"


class Stopped(Exception):
    """Somebody pressed Ctrl-C."""


@dataclass
class Stage:
    """Both vendors, our processes, and the folder everything of theirs lies in."""

    folder: Path
    stop: StopSignal
    erp: Erp
    crm: Crm
    web_port: int
    config: Config = field(init=False)
    _running: list[tuple[str, subprocess.Popen[bytes]]] = field(default_factory=list)

    @property
    def web(self) -> str:
        return f"http://127.0.0.1:{self.web_port}"

    @property
    def log(self) -> Path:
        """What our processes log."""
        return self._log_of("run")

    def _log_of(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def pause(self, seconds: float = LOOK_SECONDS) -> None:
        """Wait. Raises ``Stopped`` after Ctrl-C, and ``CannotStart`` when a process has ended by itself."""
        if self.stop.wait(seconds):
            raise Stopped
        for name, process in self._running:
            if process.poll() is not None:
                raise CannotStart(f"{name} ended: {_last_line(self._log_of(name))}")

    def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Whether ``condition`` comes true within ``seconds``."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            self.pause()
        return True

    def start(self, log_level: str) -> None:
        """Start both vendors and ours, and wait until all are ready. Raises ``CannotStart`` and ``Stopped``."""
        secret = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
        text = _CONFIG.format(web=self.web, erp=self.erp.root, crm=self.crm.root, secret=secret)
        path = self.folder / "sync.toml"
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        self.config = configuration.parse(text, {"SYNC_DATA_DIR": str(self.folder)}, path)
        self._spawn("erp", ["emulate", "intacct", "--port", str(self.erp.port)], log_level, self.erp.alive)
        self._spawn("crm", ["emulate", "sage_crm", "--port", str(self.crm.port)], log_level, self.crm.alive)
        for vendor in (self.erp, self.crm):
            vendor.faults(latency_ms=LATENCY_MS)
        self._spawn("run", ["run", "--config", str(path), "--port", str(self.web_port)], log_level, self._ready)
        self.erp.send_notices_to(f"{self.web}/hooks/erp", "demo-secret")
        self.crm.send_notices_to(f"{self.web}/hooks/crm", secret)

    def _spawn(self, name: str, args: list[str], log_level: str, ready: Callable[[], bool]) -> None:
        kept = {k: v for k, v in os.environ.items() if k not in _OTHERS}
        mine = {
            "SYNC_DATA_DIR": str(self.folder),
            "SYNC_LOG_LEVEL": log_level,
            "SYNC_LOG_FORMAT": "json",
            SUPERVISOR_ENV: str(os.getpid()),
        }
        with self._log_of(name).open("ab") as log:
            process = subprocess.Popen(  # noqa: S603  # our own command line, no shell
                [sys.executable, "-m", "sync_worker.cli", *args],
                env=kept | mine,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C in the terminal reaches us only; we end the others in order
            )
        self._running.append((name, process))
        if not self.until(ready, START_SECONDS):
            raise CannotStart(f"{name} is not ready after {START_SECONDS:.0f} s: {_last_line(self._log_of(name))}")

    def _ready(self) -> bool:
        connection = HTTPConnection("127.0.0.1", self.web_port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def close(self) -> None:
        """End everything, ours before the vendors; what does not end in time, or at a second Ctrl-C, is killed."""
        for patience, (_, process) in zip((STOP_SECONDS + 2, 5, 5), reversed(self._running), strict=False):
            process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + patience
            began = time.monotonic()
            while process.poll() is None and time.monotonic() < deadline:
                if self.stop.wait(LOOK_SECONDS) and time.monotonic() - began > 0.5:
                    break
            process.kill()
            process.wait()


@contextlib.contextmanager
def stage(folder: Path, stop: StopSignal, *, web_port: int | None = None) -> Iterator[Stage]:
    """An empty ``folder`` and free ports; everything that is started on it has ended afterwards.

    Emulated vendors forget everything when they end, so what an earlier demo stored is of no use and goes.
    Raises ``CannotStart`` when another demo is using the folder.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        _take(lock, folder)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        erp, crm, free = _free_ports(3)
        made = Stage(folder, stop, Erp(erp), Crm(crm), web_port if web_port is not None else free)
        try:
            yield made
        finally:
            made.close()


def _take(lock: TextIO, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CannotStart(f"another demo is running in {folder}: stop it first, or set SYNC_DATA_DIR") from None


def is_free(port: int) -> bool:
    """Whether nobody listens on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1][:300] if lines else f"see {log}"
