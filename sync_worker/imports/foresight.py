"""What an import would do: the same selection, the same comparison, the same passes, with writes refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import select

from sync_worker.connectors.base import Record
from sync_worker.engine import comparing
from sync_worker.engine.flow import Flow
from sync_worker.engine.preview import Foreseen, foresee
from sync_worker.engine.rule import Rule
from sync_worker.imports.selection import Selection
from sync_worker.store.rows import LinkRow, from_mapping, load_opens
from sync_worker.store.session import Database
from sync_worker.store.tables import link


def preview(db: Database, flow: Flow, rule: Rule, selection: Selection) -> Iterator[Foreseen]:
    """One verdict per customer, page by page. Raises SyncError when a vendor cannot be asked."""
    for page in flow.connectors["erp"].sweep(flow.entity, None):
        records = [row.record for row in page.rows if row.record is not None and selection.takes(row.record)]
        rows, still = _rows(db, flow, records)
        yield from (Foreseen(row) for row in still)
        yield from foresee(db, flow, rule, rows)


def _rows(db: Database, flow: Flow, records: Sequence[Record]) -> tuple[list[LinkRow], list[LinkRow]]:
    """Rows as an import would make them due, and those that an import leaves as they are."""
    c = link.c
    keys = [record.key for record in records]
    with db.read() as conn:
        now = db.now(conn)
        wanted = select(link).where(c.flow == flow.name, c.entity == flow.entity, c.erp_key.in_(keys))
        known = {row["erp_key"]: from_mapping(row) for row in conn.execute(wanted).mappings()}
        load_opens(conn, list(known.values()))
        held = comparing.known_in(conn, flow, "erp", keys)
    due: list[LinkRow] = []
    still: list[LinkRow] = []
    for number, record in enumerate(records, 1):
        row = known.get(record.key)
        if row is None:
            row = LinkRow(-number, flow.name, flow.entity, erp_key=record.key, erp_ref=record.ref, created_at=now)
        elif row.linked and row.state == "in_sync" and not comparing.moved(flow, "erp", record, held[record.key]):
            still.append(row)
            continue
        row.erp_dirty += 1
        row.erp_parts = -1
        row.may_create = row.may_create if row.linked else "import"
        due.append(row)
    return due, still
