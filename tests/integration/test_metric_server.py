"""A machine without a web process shows the figures of its processes all the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest

SERVE = """
import sys
from pathlib import Path
from sync_worker import logs, metric_server, metrics
from sync_worker.processes import StopSignal
logs.configure()
stop = StopSignal()
with metric_server.serving(Path(sys.argv[1]), "127.0.0.1", int(sys.argv[2])) as port:
    metrics.pass_ended("customers", "in_sync")
    print(port, flush=True)
    stop.wait(60)
"""
COUNT = """
import sys
from pathlib import Path
from sync_worker import metrics
metrics.prepare(Path(sys.argv[1]))
metrics.pass_ended("customers", "in_sync")
"""


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-c", SERVE, tmp_path, "0"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield int(process.stdout.readline())
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    process.stdout.close()


def ask(port: int, path: str) -> tuple[int, str]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def test_figures_of_all_processes_of_a_data_directory_are_shown_and_none_from_sql(port: int, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", COUNT, tmp_path], check=True)
    status, body = ask(port, "/metrics")
    assert status == 200
    assert 'sync_passes_total{flow="customers",outcome="in_sync"} 2.0' in body
    assert "sync_links" not in body
    assert "sync_due" not in body


def test_it_says_that_its_process_is_alive_and_what_there_is_to_ask_for(port: int) -> None:
    assert ask(port, "/healthz") == (200, "ok\n")
    assert ask(port, "/") == (404, "there are /metrics and /healthz\n")


def test_an_address_that_is_taken_is_one_line(port: int, tmp_path: Path) -> None:
    config = tmp_path / "sync.toml"
    config.write_text("[queue]\nurl = 'redis://127.0.0.1:1/0'\n")
    command = ["-m", "sync_worker.cli", "worker", "--config", str(config), "--metrics-port", str(port)]
    done = subprocess.run(
        [sys.executable, *command],
        env=os.environ | {"SYNC_DATA_DIR": str(tmp_path / "var")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"sync-worker: cannot listen on 127.0.0.1:{port}: ")
