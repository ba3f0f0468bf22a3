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
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import redis
from sqlalchemy import text

from support.redaction import WATCH
from sync_worker.demo import installation
from sync_worker.demo.installation import command
from sync_worker.demo.ports import ask
from sync_worker.processes import SUPERVISOR_ENV
from sync_worker.store.session import Database

ROOT = Path(__file__).parents[2]
HOOK_SECRET = "whsec_" + base64.b64encode(b"e2e-secret-of-thirty-two-bytes-0").decode()


class Installation(installation.Installation):
    """``database_url``: None = SQLite in the data directory. ``poll``: seconds between two looks at a feed."""

    def __init__(self, *, database_url: str | None = None, poll: float = 2, latency_ms: float = 20) -> None:
        # The queue server's socket lies in it, and the path of a unix socket may have about 100 characters.
        folder = Path(tempfile.mkdtemp(prefix="sync-e2e-"))
        more = {"PYTHONPATH": str(ROOT)} | ({} if database_url is None else {"DATABASE_URL": database_url})
        super().__init__(folder, HOOK_SECRET, cwd=folder, environment=more)
        self.write_config(poll_seconds=poll, stale_seconds=2)
        try:
            self.start_vendors(latency_ms)
            self.announce()
        except BaseException:
            self.close()
            raise

    @cached_property
    def db(self) -> Database:
        return Database(self.config.database.url)

    # --- processes ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start ``run`` and wait until it is ready."""
        self.serve("run", "run")

    @property
    def run(self) -> subprocess.Popen[bytes]:
        return self.running["run"]

    def pids(self, *words: str) -> set[int]:
        """Running processes of ours other than the vendors, those whose command line holds all ``words``."""
        vendors = {self.running[name].pid for name in self.vendors if name in self.running}
        return {pid for pid, line in working_in(self.folder).items() if pid not in vendors and set(words) <= set(line)}

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

    def close(self) -> list[str]:
        """Kill all of it, whatever state it is in."""
        killed = list(self.running)
        for name in killed:
            process = self.running.pop(name)
            process.kill()
            process.wait()
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        if "db" in self.__dict__:
            self.db.close()
        WATCH.see_files(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        return killed

    # --- what people and scripts do ----------------------------------------------------------------------------------

    def cli(self, *args: str, config: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*args, "--config", str(config or self.config_path)),
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
        content = self.config_path.read_text()
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
        return ask(self.web_port, method, path, body, headers)

    # --- what can be seen --------------------------------------------------------------------------------------------

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of our database."""
        with self.db.read() as conn:
            return [tuple(row) for row in conn.execute(text(query))]

    def calls(self) -> int:
        """Reads and writes at both vendors so far."""
        return sum(v.stats()["reads"] + v.stats()["writes"] for v in self.vendors.values())

    def writes(self) -> int:
        """Writes at both vendors so far, the refused ones too."""
        return sum(v.stats()["writes"] for v in self.vendors.values())

    def at_rest(self) -> bool:
        """Nothing is on its way, due or ahead: trailing looks included."""
        return self.is_quiet(self.db)


def working_in(folder: Path) -> dict[int, list[str]]:
    """Processes that work in a folder or below: id -> the words of its command line."""
    found = {}
    for place in Path("/proc").iterdir():
        try:
            if place.name.isdigit() and (place / "cwd").readlink().is_relative_to(folder):
                line = (place / "cmdline").read_bytes().split(b"\0")
                found[int(place.name)] = [word.decode(errors="replace") for word in line]
        except OSError:  # it has ended meanwhile, or is not ours to look at
            continue
    return found


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
