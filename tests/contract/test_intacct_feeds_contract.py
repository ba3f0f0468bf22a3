"""What is Intacct's own in following changes: keyset pages, the event queue, webhooks."""

from __future__ import annotations

from typing import Any

import pytest
from suite import Case, fault, lowered

from sync_worker.connectors.base import Ask, Write
from sync_worker.connectors.emulation import EmulatorServer
from sync_worker.connectors.intacct import query
from sync_worker.connectors.intacct.emulator import IntacctEmulator

ONLY = ["intacct"]
CUSTOMERS = "accounts-receivable/customer"


# --- feeds ------------------------------------------------------------------------------------------------------------


def test_a_feed_of_many_rows_of_one_second_brings_each_once_per_scan(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query, "PAGE", 10)
    watermark = list(case.connector.changes("customer", None))[-1].watermark
    keys = case.emulator.seed({"customers": 35})["keys"]
    pages = list(case.connector.changes("customer", watermark))
    assert [row.change.key for page in pages for row in page.rows] == keys
    assert max(len(page.rows) for page in pages) == 10


def test_rows_that_move_while_the_feed_is_paged_are_not_missed(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query, "PAGE", 10)
    watermark = list(case.connector.changes("customer", None))[-1].watermark
    keys = case.emulator.seed({"customers": 25})["keys"]
    seen: list[str] = []
    for page in case.connector.changes("customer", watermark):
        seen += [row.change.key for row in page.rows]
        case.clock.advance(1)
        if len(seen) == 10:
            case.person_renames(keys[3], "Moved")
            case.person_renames(keys[24], "Moved")
    assert set(seen) == set(keys)


def test_a_record_without_a_modified_time_is_judged_by_when_it_was_created(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    watermark = list(case.connector.changes("customer", None))[-1].watermark
    key, old = case.make(), case.make(name="Old")
    rows = case.emulator._company.tables[CUSTOMERS].rows
    rows[key] = {**rows[key], "audit.modifiedDateTime": None}
    rows[old] = {**rows[old], "audit.modifiedDateTime": None, "audit.createdDateTime": "2020-01-01T00:00:00Z"}
    for page_size in (1000, 1):
        monkeypatch.setattr(query, "PAGE", page_size)
        found = [row.change for page in case.connector.changes("customer", watermark) for row in page.rows]
        assert [change.key for change in found] == [key]
        assert found[0].at == pytest.approx(case.clock(), abs=2)


def test_a_bulk_load_is_not_read_for_ever(case: Case) -> None:
    watermark = list(case.connector.changes("customer", None))[-1].watermark
    case.emulator.seed({"customers": 30})
    seen = []
    for _ in range(10):
        case.clock.advance(60)
        (page,) = case.connector.changes("customer", watermark)
        watermark = page.watermark
        seen.append(len(page.rows))
    assert (seen[0], seen[-1]) == (30, 0)


def test_frequent_polls_look_at_the_whole_overlap_only_now_and_then(case: Case) -> None:
    watermark = list(case.connector.changes("customer", None))[-1].watermark
    case.emulator.seed({"customers": 30})
    case.clock.advance(10)
    late = case.make(name="Late")
    seen = []
    for _ in range(40):
        (page,) = case.connector.changes("customer", watermark)
        watermark = page.watermark
        seen.append(len(page.rows))
        assert late in [row.change.key for row in page.rows]
        case.clock.advance(1)
    assert (seen[0], seen[1], seen[29], seen[30]) == (31, 1, 1, 31)


def test_a_quiet_poll_is_one_call(case: Case) -> None:
    case.make()
    watermark = list(case.connector.changes("customer", None))[-1].watermark
    case.emulator.reset_stats()
    list(case.connector.changes("customer", watermark))
    assert case.emulator.stats()["calls"] == {"query customer": 1}


def test_records_private_to_an_entity_are_read_and_fed(case: Case) -> None:
    emulator = IntacctEmulator(seed=1, clock=case.clock, entities=("UK",))
    with EmulatorServer(emulator) as base:
        inside = case.connect(base_url=f"{base}/ia/api/v1", entity="UK")
        top = case.connect(base_url=f"{base}/ia/api/v1")
        (made,) = inside.write_many("customer", [Write(None, {"id": "P-1", "name": "Private"}, idempotency_key="p")])
        assert made.key is not None
        assert top.read_many("customer", [Ask(made.key)])[made.key] is not None
        assert made.key in [row.change.key for page in top.sweep("customer") for row in page.rows]


def test_a_sweep_goes_through_all_pages(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query, "PAGE", 4)
    keys = case.emulator.seed({"customers": 13})["keys"]
    pages = list(case.connector.sweep("customer"))
    assert [row.change.key for page in pages for row in page.rows] == keys
    assert [page.watermark for page in pages][:3] == [keys[3], keys[7], keys[11]]


# --- triggers ---------------------------------------------------------------------------------------------------------


def test_the_queue_is_emptied_batch_by_batch(case: Case) -> None:
    keys = [case.make(name=f"Q {n}") for n in range(7)]
    seen: list[str] = []
    with fault(case, queue_batch=3):
        for page in case.connector.queue_events():
            seen += [row.change.key for row in page.rows if row.change.entity == "customer"]
            case.connector.acknowledge(page.ack or "")
    assert seen == keys


def test_a_broken_context_does_not_spoil_the_queue(case: Case) -> None:
    key = case.make()
    with fault(case, hook_context="broken"):
        (page,) = list(case.connector.queue_events())
    assert [row.change.key for row in page.rows if row.change.entity == "customer"] == [key]


def test_without_the_event_queue_it_is_not_asked(case: Case) -> None:
    case.make()
    silent = case.connect(event_queue=False)
    case.emulator.reset_stats()
    assert list(silent.queue_events()) == []
    assert case.emulator.stats()["calls"] == {}
    assert not silent.capabilities.feed_needs_ack


@pytest.mark.parametrize(
    "switches",
    [
        {"hook_form": "envelope"},
        {"hook_exp_in_ms": False},
        {"hook_context": "broken"},
        {"trigger_template": ["key", "id"]},
    ],
)
def test_every_form_of_the_vendors_webhook_is_read(case: Case, switches: dict[str, Any]) -> None:
    key = case.make()
    with fault(case, **switches):
        (notice,) = case.notices(lambda: case.person_renames(key, "Said"))
        (change,) = case.connector.verify_hook(lowered(notice.headers), notice.body, case.clock())
    assert (change.entity, change.key, change.op) == ("customer", key, "updated")
    assert change.notice_id == notice.headers["Idempotency-Key"]
