"""The embedded queue server, for real: it starts, keeps what it was told, and never outlives us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from support.waiting import until
from sync_worker import queue_server
from sync_worker.errors import ConfigError
from sync_worker.queue_server import EmbeddedQueue


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[EmbeddedQueue]:
    server = EmbeddedQueue(tmp_path)
    yield server
    server.stop()


def client(server: EmbeddedQueue) -> redis.Redis:
    return redis.Redis.from_url(server.url, decode_responses=True, socket_timeout=5)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


def pid_of(server: EmbeddedQueue) -> int:
    assert server.pid is not None
    return server.pid


def test_it_answers_as_soon_as_start_returns_and_has_ended_when_stop_returns(queue: EmbeddedQueue) -> None:
    queue.start()
    pid = pid_of(queue)
    assert client(queue).ping()
    assert queue.running()
    queue.stop()
    assert not queue.running()
    assert not is_alive(pid)


def test_it_is_set_up_to_lose_nothing_and_to_evict_nothing(queue: EmbeddedQueue) -> None:
    queue.start()
    with client(queue) as conn:
        settings = conn.config_get("*")
    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] == "everysec"
    assert settings["aof-load-truncated"] == "yes"
    assert settings["save"] == ""
    assert settings["maxmemory-policy"] == "noeviction"


def test_nobody_else_can_reach_it(queue: EmbeddedQueue, tmp_path: Path) -> None:
    queue.start()
    assert queue.url.startswith("unix://")
    assert (tmp_path / "queue" / "queue.sock").stat().st_mode & 0o077 == 0
    with client(queue) as conn:
        assert conn.config_get("port")["port"] == "0"


def test_where_the_socket_path_would_be_too_long_it_takes_a_port_and_a_password(tmp_path: Path) -> None:
    server = EmbeddedQueue(tmp_path / ("d" * 100))
    server.start()
    try:
        assert server.url.startswith("redis://:")
        with client(server) as conn:
            assert conn.config_get("bind")["bind"] == "127.0.0.1"
        port = server.url.rpartition(":")[2].partition("/")[0]
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=int(port)).get("a")
        address = server.url
        server.stop()
        server.start()
        assert server.url == address
        assert client(server).ping()
    finally:
        server.stop()


def test_a_directory_with_blanks_quotes_and_accents_is_no_trouble(tmp_path: Path) -> None:
    server = EmbeddedQueue(tmp_path / 'a "b" é %41')
    server.start()
    try:
        client(server).set("a", "1")
        server.stop()
        server.start()
        assert client(server).get("a") == "1"
    finally:
        server.stop()


def test_what_it_was_told_survives_a_restart(queue: EmbeddedQueue) -> None:
    queue.start()
    client(queue).rpush("live", "1", "2")
    first = queue.pid
    queue.stop()
    queue.start()
    assert queue.pid != first
    assert client(queue).lrange("live", 0, -1) == ["1", "2"]


def test_killed_it_is_noticed_and_comes_back_at_the_same_address(queue: EmbeddedQueue) -> None:
    queue.start()
    url = queue.url
    client(queue).set("a", "1")
    os.kill(pid_of(queue), signal.SIGKILL)
    until(lambda: not queue.running())
    queue.start()
    assert queue.url == url
    assert client(queue).ping()


def test_a_file_cut_off_in_the_middle_of_a_command_is_read_up_to_there(queue: EmbeddedQueue, tmp_path: Path) -> None:
    queue.start()
    client(queue).set("first", "1")
    client(queue).set("second", "2")
    queue.stop()
    (file,) = (tmp_path / "queue" / "appendonlydir").glob("*.incr.aof")
    os.truncate(file, file.stat().st_size - 5)
    queue.start()
    assert client(queue).get("first") == "1"
    assert client(queue).get("second") is None


def test_a_file_it_cannot_read_is_put_aside_and_it_starts_empty(queue: EmbeddedQueue, tmp_path: Path) -> None:
    queue.start()
    client(queue).set("a", "1")
    for _ in range(2):
        queue.stop()
        (file,) = (tmp_path / "queue" / "appendonlydir").glob("*.incr.aof")
        file.write_bytes(b"rubbish\r\n" * 20)
        queue.start()
        assert client(queue).dbsize() == 0
    assert (tmp_path / "queue" / "appendonlydir.unreadable").is_dir()


def test_leftovers_of_a_killed_server_do_not_hinder_the_next(queue: EmbeddedQueue, tmp_path: Path) -> None:
    queue.start()
    os.kill(pid_of(queue), signal.SIGKILL)
    until(lambda: not queue.running())
    assert (tmp_path / "queue" / "queue.sock").exists()
    queue.stop()
    other = EmbeddedQueue(tmp_path)
    other.start()
    try:
        assert client(other).ping()
    finally:
        other.stop()


def test_two_never_use_one_directory(queue: EmbeddedQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_server, "LOCK_SECONDS", 0.1)
    queue.start()
    with pytest.raises(queue_server.InUse, match="in use by another sync-worker: stop that one, or set SYNC_DATA_DIR"):
        EmbeddedQueue(tmp_path).start()
    assert client(queue).ping()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has ended")
def test_kill_9_of_the_parent_leaves_nothing_running_and_the_next_start_works(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from sync_worker.queue_server import EmbeddedQueue\n"
        "server = EmbeddedQueue(Path(sys.argv[1])); server.start(); print('pid', server.pid, flush=True)\n"
        "time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = next(int(line.split()[1]) for line in parent.stdout if line.startswith("pid "))
    assert is_alive(child)
    parent.kill()
    parent.wait()
    server = EmbeddedQueue(tmp_path)
    server.start()
    try:
        assert not is_alive(child)
        assert client(server).ping()
    finally:
        server.stop()
        parent.stdout.close()


def test_a_server_on_path_serves_where_the_wheel_brings_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = queue_server.find_server()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "redis-server").symlink_to(real)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert queue_server.find_server() == tmp_path / "bin" / "redis-server"
    server = EmbeddedQueue(tmp_path)
    server.start()
    try:
        assert client(server).ping()
    finally:
        server.stop()


def test_without_any_server_one_line_tells_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(ConfigError, match="no queue server for this machine: set REDIS_URL, or install valkey-server"):
        EmbeddedQueue(tmp_path).start()


def test_a_server_that_does_not_start_says_why_and_leaves_the_directory_free(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"does not start .*set REDIS_URL"):
        EmbeddedQueue(tmp_path, program=Path("/bin/false")).start()
    server = EmbeddedQueue(tmp_path)
    server.start()
    server.stop()
