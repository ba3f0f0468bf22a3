"""A worker process and real rings from a real queue server; a stand-in for the engine writes down what it is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.valkey import QueueServer
from support.waiting import until
from sync_worker import broker
from sync_worker.broker import LIVE
from sync_worker.doorbell import Doorbell, due_message, link_message, parts_message
from sync_worker.store.touches import Touched

WORKER = """
import sys, threading, time
from pathlib import Path
from types import SimpleNamespace
from dramatiq.worker import ConsumerThread
from sync_worker import worker
from sync_worker.processes import StopSignal
from sync_worker.store.touches import Touched

url, threads, diary = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
lock = threading.Lock()
batches = iter([("customers", "bulk"), ("customers", "bulk"), None])

def note(*words):
    with lock, diary.open("a") as file:
        file.write(" ".join(str(word) for word in words) + "\\n")

class Engine:
    def run_link(self, link_id):
        note("link", link_id)
        if link_id == 500:
            while not diary.with_name("go").exists():
                time.sleep(0.01)
            note("finished", link_id)
        if link_id == 501:
            raise ValueError("a bug")
        if link_id == 502:
            for thread in threading.enumerate():
                if isinstance(thread, ConsumerThread):
                    thread.stop()
        again = (Touched(101, "customers", "customer", "live"),) if link_id == 100 else ()
        return SimpleNamespace(claimed=1, again=again, more=("customers", "live") if link_id == 103 else None)

    def run_due(self, flow, klass):
        note("due", flow, klass)
        return SimpleNamespace(claimed=1, again=(), more=next(batches) if klass == "bulk" else None)

    def resolve_parts(self, system):
        note("parts", system)
        return (Touched(300, "customers", "customer", "live"),)

sys.exit(worker.serve(SimpleNamespace(engine=Engine()), url, threads, StopSignal()))
"""


class WorkerProcess:
    """A process that runs ``worker.serve`` and what its engine wrote."""

    def __init__(self, folder: Path, url: str, threads: int = 4) -> None:
        self.diary = folder / "diary"
        (folder / "worker.py").write_text(WORKER)
        self.log = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, url, str(threads), str(self.diary)],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=self.log,
            stderr=self.log,
        )

    def lines(self) -> list[str]:
        return self.diary.read_text().splitlines() if self.diary.exists() else []


@pytest.fixture
def server() -> Iterator[QueueServer]:
    server = QueueServer()
    yield server
    server.close()


@pytest.fixture
def doorbell(server: QueueServer) -> Iterator[Doorbell]:
    queue = broker.make_broker(server.url)
    yield Doorbell(queue)
    queue.close()


@pytest.fixture
def start(tmp_path: Path, server: QueueServer) -> Iterator[Callable[..., WorkerProcess]]:
    started: list[WorkerProcess] = []

    def one(threads: int = 4) -> WorkerProcess:
        worker = WorkerProcess(tmp_path, server.url, threads)
        started.append(worker)
        with broker.connect(server.url) as client:
            until(lambda: broker.threads_up(client) == threads)
        return worker

    yield one
    for worker in started:
        worker.process.kill()
        worker.process.wait()
        worker.log.close()


def test_a_ring_reaches_the_engine(start: Callable[..., WorkerProcess], doorbell: Doorbell) -> None:
    worker = start()
    doorbell.ring([Touched(7, "customers", "customer", "live")])
    until(lambda: worker.lines() == ["link 7"])


def test_what_is_due_again_and_what_more_is_due_is_rung_again(
    start: Callable[..., WorkerProcess], doorbell: Doorbell
) -> None:
    worker = start()
    links = [link_message(100, "live"), link_message(103, "live")]
    doorbell.send([*links, due_message("customers", "bulk"), parts_message("crm")])
    until(lambda: len(worker.lines()) == 9)
    assert sorted(worker.lines()) == [
        "due customers bulk",
        "due customers bulk",
        "due customers bulk",
        "due customers live",
        "link 100",
        "link 101",
        "link 103",
        "link 300",
        "parts crm",
    ]


def test_a_bug_in_one_message_neither_repeats_it_nor_stops_the_worker(
    start: Callable[..., WorkerProcess], doorbell: Doorbell, server: QueueServer
) -> None:
    worker = start(threads=1)
    doorbell.send([link_message(501, "live"), link_message(8, "live")])
    until(lambda: "link 8" in worker.lines())
    assert worker.lines() == ["link 501", "link 8"]
    with broker.connect(server.url) as client:
        until(lambda: client.hlen(f"{broker.NAMESPACE}:{LIVE}.msgs") == 0)
        assert not client.exists(f"{broker.NAMESPACE}:{LIVE}.XQ")


def test_a_stop_signal_lets_current_work_end_and_leaves_the_rest_in_the_queue(
    start: Callable[..., WorkerProcess], doorbell: Doorbell, server: QueueServer
) -> None:
    worker = start(threads=1)
    doorbell.send([link_message(500, "live"), link_message(8, "live")])
    until(lambda: "link 500" in worker.lines())
    worker.process.send_signal(signal.SIGTERM)
    with broker.connect(server.url) as client:
        until(lambda: broker.threads_up(client) == 0)
        worker.diary.with_name("go").touch()
        assert worker.process.wait(timeout=20) == 0
        assert worker.lines() == ["link 500", "finished 500"]
        assert broker.queue_length(client, LIVE) == 1


def test_a_worker_outlives_its_queue_server(
    start: Callable[..., WorkerProcess], doorbell: Doorbell, server: QueueServer
) -> None:
    worker = start()
    server.kill()
    server.start()
    until(lambda: doorbell.send([link_message(9, "live")]))
    until(lambda: "link 9" in worker.lines())
    assert worker.process.poll() is None


def test_a_worker_stops_in_time_while_the_queue_server_is_away(
    start: Callable[..., WorkerProcess], server: QueueServer
) -> None:
    worker = start()
    server.kill()
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(timeout=20) == 0


def test_a_worker_with_a_dead_consumer_ends_itself_with_code_70(
    start: Callable[..., WorkerProcess], doorbell: Doorbell
) -> None:
    worker = start()
    doorbell.send([link_message(502, "live")])
    assert worker.process.wait(timeout=20) == 70


def test_ops_a_worker_without_its_queue_server_says_so_in_one_line_that_names_the_place(tmp_path: Path) -> None:
    alone = WorkerProcess(tmp_path, "redis://:hunter2@127.0.0.1:1/0")
    try:
        until(lambda: "queue.away" in (tmp_path / "log").read_text())
        said = (tmp_path / "log").read_text()
    finally:
        alone.process.kill()
        alone.process.wait()
        alone.log.close()
    (about,) = [line for line in said.splitlines() if "queue.away" in line]
    assert "127.0.0.1:1 " in about and "REDIS_URL" in about and "hunter2" not in said
