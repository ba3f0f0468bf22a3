"""One request and its answer, by httpx: what leaves, what is read of what comes, whether the vendor may have got it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx

from sync_worker.connectors.answers import Answer
from sync_worker.connectors.phases import PhaseLimits
from sync_worker.connectors.segments import OneSegment
from sync_worker.errors import Rejected, SyncError, SystemUnavailable

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})  # this machine: no proxy is asked, and nobody listens in
BODY_LIMIT = 32 * 1024 * 1024  # bytes, after decompression

_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
_PERHAPS_SENT = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError, httpx.DecodingError)

Cell = str | int | float | bool | None
Params = Mapping[str, Cell] | list[tuple[str, Cell]]
Transport = httpx.BaseTransport
Clock = Callable[[], float]


def _in_words(error: httpx.HTTPError) -> str:
    """What OpenSSL calls a wrong version number is an answer that is no TLS."""
    if "WRONG_VERSION_NUMBER" in str(error):
        return "no TLS is spoken there; http:// instead of https://, or another port?"
    return str(error)


def _no_cookies(response: httpx.Response) -> None:
    """None are kept."""


def _in_one_piece(client: httpx.Client) -> None:
    """What httpx lets nobody choose: how its connections write, also those by the proxies of this host."""
    for transport in (client._transport, *client._mounts.values()):
        if isinstance(transport, httpx.HTTPTransport):
            transport._pool._network_backend = OneSegment(transport._pool._network_backend)


@dataclass(slots=True)
class Call:
    """One call's request and what was learnt over its tries."""

    operation: str
    method: str
    url: str
    params: Params | None
    content: bytes | None
    form: Mapping[str, str] | None
    headers: Mapping[str, str]
    write: bool
    keyed: bool
    ends_at: float  # on the clock; moved by the time spent waiting for slots
    wait_until: float = 0.0  # on the clock
    sent_at: float | None = None  # on the clock; None: this try has not left
    perhaps_applied: bool = False
    failed: SyncError | None = None  # how the first try ended, until it is looked at whether to repeat it

    def left(self, clock: Clock) -> float:
        """Seconds to the deadline."""
        return self.ends_at - clock()


class Exchange:
    """A system's connections: at most ``connections``. Thread-safe; make one per process and system, after forking.

    No redirect is followed, no cookie kept.
    """

    def __init__(
        self, system: str, base_url: str, *, transport: Transport | None, connections: int, clock: Clock
    ) -> None:
        self._system = system
        self._clock = clock
        base = httpx.URL(base_url)
        self.base = str(base)  # as httpx writes it down
        self._client = httpx.Client(
            transport=transport,
            follow_redirects=False,
            trust_env=base.host not in LOOPBACK,  # proxies and certificates of this host
            limits=httpx.Limits(max_connections=connections, keepalive_expiry=15.0),
            headers={"Accept": "application/json", "User-Agent": "sync-worker"},
        )
        # requests are built in ``request`` and carry no cookies: looking for them was a tenth of a call's cost
        self._client.cookies.extract_cookies = _no_cookies  # type: ignore[method-assign]
        _in_one_piece(self._client)
        self.pooled = transport is None or isinstance(transport, httpx.HTTPTransport)

    def close(self) -> None:
        self._client.close()

    def request(self, call: Call, headers: dict[str, str]) -> httpx.Request:
        """Built before a slot is taken, and here and not by the client: that would parse the address once more."""
        try:
            return httpx.Request(
                call.method,
                call.url,
                params=call.params or None,
                content=call.content,
                data=call.form,
                headers=[*self._client.headers.raw, *((k.encode(), v.encode()) for k, v in headers.items())],
            )
        except (httpx.InvalidURL, UnicodeError):  # of a key or a link in an answer
            raise Rejected("what is to be asked for makes no address", system=self._system) from None

    def answer(self, call: Call, request: httpx.Request) -> Answer:
        """Raises SystemUnavailable or Rejected; ``call.perhaps_applied`` is set when the request may have arrived."""
        limits = PhaseLimits(lambda: call.left(self._clock))
        request.extensions = {"timeout": limits}
        try:
            response = self._client.send(request, stream=True)
            limits.body = True
            try:
                return Answer(response.status_code, response.headers, self._body(call, response), call.write)
            finally:
                response.close()
        except _NOT_SENT as error:
            raise SystemUnavailable(f"not reached: {_in_words(error)}", system=self._system) from error
        except httpx.LocalProtocolError:  # its text quotes the header
            text = "a header cannot be sent: is there a line break in a secret or setting of this system?"
            raise Rejected(text, system=self._system) from None
        except _PERHAPS_SENT as error:
            if call.sent_at is not None:  # a proxy can fail before the call's turn
                call.perhaps_applied = True
            raise SystemUnavailable(f"no complete answer ({type(error).__name__})", system=self._system) from error

    def _body(self, call: Call, response: httpx.Response) -> bytes:
        pieces: list[bytes] = []
        size = 0
        if "," in response.headers.get("content-encoding", ""):  # each layer may grow a thousandfold, in one piece
            call.perhaps_applied = True
            raise SystemUnavailable("the answer is packed more than once", system=self._system)
        for piece in response.iter_bytes():
            pieces.append(piece)
            size += len(piece)
            if size > BODY_LIMIT or call.left(self._clock) < 0:
                call.perhaps_applied = True
                reason = "the answer is too large" if size > BODY_LIMIT else "the answer took too long"
                raise SystemUnavailable(reason, system=self._system, status=response.status_code)
        return b"".join(pieces)
