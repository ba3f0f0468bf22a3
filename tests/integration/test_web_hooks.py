"""The web process over real sockets: a notice is acknowledged only when it is stored, and refused in a fixed order."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest
import redis

from support.valkey import QueueServer
from support.waiting import until
from sync_worker import broker
from sync_worker.broker import LIVE, NAMESPACE

# The vendor is a stand-in that signs with a shared secret; database, inbox, queue and sockets are real.
SITE = """
import hashlib, hmac, json, sys
from types import SimpleNamespace
from sync_worker.connectors.base import HookRefused
from sync_worker.events import Change
from sync_worker.processes import exit_on_signal, listen
from sync_worker.store.inbox import Inbox, Listener
from sync_worker.store.session import Database
from sync_worker.web import app

class Vendor:
    system = "crm"
    def verify_hook(self, headers, body, now):
        good = hmac.new(b"secret", body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(headers.get("x-signature", ""), good):
            raise HookRefused(401, "signature does not match")
        try:
            events = json.loads(body)["events"]
        except (ValueError, KeyError):
            raise HookRefused(400, "not an envelope") from None
        return [Change("crm", e["entity"], e["key"], notice_id=e.get("id")) for e in events]

class Inbox(Inbox):
    def accept_all(self, handed):
        def checked():
            all_of_it = list(handed())
            if any(change.key == "defect" for changes, *_ in all_of_it for change in changes):
                raise ZeroDivisionError
            return all_of_it
        return super().accept_all(checked)

class DefectiveDoorbell(app.Doorbell):
    def send(self, messages):
        raise ZeroDivisionError

if sys.argv[4:] == ["defective-doorbell"]:
    app.Doorbell = DefectiveDoorbell

exit_on_signal()
database, queue, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
db = Database(database)
inbox = Inbox(db, [Listener("customers", "customer", "crm", "crm", {"customer": 1, "phone": 2})])
stand_in = SimpleNamespace(db=db, inbox=inbox, systems={"crm": Vendor(), "<b>odd</b>": Vendor()})
sys.exit(app.serve(stand_in, queue, listen("127.0.0.1", port)))
"""


class Site:
    """A web process and a way to talk to it."""

    def __init__(self, database: Path, queue_url: str, *defects: str, supervised: bool = False) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.database = database
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        if supervised:
            environment["SYNC_SUPERVISOR_PID"] = str(os.getpid())
        argv = [sys.executable, "-c", SITE, f"sqlite:///{database}", queue_url, str(self.port), *defects]
        self.process = subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL)
        until(self._accepts)

    def _accepts(self) -> bool:
        assert self.process.poll() is None, "the web process ended"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> tuple[HTTPResponse, bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})  # type: ignore[arg-type]  # bytes or an iterator
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer, content

    def notify(self, *events: dict[str, str], system: str = "crm") -> HTTPResponse:
        body = json.dumps({"events": events}).encode()
        return self.ask("POST", f"/hooks/{system}", body, x_signature=sign(body))[0]

    def stored(self, table: str = "event") -> int:
        with opened(self.database) as connection:
            return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608  # our own names


@contextmanager
def opened(database: Path) -> Iterator[sqlite3.Connection]:
    """A transaction of the test's own, committed and closed at the end."""
    connection = sqlite3.connect(database)
    try:
        with connection:
            yield connection
    finally:
        connection.close()


def sign(body: bytes) -> str:
    return hmac.new(b"secret", body, hashlib.sha256).hexdigest()


def customer(key: str, **more: str) -> dict[str, str]:
    return {"entity": "customer", "key": key, **more}


@pytest.fixture(scope="module")
def queue_server() -> Iterator[QueueServer]:
    server = QueueServer()
    yield server
    server.close()


@pytest.fixture(scope="module")
def running_site(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory, queue_server: QueueServer
) -> Iterator[Site]:
    database = tmp_path_factory.mktemp("site") / "sync.db"
    shutil.copyfile(sqlite_template, database)
    site = Site(database, queue_server.url)
    yield site
    site.process.kill()
    site.process.wait()


@pytest.fixture
def server(queue_server: QueueServer) -> QueueServer:
    """The queue server, up and empty."""
    if queue_server.process is None:
        queue_server.start()
    with broker.connect(queue_server.url) as client:
        client.flushall()
    return queue_server


@pytest.fixture
def site(running_site: Site, server: QueueServer) -> Site:
    """The web process, shared by the tests of this file, with nothing stored."""
    with opened(running_site.database) as connection:
        for table in ("event", "part", "link", "counter_delta", "sqlite_sequence"):
            connection.execute(f"DELETE FROM {table}")  # noqa: S608  # our own names
    return running_site


@pytest.fixture
def start(sqlite_url: str, server: QueueServer) -> Iterator[Callable[..., Site]]:
    started: list[Site] = []

    def one(*defects: str, supervised: bool = False) -> Site:
        database = Path(sqlite_url.removeprefix("sqlite:///"))
        started.append(Site(database, server.url, *defects, supervised=supervised))
        return started[-1]

    yield one
    for site in started:
        site.process.kill()
        site.process.wait()


def rung(client: redis.Redis) -> list[tuple[str, list[object]]]:
    """Every message that waits on the live queue: actor and arguments."""
    bodies = [json.loads(body) for body in client.hvals(f"{NAMESPACE}:{LIVE}.msgs")]
    return [(body["actor_name"], body["args"]) for body in bodies]


def test_an_acknowledged_notice_is_stored_and_rung_for(site: Site, server: QueueServer) -> None:
    assert site.notify(customer("43")).status == 200
    assert (site.stored("event"), site.stored("link")) == (1, 1)
    with broker.connect(server.url) as client:
        until(lambda: broker.queue_length(client, LIVE) == 1)
        [body] = client.hvals(f"{NAMESPACE}:{LIVE}.msgs")
        assert json.loads(body)["actor_name"] == "sync_link.live"


def test_a_repeated_notice_is_acknowledged_and_stored_once(site: Site) -> None:
    assert [site.notify(customer("43", id="n-1")).status for _ in range(3)] == [200, 200, 200]
    assert site.stored() == 1


def test_a_notice_about_an_unknown_child_rings_for_resolving_it(site: Site, server: QueueServer) -> None:
    assert site.notify({"entity": "phone", "key": "77"}).status == 200
    with broker.connect(server.url) as client:
        until(lambda: ("resolve_parts.live", ["crm"]) in rung(client))


def test_a_notice_without_changes_is_acknowledged_and_stores_nothing(site: Site) -> None:
    assert site.notify().status == 200
    assert site.stored() == 0


def test_many_notices_at_once_are_all_stored(site: Site) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda number: site.notify(customer(str(number))).status, range(200)))
    assert answers == [200] * 200
    assert (site.stored("event"), site.stored("link")) == (200, 200)


def test_an_unknown_system_is_refused_before_anything_else_is_looked_at(site: Site) -> None:
    assert site.ask("POST", "/hooks/nobody", b"x" * (1024 * 1024 + 1))[0].status == 404


def test_a_large_body_is_refused_before_its_signature_is_looked_at(site: Site) -> None:
    limit = 1024 * 1024
    assert site.ask("POST", "/hooks/crm", b"x" * (limit + 1))[0].status == 413
    assert site.ask("POST", "/hooks/crm", b"x" * limit)[0].status == 401


def test_a_large_body_that_does_not_announce_its_length_is_refused_too(site: Site) -> None:
    chunks = (b"x" * 65_536 for _ in range(17))
    assert site.ask("POST", "/hooks/crm", chunks)[0].status == 413


def test_a_body_in_pieces_is_read_as_one(site: Site) -> None:
    body = json.dumps({"events": [customer("43")]}).encode()
    pieces = (bytes([one]) for one in body)
    assert site.ask("POST", "/hooks/crm", pieces, x_signature=sign(body))[0].status == 200
    assert site.stored() == 1


@pytest.mark.parametrize(
    ("begins", "more"),
    [
        (b"POST /", b"x" * 1024),
        (b"POST /hooks/crm HTTP/1.1\r\nx: ", b"x" * 1024),
        (b"POST /hooks/crm HTTP/1.1\r\n", b"x: y\r\n" * 200),
        (b"POST /hooks/crm HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", b"x: y\r\n" * 200),
    ],
    ids=["an address", "a header", "headers", "trailers"],
)
def test_an_endless_head_is_given_up_and_others_are_answered(site: Site, begins: bytes, more: bytes) -> None:
    with socket.create_connection(("127.0.0.1", site.port), timeout=20) as connection:
        connection.sendall(begins)
        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            for _ in range(20_000):
                connection.sendall(more)
    assert site.notify(customer("43")).status == 200


@pytest.mark.parametrize(
    ("signature", "body", "status"),
    [("", b'{"events": []}', 401), ("0" * 64, b"not json", 401), (sign(b"not json"), b"not json", 400)],
)
def test_a_forged_or_unreadable_notice_is_refused_and_stores_nothing(
    site: Site, signature: str, body: bytes, status: int
) -> None:
    answer, _ = site.ask("POST", "/hooks/crm", body, x_signature=signature)
    assert answer.status == status
    assert (site.stored("event"), site.stored("link"), site.stored("part")) == (0, 0, 0)


def test_other_methods_are_not_allowed(site: Site) -> None:
    assert site.ask("GET", "/hooks/crm")[0].status == 405


def test_what_cannot_be_stored_is_answered_503_with_a_time_to_come_back(site: Site) -> None:
    with opened(site.database) as connection:
        connection.execute("ALTER TABLE event RENAME TO event_gone")
    answer = site.notify(customer("43"))
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) > 0
    with opened(site.database) as connection:
        connection.execute("ALTER TABLE event_gone RENAME TO event")
    assert site.notify(customer("43")).status == 200


def test_notices_are_stored_while_the_queue_server_is_away(site: Site, server: QueueServer) -> None:
    server.kill()
    assert [site.notify(customer(key)).status for key in ("1", "2", "3")] == [200, 200, 200]
    assert site.stored() == 3


def test_ready_means_that_database_and_queue_answer(start: Callable[..., Site], server: QueueServer) -> None:
    site = start()
    assert site.ask("GET", "/healthz")[0].status == 200
    assert site.ask("GET", "/readyz")[0].status == 200
    server.kill()
    answer, content = site.ask("GET", "/readyz")
    assert (answer.status, json.loads(content)["missing"]) == (503, ["queue: ConnectionError"])
    assert site.ask("GET", "/healthz")[0].status == 200
    server.start()
    with opened(site.database) as connection:
        connection.execute("DELETE FROM alembic_version")
    answer, content = site.ask("GET", "/readyz")
    assert (answer.status, json.loads(content)["missing"]) == (503, ["migration: run sync-worker migrate"])
    with opened(site.database) as connection:
        connection.execute("INSERT INTO alembic_version VALUES ('9999')")
    assert site.ask("GET", "/readyz")[0].status == 200, "a newer version has migrated: a rolling upgrade"


def test_under_run_ready_means_that_workers_are_up_too(start: Callable[..., Site], server: QueueServer) -> None:
    site = start(supervised=True)
    assert json.loads(site.ask("GET", "/readyz")[1]) == {"ready": False, "missing": ["workers: none is up"]}
    with broker.connect(server.url) as client:
        broker.report_worker(client, "host:1", 4)
    assert site.ask("GET", "/readyz")[0].status == 200


def test_a_web_process_that_finds_its_writer_dead_ends_with_70_to_be_started_again(start: Callable[..., Site]) -> None:
    site = start()
    assert site.notify(customer("43")).status == 200
    assert site.notify(customer("defect")).status == 500
    assert site.process.wait(timeout=20) == 70
    assert site.stored() == 1


def test_a_web_process_that_finds_its_doorbell_dead_ends_with_70_to_be_started_again(
    start: Callable[..., Site],
) -> None:
    site = start("defective-doorbell")
    assert site.notify(customer("43")).status == 200
    assert site.process.wait(timeout=20) == 70
    assert site.stored() == 1


def test_metrics_say_what_is_due(site: Site) -> None:
    site.notify(customer("43"), customer("44"))
    answer, content = site.ask("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    lines = content.decode().splitlines()
    assert "sync_due 2.0" in lines
    assert 'sync_links{flow="customers",state="pending"} 2.0' in lines


def test_the_status_page_shows_links_and_systems_and_escapes_names(site: Site) -> None:
    site.notify(customer("43"), customer("44"))
    answer, content = site.ask("GET", "/")
    page = content.decode()
    assert answer.status == 200
    assert "Due now: <strong>2</strong>" in page
    assert "<td>customers</td><td>pending</td><td>2</td>" in page
    assert "<td>crm</td><td>not polled yet</td>" in page
    assert "&lt;b&gt;odd&lt;/b&gt;" in page
    assert "<b>odd</b>" not in page


def test_a_stop_signal_ends_the_web_process_with_exit_code_0(start: Callable[..., Site]) -> None:
    site = start()
    site.process.send_signal(signal.SIGTERM)
    assert site.process.wait(timeout=20) == 0
