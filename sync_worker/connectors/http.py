"""The one httpx seam: every call to a vendor goes through ``VendorHttp.call`` (and ``exchange`` below it).

What it guarantees: a total deadline; short retries of what is safe to repeat; a Retry-After is never shortened; the
concurrency limit of the system; its circuit breaker; the dry-run gate; no secret, value or body in logs and errors;
no redirect and no other host, ever. It separates "surely not sent" from "perhaps applied" (OutcomeUnknown).
"""

from __future__ import annotations

import json as jsonlib
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import httpx
import structlog
import tenacity

from sync_worker.connectors.addresses import Base
from sync_worker.connectors.answers import Answer, CallSeen, retry_after, status_error
from sync_worker.connectors.breaker import Breaker
from sync_worker.connectors.context import call_class, guard, sending, writes_allowed
from sync_worker.connectors.exchange import Call, Exchange, Params, Transport
from sync_worker.connectors.limiter import Limiter, LocalLimiter
from sync_worker.connectors.phases import BODY_GAP, CALL_DEADLINE
from sync_worker.connectors.turns import AHEAD, Turn
from sync_worker.errors import (
    AlreadyExists,
    OutcomeUnknown,
    RateLimited,
    RetryableError,
    SyncError,
    SystemUnavailable,
    WritesRefused,
)

log = structlog.get_logger(__name__)

SHORT_HINT = 2.0  # seconds: a longer Retry-After is raised, never slept

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
        self._classify = classify
        self._prepare = prepare
        self._limiter = limiter or LocalLimiter(clock=clock)
        self._anteroom = LocalLimiter(clock=clock)
        self._concurrency = concurrency
        self._clock = clock
        self._observe = observe
        self._exchange = Exchange(
            system, base_url, transport=transport, connections=2 * concurrency + AHEAD + 2, clock=clock
        )
        self._base = Base.of(system, self._exchange.base)
        self._retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(tries),
            wait=self._pause,
            retry=self._repeatable,
            sleep=sleep,
            reraise=True,
        )

    def close(self) -> None:
        self._exchange.close()

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
        call = Call(operation, method, url, params, content, form, sent, write, keyed, ends_at)
        try:
            self.breaker.enter()
        except SystemUnavailable as error:
            raise self._final(call, error) from None
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

    def _first_try(self, call: Call) -> Answer | None:
        """Nearly every call is well at once and pays for no repetition; None = ``call.failed`` says how it ended."""
        try:
            return self._try(call)
        except SyncError as error:
            call.failed = error
            return None

    def _again(self, call: Call) -> Answer:
        """The first try was made already: it is only told how that ended."""
        failed, call.failed = call.failed, None
        if failed is not None:
            raise failed
        return self._try(call)

    def _final(self, call: Call, error: SyncError) -> SyncError:
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
        call: Call = state.args[0]
        if not isinstance(error, (SystemUnavailable, RateLimited)) or (call.write and not call.keyed):
            return False
        if isinstance(error, RateLimited) and (error.after is None or error.status is None):
            return False  # without a status it was no vendor's word: a wait for a slot is over and is not begun anew
        return (error.after or 0.0) <= SHORT_HINT and call.left(self._clock) > (error.after or 0.0) + 1.0

    def _pause(self, state: tenacity.RetryCallState) -> float:
        """Full jitter over 100, 200, 400 ms, on top of what the vendor asked for."""
        error = state.outcome.exception() if state.outcome else None
        hint = error.after if isinstance(error, RetryableError) and error.after else 0.0
        return hint + tenacity.wait_random_exponential(multiplier=0.1, max=0.5)(state)

    def _try(self, call: Call) -> Answer:
        headers = dict(call.headers)
        self._prepare(headers)
        request = self._exchange.request(call, headers)
        call.wait_until, call.sent_at = self._clock() + self.deadline, None
        if call_class.get() == "live" or not self._exchange.pooled:
            with ExitStack() as held:
                self._begin(call, held)
                return self._send(call, request)
        with (
            Turn(lambda held: self._begin(call, held), lambda held: self._answered(call, held)),
            ExitStack() as place,
        ):
            self._wait(call, place, self._anteroom, self._concurrency + AHEAD)
            return self._send(call, request)

    def _begin(self, call: Call, held: ExitStack) -> float:
        """Hold a slot, with the leases renewed; seconds that took. From here on the request leaves."""
        since = self._clock()
        self._wait(call, held, self._limiter, self._concurrency)
        if (ask := guard.get()) is not None:
            ask(max(call.left(self._clock), 0.0) + BODY_GAP)
        if (told := sending.get()) is not None:
            told()
        call.sent_at = self._clock()
        return call.sent_at - since

    def _answered(self, call: Call, held: ExitStack) -> None:
        """Give the slot back. What that takes (the queue server may be away) is no time of the call's."""
        since = self._clock()
        held.close()
        taken = self._clock() - since
        call.ends_at += taken
        if call.sent_at is not None:
            call.sent_at += taken

    def _wait(self, call: Call, held: ExitStack, limiter: Limiter, limit: int) -> None:
        """Be one of so many; what was waited for it is added to the call's deadline."""
        since, budget, ask = self._clock(), call.left(self._clock), guard.get() or _nothing
        slot = limiter.slot(self.system, limit, call_class.get(), call.wait_until, lambda: ask(budget + BODY_GAP))
        held.enter_context(slot)
        call.ends_at += self._clock() - since

    def _send(self, call: Call, request: httpx.Request) -> Answer:
        result, status, started = "error", 0, self._clock()
        try:
            answer = self._exchange.answer(call, request)
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
            if call.sent_at is not None or result == SystemUnavailable.code:  # not when it only waited for its turn
                self._tell(call, result, status, self._clock() - (call.sent_at or started))

    def _tell(self, call: Call, result: str, status: int, seconds: float) -> None:
        log.debug(
            "vendor.call", system=self.system, operation=call.operation, status=status, ms=round(seconds * 1000, 1)
        )
        if self._observe:
            self._observe(CallSeen(self.system, call.operation, result, seconds))
