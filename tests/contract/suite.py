"""What every connector must do, whatever its vendor: one case per connector, over its emulator or a sandbox.

The behaviours (``test_connectors_*.py``) speak canonical values through the connector's own map, so they hold for any
vendor. What a vendor cannot do is skipped by its ``Capabilities``, and the skip is printed. A behaviour says by a
marker what it takes: ``back_door("faults")`` what only an emulator can be made to do, ``only_reads`` that it writes
nothing; all others make records through the connector alone. Without the marker a behaviour gets a case without a back
door, or with the dry-run gate closed, over emulators too: what is not said fails here, before it meets a sandbox.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any

import pytest

from mappings.fields import FieldMap, Value
from support.clock import FakeClock
from sync_worker.connectors import context
from sync_worker.connectors.base import Ask, Connector, Criteria, Page, Record, Write
from sync_worker.connectors.emulation import Hook, OutgoingNotice
from sync_worker.wording import counted

NOW = 1_795_000_000.0  # 2026-11-18
NOBODY = "99999999"  # a key that no record has
STANDING = 3  # customers that a behaviour which only reads finds at least

# A column that the vendor does not have, in the form of its columns.
NOWHERE = {"intacct": "nsp::NOWHERE", "sage_crm": "comp_nowhere", "rest": "/nowhere"}

CUSTOMER: dict[str, Value] = {
    "name": "Orchard Foods",
    "contact": {"first": "Ivy", "last": "Dean"},
    "email": "ivy@orchard.example",
    "phone": "+44 113 496 0001",
    "mobile": "+44 7700 900001",
    "website": "https://orchard.example",
    "tax_number": "GB123456789",
    "address": {
        "line1": "1 Mill Row",
        "line2": None,
        "line3": None,
        "line4": None,
        "line5": None,
        "city": "Leeds",
        "state": None,
        "postcode": "LS1 1AA",
        "country": "GB",
    },
    "status": "active",
}


@dataclass
class BackDoor:
    """What an emulator can be made to do, and a vendor cannot. ``entity``: what it calls a customer.

    ``connect(**changes)`` makes another connector of the same system; ``changes`` are settings of it, and
    ``bad_secret`` those that make its login wrong.
    """

    emulator: Any
    clock: FakeClock
    entity: str
    connect: Callable[..., Connector]
    bad_secret: Mapping[str, Any]
    hook_secret: str


@dataclass(frozen=True)
class Label:
    """What this run's records are told by in a system that holds others too; none over an emulator, which begins empty.

    ``digits``: of one case of one run.
    """

    digits: str = ""

    def own(self, name: str, value: Value) -> Value:
        """A value as the case writes it: what records are found by carries the label, a partner's key too."""
        if not self.digits or not isinstance(value, str):
            return value
        match name:
            case "name":
                return f"Contract suite {self.digits} {value}"[:100]
            case "email":
                user, _, host = value.partition("@")
                return f"{user}.{self.digits}@{host}"
            case "tax_number":
                return value[:3] + self.digits
            case "correlation" | "idempotency_key":
                return self.digits + value
        return value


@dataclass
class Case:
    """One connector. ``now``: the time at the vendor, give or take ``apart`` seconds.

    ``misconfigured()``: a connector of the same system with a field of its own, ``region``, in a column that the vendor
    does not have (``missing``). ``back_door``: None over a sandbox, and for a behaviour that has not said that it needs
    it. ``known_manager``: the key of an account manager, where one is known beforehand.
    """

    system: str
    connector: Connector
    misconfigured: Callable[[], Connector]
    missing: str
    now: Callable[[], float]
    back_door: BackDoor | None = None
    label: Label = field(default_factory=Label)
    apart: float = 2.0
    known_manager: str = ""
    _made: Iterator[int] = field(default_factory=lambda: count(1001))

    @property
    def fmap(self) -> FieldMap:
        return self.connector.maps["customer"]

    # --- through the connector ---------------------------------------------------------------------------------------

    def own(self, name: str, value: Value) -> Value:
        """A field's value as this case writes it."""
        return self.label.own(name, value)

    def criteria(self, **wanted: Any) -> Criteria:
        """What records of this case are looked for by."""
        return Criteria(**{name: self.own(name, value) for name, value in wanted.items()})

    def make(self, correlation: str | None = None, idempotency_key: str | None = None, **values: Value) -> str:
        """Create a customer through the connector; returns its key."""
        return self.create(correlation, idempotency_key, **values)[0]

    def write_of(self, correlation: str | None = None, idempotency_key: str | None = None, **values: Value) -> Write:
        wanted = {name: self.own(name, value) for name, value in {**CUSTOMER, **values}.items()}
        given = {name: value for name, value in wanted.items() if name in self.fmap.fields}
        columns = {c: v for c, v in self.fmap.put(given, {}).items() if v is not None}
        theirs, once = self.own("correlation", correlation), self.own("idempotency_key", idempotency_key)
        keys = self.connector.correlation_columns(str(theirs), f"ref-{theirs}") if theirs else {}
        return Write(None, {**self.fmap.create_extra(given), **columns, **keys}, idempotency_key=once)  # type: ignore[arg-type]  # text stays text

    def create(
        self, correlation: str | None = None, idempotency_key: str | None = None, **values: Value
    ) -> tuple[str, str]:
        correlation = correlation or str(next(self._made))
        (outcome,) = self.connector.write_many(
            "customer", [self.write_of(correlation, idempotency_key or f"key-{correlation}", **values)]
        )
        assert outcome.error is None, outcome.error
        assert outcome.key is not None
        return outcome.key, outcome.ref

    def there(self, least: int = 1) -> list[str]:
        """Keys of customers that the system has, whoever made them: the first by key. Skips where it has fewer."""
        found = list(islice(keys_of(self.connector.sweep("customer")), least))
        if len(found) < least:
            pytest.skip(f"{self.system}: fewer than {counted(least, 'customer')} to look at")
        return found

    def read(self, key: str) -> Record:
        record = self.connector.read_many("customer", [Ask(key)])[key]
        assert record is not None
        return record

    def values(self, key: str) -> dict[str, Value]:
        return self.fmap.get(self.read(key).native)

    def update_of(self, key: str, **values: Value) -> Write:
        record = self.read(key)
        wanted = {name: self.own(name, value) for name, value in values.items()}
        return Write(key, self.fmap.put(wanted, record.native), record)

    def update(self, key: str, **values: Value) -> Any:
        return self.connector.write_many("customer", [self.update_of(key, **values)])[0]

    @property
    def manager(self) -> str:
        """The key of an active account manager. Skips where the directory shows none."""
        if self.known_manager:
            return self.known_manager
        active = [manager.key for manager in self.connector.list_managers() if manager.active]
        if not active:
            pytest.skip(f"{self.system}: no active account manager")
        return active[0]

    # --- through the back door ---------------------------------------------------------------------------------------

    @property
    def door(self) -> BackDoor:
        assert self.back_door is not None, "this behaviour has to say what it needs: @pytest.mark.back_door(...)"
        return self.back_door

    @property
    def emulator(self) -> Any:
        return self.door.emulator

    @property
    def clock(self) -> FakeClock:
        return self.door.clock

    @property
    def connect(self) -> Callable[..., Connector]:
        return self.door.connect

    def person_renames(self, key: str, name: str) -> None:
        """What a person does on the vendor's screen."""
        self.emulator.person(self.door.entity, key, {self.fmap.fields["name"].columns[0]: name})

    def written(self, since: int) -> list[Any]:
        """The ledger's rows of API writes behind position ``since``."""
        return [row for row in self.emulator.ledger[since:] if row.actor == "api"]

    def notices(self, act: Callable[[], object]) -> list[OutgoingNotice]:
        """What the emulator would send about ``act``; caught before its server's own sender can take it."""
        posted: list[OutgoingNotice] = []
        self.emulator.hooks.append(Hook("http://127.0.0.1:1/hooks/x", self.door.hook_secret))
        plain, self.emulator.post_notice = self.emulator.post_notice, posted.extend
        try:
            act()
        finally:
            self.emulator.post_notice = plain
        return posted


@contextmanager
def requests_sent() -> Iterator[list[None]]:
    """Every request that is sent meanwhile is one more in the list."""
    sent: list[None] = []
    token = context.sending.set(lambda: sent.append(None))
    try:
        yield sent
    finally:
        context.sending.reset(token)


@contextmanager
def only_reading() -> Iterator[None]:
    """The product's dry-run gate: whatever would be written meanwhile is refused before it is sent."""
    token = context.writes_allowed.set(False)
    try:
        yield
    finally:
        context.writes_allowed.reset(token)


@contextmanager
def fault(case: Case, **switches: Any) -> Iterator[None]:
    before = {name: getattr(case.emulator.faults, name) for name in switches}
    case.emulator.faults.merge(switches)
    try:
        yield
    finally:
        case.emulator.faults.merge(before)


def mapped(case: Case, name: str) -> None:
    """Go on only where the vendor has a place for this field."""
    if name not in case.fmap.fields:
        pytest.skip(f"{case.system}: no place for {name}")


def needs(case: Case, *, capability: str) -> None:
    if not getattr(case.connector.capabilities, capability):
        pytest.skip(f"{case.system}: no {capability}")


def keys_of(pages: Iterator[Page]) -> Iterator[str]:
    return (row.change.key for page in pages for row in page.rows if row.change.entity == "customer")


def changed_keys(pages: Iterator[Page]) -> list[str]:
    return list(keys_of(pages))


def names(found: list[Any], case: Case) -> list[Value]:
    return [case.fmap.get(record.native).get("name") for record in found]


def lowered(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def calls(case: Case, name: str) -> int:
    """How often the vendor was called so since the counters were reset."""
    return int(case.emulator.stats()["calls"].get(name, 0))
