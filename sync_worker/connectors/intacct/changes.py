"""What changed: the time-stamp feed, the event queue, the sweep, and whose a contact is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import structlog

from sync_worker.connectors.base import MAX_KEY, FeedRow, Manager, Page
from sync_worker.connectors.bounds import bounded, check_page
from sync_worker.connectors.http import Answer
from sync_worker.connectors.intacct import feeds
from sync_worker.connectors.intacct.feeds import stamp_in
from sync_worker.connectors.intacct.hooks import make_change, read_context, read_payload
from sync_worker.connectors.intacct.query import (
    CONTACT_KEY,
    CREATED,
    CUSTOMER,
    EMPLOYEE,
    Columns,
    Filter,
    QueryService,
    Row,
    record_of,
    seconds_of,
)
from sync_worker.errors import SystemUnavailable
from sync_worker.events import Change, Op, Via

log = structlog.get_logger(__name__)

EMPLOYEE_COLUMNS = (
    "key",
    "id",
    "name",
    "status",
    "primaryContact.firstName",
    "primaryContact.lastName",
    "primaryContact.email1",
)


def feed(
    system: str, queries: QueryService, columns: Columns, watermark: str | None, *, now: float, overlap: float
) -> Iterator[Page]:
    """Customers changed since ``watermark`` less ``overlap`` seconds; None starts now, with no rows."""
    customers = feeds.Feed("feed customer", CUSTOMER, columns, lambda rows: _feed_rows(system, rows, columns, "poll"))
    return feeds.follow(customers, queries, watermark, now=now, overlap=overlap)


def sweep(system: str, queries: QueryService, columns: Columns, after: str | None) -> Iterator[Page]:
    """Every customer's content in key order; contacts have no time stamp of their own (documented)."""
    behind = ("", after) if after else None
    for rows in queries.scan("sweep customer", CUSTOMER, columns, after=behind):
        yield Page(_feed_rows(system, rows, columns, "reconcile"), watermark=str(rows[-1]["key"]))


def count(queries: QueryService, after: str | None) -> int | None:
    """How many customers there are behind a key, as the vendor counts them (documented: totalCount)."""
    behind: list[Filter] = [{"$gt": {"key": after}}] if after else []
    return queries.page("count customer", CUSTOMER, Columns(("key",)), behind, size=1).total


def owners_of_contacts(queries: QueryService, keys: Sequence[str], batch: int) -> dict[str, list[str]]:
    """Which customers show these contacts: the link is on the customer's side only (documented)."""
    owners: dict[str, list[str]] = {key: [] for key in keys}
    columns = Columns(("key", CONTACT_KEY))
    for start in range(0, len(keys), batch):
        asked: list[Filter] = [{"$in": {CONTACT_KEY: list(keys[start : start + batch])}}]
        pages = queries.scan("owners of contact", CUSTOMER, columns, asked)
        for row in bounded(row for rows in pages for row in rows):
            if str(row.get(CONTACT_KEY)) in owners:
                owners[str(row.get(CONTACT_KEY))].append(str(row["key"]))
    return owners


def employees(queries: QueryService) -> Iterator[Manager]:
    """The directory of account managers. Their key is the employee id, which is what customers refer to."""
    columns = Columns(EMPLOYEE_COLUMNS)
    for rows in queries.scan("list employee", EMPLOYEE, columns):
        for row in rows:
            ref = str(row.get("id") or "")
            person = " ".join(str(row.get(f"primaryContact.{n}") or "") for n in ("firstName", "lastName")).strip()
            name = person or str(row.get("name") or ref)
            email = str(row.get("primaryContact.email1") or "") or None
            if 0 < len(ref) <= MAX_KEY:
                yield Manager(ref, ref, name, email, str(row.get("status") or "active") == "active")


def read_events(system: str, answer: Answer) -> tuple[list[FeedRow], str | None]:
    """The events of one listing and what acknowledges them; None = the queue is empty (documented or ``[]``).

    An event that cannot be read is skipped and still acknowledged: it would come back for ever.
    """
    body = answer.json()
    result = body.get("ia::result") if isinstance(body, dict) else None
    if isinstance(result, list):
        return [], None
    if not isinstance(result, Mapping):
        raise SystemUnavailable("the event list is not readable", system=system, status=answer.status)
    events, ack = result.get("events"), result.get("ackId")
    if not isinstance(events, list) or not events or not isinstance(ack, str) or not ack:
        return [], None
    check_page(events)
    rows = []
    for event in events:
        event_id = str(event.get("eventId") or "") if isinstance(event, Mapping) else ""
        change = _event_change(system, event, event_id) if isinstance(event, Mapping) else None
        if change is None:
            log.warning("intacct.event_skipped", system=system, event_id=event_id[:64])
        else:
            rows.append(FeedRow(change))
    return rows, ack


def _event_change(system: str, event: Mapping[str, Any], event_id: str) -> Change | None:
    text = event.get("clientContext")
    context = read_context(text if isinstance(text, str) else "")
    payload = read_payload(event.get("payload"))
    if payload is None and not context:
        return None
    change = make_change(system, payload or {}, context, event_id[:200], None, "poll")
    return change if change and change.key else None


def _feed_rows(system: str, rows: Sequence[Row], columns: Columns, via: Via) -> list[FeedRow]:
    asked = columns.current()
    return [FeedRow(_row_change(system, row, via), record_of(row, asked)) for row in rows]


def _row_change(system: str, row: Row, via: Via) -> Change:
    stamp = stamp_in(row)
    op: Op = "created" if stamp == row.get(CREATED) else "updated"
    return Change(system, "customer", str(row["key"]), op, via, None, seconds_of(stamp))
