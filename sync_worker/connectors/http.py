"""The one httpx seam: every call to a vendor goes through ``VendorHttp.call`` and nothing else imports httpx.

What it guarantees: a total deadline; short retries of what is safe to repeat; a Retry-After is never shortened; the
concurrency limit of the system; its circuit breaker; the dry-run gate; no secret, value or body in logs and errors;
no redirect and no other host, ever. It separates "surely not sent" from "perhaps applied" (OutcomeUnknown).
"""

from __future__ import annotations

import json as jsonlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import structlog
import tenacity

from sync_worker.connectors.addresses import Base
from sync_worker.connectors.answers import Answer, CallSeen, retry_after, status_error
from sync_worker.connectors.breaker import Breaker
from sync_worker.connectors.context import call_class, guard, sending, writes_allowed
from sync_worker.connectors.limiter import Limiter, LocalLimiter
from sync_worker.connectors.phases import BODY_GAP, CALL_DEADLINE, PhaseLimits
from sync_worker.connectors.segments import OneSegment
from sync_worker.errors import (
    AlreadyExists,
    OutcomeUnknown,
    RateLimited,
    Rejected,
    RetryableError,
    SyncError,
    SystemUnavailable,
    WritesRefused,
)

log = structlog.get_logger(__name__)

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})  # this machine: no proxy is asked, and nobody listens in
SHORT_HINT = 2.0  # seconds: a longer Retry-After is raised, never slept
BODY_LIMIT = 32 * 1024 * 1024  # bytes, after decompression

_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
_PERHAPS_SENT = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError, httpx.DecodingError)

Cell = str | int | float | bool | None
Params = Mapping[str, Cell] | list[tuple[str, Cell]]
Transport = httpx.BaseTransport

__all__ = [
    "Answer",
    "Breaker",
    "CallSeen",
    "Limiter",
    "LocalLimiter",
    "Transport",
    "VendorHttp",
    "retry_after",
    "status_error",
]


def _nothing(_: object) -> None:
    """No authentication to add; nobody to tell."""


def _no_cookies(response: httpx.Response) -> None:
    """None are kept."""


def _in_one_piece(client: httpx.Client) -> None:
    """What httpx lets nobody choose: how its connections write, also those by the proxies of this host."""
    for transport in (client._transport, *client._mounts.values()):
        if isinstance(transport, httpx.HTTPTransport):
            transport._pool._network_backend = OneSegment(transport._pool._network_backend)


@dataclass(slots=True)
class _Call:
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
    perhaps_applied: bool = False
    failed: SyncError | None = None  # how the first try ended, until it is looked at whether to repeat it


class VendorHttp:
    """HTTP to one system. Thread-safe; make one per process and system, after forking.

    ``classify(answer)``: the connector's single place that turns a response into an error, or None when it is well.
    ``prepare(headers)``: adds authentication before every try; it runs before a slot is taken, so it may itself call.
    """

    def __init__(
        self,
        system: str,
        base_url: str,
        *,
        classify: Callable[[Answer], SyncError | None],
        prepare: Callable[[dict[str, str]], None] = _nothing,
        limiter: Limiter | None = None,
        concurrency: int = 4,
        breaker: Breaker | None = None,
        transport: Transport | None = None,
        deadline: float = CALL_DEADLINE,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        tries: int = 3,
        observe: Callable[[CallSeen], None] | None = None,
    ) -> None:
        self.system = system
        self.deadline = deadline
        self.breaker = breaker or Breaker(clock=clock)
        base = httpx.URL(base_url)
        self._base = Base.of(system, str(base))
        self._classify = classify
        self._prepare = prepare
        self._limiter = limiter or LocalLimiter()
        self._concurrency = concurrency
        self._clock = clock
        self._observe = observe
        self._client = httpx.Client(
            transport=transport,
            follow_redirects=False,
            trust_env=base.host not in LOOPBACK,  # proxies and certificates of this host
            limits=httpx.Limits(max_connections=concurrency + 2, keepalive_expiry=15.0),
            headers={"Accept": "application/json", "User-Agent": "sync-worker"},
        )
        # requests are built in ``_exchange`` and carry no cookies: looking for them was a tenth of a call's cost
        self._client.cookies.extract_cookies = _no_cookies  # type: ignore[method-assign]
        _in_one_piece(self._client)
        self._retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(tries),
            wait=self._wait,
            retry=self._repeatable,
            sleep=sleep,
            reraise=True,
        )

    def close(self) -> None:
        self._client.close()

    def call(
        self,
        operation: str,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        json: Any = None,
        form: Mapping[str, str] | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        write: bool = False,
        keyed: bool = False,
    ) -> Answer:
        """One call, with its safe retries. ``keyed``: a write that carries an idempotency key. Raises SyncError.

        PUT, PATCH and DELETE are writes whatever the caller says; a POST is one when ``write`` says so. ``content``:
        JSON whose very bytes matter, since they were signed.
        """
        write = write or method in ("PUT", "PATCH", "DELETE")
        if write and not writes_allowed.get():
            raise WritesRefused("a write was attempted where only reading is allowed", system=self.system)
        sent = {**(headers or {})}
        if json is not None:
            content = jsonlib.dumps(json, separators=(",", ":"), allow_nan=False).encode()
        if content is not None:
            sent.setdefault("Content-Type", "application/json")
        url, ends_at = self._base.address_of(path), self._clock() + self.deadline
        call = _Call(operation, method, url, params, content, form, sent, write, keyed, ends_at)
        self.breaker.enter()
        up: bool | None = None
        after: float | None = None
        try:
            answer = self._first_try(call) or self._retrying(self._again, call)
            up = True
            return answer
        except SystemUnavailable as error:
            up, after = False, error.after
            raise self._final(call, error) from error
        except SyncError as error:
            up = True if error.status else None
            raise self._final(call, error) from error
        finally:
            self.breaker.leave(up, after)

    def _first_try(self, call: _Call) -> Answer | None:
        """Nearly every call is well at once and pays for no repetition; None = ``call.failed`` says how it ended."""
        try:
            return self._try(call)
        except SyncError as error:
            call.failed = error
            return None

    def _again(self, call: _Call) -> Answer:
        """The first try was made already: it is only told how that ended."""
        failed, call.failed = call.failed, None
        if failed is not None:
            raise failed
        return self._try(call)

    def _final(self, call: _Call, error: SyncError) -> SyncError:
        """The error with its system; a write of which any try may have been applied has an unknown outcome."""
        error.system = error.system or self.system
        doubtful = isinstance(error, (RetryableError, AlreadyExists))
        if call.write and call.perhaps_applied and doubtful and not isinstance(error, OutcomeUnknown):
            return OutcomeUnknown(
                f"{call.operation}: may have been applied ({error.code})",
                after=error.after if isinstance(error, RetryableError) else None,
                system=self.system,
                status=error.status,
            )
        return error

    def _repeatable(self, state: tenacity.RetryCallState) -> bool:
        outcome = state.outcome
        error = outcome.exception() if outcome and outcome.failed else None
        call: _Call = state.args[0]
        if not isinstance(error, (SystemUnavailable, RateLimited)) or (call.write and not call.keyed):
            return False
        if isinstance(error, RateLimited) and error.after is None:
            return False
        return (error.after or 0.0) <= SHORT_HINT and self._left(call) > (error.after or 0.0) + 1.0

    def _wait(self, state: tenacity.RetryCallState) -> float:
        """Full jitter over 100, 200, 400 ms, on top of what the vendor asked for."""
        error = state.outcome.exception() if state.outcome else None
        hint = error.after if isinstance(error, RetryableError) and error.after else 0.0
        return hint + tenacity.wait_random_exponential(multiplier=0.1, max=0.5)(state)

    def _left(self, call: _Call) -> float:
        return call.ends_at - self._clock()

    def _try(self, call: _Call) -> Answer:
        headers = dict(call.headers)
        self._prepare(headers)
        ask = guard.get() or _nothing
        request = self._request(call, headers)
        waiting_since = self._clock()
        budget = call.ends_at - waiting_since
        slot = self._limiter.slot(
            self.system,
            self._concurrency,
            call_class.get(),
            waiting_since + self.deadline,
            lambda: ask(budget + BODY_GAP),
        )
        with slot:
            call.ends_at += self._clock() - waiting_since
            ask(max(budget, 0.0) + BODY_GAP)
            if (told := sending.get()) is not None:
                told()
            return self._send(call, request)

    def _send(self, call: _Call, request: httpx.Request) -> Answer:
        started = self._clock()
        result, status = "error", 0
        try:
            answer = self._exchange(call, request)
            status = answer.status
            error = self._classify(answer)
            if error is None and not 200 <= status < 300:
                error = status_error(self.system, answer)
            if error is not None:
                if not error.system:
                    error.system = self.system
                if error.status is None:
                    error.status = status
                if isinstance(error, SystemUnavailable) and status >= 400:
                    call.perhaps_applied = True
                raise error
            result = "ok"
            return answer
        except SyncError as error:
            result = error.code
            raise
        finally:
            seconds = self._clock() - started
            log.debug(
                "vendor.call", system=self.system, operation=call.operation, status=status, ms=round(seconds * 1000, 1)
            )
            if self._observe:
                self._observe(CallSeen(self.system, call.operation, result, seconds))

    def _request(self, call: _Call, headers: dict[str, str]) -> httpx.Request:
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
            raise Rejected("what is to be asked for makes no address", system=self.system) from None

    def _exchange(self, call: _Call, request: httpx.Request) -> Answer:
        limits = PhaseLimits(lambda: self._left(call))
        request.extensions = {"timeout": limits}
        try:
            response = self._client.send(request, stream=True)
            limits.body = True
            try:
                return Answer(response.status_code, response.headers, self._body(call, response), call.write)
            finally:
                response.close()
        except _NOT_SENT as error:
            raise SystemUnavailable(f"not reached: {error}", system=self.system) from error
        except httpx.LocalProtocolError:  # its text quotes the header
            text = "a header cannot be sent: is there a line break in a secret or setting of this system?"
            raise Rejected(text, system=self.system) from None
        except _PERHAPS_SENT as error:
            call.perhaps_applied = True
            raise SystemUnavailable(f"no complete answer ({type(error).__name__})", system=self.system) from error

    def _body(self, call: _Call, response: httpx.Response) -> bytes:
        pieces: list[bytes] = []
        size = 0
        if "," in response.headers.get("content-encoding", ""):  # each layer may grow a thousandfold, in one piece
            call.perhaps_applied = True
            raise SystemUnavailable("the answer is packed more than once", system=self.system)
        for piece in response.iter_bytes():
            pieces.append(piece)
            size += len(piece)
            if size > BODY_LIMIT or self._left(call) < 0:
                call.perhaps_applied = True
                reason = "the answer is too large" if size > BODY_LIMIT else "the answer took too long"
                raise SystemUnavailable(reason, system=self.system, status=response.status_code)
        return b"".join(pieces)
