"""What lay in a vendor's event queue before a flow was switched on (E7).

An event says nothing of when it happened. Until a queue has been emptied once after the switch-on, each record that
an event names is read, and its own stamp counts, as in a feed row: what a link holds differently is an edit however
old its stamp, and what nobody is linked with is news only if it was stamped after the switch-on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from sync_worker.connectors.base import Ask, Connector, FeedRow, Record
from sync_worker.events import Change


def as_feed_rows(connector: Connector, entity: str, rows: Sequence[FeedRow]) -> list[FeedRow]:
    """Events as rows of a feed: those of ``entity`` and of its children carry the record; others stay as they are.

    Raises SyncError when the vendor cannot be asked: then nothing of them may be acknowledged.
    """
    children = connector.capabilities.child_entities
    told = [row.change for row in rows if row.change.entity in (entity, *children)]
    changes = [change for change in told if change.entity == entity]
    changes += _of_owners(connector, entity, [change for change in told if change.entity != entity])
    keys = list(dict.fromkeys(change.key for change in changes))
    records = connector.read_many(entity, [Ask(key) for key in keys]) if keys else {}
    others = [row for row in rows if row.change.entity not in (entity, *children)]
    return [*others, *(_row(change, records.get(change.key)) for change in changes)]


def _of_owners(connector: Connector, entity: str, told: Sequence[Change]) -> Iterator[Change]:
    """Changes of the records that show these children now; a child of nobody's is nobody's news."""
    for child in sorted({change.entity for change in told}):
        keys = sorted({change.key for change in told if change.entity == child})
        owners = {owner for found in connector.resolve_parts(child, keys).values() for owner in found}
        for owner in sorted(owners):
            yield Change(connector.system, entity, owner, "updated", "poll")


def _row(change: Change, record: Record | None) -> FeedRow:
    if record is None:
        return FeedRow(replace(change, op="deleted"))  # news only of a record that somebody is linked with
    return FeedRow(replace(change, at=record.updated_at), record)
