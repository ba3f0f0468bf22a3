"""The one httpx seam, against a scripted server on a real socket."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.utils import formatdate
from traceback import format_exception
from typing import Any

import httpx
import pytest
import structlog

from sync_worker.connectors import exchange
from sync_worker.connectors import http as seam
from sync_worker.connectors.answers import Answer, retry_after, status_error
from sync_worker.connectors.breaker import Breaker
from sync_worker.connectors.http import CallSeen, VendorHttp
from sync_worker.errors import (
    AlreadyExists,
    AuthFailed,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    Rejected,
    SyncError,
    SystemUnavailable,
    WritesRefused,
)

Reply = bytes | Callable[[socket.socket], None]


def reply(status: int, body: bytes = b"{}", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Server:
    """Answers each request with the next reply of the script (the last one again and again); None = hang up."""

    def __init__(self, *script: Reply | None) -> None:
        self.script = list(script)
        self.seen: list[bytes] = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/base"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            while head := stream.readline():
                length = 0
                while (line := stream.readline()) not in (b"\r\n", b""):
                    head += line
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                self.seen.append(head + b"\n" + stream.read(length))
                answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
                if answer is None:
                    return
                if callable(answer):
                    answer(connection)
                    return
                connection.sendall(answer)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def classify(answer: Answer) -> SyncError | None:
    return status_error("", answer, after=retry_after(answer.headers))


@contextmanager
def vendor(*script: Reply | None, **options: Any) -> Iterator[tuple[VendorHttp, Server]]:
    server = Server(*script)
    naps: list[float] = []
    options.setdefault("sleep", naps.append)
    options.setdefault("classify", classify)
    http = VendorHttp("erp", server.url, **options)
    http.naps = naps  # type: ignore[attr-defined]
    try:
        yield http, server
    finally:
        http.close()
        server.close()


def test_a_call_returns_status_headers_and_body() -> None:
    with vendor(reply(200, b'{"a": 1}', X_Thing="t")) as (http, server):
        answer = http.call("read", "GET", "things/1", params={"q": "x y"})
    assert (answer.status, answer.headers["x-thing"], answer.json()) == (200, "t", {"a": 1})
    assert server.seen[0].startswith(b"GET /base/things/1?q=x")


def test_json_goes_out_as_json_and_a_form_as_a_form() -> None:
    with vendor(reply(200)) as (http, server):
        http.call("w", "POST", "x", json={"name": "Ärger"}, write=True)
        http.call("w", "POST", "x", form={"a": "b c"})
    assert b"application/json" in server.seen[0]
    assert server.seen[0].endswith(b'{"name":"\\u00c4rger"}')
    assert b"application/x-www-form-urlencoded" in server.seen[1]
    assert server.seen[1].endswith(b"a=b+c")


def test_a_read_is_repeated_after_a_500_and_after_a_hang_up() -> None:
    with vendor(reply(500), None, reply(200)) as (http, server):
        assert http.call("read", "GET", "x").status == 200
    assert len(server.seen) == 3
    assert all(0 <= nap <= 0.5 for nap in http.naps)  # type: ignore[attr-defined]


def test_a_read_that_stays_down_is_system_unavailable() -> None:
    with vendor(reply(503)) as (http, server), pytest.raises(SystemUnavailable) as caught:
        http.call("read", "GET", "x")
    assert (len(server.seen), caught.value.status, caught.value.system) == (3, 503, "erp")


def cut(connection: socket.socket) -> None:
    """Half an answer, then the connection ends."""
    connection.sendall(b"HTTP/1.1 200 X\r\nContent-Length: 20\r\n\r\nhalf")


@pytest.mark.parametrize("script", [reply(500), None, cut])
def test_an_unkeyed_write_is_never_repeated_and_its_outcome_is_unknown(script: Reply | None) -> None:
    with vendor(script) as (http, server), pytest.raises(OutcomeUnknown):
        http.call("write", "PATCH", "x", json={})
    assert len(server.seen) == 1


def test_a_keyed_write_is_repeated_with_the_same_key() -> None:
    with vendor(None, reply(201)) as (http, server):
        answer = http.call("w", "POST", "x", json={}, headers={"Idempotency-Key": "k1"}, write=True, keyed=True)
    assert answer.status == 201
    assert [b"k1" in request for request in server.seen] == [True, True]


@pytest.mark.parametrize("last", [reply(503), reply(429, Retry_After="60"), reply(409)])
def test_a_keyed_write_that_may_have_been_applied_stays_unknown_whatever_the_last_try_says(last: bytes) -> None:
    with vendor(None, last) as (http, _), pytest.raises(OutcomeUnknown):
        http.call("w", "POST", "x", json={}, write=True, keyed=True)


def test_a_refused_write_is_a_refusal_even_after_a_lost_try() -> None:
    with vendor(None, reply(400)) as (http, _), pytest.raises(Rejected):
        http.call("w", "POST", "x", json={}, write=True, keyed=True)


def test_a_connection_that_was_never_made_leaves_no_doubt_about_a_write() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        http = VendorHttp("erp", f"http://127.0.0.1:{deaf.getsockname()[1]}", classify=classify)
        with pytest.raises(SystemUnavailable):
            http.call("w", "PATCH", "x", json={})
        http.close()


def test_an_unreadable_body_is_unavailable_for_a_read_and_unknown_for_a_write() -> None:
    with vendor(reply(200, b"<html>")) as (http, _):
        with pytest.raises(SystemUnavailable):
            http.call("read", "GET", "x").json()
        with pytest.raises(OutcomeUnknown):
            http.call("w", "PATCH", "x", json={}).json()


def test_a_short_retry_after_is_waited_for_in_full() -> None:
    with vendor(reply(429, Retry_After="2"), reply(200)) as (http, _):
        assert http.call("read", "GET", "x").status == 200
        assert http.naps[0] >= 2.0  # type: ignore[attr-defined]


def test_a_long_retry_after_is_raised_and_never_slept() -> None:
    with vendor(reply(429, Retry_After="7")) as (http, server), pytest.raises(RateLimited) as caught:
        http.call("read", "GET", "x")
    assert (caught.value.after, len(server.seen), http.naps) == (7.0, 1, [])  # type: ignore[attr-defined]


def test_a_rate_limit_without_a_hint_is_left_to_the_engine() -> None:
    with vendor(reply(429)) as (http, server), pytest.raises(RateLimited) as caught:
        http.call("read", "GET", "x")
    assert (caught.value.after, len(server.seen)) == (None, 1)


def test_a_rate_limited_write_was_not_applied() -> None:
    with vendor(reply(429, Retry_After="1")) as (http, server), pytest.raises(RateLimited):
        http.call("w", "PATCH", "x", json={})
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("begins", "drop"),
    [
        (b"HTTP/1.1 200 X\r\nContent-Length: 100000\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 X\r\nX-Long: ", b"x"),
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 50_000),
        (b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x"),
    ],
    ids=["body", "header", "answers before the answer", "a flood of these", "chunk extension"],
)
def test_the_deadline_covers_an_answer_that_drips(begins: bytes, drop: bytes) -> None:
    over = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(begins)
        until = time.monotonic() + 15.0
        with suppress(OSError):
            while not over.wait(0.02) and time.monotonic() < until:
                connection.sendall(drop)

    with vendor(drip, deadline=0.4, tries=1) as (http, _):
        started = time.monotonic()
        with pytest.raises(SystemUnavailable):
            http.call("read", "GET", "x")
        over.set()
    assert time.monotonic() - started < 10.0


def test_the_deadline_covers_a_server_that_never_answers() -> None:
    with vendor(lambda connection: connection.recv(1), deadline=0.3) as (http, server):
        started = time.monotonic()
        with pytest.raises(SystemUnavailable):
            http.call("read", "GET", "x")
    assert time.monotonic() - started < 10.0
    assert len(server.seen) == 1


def test_a_body_beyond_the_limit_is_not_read_even_when_it_is_compressed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "BODY_LIMIT", 100_000)
    bomb = gzip.compress(b"0" * 10_000_000)
    reply_with_it = reply(200, bomb, Content_Encoding="gzip")
    with vendor(reply_with_it, tries=1) as (http, _), pytest.raises(SystemUnavailable, match="too large"):
        http.call("read", "GET", "x")


def test_a_body_that_is_packed_twice_is_not_unpacked() -> None:
    bomb = gzip.compress(gzip.compress(b"0" * 1_000_000))
    with vendor(reply(200, bomb, Content_Encoding="gzip, gzip")) as (http, _):
        with pytest.raises(SystemUnavailable, match="packed more than once"):
            http.call("read", "GET", "x")
        with pytest.raises(OutcomeUnknown):
            http.call("write", "PATCH", "x")


def test_a_proxy_that_refuses_is_a_vendor_that_was_not_reached() -> None:
    class Refusing(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            raise httpx.ProxyError("407 Proxy Authentication Required")

    http = VendorHttp("erp", "http://vendor.test", classify=classify, transport=Refusing(), sleep=lambda _s: None)
    with pytest.raises(SystemUnavailable, match="not reached: 407"):
        http.call("write", "PATCH", "x")
    http.close()


def test_redirects_are_not_followed() -> None:
    away = reply(302, Location="http://127.0.0.1:9/")
    with vendor(away) as (http, server), pytest.raises(SystemUnavailable, match="base_url"):
        http.call("read", "GET", "x")
    assert all(b"/base/x" in request for request in server.seen)


@pytest.mark.parametrize(
    "path", ["http://127.0.0.1:1/x", "//evil/x", "a/../../x", "/base/%2e%2E/x", "..\\x", "https://evil/base/x"]
)
def test_no_path_leads_to_another_host_or_out_of_the_base(path: str) -> None:
    with vendor(reply(200)) as (http, server), pytest.raises(Rejected):
        http.call("read", "GET", path)
    assert server.seen == []


@pytest.mark.parametrize("path", ["x\ud800", "x\n", "x" * 70_000])
def test_what_makes_no_address_is_refused(path: str) -> None:
    with vendor(reply(200)) as (http, server):
        with pytest.raises(Rejected):
            http.call("read", "GET", path)
        with pytest.raises(Rejected):
            http.call("read", "GET", "x", params={"keys": path + "\ud800"})
    assert server.seen == []


def test_a_secret_with_a_line_break_is_refused_and_not_quoted() -> None:
    secret = "hush-" * 2
    with vendor(reply(200)) as (http, server):
        with pytest.raises(Rejected, match="line break") as caught:
            http.call("read", "GET", "x", headers={"Authorization": f"Bearer {secret}\n"})
        assert secret not in "".join(format_exception(caught.value))
    assert server.seen == []


def test_a_path_may_be_relative_absolute_in_base_or_a_full_link() -> None:
    with vendor(reply(200)) as (http, server):
        for path in ("x", "/x", "/base/x", f"{server.url}/x"):
            http.call("read", "GET", path)
    assert {request.split(b" ")[1] for request in server.seen} == {b"/base/x"}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_the_dry_run_gate_sends_no_write(method: str) -> None:
    token = seam.writes_allowed.set(False)
    try:
        with vendor(reply(200)) as (http, server):
            with pytest.raises(WritesRefused):
                http.call("w", method, "x", write=method == "POST")
            assert server.seen == []
            assert http.call("query", "POST", "x", json={}).status == 200
    finally:
        seam.writes_allowed.reset(token)


def test_the_guard_is_asked_before_every_try_and_may_stop_the_call() -> None:
    class LeaseLost(Exception):
        pass

    asked: list[float] = []

    def guard(seconds: float) -> None:
        asked.append(seconds)
        if len(asked) > 1:
            raise LeaseLost

    token = seam.guard.set(guard)
    try:
        with vendor(reply(500), reply(200)) as (http, server), pytest.raises(LeaseLost):
            http.call("read", "GET", "x")
        assert len(server.seen) == 1
        assert 15.0 <= asked[0] <= 17.1
    finally:
        seam.guard.reset(token)


def test_prepare_adds_its_headers_before_every_try() -> None:
    tokens = iter(("one", "two"))

    def prepare(headers: dict[str, str]) -> None:
        headers["Authorization"] = next(tokens)

    with vendor(reply(500), reply(200), prepare=prepare) as (http, server):
        http.call("read", "GET", "x")
    assert [b"one" in server.seen[0], b"two" in server.seen[1]] == [True, True]


def test_connections_are_reused() -> None:
    with vendor(reply(200)) as (http, server):
        for _ in range(5):
            http.call("read", "GET", "x")
    assert server.connections == 1


def test_every_request_is_seen_with_its_result() -> None:
    seen: list[CallSeen] = []
    with vendor(reply(500), reply(200), observe=seen.append) as (http, _):
        http.call("read thing", "GET", "x")
    assert [(s.system, s.operation, s.result) for s in seen] == [
        ("erp", "read thing", "system_unavailable"),
        ("erp", "read thing", "ok"),
    ]


@pytest.fixture
def every_log() -> Iterator[list[Any]]:
    """Debug logs too, whatever the process is configured to show."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(0))
    with structlog.testing.capture_logs() as logs:
        yield logs
    structlog.configure(**before)


def test_logs_and_errors_hold_no_query_value_header_or_body(every_log: list[Any]) -> None:
    sent: dict[str, Any] = {"params": {"q": "Orchard"}, "json": {"n": "Orchard"}, "headers": {"X-S": "Orchard"}}
    refusal = reply(400, b'{"name": "Orchard"}')
    with vendor(refusal) as (http, _), pytest.raises(Rejected) as caught:
        http.call("w", "PATCH", "x", **sent)
    assert "Orchard" not in repr(every_log) + repr(caught.value) + str(caught.value)
    assert every_log[0]["event"] == "vendor.call"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Rejected),
        (401, AuthFailed),
        (403, AuthFailed),
        (404, NotFound),
        (408, SystemUnavailable),
        (409, AlreadyExists),
        (422, Rejected),
        (429, RateLimited),
        (500, SystemUnavailable),
        (503, SystemUnavailable),
    ],
)
def test_a_status_without_a_readable_body_still_means_something(status: int, kind: type[SyncError]) -> None:
    assert type(status_error("erp", Answer(status, {}, b""))) is kind


def test_retry_after_is_read_as_seconds_or_as_a_date_in_the_order_of_the_names() -> None:
    assert retry_after({"retry-after": "3"}) == 3.0
    assert retry_after({"a": "nonsense", "b": "4"}, ("a", "b")) == 4.0
    assert retry_after({"retry-after": "nan"}) is None
    hint = retry_after({"retry-after": formatdate(time.time() + 30, usegmt=True)})
    assert hint is not None
    assert 28 <= hint <= 31


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_breaker_opens_after_failures_in_a_row_and_then_makes_no_call() -> None:
    clock, changes = Clock(), []
    breaker = Breaker(threshold=2, clock=clock)
    breaker.on_change(lambda is_open, seconds: changes.append((is_open, seconds)))
    with vendor(reply(503), tries=1, breaker=breaker) as (http, server):
        for _ in range(2):
            with pytest.raises(SystemUnavailable):
                http.call("read", "GET", "x")
        with pytest.raises(SystemUnavailable) as caught:
            http.call("read", "GET", "x")
        assert (len(server.seen), caught.value.after, changes) == (2, 1.0, [(True, 1.0)])

        clock.now = 1.0  # one trial, which fails: the pause doubles
        with pytest.raises(SystemUnavailable):
            http.call("read", "GET", "x")
        assert (len(server.seen), changes[-1]) == (3, (True, 2.0))

        clock.now, server.script = 3.0, [reply(200)]
        http.call("read", "GET", "x")
        assert (changes[-1], breaker.is_open) == ((False, 0.0), False)


def test_refusals_prove_that_the_system_is_up_and_close_the_count() -> None:
    breaker = Breaker(threshold=2)
    with vendor(reply(503), reply(400), reply(503), reply(200), tries=1, breaker=breaker) as (http, _):
        for _ in range(3):
            with pytest.raises(SyncError):
                http.call("read", "GET", "x")
    assert not breaker.is_open


def test_the_pause_of_the_breaker_is_never_shorter_than_what_the_vendor_asked_for() -> None:
    changes: list[tuple[bool, float]] = []
    breaker = Breaker(threshold=1)
    breaker.on_change(lambda *change: changes.append(change))
    with vendor(reply(503, Retry_After="90"), breaker=breaker) as (http, _), pytest.raises(SystemUnavailable):
        http.call("read", "GET", "x")
    assert changes == [(True, 90.0)]


def test_while_one_call_is_on_trial_others_are_refused_but_its_own_inner_call_passes() -> None:
    clock = Clock()
    breaker = Breaker(threshold=1, clock=clock)
    breaker.enter()
    breaker.leave(up=False)
    clock.now = 5.0
    refused: list[SyncError] = []

    def another() -> None:
        try:
            breaker.enter()
        except SystemUnavailable as error:
            refused.append(error)

    breaker.enter()
    breaker.enter()  # fetches the token that the trial call needs
    thread = threading.Thread(target=another)
    thread.start()
    thread.join()
    assert len(refused) == 1
    breaker.leave(up=True)
    breaker.leave(up=True)
    assert not breaker.is_open


def test_a_call_that_was_never_sent_teaches_the_breaker_nothing() -> None:
    clock = Clock()
    breaker = Breaker(threshold=1, clock=clock)
    breaker.enter()
    breaker.leave(up=False)
    clock.now = 5.0
    breaker.enter()
    breaker.leave(None)
    breaker.enter()  # still half-open: the next one is the trial
    breaker.leave(up=True)
    assert not breaker.is_open
