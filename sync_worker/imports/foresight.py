"""What an import would do: the same selection, the same comparison, the same passes, with writes refused."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import select

from sync_worker.engine.flow import Flow
from sync_worker.engine.preview import Foreseen, Taken, foresee
from sync_worker.engine.rule import Rule
from sync_worker.imports.selection import Selection
from sync_worker.imports.sorting import Sorted, pages
from sync_worker.store.rows import LinkRow, rows_of
from sync_worker.store.session import Database
from sync_worker.store.tables import link

CHUNK = 100  # customers foreseen at a time: read, decided and told before the next


def preview(db: Database, flow: Flow, rule: Rule, selection: Selection) -> Iterator[Foreseen]:
    """One verdict per customer, page by page. Raises SyncError when a vendor cannot be asked."""
    taken = Taken()
    for page in pages(db, flow, selection):
        rows, still = _rows(db, flow, page)
        yield from (Foreseen(row, "waiting" if row.state == "conflict" else "unchanged") for row in still)
        for start in range(0, len(rows), CHUNK):
            yield from foresee(db, flow, rule, rows[start : start + CHUNK], taken)


def _rows(db: Database, flow: Flow, page: Sorted) -> tuple[list[LinkRow], list[LinkRow]]:
    """Rows as an import would make them due, and those that an import leaves as they are."""
    keys = page.keys + [record.key for record, _ in page.still]
    c = link.c
    with db.read() as conn:
        now = db.now(conn)
        wanted = select(link).where(c.flow == flow.name, c.entity == flow.entity, c.erp_key.in_(keys))
        known = {str(row.erp_key): row for row in rows_of(conn, wanted)}
    due: list[LinkRow] = []
    for number, (record, _) in enumerate(page.asked, 1):
        row = known.get(record.key)
        if row is None:
            row = LinkRow(-number, flow.name, flow.entity, erp_key=record.key, erp_ref=record.ref, created_at=now)
        row.erp_dirty += 1
        row.erp_parts = -1
        row.may_create = row.may_create if row.linked else "import"
        due.append(row)
    return due, [known[record.key] for record, _ in page.still if record.key in known]
