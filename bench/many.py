"""Up to a million linked customers at rest, put straight into a SQLite file by SQL, about 40,000 a second."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from pathlib import Path

from sync_worker.connectors.base import Ask
from sync_worker.engine.flow import Flow
from sync_worker.events import SIDES

FIRST = 1_000_001  # of seven digits like all that follow, so that one customer is the pattern of all
_MARK = str(FIRST)
_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT :first UNION ALL SELECT i + 1 FROM n WHERE i < :last)"
_ROWS = {
    "link": {
        "id": "i - :first + 1", "flow": ":flow", "entity": ":entity", "erp_key": "i", "erp_ref": "'C-' || i",
        "crm_key": "i", "crm_ref": "i", "erp_was": "replace(:erp_was, :mark, i)",
        "crm_was": "replace(:crm_was, :mark, i)", "erp_children": "replace(:erp_children, :mark, i)",
        "crm_children": "replace(:crm_children, :mark, i)", "state": "'in_sync'", "created_at": ":at",
        "first_synced_at": ":at", "last_synced_at": ":at",
    },
    "event": {
        "system": ":crm", "entity": ":entity", "key": "i", "op": "'updated'", "via": "'webhook'",
        "notice_id": "'n-' || i", "received_at": ":at",
    },
    "journal": {"link_id": "i - :first + 1", "flow": ":flow", "at": ":at", "what": "'linked'"},
    "part": {"system": ":system", "entity": ":part", "key": "replace(:key, :mark, i)", "owner_key": "i"},
}  # fmt: skip


def _insert(table: str) -> str:
    columns = _ROWS[table]
    values = f"{_NUMBERS} SELECT {', '.join(columns.values())} FROM n"  # noqa: S608  # our own text
    return f"INSERT INTO {table} ({', '.join(columns)}) {values}"


def fill(file: Path, flow: Flow, count: int) -> None:
    """Customers into a migrated file that nobody has open, the keys alike on both sides.

    The flow's connectors are those of ``bench.instant``, where nobody has edited anything.
    """
    values = {
        "first": FIRST, "last": FIRST + count - 1, "mark": _MARK, "at": time.time() - 60,
        "flow": flow.name, "entity": flow.entity, "crm": flow.systems["crm"],
    }  # fmt: skip
    children = []
    for side in SIDES:
        record = flow.connectors[side].read_many(flow.entity, [Ask(_MARK)])[_MARK]
        assert record is not None
        values[f"{side}_was"] = json.dumps(flow.maps[side].get(record.native))
        values[f"{side}_children"] = json.dumps(dict(record.children))
        children += [
            {"system": flow.systems[side], "part": name.partition("@")[0], "key": key}
            for name, key in record.children.items()
        ]
    with contextlib.closing(sqlite3.connect(file)) as conn:
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-200000"):
            conn.execute(f"PRAGMA {pragma}")
        for table in ("link", "event", "journal"):
            conn.execute(_insert(table), values)
        for child in children:
            conn.execute(_insert("part"), values | child)
        conn.commit()
    with file.open("rb+") as filled:
        os.fsync(filled.fileno())  # or whoever commits next waits for all of it
