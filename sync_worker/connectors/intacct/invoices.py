"""Invoices of accounts receivable, as far as the sync needs them: whose they are and how far they have come.

Documented: the object, its states and that only workflows change them, ``customer`` as a reference, that invoices of
order entry appear here too. Our assumption: ``audit.*`` can be queried here as on customers (doctor asks). Not found:
whether a payment moves the modified time. Nothing says when an invoice was posted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mappings.canonical import Invoice
from mappings.intacct import invoice_state
from sync_worker.connectors.base import FeedRow, Page
from sync_worker.connectors.intacct import feeds
from sync_worker.connectors.intacct.query import CREATED, MODIFIED, Columns, Filter, QueryService, Row, seconds_of
from sync_worker.events import INVOICE, Change

TARGET = "accounts-receivable/invoice"
CUSTOMER_KEY = "customer.key"
NAMES = ("key", "state", CUSTOMER_KEY, CREATED, MODIFIED)
DRAFTS: tuple[Filter, ...] = ({"$eq": {"state": "draft"}},)


def columns() -> Columns:
    """What is asked of an invoice: all of it is needed, so a missing column is an error."""
    return Columns(NAMES, fixed=frozenset(NAMES))


def read(queries: QueryService, keys: Sequence[str], batch: int) -> dict[str, Invoice | None]:
    """Invoices as they are now; a key that does not come back is not there."""
    found: dict[str, Invoice | None] = dict.fromkeys(keys)
    wanted = [key for key in keys if key.isascii() and key.isdigit()]  # documented: keys are digits
    for start in range(0, len(wanted), batch):
        asked: Filter = {"$in": {"key": wanted[start : start + batch]}}
        page = queries.page("read invoice", TARGET, columns(), [asked], size=batch)
        found.update((str(row["key"]), invoice_of(row)) for row in page.rows)
    return found


def changes(system: str, queries: QueryService, watermark: str | None, *, now: float, overlap: float) -> Iterator[Page]:
    """Invoices changed since ``watermark`` less ``overlap`` seconds; None starts now, with the drafts that stand."""

    def rows_of(rows: Sequence[Row]) -> list[FeedRow]:
        return [_feed_row(system, row) for row in rows]

    if watermark is None:
        for rows in queries.scan("drafts invoice", TARGET, columns(), DRAFTS):
            yield Page(rows_of(rows))
    feed = feeds.Feed("feed invoice", TARGET, columns(), rows_of)
    yield from feeds.follow(feed, queries, watermark, now=now, overlap=overlap)


def invoice_of(row: Row) -> Invoice:
    """A row as the sync sees an invoice."""
    created = seconds_of(row.get(CREATED))
    customer = row.get(CUSTOMER_KEY)
    return Invoice(
        key=str(row["key"]),
        customer=str(customer) if customer not in (None, "") else None,
        state=invoice_state(row.get("state")),
        created_at=created,
        changed_at=seconds_of(row.get(MODIFIED)) or created,
    )


def _feed_row(system: str, row: Row) -> FeedRow:
    found = invoice_of(row)
    change = Change(system, INVOICE, found.key, "updated", "poll", None, found.changed_at, found.customer)
    return FeedRow(change, invoice=found)
