"""Two hosts on one PostgreSQL and one queue server: both work, and a rolling restart loses and doubles nothing.

Each host runs the command lines of docker-compose.yml, on ports of its own, in a data directory of its own.
"""

from __future__ import annotations

import base64
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from support.installation import Installation, working_in
from support.valkey import QueueServer
from support.waiting import until
from sync_worker.demo.installation import command
from sync_worker.demo.ports import answers, ask, free_ports
from sync_worker.processes import STOP_SECONDS

pytestmark = pytest.mark.timeout(420)

COMPOSE = Path(__file__).parents[2] / "docker-compose.yml"
PARTS = ("web", "scheduler", "worker")
CUSTOMERS = 30
IN_FLIGHT = 8
KEY = base64.urlsafe_b64encode(b"a key that both hosts were given").decode()


class Host:
    """One machine's processes. ``it`` lends the vendors, the configuration and the environment."""

    def __init__(self, it: Installation, name: str, queue_url: str, web_port: int) -> None:
        self.folder = it.folder / name
        self.folder.mkdir()
        self._config = it.config_path
        self._web_port, self._metrics_port, self._other_port = web_port, *free_ports(2)
        self._environment = it.environment | {"SYNC_DATA_DIR": str(self.folder), "REDIS_URL": queue_url}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start web, scheduler and worker."""
        services = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
        for name in PARTS:
            words = [str(word) for word in services[name]["command"]]
            ports = {"--port": self._web_port, "--metrics-port": self._other_port}
            ports |= {"--metrics-port": self._metrics_port} if name == "worker" else {}
            for option, port in ports.items():
                if option in words:
                    words[words.index(option) + 1] = str(port)
            self._running[name] = self._spawn(name, *words)

    def wait(self) -> None:
        """Until all three answer."""
        until(self._answers, 90, why=lambda: (self.folder / "worker.log").read_text()[-2000:])

    def _spawn(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command(*words, "--config", str(self._config)),
                env=self._environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _answers(self) -> bool:
        for name, process in self._running.items():
            assert process.poll() is None, (name, (self.folder / f"{name}.log").read_text()[-2000:])
        routes = {self._web_port: "/readyz", self._metrics_port: "/healthz", self._other_port: "/healthz"}
        return all(answers(port, path) for port, path in routes.items())

    def stop(self) -> None:
        """SIGTERM to all: they end in time, with exit code 0, and leave nothing running."""
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        for name, process in self._running.items():
            assert process.wait(STOP_SECONDS) == 0, (name, (self.folder / f"{name}.log").read_text()[-2000:])
        assert working_in(self.folder) == {}

    def passes(self) -> float:
        """Passes that this host's workers finished, as Prometheus is told."""
        status, body = ask(self._metrics_port, "GET", "/metrics")
        assert status == 200
        families = text_string_to_metric_families(body.decode())
        return sum(s.value for family in families for s in family.samples if s.name == "sync_passes_total")


class Stream:
    """People edit and create in both systems without a break, never the same field again before it has arrived.

    So every edit is one write on the other side, no more and no less; ``made`` and ``seen`` count them by record,
    column and value.
    """

    def __init__(self, it: Installation) -> None:
        self.it = it
        self.pairs = self._link_up()
        self.made: Counter[tuple[str, str, str]] = Counter()
        self.seen: Counter[tuple[str, str, str]] = Counter()
        self.created: dict[str, list[str]] = {"erp": [], "crm": []}
        self._read_to = {"erp": it.erp.stats()["ledger_seq"], "crm": it.crm.stats()["ledger_seq"]}
        self._start = dict(self._read_to)
        self._stopping = threading.Event()
        self._failure: list[BaseException] = []
        self._thread = threading.Thread(target=self._edit, name="people")

    def _link_up(self) -> list[tuple[str, str]]:
        names = [f"Customer {n:03d}" for n in range(CUSTOMERS)]
        made = [{"entity": "customer", "columns": {"id": f"C-{n:03d}", "name": name}} for n, name in enumerate(names)]
        erp_keys = self.it.erp.post("people", made)["keys"]
        until(lambda: len(self.it.crm.records("Company")) == CUSTOMERS and self.it.at_rest(), 90)
        crm_keys = self.it.crm.companies_by_name()
        return [(erp_key, crm_keys[name]) for erp_key, name in zip(erp_keys, names, strict=True)]

    def __enter__(self) -> Stream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        assert not self._failure, self._failure

    def _edit(self) -> None:
        number = 0
        try:
            while not self._stopping.is_set():
                until(lambda number=number: self._may_go_on(number), 90, why=lambda: self.made - self.seen)
                self._one(number)
                number += 1
        except BaseException as failure:
            self._failure.append(failure)
            raise

    def _may_go_on(self, number: int) -> bool:
        """A few at a time; and what one record was given must have arrived, however long it was held up."""
        few = self.on_their_way() < IN_FLIGHT
        return few and self._told(number) not in {(key, column) for key, column, _ in self.made - self.seen}

    def _told(self, number: int) -> tuple[str, str]:
        """Which record and column of the other side this edit is for."""
        erp, crm = self.pairs[number // 2 % CUSTOMERS]
        return (erp, "taxId") if number % 2 else (crm, "Comp_WebSite")

    def _one(self, number: int) -> None:
        erp, crm = self.pairs[number // 2 % CUSTOMERS]
        value = f"GB{number}" if number % 2 else f"http://{number}.test"
        if number % 2:
            self.it.crm.edit(crm, {"comp_vatnumber": value})
        else:
            self.it.erp.edit(erp, {"contacts.default.URL1": value})
        self.made[*self._told(number), value] += 1
        if number % 10 == 0:
            self.created["erp"].append(f"New in erp {number}")
            self.it.erp.create({"id": f"N-{number}", "name": f"New in erp {number}"})
            self.created["crm"].append(f"New in crm {number}")
            self.it.crm.create({"Comp_Name": f"New in crm {number}"})

    def on_their_way(self) -> int:
        """Edits that the other side does not hold yet."""
        for side, column in (("erp", "taxId"), ("crm", "Comp_WebSite")):
            vendor = self.it.erp if side == "erp" else self.it.crm
            for row in vendor.ledger(self._read_to[side]):
                self._read_to[side] = row["seq"]
                if row["op"] == "update" and column in row["after"]:
                    self.seen[row["key"], column, row["after"][column]] += 1
        return (self.made - self.seen).total()

    def judge(self) -> None:
        """All edits arrived, each by one write; every new record has one partner, made by one create."""
        until(lambda: self.on_their_way() == 0 and self._resting(), 90, why=lambda: self.made - self.seen)
        assert self.seen == self.made
        for side, entity, name in (("erp", "customer", "name"), ("crm", "Company", "Comp_Name")):
            vendor, others = (self.it.erp, "crm") if side == "erp" else (self.it.crm, "erp")
            names = Counter(str(row[name]) for row in vendor.records(entity))
            assert names.total() == len(names) == CUSTOMERS + len(self.created["erp"]) + len(self.created["crm"])
            rows = [r for r in vendor.ledger(self._start[side]) if (r["entity"], r["op"]) == (entity, "create")]
            assert sorted(row["after"][name] for row in rows) == sorted(self.created[others])

    def _resting(self) -> bool:
        return not self.it.rows("select id from link where due_at is not null limit 1")


@pytest.fixture
def it(postgresql_url: str) -> Iterator[Installation]:
    made = Installation(database_url=postgresql_url)
    with made.config_path.open("a", encoding="utf-8") as config:  # hosts share no file, so no key file either
        config.write(f'[secrets]\nkey = "{KEY}"\n')
    yield made
    made.close()


@pytest.fixture
def queue() -> Iterator[QueueServer]:
    server = QueueServer()
    yield server
    server.close()


def test_two_hosts_share_the_work_and_a_rolling_restart_in_a_stream_of_edits_loses_and_doubles_nothing(
    it: Installation, queue: QueueServer
) -> None:
    one = Host(it, "one", queue.url, it.web_port)
    two = Host(it, "two", queue.url, free_ports(1)[0])
    one.start()
    two.start()
    one.wait()
    two.wait()
    with Stream(it) as stream:
        until(lambda: len(stream.seen) >= 30, 90)
        shares = {"one": one.passes(), "two": two.passes()}
        assert min(shares.values()) > 0, shares
        for host, other in ((one, two), (two, one)):
            before = other.passes()
            host.stop()
            until(lambda other=other, before=before: other.passes() > before + 5, 60)
            host.start()
            host.wait()
            begun = host.passes()
            until(lambda host=host, begun=begun: host.passes() > begun + 5, 60)
    stream.judge()
    assert stream.made.total() >= 60
    one.stop()
    two.stop()
    assert it.pids() == set()
