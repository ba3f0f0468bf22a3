"""A whole installation on this machine: a folder, two emulated vendors, our processes. Demo, bench and tests use it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from sqlalchemy import and_, func, or_, select

from sync_worker import config as configuration
from sync_worker.config import Config
from sync_worker.demo.ports import answers, free_ports
from sync_worker.demo.vendor import Crm, Erp, Vendor
from sync_worker.errors import SyncError
from sync_worker.processes import PROCESSES_ENV, STOP_SECONDS, SUPERVISOR_ENV, StopSignal
from sync_worker.store.session import Database
from sync_worker.store.tables import link, part

START_SECONDS = 90.0
LOOK_SECONDS = 0.02
VENDOR_STOP_SECONDS = 5.0
NOBODYS = 3
"""A child row that nobody shows is asked for ever more rarely; after so many times it is nobody's."""

# It brings its own parts; what a person has configured for the real thing must not leak in.
_OTHERS = ("DATABASE_URL", "REDIS_URL", "SYNC_CONFIG", "SYNC_SECRET_KEY", "SYNC_LOG_LEVEL", PROCESSES_ENV)
_CLIENT_SECRET = "demo-secret"  # noqa: S105  # the emulator's
_CONFIG = """\
# Written at every start.
[web]
public_url = "{web}"

[systems.erp]
connector = "intacct"
base_url = "{erp}/ia/api/v1"
client_id = "demo-client"
client_secret = "{client_secret}"
username = "sync@ACME"
company = "Acme UK"
{seconds}

[systems.crm]
connector = "sage_crm"
base_url = "{crm}/sdata/crmj/sagecrm2/-"
username = "sync"
password = "demo-password"
webhook_secret = "{hook_secret}"
default_country = "GB"
{seconds}
  [systems.crm.columns]
  tax_number = "comp_vatnumber"
  erp_key = "comp_intacct_recordno"
  erp_ref = "comp_intacct_customerid"
  erp_company = "comp_intacct_company"

[flows.customers]
entity = "customer"
erp = "erp"
crm = "crm"
create_in_crm = "{create_in_crm}"
"""


class CannotStart(SyncError):
    """Something that is needed does not start; the message says what and why."""

    code = "cannot_start"


class Stopped(Exception):
    """Somebody pressed Ctrl-C."""


class Installation:
    """``environment``: what its processes get beside the data directory. ``running``: name -> process.

    ``folder``: absolute, there, and ours alone. ``cwd``: where its processes work. ``stop``: waits end with it.
    """

    def __init__(
        self,
        folder: Path,
        hook_secret: str,
        *,
        web_port: int | None = None,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stop: StopSignal | None = None,
    ) -> None:
        erp, crm, free = free_ports(3)
        self.folder = folder
        self.erp, self.crm = Erp(erp), Crm(crm)
        self.web_port = web_port if web_port is not None else free
        kept = {name: value for name, value in os.environ.items() if name not in _OTHERS}
        mine = {"SYNC_DATA_DIR": str(folder), SUPERVISOR_ENV: str(os.getpid())}
        self.environment = kept | mine | dict(environment or {})
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self._hook_secret = hook_secret
        self._cwd = cwd
        self._stop = stop

    # --- what it is made of ------------------------------------------------------------------------------------------

    @property
    def vendors(self) -> dict[str, Vendor]:
        return {"erp": self.erp, "crm": self.crm}

    @property
    def web(self) -> str:
        return f"http://127.0.0.1:{self.web_port}"

    @property
    def config_path(self) -> Path:
        return self.folder / "sync.toml"

    @cached_property
    def config(self) -> Config:
        """That of every process."""
        return configuration.parse(self.config_path.read_text(encoding="utf-8"), self.environment, self.config_path)

    def write_config(self, create_in_crm: str = "on_create", **seconds: float) -> None:
        """``seconds``: of both systems, by their names in sync.toml (``poll_seconds``)."""
        text = _CONFIG.format(
            web=self.web,
            erp=self.erp.root,
            crm=self.crm.root,
            client_secret=_CLIENT_SECRET,
            hook_secret=self._hook_secret,
            create_in_crm=create_in_crm,
            seconds="\n".join(f"{name} = {value}" for name, value in seconds.items()),
        )
        self.config_path.touch(mode=0o600)
        self.config_path.write_text(text, encoding="utf-8")

    def log_of(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    # --- starting ----------------------------------------------------------------------------------------------------

    def start_vendors(self, latency_ms: float) -> None:
        """Both emulators, each in a process of its own; their calls take so long. Raises as ``serve`` does."""
        self.spawn("erp", command("emulate", "intacct", "--port", str(self.erp.port)))
        self.spawn("crm", command("emulate", "sage_crm", "--port", str(self.crm.port)))
        for name, vendor in self.vendors.items():
            self.wait_for(name, vendor.alive)
            vendor.faults(latency_ms=latency_ms)

    def serve(self, name: str, *args: str, path: str = "/readyz") -> None:
        """One of our commands that serves on ``web_port``; returns when ``path`` answers.

        Raises ``CannotStart`` and ``Stopped``.
        """
        self.spawn(name, command(*args, "--config", str(self.config_path), "--port", str(self.web_port)))
        self.wait_for(name, lambda: answers(self.web_port, path))

    def announce(self) -> None:
        """From now on both vendors announce every change to our webhooks."""
        self.erp.send_notices_to(f"{self.web}/hooks/erp", _CLIENT_SECRET)
        self.crm.send_notices_to(f"{self.web}/hooks/crm", self._hook_secret)

    def spawn(self, name: str, argv: Sequence[str]) -> None:
        """Start a process that ends with us, however we end. A Ctrl-C in the terminal reaches us only."""
        with self.log_of(name).open("ab") as log:
            self.running[name] = subprocess.Popen(  # noqa: S603  # our own command line, no shell
                argv,
                env=self.environment,
                cwd=self._cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_for(self, name: str, ready: Callable[[], bool]) -> None:
        """Raises ``CannotStart`` when it does not become ready, and ``Stopped``."""
        if not self.until(ready, START_SECONDS):
            raise CannotStart(f"{name} is not ready after {START_SECONDS:.0f} s: {_last_line(self.log_of(name))}")

    # --- waiting -----------------------------------------------------------------------------------------------------

    def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Whether ``condition`` comes true within ``seconds``. Raises as ``pause`` does."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            self.pause()
        return True

    def pause(self, seconds: float = LOOK_SECONDS) -> None:
        """Wait. Raises ``Stopped`` after Ctrl-C, and ``CannotStart`` when a process has ended by itself."""
        if self._interrupted(seconds):
            raise Stopped
        for name, process in self.running.items():
            if process.poll() is not None:
                raise CannotStart(f"{name} ended: {_last_line(self.log_of(name))}")

    def _interrupted(self, seconds: float) -> bool:
        if self._stop is not None:
            return self._stop.wait(seconds) != 0
        time.sleep(seconds)
        return False

    def is_quiet(self, db: Database, within: float | None = None) -> bool:
        """No notice is on its way, no pass is running, and nothing is due within so many seconds (None: ever)."""
        return not any(v.stats()["notices_waiting"] for v in self.vendors.values()) and work_ahead(db, within) == 0

    # --- the end -----------------------------------------------------------------------------------------------------

    def close(self) -> list[str]:
        """End everything, ours before the vendors. What does not end in time, or at a second Ctrl-C, is killed: which.

        Closing what is closed does nothing.
        """
        vendors = [name for name in self.running if name in self.vendors]
        ours = [name for name in self.running if name not in self.vendors]
        return self._end(ours, STOP_SECONDS + 2) + self._end(vendors, VENDOR_STOP_SECONDS)

    def _end(self, names: list[str], patience: float) -> list[str]:
        """The last one first, and all of them at once."""
        processes = [(name, self.running.pop(name)) for name in reversed(names)]
        for _, process in processes:
            process.send_signal(signal.SIGTERM)
        began, killed = time.monotonic(), []
        for name, process in processes:
            while process.poll() is None and time.monotonic() < began + patience:
                if self._interrupted(LOOK_SECONDS) and time.monotonic() > began + 0.5:
                    patience = 0.0
            if process.poll() is None:
                process.kill()
                killed.append(name)
            process.wait()
        return killed


def command(*args: str) -> list[str]:
    """A command line of ours."""
    return [sys.executable, "-m", "sync_worker.cli", *args]


def work_ahead(db: Database, within: float | None = None) -> int:
    """Links and child rows that are due within so many seconds (None: ever), and links that are being worked on."""
    with db.read() as conn:
        now = db.now(conn)
        soon = [t.c.due_at.is_not(None) if within is None else t.c.due_at <= now + within for t in (link, part)]
        links = select(func.count()).select_from(link).where(or_(soon[0], link.c.lease_until > now))
        parts = select(func.count()).select_from(part).where(and_(soon[1], part.c.attempts < NOBODYS))
        return int(conn.execute(links).scalar_one()) + int(conn.execute(parts).scalar_one())


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1][:300] if lines else f"see {log}"
