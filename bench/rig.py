"""The stage of a measurement: a folder, a queue server, a database, emulated vendors and our processes."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.figures import until
from sync_worker import broker
from sync_worker.demo.installation import START_SECONDS, Installation, command, work_ahead
from sync_worker.demo.vendor import Vendor
from sync_worker.processes import IDENTITY_ENV, PROCESSES_ENV, succession
from sync_worker.queue_server import EmbeddedQueue
from sync_worker.store import migrate, schedules
from sync_worker.store.session import Database

PROCESSES = 2
THREADS = 8
FOLDER = Path("var") / "bench"
SECRET = "whsec_YmVuY2gtc2VjcmV0LTAxMjM0NTY3ODkwMTIz"
SAMPLES = ".samples"
NEVER = 3600.0  # seconds: what repeats by the clock stays out of the measurement


class Rig(Installation):
    """Our processes one by one instead of ``run``, so that a measurement starts only what it is about."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None, **seconds: float) -> None:
        super().__init__(folder, SECRET, environment=environment)
        self.identities: dict[str, str] = {}
        self.write_config(**seconds)
        migrate.upgrade(self.config.database.url)
        self.db = Database(self.config.database.url)
        self.queue = EmbeddedQueue(folder)
        self.queue.start()
        self.environment |= {"SYNC_LOG_FORMAT": "json", "REDIS_URL": self.queue.url, PROCESSES_ENV: str(PROCESSES)}

    def spawn(self, name: str, argv: Sequence[str]) -> None:
        """As ``run`` would: it knows in whose place it comes. Within ``sampling`` it writes down where its CPU goes."""
        mine = succession(self.identities.get(name, ""))
        self.identities[name] = mine[IDENTITY_ENV]
        self.environment |= mine
        if _Sampling.on:
            python, flag, *rest = argv
            assert flag == "-m", f"{name} is no module"
            argv = [python, "-m", "bench.sampled", str(self.folder / f"{name}{SAMPLES}"), *rest]
        super().spawn(name, argv)

    def start_web(self) -> None:
        self.serve("web", "web", path="/healthz")

    def start_workers(self, argv: Sequence[str] | None = None) -> None:
        """The worker processes. ``argv``: another program than ours that takes the same last arguments."""
        for number in range(PROCESSES):
            self.start_worker(number, argv)
        with contextlib.closing(broker.connect(self.queue.url)) as client:
            self.wait_for("worker-0", lambda: broker.threads_up(client) == PROCESSES * THREADS)

    def start_worker(self, number: int, argv: Sequence[str] | None = None) -> None:
        """One of them, not waited for."""
        options = ["--config", str(self.config_path), "--threads", str(THREADS)]
        self.spawn(f"worker-{number}", [*(argv or command("worker")), *options])

    def start_all(self) -> None:
        """Our processes, with both vendors announcing every change to the webhooks; their first polls have ended."""
        self.start_web()
        self.spawn("scheduler", command("scheduler", "--config", str(self.config_path)))
        self.start_workers()
        feeds = [f"{feed}:{system}" for feed in ("poll", "sweep") for system in self.config.systems]
        until(lambda: self._have_run(feeds), START_SECONDS, "the first polls and sweeps have not ended")
        self.announce()

    def _have_run(self, tasks: Sequence[str]) -> bool:
        last = {row.name: row.last_at for row in schedules.statuses(self.db)}
        return all(last.get(task) is not None for task in tasks)

    def busy(self) -> int:
        """Links and children that are due, or being worked on."""
        return work_ahead(self.db, 0.0)

    def wait_for_rest(self, seconds: float = 60.0, *, ever: bool = False) -> None:
        """Until nothing is due (``ever``: will be) and no notice is on its way, seen three times in a row."""
        calm = 0

        def at_rest() -> bool:
            nonlocal calm
            calm = calm + 1 if self.is_quiet(self.db, None if ever else 0.0) else 0
            return calm >= 3

        until(at_rest, seconds, "it does not come to rest")

    def close(self) -> list[str]:
        """End everything: first ours, last the vendors and the queue server."""
        killed = super().close()
        for name in killed:
            print(f"bench: {name} had to be killed", file=sys.stderr)
        self.db.close()
        self.queue.stop()
        return killed


class _Sampling:
    on = False


@contextlib.contextmanager
def sampling() -> Iterator[None]:
    """Within: every process that a rig starts is watched by ``bench/sampled.py``."""
    _Sampling.on = True
    try:
        yield
    finally:
        _Sampling.on = False


@contextlib.contextmanager
def rig(*, stale: float = NEVER, poll: float = NEVER, sweep: float = NEVER) -> Iterator[Rig]:
    """An empty rig with a migrated database; seconds as in sync.toml. What was started on it has ended afterwards."""
    folder = FOLDER.resolve() / "rig"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    made = Rig(folder, poll_seconds=poll, stale_seconds=stale, sweep_seconds=sweep)
    try:
        yield made
    finally:
        made.close()


def calls_of(vendor: Vendor) -> list[tuple[float, str, int]]:
    """Calls since the counters were reset: when (seconds), which operation, about how many records."""
    return [(float(at), str(name), int(count)) for at, name, count, *_ in vendor.get("calls")["calls"]]


def people(vendor: Vendor, entity: str, edits: Mapping[str, Mapping[str, Any]]) -> None:
    """A burst of edits by people: key -> columns."""
    vendor.post("people", [{"entity": entity, "key": key, "columns": columns} for key, columns in edits.items()])
