"""A PostgreSQL server of the tests' own: throw-away data, never as root, no system user made, gone with the tests."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

START_WITHIN = 60.0
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "deadlock_timeout": "50ms",
    "autovacuum": "off",
}
DURABLE = SETTINGS | {"full_page_writes": "on", "synchronous_commit": "on", "autovacuum": "on"}
"""For a server that is killed: what it has committed survives it. Only a host that goes down would want fsync too."""
CRASH_TRIES = 20


class PostgresMissing(Exception):
    """No server programs here, or nobody to run them as."""


def find_binaries() -> Path:
    """The directory of ``initdb`` and ``postgres``: PATH first, then Debian's newest. Raises ``PostgresMissing``."""
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).resolve().parent
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3].split(".")[0]))
    if debian:
        return debian[-1].parent
    raise PostgresMissing("initdb is neither on PATH nor in /usr/lib/postgresql/*/bin: install postgresql")


def run_as() -> dict[str, Any]:
    """Arguments for ``subprocess``: PostgreSQL refuses to run as root, so root borrows an existing user."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise PostgresMissing("running as root, and there is neither a user postgres nor nobody to run the server as")


@dataclass
class PostgresServer:
    """``new_database`` gives URLs; each database is made from ``template`` when that is set.

    ``crash`` kills the server as it is, and returns when another one has recovered what was committed.
    """

    port: int
    template: str | None = None
    crash: Callable[[], None] = lambda: None
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def url(self, name: str) -> str:
        return f"postgresql+psycopg://sync@127.0.0.1:{self.port}/{name}"

    def new_database(self, name: str | None = None) -> str:
        """The URL of a fresh database."""
        made = name or f"t{next(self._numbers)}"
        with self._admin() as conn:
            source = sql.Identifier(self.template or "template0")
            conn.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(made), source))
        return self.url(made)

    def drop_database(self, url: str) -> None:
        """Remove a database, whoever is still connected."""
        name = sql.Identifier(url.rsplit("/", 1)[1])
        with self._admin() as conn:
            conn.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))

    def _admin(self) -> psycopg.Connection[Any]:
        return psycopg.connect(host="127.0.0.1", port=self.port, user="sync", dbname="postgres", autocommit=True)


@contextmanager
def running(settings: Mapping[str, str] = SETTINGS) -> Iterator[PostgresServer]:
    """A server for as long as the block lasts. Raises ``PostgresMissing``, or ``RuntimeError`` if it does not start."""
    binaries, user = find_binaries(), run_as()
    home = Path(tempfile.mkdtemp(prefix="sync-pg-", dir=_fast_directory()))
    process: subprocess.Popen[bytes] | None = None
    try:
        if user:
            os.chown(home, user["user"], user["group"])
        command: list[str | Path] = [
            binaries / "initdb",
            "-D",
            home / "data",
            "-U",
            "sync",
            "-A",
            "trust",
            "-E",
            "UTF8",
        ]
        quiet = ["--locale=C", "--no-sync", "--no-instructions"]
        subprocess.run([*command, *quiet], check=True, capture_output=True, cwd=home, **user)
        port = _free_port()
        process = _start(binaries, home, port, user, settings)
        _wait_until_ready(process, port, home / "log")

        def crash() -> None:
            nonlocal process
            assert process is not None
            process.kill()
            process.wait()
            process = _start_again(binaries, home, port, user, settings)

        yield PostgresServer(port, crash=crash)
    finally:
        if process is not None:
            _stop(process)
        shutil.rmtree(home, ignore_errors=True)


def _start_again(
    binaries: Path, home: Path, port: int, user: dict[str, Any], settings: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """After a kill: a server refuses to start while processes of the last one are still about to end."""
    for _ in range(CRASH_TRIES):
        process = _start(binaries, home, port, user, settings)
        try:
            _wait_until_ready(process, port, home / "log")
            return process
        except RuntimeError:
            process.wait()
            time.sleep(0.1)
    raise RuntimeError(f"PostgreSQL did not come back:\n{(home / 'log').read_text()[-2000:]}")


def _start(
    binaries: Path, home: Path, port: int, user: dict[str, Any], settings: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    # Linux: the server ends with the tests even if they are killed.
    mortal: list[str | Path] = ["setpriv", "--pdeathsig", "INT"] if shutil.which("setpriv") else []
    server: list[str | Path] = [binaries / "postgres", "-D", home / "data", "-p", str(port), "-k", home, *options]
    with (home / "log").open("ab") as log:
        return subprocess.Popen([*mortal, *server], stdout=log, stderr=log, cwd=home, **user)


def _fast_directory() -> Path | None:
    """Memory, where there is plenty: making a database takes 10 ms there, several 100 ms on a busy disk."""
    memory = Path("/dev/shm")  # noqa: S108  # only mkdtemp writes there, under a name of its own
    usable = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2 * 1024**3
    return memory if usable else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    give_up_at = time.monotonic() + START_WITHIN
    while True:
        try:
            psycopg.connect(host="127.0.0.1", port=port, user="sync", dbname="postgres", connect_timeout=2).close()
            return
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > give_up_at:
                raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text()[-2000:]}") from None
            time.sleep(0.05)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Fast shutdown, then immediate shutdown."""
    for how, patience in ((signal.SIGINT, 20), (signal.SIGQUIT, 10)):
        process.send_signal(how)
        try:
            process.wait(patience)
            return
        except subprocess.TimeoutExpired:
            continue
    process.kill()
    process.wait()
