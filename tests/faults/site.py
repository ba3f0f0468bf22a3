"""The installation that is hurt: every process by itself, proxies before the queue and the vendors, and what ends what.

Killed processes are started again as ``run`` would do it. All of it is driven from the main thread: the queue
server ends with the thread that started it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import redis

from bench.rig import NEVER, PROCESSES, THREADS, Rig
from faults.proxy import Gate, Proxies
from support.postgres import PostgresServer
from sync_worker.demo.installation import command
from sync_worker.demo.ports import ask
from sync_worker.store import schedules

SETTINGS = {"poll_seconds": 5, "stale_seconds": 5, "sweep_seconds": 120, "concurrency": 6}
"""Of both systems: what a busy installation has, so that 80 changes a second are far from its limits."""
ROOT = Path(__file__).parents[2]
CHILD = [sys.executable, "-m", "faults.child"]
WORKERS = tuple(f"worker-{number}" for number in range(PROCESSES))
OURS = ("web", "scheduler", *WORKERS)
AGAIN_SECONDS = 0.5
LOCK_SECONDS = 0.5
SLOW_SECONDS = 0.05
FORGED_KEY = "99000{n:04d}"


class Site(Rig):
    """``control``: what a negative control takes out of the product, by its name in ``faults.controls``.

    ``columns``: whether the CRM has columns of its own for the ERP's keys. ``ahead``: seconds by which the clock of the
    second worker is wrong. ``feeds`` False: neither polled nor swept. ``orders``: workers can be made to stop or die at
    one certain line.
    """

    def __init__(
        self,
        folder: Path,
        gates: Proxies,
        *,
        server: PostgresServer | None = None,
        control: str = "",
        columns: bool = True,
        ahead: float = 0.0,
        feeds: bool = True,
        orders: bool = False,
    ) -> None:
        self._proxies = gates
        self._columns = columns
        self.server = server
        environment = {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))}
        if server is not None:
            environment["DATABASE_URL"] = server.new_database()
        seldom = {} if feeds else {"poll_seconds": NEVER, "sweep_seconds": NEVER}
        super().__init__(folder, environment, **SETTINGS | seldom)
        self.control, self.ahead, self.orders = control, ahead, orders
        self.queue_gate = gates.before(self.queue.url)
        self.environment["REDIS_URL"] = f"redis://127.0.0.1:{self.queue_gate.port}/0"
        self._starts: dict[str, float] = {}
        self._ends: list[tuple[float, Callable[[], None]]] = []
        self._full_until = 0.0

    def write_config(self, create_in_crm: str = "on_create", **seconds: float) -> None:
        """As for every installation, but with the proxies' addresses for the vendors'."""
        super().write_config(create_in_crm, **seconds)
        self.vendor_gates: dict[str, Gate] = {}
        text = self.config_path.read_text(encoding="utf-8")
        for name, vendor in self.vendors.items():
            gate = self.vendor_gates[name] = self._proxies.before(vendor.root)
            text = text.replace(f'"{vendor.root}/', f'"http://127.0.0.1:{gate.port}/')
        if not self._columns:
            text = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("  erp_"))
        self.config_path.write_text(text, encoding="utf-8")

    # --- processes ---------------------------------------------------------------------------------------------------

    def argv(self, name: str) -> list[str]:
        """The command line of one of our processes; through the harness's own entry where it changes something."""
        part = name.partition("-")[0]
        more = {"web": ["--port", str(self.web_port)], "worker": ["--threads", str(THREADS)]}.get(part, [])
        args = [part, "--config", str(self.config_path), *more]
        ahead = self.ahead if name == WORKERS[-1] else 0.0
        orders = str(self.folder / name) if self.orders and part == "worker" else ""
        if self.control or ahead or orders:
            return [*CHILD, "--control", self.control, "--ahead", str(ahead), "--orders", orders, *args]
        return command(*args)

    def start_site(self) -> None:
        """Everything up, feeds read once, vendors announcing."""
        for name in OURS:
            self.spawn(name, self.argv(name))
        self.wait_for("scheduler", lambda: self._have_run(self.feeds))
        self.wait_for("web", lambda: _answers(self.web_port))
        self.announce()

    def kill(self, name: str) -> None:
        """kill -9; it is started again in a moment."""
        process = self.running[name]
        process.kill()
        process.wait()
        self._starts[name] = time.monotonic() + AGAIN_SECONDS

    def look(self) -> None:
        """Start what was killed and what ended by itself, and end what has lasted long enough."""
        now = time.monotonic()
        for name in OURS:
            if self.running[name].poll() is not None and now >= self._starts.setdefault(name, now + AGAIN_SECONDS):
                del self._starts[name]
                self.spawn(name, self.argv(name))
        for one in [one for one in self._ends if one[0] <= now]:
            self._ends.remove(one)
            one[1]()

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        self._ends.append((time.monotonic() + seconds, act))

    @property
    def lasting(self) -> bool:
        """Whether a fault has not come to its end yet."""
        return bool(self._ends)

    def stop_process(self, pid: int, seconds: float) -> None:
        """SIGSTOP, and SIGCONT later; the process may have been killed meanwhile."""
        os.kill(pid, signal.SIGSTOP)

        def go_on() -> None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

        self.later(seconds, go_on)

    def halt_worker(self, name: str, seconds: float) -> None:
        """SIGSTOP between its read of a record and its write: it does that to itself, so that it is certain."""
        asked = self._order(name, "halt")
        pid = self.running[name].pid

        def go_on() -> None:
            asked.unlink(missing_ok=True)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

        self.later(seconds, go_on)

    def end_creating(self, name: str, seconds: float) -> None:
        """SIGKILL right after a create of the next seconds was answered: it does that to itself, too."""
        asked = self._order(name, "die")
        self.later(seconds, lambda: asked.unlink(missing_ok=True))

    def _order(self, name: str, what: str) -> Path:
        file = self.folder / f"{name}.{what}"
        file.touch()
        return file

    @property
    def queue_pid(self) -> int:
        """Raises ``ProcessLookupError`` while there is no queue server."""
        if self.queue.pid is None or not self.queue.running():
            raise ProcessLookupError("there is no queue server")
        return self.queue.pid

    def kill_queue(self) -> None:
        """kill -9 of the queue server, and another one at the same address, whose memory is no larger."""
        os.kill(self.queue_pid, signal.SIGKILL)
        self.later(0.3, self._start_queue)

    def _start_queue(self) -> None:
        self.queue.start()
        if time.monotonic() < self._full_until:
            self._tell_queue("CONFIG", "SET", "maxmemory", "1")

    def queue_outage(self, seconds: float) -> None:
        self.queue_gate.closed = True
        self._proxies.cut(self.queue_gate)
        self.later(seconds, lambda: setattr(self.queue_gate, "closed", False))

    def fill_queue(self, seconds: float) -> None:
        """Its memory is exhausted: every write is refused."""
        self._full_until = time.monotonic() + seconds
        self._tell_queue("CONFIG", "SET", "maxmemory", "1")
        self.later(seconds, lambda: self._tell_queue("CONFIG", "SET", "maxmemory", "0"))

    def flush_queue(self) -> None:
        """Raises ``redis.RedisError`` when the server does not answer."""
        self.ask_queue("FLUSHALL")

    def _tell_queue(self, *words: str) -> None:
        """A server that is away just now misses it: whoever starts it again tells it."""
        with contextlib.suppress(redis.RedisError):
            self.ask_queue(*words)

    def ask_queue(self, *words: str) -> Any:
        """Its answer to a command. Raises ``redis.RedisError``."""
        with contextlib.closing(redis.Redis.from_url(self.queue.url, socket_timeout=1.0)) as client:
            return client.execute_command(*words)

    def cut_vendors(self) -> None:
        """Every connection to a vendor drops in the middle of whatever it carries."""
        for gate in self.vendor_gates.values():
            self._proxies.cut(gate)

    def slow_vendors(self, seconds: float) -> None:
        """Every piece that travels to or from a vendor takes a while."""
        for gate in self.vendor_gates.values():
            gate.delay = SLOW_SECONDS
            self.later(seconds, lambda gate=gate: setattr(gate, "delay", 0.0))  # type: ignore[misc]

    def blackout(self, name: str, seconds: float) -> None:
        """The ERP's address does not answer at all; the CRM's answers 503 to everything."""
        if name == "crm":
            self.crm.faults(blackout=True)
            self.later(seconds, lambda: self.crm.faults(blackout=False))
            return
        gate = self.vendor_gates[name]
        gate.closed = True
        self._proxies.cut(gate)
        self.later(seconds, lambda: setattr(gate, "closed", False))

    def hurt_database(self, seconds: float) -> None:
        """SQLite: somebody holds the write lock. PostgreSQL: killed, and back when it has recovered.

        Raises ``sqlite3.OperationalError`` while somebody else holds it.
        """
        if self.server is not None:
            self.server.crash()
            return
        path = str(self.db.url.database)
        conn = sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            conn.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            conn.close()
            raise
        self.later(seconds, conn.close)

    @property
    def feeds(self) -> list[str]:
        """Tasks of the scheduler that find what no notice told."""
        return [f"{feed}:{system}" for feed in ("poll", "sweep") for system in self.config.systems]

    def make_feeds_due(self) -> None:
        for task in self.feeds:
            schedules.make_due(self.db, task)

    def feeds_ended_since(self, at: float) -> bool:
        """Whether each has ended well after that moment (the database's clock)."""
        last = {row.name: row.last_at or 0.0 for row in schedules.statuses(self.db)}
        return all(last.get(task, 0.0) > at for task in self.feeds)

    def post_hook(self, path: str, body: bytes, headers: Mapping[str, str]) -> int | None:
        """The status of an answer to a notice; None when nobody answers."""
        try:
            return ask(self.web_port, "POST", path, body, headers, seconds=2.0)[0]
        except OSError:
            return None

    def close(self) -> list[str]:
        for act in [act for _, act in self._ends]:
            with contextlib.suppress(OSError):
                act()
        return super().close()


def _answers(port: int) -> bool:
    try:
        return ask(port, "GET", "/readyz", seconds=5.0)[0] == 200
    except OSError:
        return False


@contextlib.contextmanager
def site(gates: Proxies, **options: Any) -> Iterator[Site]:
    """A site in a folder of its own; all of it has ended afterwards, and the folder is gone."""
    with tempfile.TemporaryDirectory(prefix="sync-faults-", ignore_cleanup_errors=True) as folder:
        made = Site(Path(folder), gates, **options)
        try:
            yield made
        finally:
            made.close()
            if made.server is not None:
                made.server.drop_database(made.db.url.render_as_string(hide_password=False))
