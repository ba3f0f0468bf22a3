"""What a row of ``link`` is in memory, and what of a process's memory is looked through for garbage."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from typing import Any

import pytest

from mappings.memory import Memory
from sync_worker.processes import YOUNG_OBJECTS
from sync_worker.store.rows import LinkRow, from_row
from sync_worker.store.session import Dumped, dumps
from sync_worker.store.tables import link

NOT_STORED = ["opens", "state_before"]


def test_a_link_row_has_the_columns_of_its_table_in_their_order() -> None:
    names = [one.name for one in fields(LinkRow)]
    assert names == [column.key for column in link.columns] + NOT_STORED


def test_a_link_row_remembers_the_state_it_was_read_in() -> None:
    values = {**dict.fromkeys(column.key for column in link.columns), "id": 7, "state": "waiting"}
    row = from_row(tuple(values.values()))
    assert (row.id, row.state, row.state_before, row.opens) == (7, "waiting", "waiting", {})
    row.state = "in_sync"
    assert row.state_before == "waiting"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ({"name": "Müller & Söhne", "fax": None}, '{"name":"Müller & Söhne","fax":null}'),
        ([["erp", 1, True]], '[["erp",1,true]]'),
        (Dumped('{"a": 1}'), '{"a": 1}'),
    ],
)
def test_json_columns_hold_compact_text_as_typed_and_what_was_written_down_stays(value: object, written: str) -> None:
    assert dumps(value) == written


def test_a_memory_reads_what_it_knows_and_dumps_nothing_that_is_empty() -> None:
    stored: dict[str, Any] = {
        "wrote": {"erp": {"name": {"old": "a", "sure": True}}},
        "take": {},
        "tried": None,
        "of_old": {"x": 1},
    }
    memory = Memory.load(stored)
    assert memory.dump() == {"wrote": stored["wrote"]}
    memory.wrote["erp"]["fax"] = {"old": None, "sure": False}
    assert "fax" not in stored["wrote"]["erp"], "what was given is never changed"
    assert Memory.load(None).dump() is None and Memory(take={"name": None}).dump() is None


@pytest.mark.parametrize("in_batches", [True, False])
def test_a_process_that_has_settled_looks_for_garbage_among_what_came_since_less_often_where_it_works_in_batches(
    in_batches: bool,
) -> None:
    said = f"""
import gc
from sync_worker.processes import settled
before = gc.get_threshold()[0]
settled(in_batches={in_batches})
print(before, gc.get_threshold()[0], gc.get_freeze_count() > 1000)
"""
    told = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True).stdout
    before, now, frozen = told.split()
    assert now == (str(YOUNG_OBJECTS) if in_batches else before) and frozen == "True"
    assert int(before) < YOUNG_OBJECTS
