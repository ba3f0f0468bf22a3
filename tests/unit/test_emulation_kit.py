"""The emulator kit on a vendor small enough to read: one table of notes."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from support.waiting import until
from sync_worker.connectors.emulation import (
    Actor,
    Emulator,
    EmulatorServer,
    Hook,
    NoticeSender,
    Operation,
    OutgoingNotice,
    Request,
    Response,
    UnknownFault,
    ValueRefused,
    WriteOp,
    json_response,
    server,
)


class Notes(Emulator):
    """GET, PUT and POST of ``/notes/KEY``; a note is ``{"text": ...}``."""

    name = "notes"
    notice_retry_on = frozenset({503})
    notice_waits = (10.0, 30.0, 90.0)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.notes: dict[str, dict[str, Any]] = {}
        self.lost: list[OutgoingNotice] = []

    def operation(self, request: Request) -> Operation:
        if request.path.startswith("/login"):
            return Operation("login", "auth")
        return Operation("get note", "read") if request.method == "GET" else Operation("put note", "write")

    def route(self, request: Request) -> Response:
        if request.path == "/login":
            return json_response(200, {})
        key = request.path.rpartition("/")[2]
        if request.method == "GET":
            note = self.seen("note", key, self.notes.get(key))
            return json_response(404, {}) if note is None else json_response(200, note)
        try:
            self._store("api", key, json.loads(request.body))
        except ValueRefused as error:
            return json_response(422, {"column": error.column})
        return json_response(200, {"key": key})

    def _store(self, actor: Actor, key: str, columns: Mapping[str, Any]) -> None:
        old = self.notes.get(key)
        new = {c: self.faults.store(c, v) for c, v in columns.items()}
        self.retire("note", key, old)
        self.notes[key] = {**(old or {}), **new}
        before = {c: (old or {}).get(c) for c in new}
        self.record_write(actor, "note", key, "update" if old else "create", before, new)
        self.post_notice(OutgoingNotice(h.url, {"x-note": key}, b"{}", about=key) for h in self.hooks)

    def fault_response(self, fault: str, request: Request) -> Response:
        return json_response(429 if fault.startswith("429") else int(fault), {"fault": fault})

    def list_records(self, entity: str) -> list[dict[str, Any]]:
        return list({"note": self.notes}[entity].values())

    def get_record(self, entity: str, key: str) -> dict[str, Any] | None:
        return {"note": self.notes}[entity].get(key)

    def apply_person(self, entity: str, key: str | None, columns: Mapping[str, Any], op: WriteOp) -> str:
        key = key or str(len(self.notes) + 1)
        self._store("person", key, columns)
        return key

    def apply_script(self, entity: str, key: str, columns: Mapping[str, Any], stamp: str) -> None:
        self.notes[key] = {**self.notes[key], **columns}

    def apply_seed(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        self.notes |= {str(i): {"text": f"note {i}"} for i in range(spec["notes"])}
        return {"notes": spec["notes"]}

    def notice_gave_up(self, notice: OutgoingNotice, status: int | None) -> None:
        self.lost.append(notice)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def put(emulator: Emulator, key: str, text: str) -> Response:
    return emulator.handle(Request("PUT", f"/notes/{key}", body=json.dumps({"text": text}).encode()))


def get(emulator: Emulator, key: str) -> Any:
    response = emulator.handle(Request("GET", f"/notes/{key}"))
    return json.loads(response.body).get("text") if response.status == 200 else response.status


def ask(base: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(urlsplit(base).netloc, timeout=10)
    try:
        connection.request(method, path, None if body is None else json.dumps(body))
        answer = connection.getresponse()
        raw = answer.read()
        return answer.status, json.loads(raw) if raw else None
    finally:
        connection.close()


class Receiver:
    """A hook that answers with the statuses it was given, then 200."""

    def __init__(self, statuses: list[int]) -> None:
        self.seen: list[tuple[float, str]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                receiver.seen.append((time.monotonic(), self.headers["x-note"]))
                self.send_response(statuses.pop(0) if statuses else 200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"


@pytest.fixture
def receivers() -> Iterator[Any]:
    made: list[Receiver] = []

    def make(*statuses: int) -> Receiver:
        made.append(Receiver(list(statuses)))
        return made[-1]

    yield make
    for receiver in made:
        receiver.server.shutdown()
        receiver.server.server_close()


def test_calls_are_counted_by_operation_and_kind() -> None:
    notes = Notes()
    put(notes, "1", "a")
    get(notes, "1")
    get(notes, "1")
    notes.handle(Request("POST", "/login"))
    assert notes.stats()["calls"] == {"put note": 1, "get note": 2, "login": 1}
    assert (notes.reads, notes.writes) == (2, 1)
    notes.reset_stats()
    assert (notes.reads, notes.writes, dict(notes.calls)) == (0, 0, {})
    assert len(notes.ledger) == 1


def test_the_ledger_holds_before_and_after_of_every_applied_write_and_who_did_it() -> None:
    notes = Notes(clock=Clock())
    put(notes, "1", "a")
    notes.person("note", "1", {"text": "b"})
    assert [r.as_dict() for r in notes.ledger][1] == {
        "seq": 2,
        "at": 1_000.0,
        "actor": "person",
        "entity": "note",
        "key": "1",
        "op": "update",
        "before": {"text": "a"},
        "after": {"text": "b"},
        "idempotency_key": None,
        "answered": True,
    }


@pytest.mark.parametrize(("fault", "status"), [("500", 500), ("503", 503), ("429", 429), ("429_no_hint", 429)])
def test_a_one_shot_fault_strikes_the_first_fitting_call_and_applies_nothing(fault: str, status: int) -> None:
    notes = Notes()
    notes.faults.merge({"fail_next": [{"operation": "write", "fault": fault}]})
    assert get(notes, "1") == 404
    assert put(notes, "1", "a").status == status
    assert notes.ledger == []
    assert put(notes, "1", "a").status == 200


def test_an_answer_lost_after_apply_leaves_the_write_applied() -> None:
    notes = Notes()
    notes.faults.merge({"fail_next": [{"operation": "put note", "fault": "lost_after_apply"}]})
    assert put(notes, "1", "a").close == "before"
    assert get(notes, "1") == "a"


def test_a_connection_dropped_before_apply_leaves_nothing() -> None:
    notes = Notes()
    notes.faults.merge({"fail_next": [{"operation": "*", "fault": "before_apply"}]})
    assert put(notes, "1", "a").close == "before"
    assert get(notes, "1") == 404


def test_a_blackout_answers_503_to_everything_until_it_ends() -> None:
    notes = Notes()
    notes.faults.blackout = True
    assert put(notes, "1", "a").status == 503
    assert notes.handle(Request("POST", "/login")).status == 503
    notes.faults.blackout = False
    assert put(notes, "1", "a").status == 200


def test_faults_of_the_same_seed_strike_the_same_calls() -> None:
    def run(seed: int) -> list[int]:
        notes = Notes(seed=seed)
        notes.faults.merge({"p_500": 0.3, "p_429": 0.2})
        return [put(notes, "1", "a").status for _ in range(50)]

    assert run(7) == run(7)
    assert run(7) != run(8)
    assert set(run(7)) == {200, 429, 500}


def test_an_unknown_fault_or_a_wrong_type_is_named_and_sets_nothing() -> None:
    notes = Notes()
    with pytest.raises(UnknownFault, match="p_wrong"):
        notes.faults.merge({"p_500": 1.0, "p_wrong": 1})
    with pytest.raises(UnknownFault, match="blackout"):
        notes.faults.merge({"p_500": 1.0, "blackout": 1})
    with pytest.raises(UnknownFault, match="explode"):
        notes.faults.merge({"p_500": 1.0, "fail_next": [{"operation": "*", "fault": "explode"}]})
    assert notes.faults.p_500 == 0


def test_values_are_cut_recased_or_refused_as_the_faults_say() -> None:
    notes = Notes()
    notes.faults.merge(
        {"cut": {"text": 5}, "upper": ["text"], "refuse": {"text": ["no"]}, "refuse_longer": {"text": 8}}
    )
    put(notes, "1", "abcdefg")
    assert get(notes, "1") == "ABCDE"
    assert put(notes, "1", "no").status == 422
    assert put(notes, "1", "abcdefghi").status == 422
    assert get(notes, "1") == "ABCDE"


def test_a_stale_read_shows_the_version_before_the_last_write_within_its_seconds_only() -> None:
    clock = Clock()
    notes = Notes(clock=clock)
    notes.faults.merge({"p_stale_read": 1.0, "stale_seconds": 30})
    put(notes, "1", "a")
    assert get(notes, "1") == 404
    put(notes, "1", "b")
    assert get(notes, "1") == "a"
    assert notes.recently_replaced("note") == ["1"]
    clock.now += 31
    assert get(notes, "1") == "b"
    assert notes.recently_replaced("note") == []


def test_notices_are_lost_doubled_and_reordered_as_the_faults_say() -> None:
    notes = Notes()
    notes.hooks.append(Hook("http://hook.example/"))

    def announce(count: int) -> list[str]:
        for i in range(count):
            notes.person("note", str(i), {"text": "x"})
        return [n.about for n in notes.take_notices()]

    in_order = [str(i) for i in range(20)]
    assert announce(20) == in_order
    notes.faults.merge({"p_notice_lost": 1.0})
    assert announce(3) == []
    notes.faults.merge({"p_notice_lost": 0.0, "p_notice_doubled": 1.0})
    assert announce(2) == ["0", "0", "1", "1"]
    notes.faults.merge({"p_notice_doubled": 0.0, "notices_reordered": True})
    shuffled = announce(20)
    assert shuffled != in_order
    assert sorted(shuffled, key=int) == in_order
    notes.faults.merge({"notices_reordered": False, "p_notice_reordered": 1.0})
    assert announce(2) == []
    assert notes.stats()["notices_waiting"] == 2
    notes.faults.merge({"p_notice_reordered": 0.0})
    assert announce(3) == ["0", "1", "2", "0", "1"]
    notes.faults.merge({"notices_off": True})
    assert announce(3) == []


def test_the_back_door_shows_and_changes_everything() -> None:
    with EmulatorServer(Notes()) as base:
        assert ask(base, "GET", "/_emulator/healthz") == (200, {"ok": True, "name": "notes"})
        assert httpx.get(f"{base}/_emulator/healthz").text.endswith("}\n"), "curl's prompt stands in a line of its own"
        assert ask(base, "POST", "/_emulator/seed", {"notes": 2}) == (200, {"notes": 2})
        created = ask(base, "POST", "/_emulator/person", {"entity": "note", "key": None, "columns": {"text": "new"}})
        assert created == (200, {"key": "3"})
        burst = [{"entity": "note", "key": k, "columns": {"text": "x"}, "op": "update"} for k in "01"]
        assert ask(base, "POST", "/_emulator/people", burst) == (200, {"keys": ["0", "1"]})
        assert ask(base, "GET", "/_emulator/record?entity=note&key=3") == (200, {"record": {"text": "new"}})
        assert ask(base, "GET", "/_emulator/record?entity=note&key=9")[0] == 404
        assert len(ask(base, "GET", "/_emulator/records?entity=note")[1]["records"]) == 3
        _, ledger = ask(base, "GET", "/_emulator/ledger?after=1")
        assert ([r["seq"] for r in ledger["rows"]], ledger["seq"]) == ([2, 3], 3)
        ask(base, "GET", "/notes/3")
        assert ask(base, "GET", "/_emulator/stats")[1]["calls"] == {"get note": 1}
        ask(base, "POST", "/_emulator/reset_stats")
        assert ask(base, "GET", "/_emulator/stats")[1]["reads"] == 0


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("faults", {"p_wrong": 1}, "p_wrong"),
        ("person", {"entity": "note", "op": "explode"}, "op must be"),
        ("person", {}, "entity"),
        ("hooks", {}, "url"),
        ("announce", {"entity": "invoice"}, "announces its own records only"),
    ],
)
def test_the_back_door_names_what_is_wrong(path: str, body: Any, named: str) -> None:
    with EmulatorServer(Notes()) as base:
        status, answer = ask(base, "POST", f"/_emulator/{path}", body)
    assert status == 400
    assert named in answer["error"]


def test_an_unknown_route_of_the_back_door_is_404() -> None:
    with EmulatorServer(Notes()) as base:
        assert ask(base, "POST", "/_emulator/nothing", {})[0] == 404
        assert ask(base, "GET", "/_emulator/nothing")[0] == 404


def test_over_a_socket_a_lost_answer_is_a_closed_connection_and_a_reset_half_an_answer() -> None:
    emulator = Notes()
    with EmulatorServer(emulator) as base:
        shots = [{"operation": "write", "fault": "lost_after_apply"}, {"operation": "read", "fault": "reset"}]
        ask(base, "POST", "/_emulator/faults", {"fail_next": shots})
        with pytest.raises(http.client.RemoteDisconnected):
            ask(base, "PUT", "/notes/1", {"text": "applied"})
        with pytest.raises(http.client.IncompleteRead):
            ask(base, "GET", "/notes/1")
        assert ask(base, "GET", "/notes/1") == (200, {"text": "applied"})


def test_latency_holds_answers_back_without_blocking_other_calls() -> None:
    emulator = Notes()
    emulator.faults.latency_ms = 300
    with EmulatorServer(emulator) as base:
        started = time.monotonic()
        threads = [threading.Thread(target=ask, args=(base, "GET", "/notes/1")) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.monotonic() - started
    assert 0.299 <= took < 1.1


async def _nothing_more() -> dict[str, Any]:
    return {"type": "http.request", "body": b""}


async def _nobody_listens(_message: Any) -> None:
    """Nothing is sent."""


@pytest.mark.parametrize("late", [0.0, 0.0002, 0.0017])
def test_latency_is_what_a_call_takes_from_its_arrival_to_its_answer(
    late: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the mean, however much of it the emulator's own work is and however late this machine's timers are."""
    emulator, now = Notes(), 100.0
    emulator.faults.latency_ms = 20
    plain = emulator.handle

    work = 0.015

    def handle(request: Request) -> Response:
        nonlocal now
        now += work  # the emulator's own
        return plain(request)

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds + late

    def at_the_end(told: Callable[[float], None], due: float) -> None:
        """Of the event loop's turn, when it has written what is to be sent."""
        nonlocal now
        now += 0.0001
        told(due)

    monkeypatch.setattr(emulator, "handle", handle)
    monkeypatch.setattr(server, "time", SimpleNamespace(monotonic=lambda: now))
    loop = SimpleNamespace(call_soon=at_the_end)
    monkeypatch.setattr(server, "asyncio", SimpleNamespace(sleep=sleep, get_running_loop=lambda: loop))

    async def calls(count: int) -> float:
        arrived = now
        for _ in range(count):
            scope = {"method": "GET", "path": "/notes/1", "query_string": b"", "headers": [], "state": {"arrived": now}}
            await app(scope, _nothing_more, _nobody_listens)
        return (now - arrived) / count

    app = server.EmulatorApp(emulator)
    asyncio.run(calls(200))
    assert asyncio.run(calls(5000)) == pytest.approx(0.020, abs=0.00004)
    work = 0.030
    assert asyncio.run(calls(100)) == pytest.approx(0.030), "longer than asked for"
    work = 0.015
    assert asyncio.run(calls(5000)) == pytest.approx(0.020, abs=0.00004), "and those after it are none the shorter"


@pytest.mark.parametrize("seconds", [0.0, 0.0004, 0.0037, 0.01975, 0.02])
def test_latency_is_right_in_the_mean_though_timers_know_whole_milliseconds_only(seconds: float) -> None:
    ticks = [server.whole_ticks(seconds) for _ in range(20_000)]
    assert all(tick >= 0 and tick * 1000 == pytest.approx(round(tick * 1000)) for tick in ticks)
    assert sum(ticks) / len(ticks) == pytest.approx(seconds, abs=0.00003)  # six deviations


def test_a_notice_is_repeated_on_the_vendors_statuses_with_its_scaled_waits(receivers: Any) -> None:
    notes, receiver = Notes(), receivers(503, 503)
    notes.notice_retry_scale = 0.01
    notes.hooks.append(Hook(receiver.url))
    with EmulatorServer(notes) as base:
        ask(base, "PUT", "/notes/1", {"text": "a"})
        until(lambda: notes.stats()["notices_sent"] == 1)
    times = [at for at, _ in receiver.seen]
    assert len(times) == 3
    assert times[1] - times[0] >= 0.1
    assert times[2] - times[1] >= 0.3


def test_a_notice_that_is_refused_is_not_repeated(receivers: Any) -> None:
    notes, receiver = Notes(), receivers(401)
    notes.hooks.append(Hook(receiver.url))
    with EmulatorServer(notes) as base:
        ask(base, "PUT", "/notes/1", {"text": "a"})
        until(lambda: notes.stats()["notices_failed"] == 1)
    assert len(receiver.seen) == 1
    assert [n.about for n in notes.lost] == ["1"]


def test_a_notice_is_given_up_after_the_last_attempt_and_to_a_dead_target_too() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    notes = Notes()
    notes.notice_retry_scale = 0.0001
    notes.hooks.append(Hook(f"http://127.0.0.1:{port}/"))
    sender = NoticeSender(notes, threads=1)
    sender.start()
    notes.person("note", "1", {"text": "a"})
    until(lambda: notes.stats()["notices_failed"] == 1)
    sender.stop()
    assert [n.attempt for n in notes.lost] == [4]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_serve_says_where_it_listens_and_ends_with_zero_on_a_signal(how: signal.Signals) -> None:
    code = (
        "import socket, sys; sys.path[:0] = sys.argv[1:]; from test_emulation_kit import Notes;"
        "from sync_worker.connectors.emulation import serve; serve(Notes(), socket.create_server(('127.0.0.1', 0)))"
    )
    here = Path(__file__).parent
    with subprocess.Popen(
        [sys.executable, "-c", code, here, here.parent], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        assert line.startswith("notes emulator on http://127.0.0.1:")
        assert ask(line.rpartition(" ")[2], "GET", "/_emulator/healthz")[0] == 200
        process.send_signal(how)
        assert process.wait(10) == 0
