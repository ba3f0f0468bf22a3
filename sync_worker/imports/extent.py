"""How much an import would do at most, told from the ERP's pages and our own table alone: no CRM is asked."""

from __future__ import annotations

from sync_worker.connectors.base import Record
from sync_worker.engine import comparing
from sync_worker.engine.comparing import Known
from sync_worker.engine.flow import Flow
from sync_worker.engine.rule import Rule
from sync_worker.imports.selection import Selection
from sync_worker.imports.sorting import pages
from sync_worker.store.session import Database


def extent(db: Database, flow: Flow, rule: Rule, selection: Selection) -> tuple[int, int]:
    """Customers that may be created or changed, and fields that may be emptied. Raises SyncError.

    A customer that is not linked yet counts as one, whatever the ladder will say; a first link-up empties nothing.
    """
    changed = blanked = 0
    for page in pages(db, flow, selection):
        for record, mine in page.asked:
            if rule.takes_part(flow, "erp", record) is not None:
                continue
            changed += 1
            if mine is not None and mine.linked:
                blanked += _blanked(flow, record, mine)
    return changed, blanked


def _blanked(flow: Flow, record: Record, mine: Known) -> int:
    """Fields that have become empty and whose emptiness travels."""
    values = flow.maps["erp"].get(record.native)
    return sum(
        values.get(name) is None
        and mine.was.get(name) is not None
        and flow.policy.may_write("crm", name)
        and flow.policy.of(name).clear_on_empty
        for name in comparing.moved(flow, "erp", record, mine)
    )
