"""A call holds its slot from right before its request leaves until its answer is here, and no longer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress

import httpx
import pytest

from sync_worker.connectors.context import call_class, guard
from sync_worker.connectors.http import CallSeen, LocalLimiter, VendorHttp
from sync_worker.connectors.limiter import no_slot
from sync_worker.connectors.segments import LARGEST, whole
from sync_worker.connectors.turns import AHEAD, STALE
from sync_worker.errors import RateLimited, SystemUnavailable
from sync_worker.events import LinkClass
from tests.support.waiting import until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
SECONDS = 10.0  # for what happens at once


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (OK, True),
        (OK[:-1], False),
        (OK[:20], False),
        (b"HTTP/1.1 200 OK\r\ncontent-length:0\r\nX: 1\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", False),
        (b"HTTP/1.1 200 OK\r\n\r\n\r\n0\r\n\r\n", False),  # ends when the connection does
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, False),  # in doubt
        (b"HTTP/1.1 102 Processing\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{}", False),
        (b"", False),
    ],
)
def test_an_answer_is_whole_when_all_that_its_head_announces_is_there(data: bytes, expected: bool) -> None:
    assert whole(data) is expected


class Vendor:
    """Answers what it is asked in ``pieces``, each when ``go`` is let through once; counts who connects and asks."""

    def __init__(self, pieces: tuple[bytes, ...]) -> None:
        self.pieces = pieces
        self.go = threading.Semaphore(0)
        self.asked = threading.Semaphore(0)
        self.connected = threading.Semaphore(0)
        self.requests: list[bytes] = []
        self._connections: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            self.connected.release()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):  # the other end has hung up
            while request := connection.recv(1 << 16):
                self.requests.append(request)
                self.asked.release()
                for piece in self.pieces:
                    self.go.acquire()
                    connection.sendall(piece)

    def hang_up(self) -> None:
        """On all who have connected."""
        for connection in self._connections:
            with suppress(OSError):  # closed before
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with suppress(OSError):  # closed before
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@contextmanager
def vendor(*pieces: bytes) -> Iterator[Vendor]:
    server = Vendor(pieces or (OK,))
    try:
        yield server
    finally:
        server.close()


@contextmanager
def calling(server: Vendor, klass: LinkClass, calls: int, http: VendorHttp) -> Iterator[list[Future[object]]]:
    """So many calls side by side."""

    def call() -> object:
        call_class.set(klass)
        return http.call("write", "PATCH", "x", json={"name": "A"})

    with ThreadPoolExecutor(calls) as pool:
        try:
            yield [pool.submit(call) for _ in range(calls)]
        finally:
            for _ in range(10 * calls):
                server.go.release()
    http.close()


def free(limiter: LocalLimiter) -> bool:
    """Is the only slot free?"""
    try:
        with limiter.slot("erp", 1, "bulk", 0.0, lambda: None):
            return True
    except RateLimited:
        return False


@pytest.mark.parametrize(("klass", "early"), [("live", False), ("bulk", True)])
def test_a_slot_is_free_again_when_the_answer_is_here_and_that_of_live_work_when_it_has_been_read(
    klass: LinkClass, early: bool
) -> None:
    limiter = LocalLimiter()
    seen: list[bool] = []
    with vendor() as server:
        http = VendorHttp("erp", server.url, classify=lambda _: seen.append(free(limiter)), limiter=limiter)
        with calling(server, klass, 1, http) as (call,):
            assert server.asked.acquire(timeout=SECONDS)
            assert not free(limiter)
            server.go.release()
            call.result(SECONDS)
    assert seen == [early]
    assert free(limiter)


def test_a_slot_is_held_until_the_last_piece_of_an_answer() -> None:
    limiter = LocalLimiter()
    with vendor(OK[:-1], OK[-1:]) as server:
        http = VendorHttp("erp", server.url, classify=lambda _: None, limiter=limiter)
        with calling(server, "bulk", 1, http) as (call,):
            server.go.release()
            assert server.asked.acquire(timeout=SECONDS)
            assert not free(limiter)
            assert not call.done()
            server.go.release()
            call.result(SECONDS)
    assert free(limiter)


def test_bulk_work_prepares_its_request_while_it_waits_and_sends_nothing() -> None:
    limiter = LocalLimiter()
    with vendor() as server:
        http = VendorHttp("erp", server.url, classify=lambda _: None, limiter=limiter, concurrency=1)
        with ExitStack() as slot:
            slot.enter_context(limiter.slot("erp", 1, "bulk", 0.0, lambda: None))
            with calling(server, "bulk", 1, http) as (call,):
                assert server.connected.acquire(timeout=SECONDS)
                until(lambda: limiter.waited_for("erp", by_live=False))
                assert server.requests == []
                slot.close()
                server.go.release()
                call.result(SECONDS)
    assert [request.partition(b"\r\n\r\n")[2] for request in server.requests] == [b'{"name":"A"}']


def test_a_body_too_large_to_be_held_back_leaves_when_it_is_its_turn() -> None:
    limiter = LocalLimiter()
    with vendor() as server, ThreadPoolExecutor(1) as pool, ExitStack() as slot:
        http = VendorHttp("erp", server.url, classify=lambda _: None, limiter=limiter, concurrency=1)
        slot.enter_context(limiter.slot("erp", 1, "bulk", 0.0, lambda: None))

        def call() -> object:
            call_class.set("bulk")
            return http.call("write", "PUT", "x", content=b"x" * (2 * LARGEST))

        sent = pool.submit(call)
        until(lambda: limiter.waited_for("erp", by_live=False))
        assert not server.asked.acquire(blocking=False)
        slot.close()
        assert server.asked.acquire(timeout=SECONDS)
        for _ in range(10):  # it comes in pieces, each of which is answered
            server.go.release()
        sent.result(SECONDS)
        http.close()
    assert free(limiter)


def test_live_work_waits_without_a_connection() -> None:
    limiter = LocalLimiter()
    with vendor() as server, ExitStack() as slot:
        http = VendorHttp("erp", server.url, classify=lambda _: None, limiter=limiter, concurrency=1)
        slot.enter_context(limiter.slot("erp", 1, "live", 0.0, lambda: None))
        with calling(server, "live", 1, http) as (call,):
            until(lambda: limiter.waited_for("erp", by_live=True))
            assert not server.connected.acquire(blocking=False)
            slot.close()
            server.go.release()
            call.result(SECONDS)


def test_only_a_few_requests_are_prepared_while_all_slots_are_taken() -> None:
    with vendor() as server:
        http = VendorHttp("erp", server.url, classify=lambda _: None, concurrency=2, clock=lambda: 100.0)
        with calling(server, "bulk", 12, http) as calls:
            for _ in range(2 + AHEAD):
                assert server.connected.acquire(timeout=SECONDS)
            for number in range(12):
                server.go.release()
                assert server.asked.acquire(timeout=SECONDS), number
            for call in calls:
                call.result(SECONDS)
    assert not server.connected.acquire(blocking=False)
    assert len(server.requests) == 12


class Slow(LocalLimiter):
    """Whoever asks has waited long on the given clock."""

    def __init__(self, now: list[float]) -> None:
        super().__init__()
        self._now = now

    @contextmanager
    def slot(
        self, system: str, limit: int, klass: LinkClass, wait_until: float, on_wait: Callable[[], None]
    ) -> Iterator[None]:
        self._now[0] += STALE + 1.0
        yield


def test_after_a_long_wait_a_request_leaves_on_another_connection_and_once() -> None:
    now = [100.0]
    with vendor() as server:
        http = VendorHttp("erp", server.url, classify=lambda _: None, limiter=Slow(now), clock=lambda: now[0])
        with calling(server, "bulk", 1, http) as (call,):
            server.go.release()
            call.result(SECONDS)
    assert len(server.requests) == 1
    assert [server.connected.acquire(blocking=False) for _ in range(3)] == [True, True, False]


def test_a_prepared_write_on_whose_connection_the_server_hangs_up_leaves_on_another_one_and_once() -> None:
    limiter = LocalLimiter(clock=lambda: 100.0)
    with vendor() as server:
        http = VendorHttp(
            "erp", server.url, classify=lambda _: None, limiter=limiter, concurrency=1, clock=lambda: 100.0
        )
        server.go.release()
        http.call("first", "GET", "x")
        with ExitStack() as slot:
            slot.enter_context(limiter.slot("erp", 1, "bulk", 0.0, lambda: None))
            with calling(server, "bulk", 1, http) as (call,):
                until(lambda: limiter.waited_for("erp", by_live=False))
                server.hang_up()
                slot.close()
                server.go.release()
                call.result(SECONDS)
    assert [request.partition(b" ")[0] for request in server.requests] == [b"GET", b"PATCH"]
    assert [server.connected.acquire(blocking=False) for _ in range(3)] == [True, True, False]


def test_a_server_that_hangs_up_while_leases_are_renewed_is_found_to_have() -> None:
    with vendor() as server:
        http = VendorHttp("erp", server.url, classify=lambda _: None, limiter=LocalLimiter())
        server.go.release()
        http.call("first", "GET", "x")
        tokens = guard.set(lambda _seconds: server.hang_up()), call_class.set("bulk")
        try:
            server.go.release()
            http.call("write", "POST", "x", json={}, write=True)
        finally:
            guard.reset(tokens[0])
            call_class.reset(tokens[1])
            http.close()
    assert [request.partition(b" ")[0] for request in server.requests] == [b"GET", b"POST"]


def test_a_prepared_write_was_surely_not_sent_when_a_proxy_hangs_up_before_its_turn() -> None:
    with vendor() as proxy:
        transport = httpx.HTTPTransport(proxy=proxy.url)
        http = VendorHttp("erp", "https://vendor.test", classify=lambda _: None, transport=transport)
        with calling(proxy, "bulk", 1, http) as (call,):
            assert proxy.asked.acquire(timeout=SECONDS)
            proxy.hang_up()
            assert type(call.exception(SECONDS)) is SystemUnavailable
    assert [request.partition(b" ")[0] for request in proxy.requests] == [b"CONNECT"]


def test_an_answer_that_is_here_is_taken_however_long_it_takes_to_give_its_slot_back() -> None:
    now = [100.0]

    class Away(LocalLimiter):
        """A queue server that is not reached when a slot is to be given back."""

        @contextmanager
        def slot(self, *_: object) -> Iterator[None]:
            yield
            now[0] += 20.0

    seen: list[CallSeen] = []
    with vendor() as server:
        http = VendorHttp(
            "erp", server.url, classify=lambda _: None, limiter=Away(), clock=lambda: now[0], observe=seen.append
        )
        server.go.release()
        assert http.call("write", "POST", "x", json={}, write=True).content == b"{}"
        http.close()
    assert [(one.result, one.seconds) for one in seen] == [("ok", 0.0)]


@pytest.mark.parametrize("klass", ["live", "bulk"])
def test_who_has_waited_for_a_slot_in_vain_does_not_wait_anew(klass: LinkClass) -> None:
    asked: list[LinkClass] = []

    class Busy(LocalLimiter):
        """All of the wait was over before the slot was asked for: it went by in front of it."""

        def slot(
            self, system: str, limit: int, klass: LinkClass, wait_until: float, on_wait: Callable[[], None]
        ) -> AbstractContextManager[None]:
            asked.append(klass)
            raise no_slot(system)

    with vendor() as server:
        http = VendorHttp("erp", server.url, classify=lambda _: None, limiter=Busy(), sleep=lambda _: None)
        token = call_class.set(klass)
        try:
            with pytest.raises(RateLimited):
                http.call("read", "GET", "x")
        finally:
            call_class.reset(token)
            http.close()
    assert (asked, server.requests) == ([klass], [])


def test_a_guard_that_stops_a_prepared_call_lets_nothing_leave_and_nothing_is_counted() -> None:
    class LeaseLost(Exception):
        pass

    def lost(_seconds: float) -> None:
        raise LeaseLost

    seen: list[CallSeen] = []
    limiter = LocalLimiter()
    tokens = guard.set(lost), call_class.set("bulk")
    try:
        with vendor() as server:
            http = VendorHttp("erp", server.url, classify=lambda _: None, limiter=limiter, observe=seen.append)
            with pytest.raises(LeaseLost):
                http.call("write", "PATCH", "x", json={"name": "A"})
            http.close()
        assert (server.requests, seen, free(limiter)) == ([], [], True)
    finally:
        guard.reset(tokens[0])
        call_class.reset(tokens[1])


def test_a_vendor_that_is_not_reached_is_counted_before_any_turn_has_begun() -> None:
    seen: list[CallSeen] = []
    with vendor() as server:
        server.close()
        http = VendorHttp("erp", server.url, classify=lambda _: None, observe=seen.append, tries=1)
        token = call_class.set("bulk")
        try:
            with pytest.raises(SystemUnavailable):
                http.call("read", "GET", "x")
        finally:
            call_class.reset(token)
            http.close()
    assert [(one.operation, one.result) for one in seen] == [("read", "system_unavailable")]
