"""The port every vendor is behind. The engine knows only what stands here.

A connector speaks *native*: a flat dict of the vendor's own column names (dotted for Intacct, ``Prefix_Name`` for
Sage CRM, child rows by suffix: ``Phon_Number@Business``). ``mappings/`` turns native into canonical and back.
A column a vendor leaves out of its answer is left out here too (unknown, not empty).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self

from mappings.canonical import Invoice
from mappings.fields import FieldMap
from sync_worker.connectors.parts import FlowParts
from sync_worker.errors import SyncError
from sync_worker.events import Change

MAX_KEY = 255  # characters of a key or a reference: what our tables hold


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a vendor can and cannot do; the contract suite skips, and prints, by these.

    ``parts``: the tables one record is made of, main table first. Bit i of a link's parts mask stands for parts[i].
    ``stale_seconds``: how long the vendor may still answer with an older version (E7).
    """

    webhook: Literal["intacct", "standard"]
    parts: tuple[str, ...]
    child_entities: Mapping[str, str] = field(default_factory=dict)  # notice entity -> part
    batched_writes: bool = False  # several updates are one call
    idempotency_keys: bool = False
    correlation: bool = False  # a searchable column holds the other side's key
    feed_needs_ack: bool = False
    answers_with_stored: bool = False  # a write's answer shows what is stored
    stale_seconds: float = 30.0
    invoices_readable: bool = False  # else only a notice that names the customer says anything of an invoice
    has_persons: bool = False  # a contact is a person of its own, never renamed into another (E12)

    @property
    def all_parts(self) -> int:
        return (1 << len(self.parts)) - 1

    def mask(self, entity: str) -> int:
        """Which parts a notice about ``entity`` asks to look at; the main entity's own row is bit 0."""
        part = self.child_entities.get(entity)
        return 1 << self.parts.index(part) if part else 1


@dataclass(frozen=True, slots=True)
class Ask:
    """One record to read: ``parts`` limits the tables (bit mask), ``children`` are ids known from earlier reads.

    A child given as "" was absent: where not all parts are asked it may be left out, unread. One not given is unknown.
    ``alone``: no table beyond ``parts``, not even one whose row turns out to be another than the one known.
    """

    key: str
    parts: int = -1
    children: Mapping[str, str] = field(default_factory=dict)
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """A record as the vendor shows it now.

    ``native``: flat columns that were read. ``children``: part or part@type -> key of the child row that is shown
    (``person`` -> ``30``, ``phone@Business`` -> ``77``); a child known to be absent has the empty string.
    ``parts``: which tables were read (mask). ``created_at`` / ``updated_at``: vendor's clock, seconds since 1970.
    ``withheld``: parts that were looked at and show nothing by this installation's own rule, and the cause.
    ``stamps``: row, named as in ``children`` (the main table's by its part) -> the vendor's word of when it was last
    changed, "" for one known to be absent. Only compared: a row whose stamp is another has been written meanwhile.
    """

    key: str
    ref: str
    native: Mapping[str, Any]
    children: Mapping[str, str] = field(default_factory=dict)
    parts: int = -1
    created_at: float | None = None
    updated_at: float | None = None
    withheld: Mapping[str, str] = field(default_factory=dict)
    stamps: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Criteria:
    """What a record we look for would look like; anything that matches one of them is returned (OR).

    ``correlation``: the other side's API key, as our own column or id holds it. ``ref``: the ERP's human id.
    ``created_since`` narrows to records made since then (seconds), for open intents without a key column.
    """

    correlation: str | None = None
    ref: str | None = None
    name: str | None = None
    email: str | None = None
    tax_number: str | None = None
    created_since: float | None = None


@dataclass(frozen=True, slots=True)
class Write:
    """One record to write. ``key`` None creates. ``columns``: only what changes (all of it, for a create).

    ``baseline``: the record as read just before. ``idempotency_key``: only on creates. ``link_id``: whose lease
    the calls are made under. ``repeated``: an earlier try may have left part of it behind (E18).
    """

    key: str | None
    columns: Mapping[str, Any]
    baseline: Record | None = None
    idempotency_key: str | None = None
    new_person: bool = False  # E12: the contact becomes another person: find or add, then make it primary
    link_id: int = 0
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one write. ``stored``: native columns as the vendor says it stored them (subset; may be empty).

    ``children``: child ids created or switched by this write. ``error`` set = not (fully) applied; a create whose
    record exists but whose children failed has both ``key`` and ``error``.
    """

    key: str | None = None
    ref: str = ""
    stored: Mapping[str, Any] = field(default_factory=dict)
    children: Mapping[str, str] = field(default_factory=dict)
    error: SyncError | None = None


@dataclass(frozen=True, slots=True)
class FeedRow:
    """A change and, where the feed carries it, the (partial) record to compare with the past, or the invoice."""

    change: Change
    record: Record | None = None
    invoice: Invoice | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a feed. ``watermark`` is stored with the rows; ``ack`` is handed to ``acknowledge`` after that.

    ``shown``: how many records the vendor showed for it, as ``count`` counts them (deleted ones too, where a vendor
    lists those); None = as many as there are rows.
    """

    rows: Sequence[FeedRow]
    watermark: str | None = None
    ack: str | None = None
    shown: int | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """One line of ``doctor``: what was checked, whether it is well, and the fix when it is not."""

    name: str
    ok: bool
    detail: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Manager:
    """An account manager in a system's directory. ``key``: the value that stands in the customer's manager field."""

    key: str
    ref: str
    name: str
    email: str | None
    active: bool


class Connector(Protocol):
    """A vendor. All methods may raise ``SyncError``; none retries longer than its call's total deadline (15 s)."""

    system: str
    capabilities: Capabilities
    maps: Mapping[str, FieldMap]

    def for_flow(self, flow: FlowParts) -> Self:
        """The same connection as one flow sees it: its own map, its own ERP company, its own ids for new customers."""

    def check(self) -> list[Check]:
        """Credentials, permissions, configured columns: one line each, no writes."""

    def read_many(self, entity: str, asks: Sequence[Ask]) -> dict[str, Record | None]:
        """Read records as they are now, in the vendor's batches; None = the vendor says there is none."""

    def find_many(self, entity: str, criteria: Sequence[Criteria]) -> list[list[Record]]:
        """For each criteria the records that match any of its parts (at most 20)."""

    def correlation_columns(self, key: str, ref: str) -> dict[str, Any]:
        """Native columns by which a record of this system names its partner; empty where it cannot."""

    def correlated_key(self, record: Record) -> str | None:
        """The partner's API key that this record names in those columns, if it names one."""

    def write_many(self, entity: str, writes: Sequence[Write]) -> list[Outcome]:
        """Perform writes, one outcome each, in order. Updates may go as one batch; creates go singly."""

    def changes(self, entity: str, watermark: str | None) -> Iterator[Page]:
        """The vendor's time-stamp feed since ``watermark`` (overlapping, never strict); None = from now on.

        The feed of invoices begins with the drafts that stand.
        """

    def queue_events(self) -> Iterator[Page]:
        """The vendor's event queue, where it has one: pages that must be acknowledged once persisted."""

    def acknowledge(self, ack: str) -> None:
        """Tell the vendor that a page of its event queue is safely stored."""

    def sweep(self, entity: str, after: str | None = None) -> Iterator[Page]:
        """Every record's content in key order, for what carries no time stamp; ``watermark`` = last key.

        Keys order as numbers do. Pages are cut by key, so what moves meanwhile shifts none of them.
        """

    def count(self, entity: str, after: str | None = None) -> int | None:
        """How many records a sweep from behind ``after`` would show, as the vendor counts; None: it does not say."""

    def resolve_parts(self, entity: str, keys: Sequence[str]) -> dict[str, list[str]]:
        """Child keys -> keys of the customers that show them (empty list: nobody's)."""

    def read_invoices(self, keys: Sequence[str]) -> dict[str, Invoice | None]:
        """Invoices as they are now; None = the vendor says there is none. Asked only where they are readable."""

    def list_managers(self) -> list[Manager]:
        """The directory of account managers."""

    def verify_hook(self, headers: Mapping[str, str], body: bytes, now: float) -> list[Change]:
        """Verify a notice's signature on the raw bytes and read it. Raises ``HookRefused``; ``headers`` lower-case."""

    def close(self) -> None:
        """Give sockets back."""


class HookRefused(Exception):
    """A webhook that is not accepted; ``status`` is the HTTP answer (401 or 400)."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
