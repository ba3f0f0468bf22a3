"""A whole installation of real processes: two emulated vendors and ``sync-worker run``, to be used, hurt and watched.

Everything that belongs to one works in its folder or below: that is how ``pids`` finds all of it, whoever started it
and whatever became of its parent.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import redis
from sqlalchemy import NullPool, create_engine, text

from sync_worker.demo.vendor import Crm, Erp, Vendor
from sync_worker.processes import SUPERVISOR_ENV

HOOK_SECRET = "whsec_" + base64.b64encode(b"e2e-secret-of-thirty-two-bytes-0").decode()

CONFIG = """\
[secrets]
key = "c2ltdWxhdGlvbi1rZXktMDEyMzQ1Njc4OTAxMjM0NTY="
[systems.erp]
connector = "intacct"
base_url = "{erp}/ia/api/v1"
client_id = "demo-client"
client_secret = "demo-secret"
username = "sync@ACME"
company = "Acme UK"
poll_seconds = {poll}
stale_seconds = 2
[systems.crm]
connector = "sage_crm"
base_url = "{crm}/sdata/crmj/sagecrm2/-"
username = "sync"
password = "demo-password"
webhook_secret = "{secret}"
default_country = "GB"
poll_seconds = {poll}
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


class Installation:
    """``database_url``: None = SQLite in the data directory. ``poll``: seconds between two looks at a feed."""

    def __init__(self, *, database_url: str | None = None, poll: float = 2, latency_ms: float = 20) -> None:
        # The queue server's socket lies in it, and the path of a unix socket may have about 100 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="sync-e2e-"))
        ports = free_ports(3)
        self.erp, self.crm, self.web_port = Erp(ports[0]), Crm(ports[1]), ports[2]
        self.config = self.folder / "sync.toml"
        self.config.write_text(
            CONFIG.format(erp=self.erp.root, crm=self.crm.root, poll=poll, secret=HOOK_SECRET), encoding="utf-8"
        )
        self.environment = {k: v for k, v in os.environ.items() if k not in ("REDIS_URL", "SYNC_CONFIG")}
        self.environment |= {
            "SYNC_DATA_DIR": str(self.folder),
            "PYTHONPATH": str(Path(__file__).parents[2]),
            SUPERVISOR_ENV: str(os.getpid()),
        }
        self.environment.pop("DATABASE_URL", None)
        if database_url is not None:
            self.environment["DATABASE_URL"] = database_url
        self.engine = create_engine(database_url or f"sqlite:///{self.folder / 'sync.db'}", poolclass=NullPool)
        self.vendors: list[subprocess.Popen[bytes]] = []
        self.run: subprocess.Popen[bytes] | None = None
        try:
            for name, vendor in (("intacct", self.erp), ("sage_crm", self.crm)):
                self.vendors.append(self._spawn(name, "emulate", name, "--port", str(vendor.port)))
            until(lambda: self.erp.alive() and self.crm.alive(), 60)
            for vendor in (self.erp, self.crm):
                vendor.faults(latency_ms=latency_ms)
            self.erp.send_notices_to(f"http://127.0.0.1:{self.web_port}/hooks/erp", "demo-secret")
            self.crm.send_notices_to(f"http://127.0.0.1:{self.web_port}/hooks/crm", HOOK_SECRET)
        except BaseException:
            self.close()
            raise

    # --- processes ---------------------------------------------------------------------------------------------------

    def _spawn(self, name: str, *args: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "sync_worker.cli", *args],
                env=self.environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start(self) -> None:
        """Start ``run`` and wait until it is ready."""
        self.run = self._spawn("run", "run", "--config", str(self.config), "--port", str(self.web_port))
        until(self.ready, 90, why=lambda: (self.folder / "run.log").read_text()[-2000:])

    def ready(self) -> bool:
        assert self.run is None or self.run.poll() is None, (self.folder / "run.log").read_text()[-2000:]
        try:
            return self.ask("GET", "/readyz")[0] == 200
        except OSError:
            return False

    def pids(self, *words: str) -> set[int]:
        """Running processes of ours other than the vendors, those whose command line holds all ``words``."""
        vendors = {vendor.pid for vendor in self.vendors}
        found = set()
        for place in Path("/proc").iterdir():
            if not place.name.isdigit() or int(place.name) in vendors:
                continue
            try:
                ours = (place / "cwd").readlink().is_relative_to(self.folder)
                line = (place / "cmdline").read_bytes().split(b"\0") if ours else []
            except OSError:  # it has ended meanwhile, or is not ours to look at
                continue
            if ours and set(words) <= {part.decode(errors="replace") for part in line}:
                found.add(int(place.name))
        return found

    def kill_workers(self) -> None:
        """kill -9 of every worker process at once."""
        workers = self.pids("worker")
        assert len(workers) == 2, workers
        for pid in workers:
            os.kill(pid, signal.SIGKILL)

    def kill_queue(self) -> None:
        """kill -9 of the queue server; its supervisor starts another."""
        pid = int(self.queue().info("server")["process_id"])
        assert pid in self.pids()
        os.kill(pid, signal.SIGKILL)

    def queue(self) -> redis.Redis:
        return redis.Redis.from_url(f"unix://{self.folder}/queue/queue.sock", socket_timeout=5)

    def close(self) -> None:
        """End all of it, whatever state it is in."""
        for process in [*([self.run] if self.run else []), *self.vendors]:
            if process.poll() is None:
                process.kill()
            process.wait()
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- what people and scripts do ----------------------------------------------------------------------------------

    def cli(self, *args: str, config: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "sync_worker.cli", *args, "--config", str(config or self.config)],
            env={k: v for k, v in self.environment.items() if k != SUPERVISOR_ENV} | env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def cli_json(self, *args: str) -> Any:
        answer = self.cli(*args, "--json")
        assert answer.returncode == 0, answer.stderr
        return json.loads(answer.stdout)

    def config_with(self, name: str, *replaced: tuple[str, str]) -> Path:
        """Another configuration file, with some text replaced."""
        content = self.config.read_text()
        for old, new in replaced:
            assert old in content, old
            content = content.replace(old, new)
        path = self.folder / name
        path.write_text(content, encoding="utf-8")
        return path

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """A request to our web process: status and body. Raises ``OSError`` when nobody answers."""
        with closing(HTTPConnection("127.0.0.1", self.web_port, timeout=10)) as connection:
            try:
                connection.request(method, path, body, dict(headers or {}))
                answer = connection.getresponse()
                return answer.status, answer.read()
            except HTTPException as error:
                raise OSError(type(error).__name__) from None

    # --- what can be seen --------------------------------------------------------------------------------------------

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of our database."""
        with self.engine.connect() as conn:
            return [tuple(row) for row in conn.execute(text(query))]

    def calls(self) -> int:
        """Reads and writes at both vendors so far."""
        return sum(v.stats()["reads"] + v.stats()["writes"] for v in self.both)

    def writes(self) -> int:
        """Writes at both vendors so far, the refused ones too."""
        return sum(v.stats()["writes"] for v in self.both)

    @property
    def both(self) -> tuple[Vendor, Vendor]:
        return self.erp, self.crm

    def at_rest(self) -> bool:
        """Nothing is on its way, due or ahead: trailing looks included.

        A child row that nobody shows (a worker died between making an e-mail and linking it) is asked for ever more
        rarely; after three times it counts as nobody's.
        """
        links = self.rows("select id from link where due_at is not null limit 1")
        if links or self.rows("select id from part where due_at is not null and attempts < 3 limit 1"):
            return False
        return not any(v.stats()["notices_waiting"] for v in self.both)


def until(condition: Callable[[], object], seconds: float = 30.0, why: Callable[[], object] = lambda: "") -> None:
    """Wait for something that real processes bring about; fails when it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"the condition did not come true within {seconds:.0f} s: {why()}"
        time.sleep(0.1)


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def signed(
    events: Sequence[Mapping[str, Any]] | bytes,
    *,
    at: float | None = None,
    secret: str = HOOK_SECRET,
    id: str = "msg_1",
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a Standard Webhooks notice, written from the standard's text."""
    body = events if isinstance(events, bytes) else json.dumps({"events": list(events)}).encode()
    stamp = str(int(time.time() if at is None else at))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(key, f"{id}.{stamp}.".encode() + body, hashlib.sha256).digest()
    return body, {
        "content-type": "application/json",
        "webhook-id": id,
        "webhook-timestamp": stamp,
        "webhook-signature": "v1," + base64.b64encode(mac).decode(),
    }
