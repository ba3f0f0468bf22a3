"""What ``doctor`` says of the database, the queue server and several hosts, each of them a real one."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from support.valkey import QueueServer
from sync_worker import broker, config, doctor
from sync_worker.connectors.base import Check

KEY = base64.urlsafe_b64encode(b"0" * 32).decode()


@pytest.fixture(scope="module")
def server() -> Iterator[QueueServer]:
    made = QueueServer()
    yield made
    made.close()


@pytest.fixture
def queue(server: QueueServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
        client.config_set("maxmemory-policy", "noeviction")
        yield client


def checks(folder: Path, database: str, queue: str, text: str = "") -> dict[str, Check]:
    environment = {"DATABASE_URL": database, "REDIS_URL": queue, "SYNC_DATA_DIR": str(folder / "var")}
    return {check.name: check for check in doctor.run(config.parse(text, environment))}


def report(queue: redis.Redis, *hosts: str) -> None:
    for number, host in enumerate(hosts):
        broker.report_worker(queue, f"{host}:{number}", 8)


def test_ops_several_hosts_on_sqlite_are_wrong_and_named(
    queue: redis.Redis, server: QueueServer, sqlite_url: str, tmp_path: Path
) -> None:
    report(queue, "alpha", "alpha", "beta")
    found = checks(tmp_path, sqlite_url, server.url)
    assert found["hosts"].ok is False
    assert "2 hosts (alpha, beta)" in found["hosts"].detail
    assert "PostgreSQL" in found["hosts"].fix
    assert "2 hosts" in found["secrets.key"].detail
    assert "SYNC_SECRET_KEY" in found["secrets.key"].fix


def test_ops_one_host_on_sqlite_and_several_on_postgresql_with_one_key_are_well(
    queue: redis.Redis, server: QueueServer, sqlite_url: str, postgresql_url: str, tmp_path: Path
) -> None:
    report(queue, "alpha", "alpha")
    assert "hosts" not in checks(tmp_path, sqlite_url, server.url)
    report(queue, "alpha", "beta")
    found = checks(tmp_path, postgresql_url, server.url, f'[secrets]\nkey = "{KEY}"\n')
    wanting = {name for name, check in found.items() if not check.ok or check.fix}
    assert wanting == {"alerts", "flows"}, "nobody is told, and there is nothing to tell of"


def test_ops_a_clock_that_is_not_the_databases_is_wrong(
    queue: redis.Redis, server: QueueServer, postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = time.time() - 30
    monkeypatch.setattr(doctor.time, "time", lambda: late)
    found = checks(tmp_path, postgresql_url, server.url)["clock"]
    assert (found.ok, found.fix) == (False, "set both by NTP")
    assert found.detail.endswith("s behind the database's")


def test_ops_a_queue_server_that_may_forget_messages_is_wrong(
    queue: redis.Redis, server: QueueServer, sqlite_url: str, tmp_path: Path
) -> None:
    queue.config_set("maxmemory-policy", "allkeys-lru")
    assert checks(tmp_path, sqlite_url, server.url)["queue"].detail == "maxmemory-policy is allkeys-lru"


def test_ops_a_hosted_queue_server_that_hides_its_configuration_is_no_error(
    queue: redis.Redis, server: QueueServer, sqlite_url: str, tmp_path: Path
) -> None:
    queue.execute_command("ACL", "SETUSER", "hosted", "on", ">word", "~*", "&*", "+@all", "-config")
    found = checks(tmp_path, sqlite_url, server.url.replace("unix://", "unix://hosted:word@"))["queue"]
    assert found.ok
    assert found.fix == "see for yourself that it is noeviction"


def test_ops_what_is_away_is_named_by_its_setting(sqlite_url: str, tmp_path: Path) -> None:
    found = checks(tmp_path, "postgresql://sync@127.0.0.1:1/sync", f"unix://{tmp_path}/nowhere")
    assert (found["queue.url"].ok, found["database.url"].ok) == (False, False)


def test_ops_what_is_away_is_named_by_its_place_without_user_and_password(tmp_path: Path) -> None:
    found = checks(tmp_path, "postgresql://sync:hunter2@127.0.0.1:1/sync", "redis://:hunter2@127.0.0.1:1/0")
    assert found["queue.url"].detail == "127.0.0.1:1: ConnectionError"
    assert found["database.url"].detail == "127.0.0.1:1: OperationalError"
    assert "REDIS_URL" in found["queue.url"].fix


def test_a_configuration_without_a_flow_syncs_nothing_and_is_told_so(
    server: QueueServer, sqlite_url: str, tmp_path: Path
) -> None:
    found = checks(tmp_path, sqlite_url, server.url)["flows"]
    assert (found.ok, found.fix) == (False, "add [flows.customers]")
