"""The stage of a measurement: a folder, a queue server, a database, emulated vendors and our processes."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from sqlalchemy import func, or_, select

from bench.figures import until
from sync_worker import broker
from sync_worker import config as configuration
from sync_worker.config import Config
from sync_worker.demo.vendor import Crm, Erp, Vendor
from sync_worker.processes import PROCESSES_ENV, SUPERVISOR_ENV
from sync_worker.queue_server import EmbeddedQueue
from sync_worker.store import migrate, schedules
from sync_worker.store.session import Database
from sync_worker.store.tables import link, part

PROCESSES = 2
THREADS = 8
FOLDER = Path("var") / "bench"
SECRET = "whsec_YmVuY2gtc2VjcmV0LTAxMjM0NTY3ODkwMTIz"
NEVER = 3600.0  # seconds: what repeats by the clock stays out of the measurement
START_SECONDS = 60.0
_OTHERS = ("DATABASE_URL", "REDIS_URL", "SYNC_CONFIG", "SYNC_SECRET_KEY", "SYNC_LOG_LEVEL", PROCESSES_ENV)

_CONFIG = """\
[systems.erp]
connector = "intacct"
base_url = "{erp}/ia/api/v1"
client_id = "demo-client"
client_secret = "demo-secret"
username = "sync@ACME"
company = "Acme UK"
poll_seconds = {poll}
stale_seconds = {stale}
sweep_seconds = {sweep}
[systems.crm]
connector = "sage_crm"
base_url = "{crm}/sdata/crmj/sagecrm2/-"
username = "sync"
password = "demo-password"
webhook_secret = "{secret}"
default_country = "GB"
poll_seconds = {poll}
stale_seconds = {stale}
sweep_seconds = {sweep}
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


@dataclass
class Rig:
    """Started parts end with ``close``, the last first. ``config`` is that of every process."""

    folder: Path
    erp: Erp
    crm: Crm
    web_port: int
    config: Config
    db: Database
    queue: EmbeddedQueue
    _running: list[tuple[str, subprocess.Popen[bytes]]] = field(default_factory=list)

    @property
    def config_path(self) -> Path:
        return self.folder / "sync.toml"

    def start_vendors(self, latency_ms: float) -> None:
        """Both emulators, each in a process of its own; their calls take so long."""
        self.spawn("erp", _cli("emulate", "intacct", "--port", str(self.erp.port)))
        self.spawn("crm", _cli("emulate", "sage_crm", "--port", str(self.crm.port)))
        for vendor in (self.erp, self.crm):
            until(vendor.alive, START_SECONDS, "an emulator does not answer")
            vendor.faults(latency_ms=latency_ms)

    def start_web(self) -> None:
        self.spawn("web", _cli("web", "--port", str(self.web_port), "--config", str(self.config_path)))
        until(lambda: answers(self.web_port, "/healthz"), START_SECONDS, "the web process does not answer")

    def start_workers(self, argv: Sequence[str] | None = None) -> None:
        """The worker processes. ``argv``: another program than ours that takes the same two last arguments."""
        command = list(argv) if argv is not None else _cli("worker")
        for number in range(PROCESSES):
            options = ["--config", str(self.config_path), "--threads", str(THREADS)]
            self.spawn(f"worker-{number}", [*command, *options])
        with contextlib.closing(broker.connect(self.queue.url)) as client:
            until(lambda: broker.threads_up(client) == PROCESSES * THREADS, START_SECONDS, "workers are not up")

    def start_all(self) -> None:
        """Our processes, with both vendors announcing every change to the webhooks; their first polls have ended."""
        self.start_web()
        self.spawn("scheduler", _cli("scheduler", "--config", str(self.config_path)))
        self.start_workers()
        feeds = [f"{feed}:{system}" for feed in ("poll", "sweep") for system in self.config.systems]
        until(lambda: self._have_run(feeds), START_SECONDS, "the first polls and sweeps have not ended")
        self.erp.send_notices_to(f"http://127.0.0.1:{self.web_port}/hooks/erp", "demo-secret")
        self.crm.send_notices_to(f"http://127.0.0.1:{self.web_port}/hooks/crm", SECRET)

    def _have_run(self, tasks: Sequence[str]) -> bool:
        last = {row.name: row.last_at for row in schedules.statuses(self.db)}
        return all(last.get(task) is not None for task in tasks)

    def spawn(self, name: str, argv: Sequence[str]) -> None:
        """Start a process of this rig; it ends with us, however we end."""
        environment = {k: v for k, v in os.environ.items() if k not in _OTHERS} | self.environment()
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                argv, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._running.append((name, process))

    def environment(self) -> dict[str, str]:
        return {
            "SYNC_DATA_DIR": str(self.folder),
            "SYNC_LOG_FORMAT": "json",
            "REDIS_URL": self.queue.url,
            SUPERVISOR_ENV: str(os.getpid()),
            PROCESSES_ENV: str(PROCESSES),
        }

    def busy(self, *, ever: bool = False) -> int:
        """Links and children that are due (``ever``: that will be), or being worked on."""
        with self.db.read() as conn:
            now = self.db.now(conn)
            due = [t.c.due_at.is_not(None) if ever else t.c.due_at <= now for t in (link, part)]
            links = select(func.count()).select_from(link).where(or_(due[0], link.c.lease_until > now))
            parts = select(func.count()).select_from(part).where(due[1])
            return int(conn.execute(links).scalar_one()) + int(conn.execute(parts).scalar_one())

    def wait_for_rest(self, seconds: float = 60.0, *, ever: bool = False) -> None:
        """Until nothing is due and no notice is on its way, seen three times in a row."""
        calm = 0

        def at_rest() -> bool:
            nonlocal calm
            waiting = sum(vendor.stats()["notices_waiting"] for vendor in (self.erp, self.crm))
            calm = calm + 1 if not waiting and not self.busy(ever=ever) else 0
            return calm >= 3

        until(at_rest, seconds, "it does not come to rest")

    def close(self) -> None:
        """End everything: first ours, last the vendors and the queue server."""
        for _, process in reversed(self._running):
            process.send_signal(signal.SIGTERM)
        for name, process in reversed(self._running):
            try:
                process.wait(25)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                print(f"bench: {name} had to be killed", file=sys.stderr)
        self.db.close()
        self.queue.stop()


@contextlib.contextmanager
def rig(*, stale: float = NEVER, poll: float = NEVER, sweep: float = NEVER) -> Iterator[Rig]:
    """An empty rig with a migrated database; seconds as in sync.toml. What was started on it has ended afterwards."""
    folder = FOLDER.resolve() / "rig"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    erp, crm, web = free_ports(3)
    vendors: tuple[Erp, Crm] = (Erp(erp), Crm(crm))
    text = _CONFIG.format(erp=vendors[0].root, crm=vendors[1].root, secret=SECRET, stale=stale, poll=poll, sweep=sweep)
    path = folder / "sync.toml"
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    config = configuration.parse(text, {"SYNC_DATA_DIR": str(folder)}, path)
    migrate.upgrade(config.database.url)
    queue = EmbeddedQueue(folder)
    queue.start()
    made = Rig(folder, *vendors, web, config, Database(config.database.url), queue)
    try:
        yield made
    finally:
        made.close()


def calls_of(vendor: Vendor) -> list[tuple[float, str, int]]:
    """Calls since the counters were reset: when (seconds), which operation, about how many records."""
    return [(float(at), str(name), int(count)) for at, name, count in vendor.get("calls")["calls"]]


def people(vendor: Vendor, entity: str, edits: Mapping[str, Mapping[str, Any]]) -> None:
    """A burst of edits by people: key -> columns."""
    vendor.post("people", [{"entity": entity, "key": key, "columns": columns} for key, columns in edits.items()])


def answers(port: int, path: str) -> bool:
    """Whether a web server on this machine answers 200."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _cli(*args: str) -> list[str]:
    return [sys.executable, "-m", "sync_worker.cli", *args]


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on just now."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
