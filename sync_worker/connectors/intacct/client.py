"""Sage Intacct behind the connector port: REST API v1, customers with their default contact.

What the vendor documents and what we assume stands beside the code that relies on it: ``errors``, ``auth``, ``query``,
``writes``, ``changes``, ``hooks``.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from mappings import intacct as mapping
from mappings.canonical import Invoice
from mappings.fields import FieldMap
from sync_worker.connectors.base import Ask, Capabilities, Check, Criteria, Manager, Outcome, Page, Record, Write
from sync_worker.connectors.bounds import bounded
from sync_worker.connectors.http import Answer, Breaker, CallSeen, Limiter, LocalLimiter, Transport, VendorHttp
from sync_worker.connectors.intacct import changes, checks, hooks, invoices
from sync_worker.connectors.intacct.auth import TokenSource, TokenStore, classify_token, identity, mint_with
from sync_worker.connectors.intacct.errors import TokenRejected, classify
from sync_worker.connectors.intacct.finding import find_customers
from sync_worker.connectors.intacct.query import CUSTOMER, OWN_FIELDS, Columns, QueryService, record_of
from sync_worker.connectors.intacct.writes import Writer
from sync_worker.connectors.parts import FlowParts
from sync_worker.events import INVOICE, Change

FULL_LOOK = 30.0  # seconds between two looks at the whole overlap, for feeds that are polled more often
SHORT_LOOK = 2.0  # seconds that every poll looks back
READ_BATCH = 200
WRITE_BATCH = 100


@dataclass(frozen=True, slots=True)
class IntacctSettings:
    """One ``[systems.NAME]`` with ``connector = "intacct"``.

    ``username``: user@company or user@company|entity. ``entity``: sent as X-IA-API-Param-Entity when set.
    ``new_customer_id``: the id of customers we create, with ``{crm_key}``; "" leaves the numbering to Intacct, and then
    an open create can only be found by name. ``overlap_seconds``: how far each poll looks back behind its watermark.
    ``invoices``: a flow waits for invoices, so the user must be allowed to see them.
    """

    base_url: str
    client_id: str
    client_secret: str
    username: str
    entity: str = ""
    company: str = ""
    stale_seconds: float = 30.0
    concurrency: int = 4
    new_customer_id: str = ""
    event_queue: bool = True
    overlap_seconds: float = 120.0
    invoices: bool = False

    def __repr__(self) -> str:
        return f"IntacctSettings(base_url={self.base_url!r}, username={self.username!r})"


class IntacctConnector:
    """``connectors.base.Connector`` over Intacct. Thread-safe; made once per process."""

    def __init__(
        self,
        system: str,
        settings: IntacctSettings,
        *,
        maps: Mapping[str, FieldMap],
        tokens: TokenStore,
        limiter: Limiter | None = None,
        breaker: Breaker | None = None,
        transport: Transport | None = None,
        observe: Callable[[CallSeen], None] | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.system = system
        self.settings = settings
        self.maps = maps
        self.capabilities = Capabilities(
            webhook="intacct",
            parts=("customer",),
            child_entities={"contact": "customer"},
            batched_writes=True,
            idempotency_keys=True,
            feed_needs_ack=settings.event_queue,
            invoices_readable=True,
            stale_seconds=settings.stale_seconds,
        )
        self._clock = clock
        self._looked_back_at: dict[str, float] = {}
        self._numbers_by(settings.new_customer_id)
        limiter, breaker = limiter or LocalLimiter(), breaker or Breaker()

        seam = partial(
            VendorHttp,
            system,
            settings.base_url,
            limiter=limiter,
            concurrency=settings.concurrency,
            breaker=breaker,
            transport=transport,
            observe=observe,
            sleep=sleep,
        )

        self._anonymous = seam(classify=classify_token)
        mint = mint_with(self._anonymous, settings.client_id, settings.client_secret, settings.username)
        name = identity(settings.base_url, settings.client_id, settings.username)
        self._tokens = TokenSource(name, tokens, mint, clock)
        self.http = seam(classify=classify, prepare=self._prepare)
        columns = dict.fromkeys((*OWN_FIELDS, *(maps["customer"].columns if "customer" in maps else ())))
        self._columns = Columns(tuple(columns))
        self._queries = QueryService(system, self._call)
        self._writer = Writer(self._call, self._look, batch=WRITE_BATCH)

    def for_flow(self, flow: FlowParts) -> IntacctConnector:
        """The same company with the flow's own map and ids; connection, token and learnt columns are shared."""
        view = copy(self)
        view.maps = {"customer": mapping.customer_map(flow.map_settings)}
        view._numbers_by(flow.new_customer_id)
        return view

    def _numbers_by(self, template: str) -> None:
        """New customers get ids of this form, and only such ids name a CRM record."""
        self.settings = replace(self.settings, new_customer_id=template)
        self._own_id = _pattern(template)
        self.capabilities = replace(self.capabilities, correlation=self._own_id is not None)

    def close(self) -> None:
        self.http.close()
        self._anonymous.close()

    def check(self) -> list[Check]:
        """Credentials, permissions, configured columns, event queue, correlation; no writes."""
        doctor = checks.Doctor(
            self.system, self._tokens.value, self._call, self._queries, self._columns, self.settings.entity
        )
        return [
            *doctor.run(event_queue=self.settings.event_queue, invoices=self.settings.invoices),
            checks.correlation(self.settings.new_customer_id, correlates=self.capabilities.correlation),
        ]

    def read_many(self, entity: str, asks: Sequence[Ask]) -> dict[str, Record | None]:
        """One query per 200 keys; a key that does not come back is not there."""
        found: dict[str, Record | None] = dict.fromkeys(ask.key for ask in asks)
        keys = [key for key in found if key.isascii() and key.isdigit()]  # documented: keys are digits
        for start in range(0, len(keys), READ_BATCH):
            asked = keys[start : start + READ_BATCH]
            page = self._queries.page(
                "read customer", CUSTOMER, self._columns, [{"$in": {"key": asked}}], size=READ_BATCH
            )
            columns, apart = self._columns.current(), self._writer.contact_apart
            found.update((str(row["key"]), record_of(row, columns, contact_apart=apart)) for row in page.rows)
        return found

    def find_many(self, entity: str, criteria: Sequence[Criteria]) -> list[list[Record]]:
        """Candidates by id, name, e-mail or tax number (none of them case-sensitive), at most 20 each."""
        tax = self.maps[entity].fields.get("tax_number")
        return find_customers(
            self._queries, self._columns, criteria, self._correlated_id, tax.columns[0] if tax else ""
        )

    def correlation_columns(self, key: str, ref: str) -> dict[str, Any]:
        """The id a customer made for this CRM record gets."""
        found = self._correlated_id(key)
        return {"id": found} if found else {}

    def correlated_key(self, record: Record) -> str | None:
        """The CRM key in a customer id that we gave."""
        match = self._own_id.fullmatch(record.ref) if self._own_id else None
        return match[1] if match else None

    def write_many(self, entity: str, writes: Sequence[Write]) -> list[Outcome]:
        """Updates in batch PATCHes of 100, creates singly with their idempotency key."""
        return self._writer.write_many(writes, self._columns.missing)

    def changes(self, entity: str, watermark: str | None) -> Iterator[Page]:
        """Customers or invoices by modified time, behind the watermark by the overlap (by less, if done just now)."""
        now = self._clock()
        short = watermark is not None and 0 <= now - self._looked_back_at.get(entity, -FULL_LOOK) < FULL_LOOK
        overlap = SHORT_LOOK if short else self.settings.overlap_seconds
        if entity == INVOICE:
            yield from invoices.changes(self.system, self._queries, watermark, now=now, overlap=overlap)
        else:
            yield from changes.feed(self.system, self._queries, self._columns, watermark, now=now, overlap=overlap)
        if watermark is not None and not short:
            self._looked_back_at[entity] = now

    def queue_events(self) -> Iterator[Page]:
        """The trigger event queue, page by page until it is empty. Documented: a listing returns the same events until
        it is acknowledged, so a page that was not acknowledged ends this."""
        seen = None
        while self.settings.event_queue:
            answer = self._call("list events", "GET", "services/delivery/event/list")
            rows, ack = changes.read_events(self.system, answer)
            if ack is None or ack == seen:
                return
            yield Page(rows, ack=ack)
            seen = ack

    def acknowledge(self, ack: str) -> None:
        """Take a page off the queue. Our assumption: the body is the ackId; it changes no record, so it is no write."""
        self._call("acknowledge events", "POST", "services/delivery/event/ack", json={"ackId": ack})

    def sweep(self, entity: str, after: str | None = None) -> Iterator[Page]:
        """All customers in key order, with all mapped columns."""
        return changes.sweep(self.system, self._queries, self._columns, after)

    def count(self, entity: str, after: str | None = None) -> int | None:
        """Customers behind a key, as Intacct counts them."""
        return changes.count(self._queries, after)

    def resolve_parts(self, entity: str, keys: Sequence[str]) -> dict[str, list[str]]:
        """Contact keys -> customers whose default contact they are."""
        if entity != "contact":
            return {key: [] for key in keys}
        return changes.owners_of_contacts(self._queries, keys, READ_BATCH)

    def read_invoices(self, keys: Sequence[str]) -> dict[str, Invoice | None]:
        """Invoices as they are now, one query per 200 keys."""
        return invoices.read(self._queries, keys, READ_BATCH)

    def list_managers(self) -> list[Manager]:
        """Employees; their key is the employee id, as written in ``salesRepresentative.id``."""
        return list(bounded(changes.employees(self._queries)))

    def verify_hook(self, headers: Mapping[str, str], body: bytes, now: float) -> list[Change]:
        """A signed trigger notice (``hooks``). Raises HookRefused."""
        issued = hooks.verify(headers, body, now, self.settings.client_secret)
        return hooks.read_notice(self.system, headers, body, issued)

    def _call(self, operation: str, method: str, path: str, **more: Any) -> Answer:
        """A call with one new token when the one sent is rejected. A rejected call was not applied, so it is safe."""
        try:
            return self.http.call(operation, method, path, **more)
        except TokenRejected:
            self._tokens.renew()
            return self.http.call(operation, method, path, **more)

    def _prepare(self, headers: dict[str, str]) -> None:
        headers["Authorization"] = f"Bearer {self._tokens.value()}"
        if self.settings.entity:
            headers["X-IA-API-Param-Entity"] = self.settings.entity

    def _look(self, key: str) -> Record | None:
        return self.read_many("customer", [Ask(key)])[key]

    def _correlated_id(self, crm_key: str) -> str | None:
        return self.settings.new_customer_id.replace("{crm_key}", crm_key) if self.capabilities.correlation else None


def _pattern(template: str) -> re.Pattern[str] | None:
    if "{crm_key}" not in template:
        return None
    before, _, behind = template.partition("{crm_key}")
    return re.compile(f"{re.escape(before)}(.+){re.escape(behind)}")
