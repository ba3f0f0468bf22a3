"""The pings a table-level script sends: one event per write, signed as Standard Webhooks.

Sage CRM has no webhooks of its own (none documented); a script posts to the configured address. API writes run it too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from sync_worker.connectors.sage_crm.emulator.database import Written
from sync_worker.connectors.sage_crm.emulator.schema import TableSpec

_OPS = {"create": "created", "update": "updated", "delete": "deleted"}


def events_of(written: Iterable[Written], specs: Mapping[str, TableSpec], stamp: str) -> Iterator[dict[str, str]]:
    """The events of some writes; an insert into a phone or e-mail link announces that phone or e-mail as created."""
    for write in written:
        spec = specs[write.table]
        if spec.notice is not None:
            yield {"entity": spec.notice, "key": str(write.key), "op": _OPS[write.op], "at": stamp}
        elif spec.link_notice is not None and write.op == "create":
            entity, column = spec.link_notice
            yield {"entity": entity, "key": str(write.after[column]), "op": "created", "at": stamp}
