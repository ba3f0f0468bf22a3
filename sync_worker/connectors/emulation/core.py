"""The base of both vendor emulators: counting, faults, ledger, stale versions, notices. Standard library only.

A vendor's emulator fills in the abstract methods. All of its state is guarded by one lock, taken here.
Versions of records are replaced, never changed in place: that makes an old version free to keep.
"""

from __future__ import annotations

import random
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from sync_worker.connectors.emulation.faults import Faults
from sync_worker.connectors.emulation.wire import Operation, Request, Response

Actor = Literal["api", "person", "script"]
WriteOp = Literal["create", "update", "delete"]
Stamping = Literal["keep", "none"]
Named = tuple[str, str]
"""A record: entity and key, as in the ledger."""

LoggedCall = tuple[float, str, int, str | None, Sequence[Named]]
"""When a call came, its operation, about how many records, the fault that struck it, and the records it named."""

MOST_CALLS = 200_000
_IDS = ("webhook-id", "Idempotency-Key")  # where vendors write a notice's number


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One applied write. ``before`` / ``after`` hold only the columns that were written; ``at`` seconds since 1970.

    ``answered`` False: it was applied, but a fault kept the answer from the client.
    """

    seq: int
    at: float
    actor: Actor
    entity: str
    key: str
    op: WriteOp
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    idempotency_key: str | None = None
    answered: bool = True

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(slots=True)
class Hook:
    """Where notices go. ``secret`` signs them; ``options`` are the vendor's own (form of the signature and so on)."""

    url: str
    secret: str = ""
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class OutgoingNotice:
    """A signed notice on its way. ``attempt`` counts from 1; ``about`` is the vendor's own note on what it tells."""

    url: str
    headers: dict[str, str]
    body: bytes
    attempt: int = 1
    about: Any = None

    @property
    def id(self) -> str:
        """The vendor's own number of it, by which a receiver knows a repeat."""
        return next((self.headers[name] for name in _IDS if name in self.headers), "")


class Emulator(ABC):
    """A vendor on request. ``clock``: seconds since 1970, replaceable so that tests own the time."""

    name = "emulator"
    faults_type: type[Faults] = Faults
    notice_success: frozenset[int] | None = None  # None: every 2xx
    notice_retry_on: frozenset[int] = frozenset()  # statuses worth another attempt; empty: fire and forget
    notice_waits: tuple[float, ...] = ()  # seconds before the 2nd, 3rd, ... attempt

    def __init__(self, *, seed: int = 0, clock: Callable[[], float] = time.time) -> None:
        self.faults = self.faults_type()
        self.rng = random.Random(seed)
        self.clock = clock
        self.lock = threading.RLock()
        self.notice_ready = threading.Condition(self.lock)
        self.notice_retry_scale = 1.0
        self.ledger: list[LedgerRow] = []
        self.hooks: list[Hook] = []
        self.calls: Counter[str] = Counter()
        self.reads = 0
        self.writes = 0
        self.call_log: deque[LoggedCall] = deque(maxlen=MOST_CALLS)
        self.names_records = False  # whether the call log says which ones: costs a second look at every request
        self.in_flight = 0  # calls the server is at, held-back answers included
        self.notices_sent = 0
        self.notices_failed = 0
        self.notices_taken: deque[str] = deque(maxlen=100_000)  # ids of those that a receiver acknowledged
        self._records_in_call = 1
        self._outbox: deque[OutgoingNotice] = deque()
        self._overtaken: list[OutgoingNotice] = []
        self._before: dict[tuple[str, str], tuple[float, Any]] = {}
        self._replaced: deque[tuple[float, str, str]] = deque(maxlen=20_000)

    # --- what a vendor fills in; all called under the lock -----------------------------------------------------------

    @abstractmethod
    def operation(self, request: Request) -> Operation:
        """Name and kind of a request, without reading its body; never fails."""

    @abstractmethod
    def route(self, request: Request) -> Response:
        """Answer a request. Call ``self.touched(n)`` when it is about n records instead of one."""

    @abstractmethod
    def fault_response(self, fault: str, request: Request) -> Response:
        """The vendor's own form of ``500``, ``503``, ``429``, ``429_no_hint`` and ``401`` (and of its extra faults)."""

    @abstractmethod
    def list_records(self, entity: str) -> list[dict[str, Any]]:
        """Every record of an entity, flat, for tests and the tour. Raises ``KeyError`` for an unknown entity."""

    @abstractmethod
    def get_record(self, entity: str, key: str) -> dict[str, Any] | None:
        """One record, flat."""

    @abstractmethod
    def apply_person(self, entity: str, key: str | None, columns: Mapping[str, Any], op: WriteOp) -> str:
        """What a person does on the vendor's screen; returns the key. Raises ``ValueError`` when it makes no sense."""

    @abstractmethod
    def apply_script(self, entity: str, key: str, columns: Mapping[str, Any], stamp: Stamping) -> None:
        """What a script in the database does: columns in the table's spelling change, and nobody is told.

        ``stamp``: the modified time stays as it is, or becomes null. Raises ``ValueError`` for an unknown record.
        """

    @abstractmethod
    def apply_seed(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """Bulk data without notices or ledger rows; returns what was made."""

    def named(self, request: Request) -> Sequence[Named]:
        """Records that a request reads or writes by their keys; vendors whose calls are followed override this."""
        return ()

    def notice_gave_up(self, notice: OutgoingNotice, status: int | None) -> None:
        """A notice that was not taken after all attempts is lost; vendors with a dead-letter place override this."""
        return

    def announce(self, event: Mapping[str, Any]) -> None:
        """Send a notice about something the emulator does not hold. Raises ``ValueError`` where a vendor never does."""
        raise ValueError(f"{self.name} announces its own records only")

    # --- calls -------------------------------------------------------------------------------------------------------

    def handle(self, request: Request) -> Response:
        """Count, apply faults, answer. Thread-safe; never sleeps (the server waits ``delay_ms``)."""
        with self.lock:
            operation = self.operation(request)
            if self.faults.blackout:
                response, fault = self.fault_response("503", request), None
                self._count(operation, request, "503")
            else:
                response, fault = self._answer(operation, request)
            response.delay_ms += self.faults.latency_ms
            if fault == "slow":
                response.delay_ms += self.faults.slow_ms
            elif fault == "lost_after_apply":
                response.close = "before"
            elif fault == "reset":
                response.close = "mid"
            return response

    def _answer(self, operation: Operation, request: Request) -> tuple[Response, str | None]:
        fault = self.faults.strike(operation, self.rng)
        if fault is None and 0 < self.faults.max_in_flight < self.in_flight:
            fault = "429"
        self._records_in_call = 1
        if fault is None or fault in ("slow", "lost_after_apply", "reset"):
            known = len(self.ledger)
            response = self.route(request)
            if fault in ("lost_after_apply", "reset"):
                self.ledger[known:] = [replace(row, answered=False) for row in self.ledger[known:]]
        elif fault == "before_apply":
            response = Response(503, close="before")
        else:
            response = self.fault_response(fault, request)
        self._count(operation, request, fault)
        return response, fault

    def touched(self, records: int) -> None:
        """Called by ``route``: how many records this call is about (one unless said)."""
        self._records_in_call = records

    def _count(self, operation: Operation, request: Request, fault: str | None) -> None:
        self.calls[operation.name] += 1
        if operation.kind == "read":
            self.reads += 1
        elif operation.kind == "write":
            self.writes += 1
        named = self.named(request) if self.names_records else ()
        self.call_log.append((self.clock(), operation.name, self._records_in_call, fault, named))

    def person(self, entity: str, key: str | None, columns: Mapping[str, Any], op: WriteOp = "update") -> str:
        """A person's edit: applied, stamped, announced. Raises ``ValueError``."""
        with self.lock:
            return self.apply_person(entity, key, columns, op)

    def script(self, entity: str, key: str, columns: Mapping[str, Any], stamp: Stamping = "keep") -> None:
        """A change that leaves no trace: no new stamp, no notice, no ledger row."""
        with self.lock:
            self.apply_script(entity, key, columns, stamp)

    def seed(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        with self.lock:
            return self.apply_seed(spec)

    def stats(self) -> dict[str, Any]:
        with self.lock:
            return {
                "calls": dict(self.calls),
                "reads": self.reads,
                "writes": self.writes,
                "ledger_seq": len(self.ledger),
                "notices_sent": self.notices_sent,
                "notices_failed": self.notices_failed,
                "notices_waiting": len(self._outbox) + len(self._overtaken),
            }

    def reset_stats(self) -> None:
        """Counters to zero; the ledger stays."""
        with self.lock:
            self.calls.clear()
            self.call_log.clear()
            self.reads = self.writes = self.notices_sent = self.notices_failed = 0

    # --- writes and versions -----------------------------------------------------------------------------------------

    def record_write(
        self,
        actor: Actor,
        entity: str,
        key: str,
        op: WriteOp,
        before: Mapping[str, Any],
        after: Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
    ) -> LedgerRow:
        """Add an applied write to the ledger."""
        row = LedgerRow(len(self.ledger) + 1, self.clock(), actor, entity, key, op, before, after, idempotency_key)
        self.ledger.append(row)
        return row

    def retire(self, entity: str, key: str, old: Any) -> None:
        """Keep the version that a write has just replaced (None: there was no record)."""
        now = self.clock()
        self._before[entity, key] = (now, old)
        self._replaced.append((now, entity, key))

    def seen(self, entity: str, key: str, current: Any) -> Any:
        """The version a read shows: ``current``, or by ``p_stale_read`` the one before the last write."""
        p = self.faults.p_stale_read
        if not p:
            return current
        kept = self._before.get((entity, key))
        if kept is None or self.clock() - kept[0] > self.faults.stale_seconds or self.rng.random() >= p:
            return current
        return kept[1]

    def recently_replaced(self, entity: str) -> list[str]:
        """Keys whose older version may still be shown: a query must look at those too. Empty without the fault."""
        if not self.faults.p_stale_read:
            return []
        since = self.clock() - self.faults.stale_seconds
        return list(dict.fromkeys(key for at, of, key in self._replaced if at >= since and of == entity))

    # --- notices -----------------------------------------------------------------------------------------------------

    def post_notice(self, notices: Iterable[OutgoingNotice]) -> None:
        """Hand signed notices to whoever delivers them; dropped while ``notices_off``."""
        if self.faults.notices_off:
            return
        with self.notice_ready:
            self._outbox.extend(notices)
            self.notice_ready.notify_all()

    def take_notices(self) -> list[OutgoingNotice]:
        """Everything that waits to be delivered, after loss, doubling and reordering; the overtaken come next time."""
        with self.lock:
            faults, rng = self.faults, self.rng
            taken: list[OutgoingNotice] = []
            late, self._overtaken = self._overtaken, []
            while self._outbox:
                notice = self._outbox.popleft()
                if faults.p_notice_lost and rng.random() < faults.p_notice_lost:
                    continue
                overtaken = faults.p_notice_reordered and rng.random() < faults.p_notice_reordered
                (self._overtaken if overtaken else taken).append(notice)
                if faults.p_notice_doubled and rng.random() < faults.p_notice_doubled:
                    taken.append(OutgoingNotice(notice.url, notice.headers, notice.body, 1, notice.about))
            taken += late
            if faults.notices_reordered:
                rng.shuffle(taken)
            return taken

    def wait_for_notices(self, timeout: float) -> bool:
        """Block until something waits to be delivered, at most ``timeout`` seconds."""
        with self.notice_ready:
            return bool(self._outbox) or self.notice_ready.wait(timeout)
