"""A request leaves in one piece: its head and its body wake the vendor once."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import httpcore
import pytest

from sync_worker.connectors.context import leaving
from sync_worker.connectors.http import VendorHttp
from sync_worker.connectors.segments import LARGEST, OneSegment
from sync_worker.errors import OutcomeUnknown

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Recorder(httpcore.NetworkStream):
    """A connection that notes what is written, and whose reads bring an answer."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.written: list[bytes] = []
        self.timeouts: list[float | None] = []
        self.hung_up = False
        self._failure = failure

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if self._failure is not None:
            raise self._failure
        self.written.append(buffer)
        self.timeouts.append(timeout)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return b"an answer"

    def start_tls(self, *_args: object, **_more: object) -> httpcore.NetworkStream:
        self.written.append(b"(hands shaken)")
        return self

    def get_extra_info(self, info: str) -> bool:
        assert info == "is_readable"
        return self.hung_up


class To(httpcore.NetworkBackend):
    """Connects to one stream, whatever is asked for."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def connect_tcp(self, *_args: object, **_more: object) -> httpcore.NetworkStream:
        return self._stream


def connected(stream: Recorder) -> httpcore.NetworkStream:
    return OneSegment(To(stream)).connect_tcp("vendor.test", 443)


def test_what_is_written_leaves_in_one_piece_when_an_answer_is_read() -> None:
    under = Recorder()
    stream = connected(under)
    stream.write(b"head ", timeout=3.0)
    stream.write(b"body", timeout=2.0)
    assert under.written == []
    assert stream.read(100) == b"an answer"
    assert (under.written, under.timeouts) == ([b"head body"], [2.0])


def test_nothing_is_held_over_to_the_next_request() -> None:
    under = Recorder()
    stream = connected(under)
    for text in (b"one", b"two"):
        stream.write(text)
        stream.read(100)
        stream.read(100)
    assert under.written == [b"one", b"two"]


def test_a_head_is_held_back_however_large_it_is() -> None:
    under = Recorder()
    stream = connected(under)
    stream.write(b"h" * (LARGEST + 1))
    assert under.written == []
    stream.write(b"body")
    assert under.written == [b"h" * (LARGEST + 1), b"body"]


def test_a_large_body_is_not_copied_but_follows_its_head() -> None:
    under = Recorder()
    stream = connected(under)
    stream.write(b"head")
    stream.write(b"x" * LARGEST)
    assert under.written == [b"head", b"x" * LARGEST]


def test_what_was_written_to_a_proxy_is_sent_before_hands_are_shaken() -> None:
    under = Recorder()
    inner = connected(under)
    inner.write(b"hello")
    secure = inner.start_tls(None)  # type: ignore[arg-type]
    secure.write(b"head ")
    secure.write(b"body")
    secure.read(100)
    assert under.written == [b"hello", b"(hands shaken)", b"head body"]


def test_a_server_that_hung_up_early_may_still_have_answered() -> None:
    stream = connected(Recorder(httpcore.WriteError("broken pipe")))
    stream.write(b"head")
    assert stream.read(100) == b"an answer"


def test_a_write_that_takes_too_long_is_told() -> None:
    stream = connected(Recorder(httpcore.WriteTimeout("slow")))
    stream.write(b"head")
    with pytest.raises(httpcore.WriteTimeout):
        stream.read(100)


@contextmanager
def leaves(kept: Callable[[], bool]) -> Iterator[None]:
    """Within: asked right before each request leaves."""
    token = leaving.set(kept)
    try:
        yield
    finally:
        leaving.reset(token)


@pytest.mark.parametrize("kept", [True, False])
def test_whether_the_server_has_hung_up_is_looked_at_again_where_a_request_was_kept(kept: bool) -> None:
    under = Recorder()
    stream = connected(under)
    with leaves(lambda: kept):
        stream.write(b"one")
        stream.read(100)
        under.hung_up = True
        stream.write(b"two")
        with pytest.raises(httpcore.ConnectionNotAvailable) if kept else nullcontext():
            stream.read(100)
    assert under.written == ([b"one"] if kept else [b"one", b"two"])


def test_what_a_server_says_on_a_new_connection_before_it_is_asked_is_no_hanging_up() -> None:
    under = Recorder()
    under.hung_up = True  # that is how a TLS ticket looks
    stream = connected(under)
    with leaves(lambda: True):
        stream.write(b"one")
        stream.read(100)
    assert under.written == [b"one"]


def test_nothing_waits_for_a_turn_to_speak_to_a_proxy() -> None:
    asked: list[bytes] = []
    under = Recorder()
    inner = connected(under)

    def leave() -> bool:
        asked.append(under.written[-1])
        return False

    with leaves(leave):
        inner.write(b"CONNECT vendor.test:443 HTTP/1.1\r\n\r\n")
        inner.read(100)
        secure = inner.start_tls(None)  # type: ignore[arg-type]
        secure.write(b"GET / HTTP/1.1\r\n\r\n")
        secure.read(100)
    assert asked == [b"(hands shaken)"]


@contextmanager
def listening(pieces: list[bytes], answer: bytes) -> Iterator[str]:
    """A server that notes each piece as it comes, and answers it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            while piece := connection.recv(1 << 20):
                pieces.append(piece)
                if not answer:
                    return
                connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()
        thread.join(5)


def test_a_vendor_call_arrives_in_one_piece() -> None:
    pieces: list[bytes] = []
    with listening(pieces, ANSWER) as url:
        http = VendorHttp("erp", url, classify=lambda _answer: None)
        for number in range(20):
            http.call("write", "PATCH", "customers/1", json={"name": f"No. {number}"})
        http.close()
    assert [piece.partition(b"\r\n\r\n")[2] for piece in pieces] == [b'{"name":"No. %d"}' % n for n in range(20)]


def test_a_write_whose_answer_never_came_may_have_been_applied() -> None:
    pieces: list[bytes] = []
    with listening(pieces, b"") as url:
        http = VendorHttp("erp", url, classify=lambda _answer: None)
        with pytest.raises(OutcomeUnknown):
            http.call("write", "PATCH", "customers/1", json={"name": "A"})
        http.close()
