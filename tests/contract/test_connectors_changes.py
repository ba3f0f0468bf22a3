"""The contract of every connector: feeds, sweeps and notices."""

from __future__ import annotations

import pytest
from suite import NOBODY, Case, changed_keys, lowered, names, needs

from sync_worker.connectors.base import HookRefused, Page


def shown(pages: list[Page]) -> int:
    """How many records the vendor showed."""
    return sum(len(page.rows) if page.shown is None else page.shown for page in pages)


# --- changes ----------------------------------------------------------------------------------------------------------


@pytest.mark.only_reads
def test_the_first_look_at_the_feed_brings_no_rows_and_a_watermark(case: Case) -> None:
    pages = list(case.connector.changes("customer", None))
    assert [row for page in pages for row in page.rows] == []
    assert pages[-1].watermark


@pytest.mark.back_door("clock, person")
def test_the_feed_brings_what_changed_since_with_its_content_again_and_again(case: Case) -> None:
    quiet = case.make(name="Quiet")
    case.clock.advance(3 * 86_400)
    key = case.make()
    watermark = list(case.connector.changes("customer", None))[-1].watermark
    case.clock.advance(60)
    case.person_renames(key, "By Hand")
    for worker in (case.connector, case.connect()):
        rows = [row for page in worker.changes("customer", watermark) for row in page.rows]
        told = [row for row in rows if row.change.entity == "customer"]
        mine = [row for row in told if row.change.key == key]
        assert quiet not in {row.change.key for row in told}
        assert mine[0].change.at == pytest.approx(case.clock(), abs=2)
        assert mine[0].record is not None
        assert case.fmap.get(mine[0].record.native)["name"] == "By Hand"


@pytest.mark.back_door("clock, person")
def test_the_watermark_moves_on_and_still_overlaps(case: Case) -> None:
    key = case.make()
    case.clock.advance(86_400)
    first = list(case.connector.changes("customer", None))[-1].watermark
    case.clock.advance(60)
    case.person_renames(key, "One")
    second = [page.watermark for page in case.connector.changes("customer", first) if page.watermark][-1]
    assert second != first
    assert key in changed_keys(case.connect().changes("customer", second))
    case.clock.advance(86_400)
    case.person_renames(case.make(name="Later"), "Later still")
    third = [page.watermark for page in case.connector.changes("customer", second) if page.watermark][-1]
    assert key not in changed_keys(case.connect().changes("customer", third))


@pytest.mark.back_door("clock, person")
def test_a_second_edit_in_the_same_second_is_not_missed(case: Case) -> None:
    key = case.make()
    case.clock.advance(86_400)
    watermark = list(case.connector.changes("customer", None))[-1].watermark
    case.clock.advance(60)
    for name in ("First", "Second, the same second"):
        case.person_renames(key, name)
        pages = list(case.connector.changes("customer", watermark))
        watermark = [page.watermark for page in pages if page.watermark][-1]
        records = [row.record for page in pages for row in page.rows if row.record and row.change.key == key]
        assert names(records, case) == [name]


@pytest.mark.back_door("clock, person")
def test_an_edit_in_the_second_of_the_watermark_is_not_missed(case: Case) -> None:
    one, two = case.make(), case.make(name="Two")
    case.clock.advance(86_400)
    start = list(case.connector.changes("customer", None))[-1].watermark
    case.person_renames(one, "First")
    watermark = [page.watermark for page in case.connector.changes("customer", start) if page.watermark][-1]
    case.person_renames(two, "Second, the same second")
    assert two in changed_keys(case.connector.changes("customer", watermark))


@pytest.mark.back_door("clock")
def test_our_own_write_comes_back_as_a_change(case: Case) -> None:
    key = case.make()
    case.clock.advance(86_400)
    watermark = list(case.connector.changes("customer", None))[-1].watermark
    case.clock.advance(60)
    case.update(key, name="Ours")
    assert key in changed_keys(case.connector.changes("customer", watermark))


def test_the_sweep_shows_every_record_with_its_content_and_can_go_on_from_a_key(case: Case) -> None:
    keys = [case.make(name=f"Sweep {n}") for n in range(7)]
    rows = [row for page in case.connector.sweep("customer") for row in page.rows]
    assert [row.change.key for row in rows if row.change.key in keys] == keys
    record = next(row.record for row in rows if row.change.key == keys[3])
    assert record is not None
    assert case.fmap.get(record.native)["name"] == case.own("name", "Sweep 3")
    behind = changed_keys(case.connector.sweep("customer", keys[3]))
    assert [key for key in behind if key in keys] == keys[4:]


@pytest.mark.only_reads
def test_the_vendor_counts_as_many_records_as_a_sweep_shows(case: Case) -> None:
    case.there(3)
    counted = case.connector.count("customer")
    if counted is None:
        pytest.skip(f"{case.system}: it does not count")
    assert counted == shown(list(case.connector.sweep("customer")))


def test_a_count_from_a_key_on_is_of_those_behind_it(case: Case) -> None:
    keys = [case.make(name=f"Sweep {n}") for n in range(3)]
    behind = [case.connector.count("customer", key) for key in keys]
    if None in behind:
        pytest.skip(f"{case.system}: it does not count")
    pages = list(case.connector.sweep("customer", keys[2]))
    assert behind == [shown(pages) + 2, shown(pages) + 1, shown(pages)]


def test_children_are_told_whose_they_are(case: Case) -> None:
    key = case.make()
    children = case.read(key).children
    for entity in case.connector.capabilities.child_entities:
        own = next(value for name, value in children.items() if name.partition("@")[0] == entity and value)
        assert case.connector.resolve_parts(entity, [own, NOBODY]) == {own: [key], NOBODY: []}


@pytest.mark.back_door("queue of its own")
def test_the_event_queue_repeats_until_it_is_acknowledged(case: Case) -> None:
    needs(case, capability="feed_needs_ack")
    key = case.make()
    seen = list(case.connector.queue_events())
    assert key in [row.change.key for page in seen for row in page.rows]
    again = next(case.connector.queue_events())
    assert [row.change.notice_id for row in again.rows] == [row.change.notice_id for row in seen[0].rows]
    case.connector.acknowledge(again.ack or "")
    assert list(case.connector.queue_events()) == []


# --- notices ----------------------------------------------------------------------------------------------------------


@pytest.mark.back_door("person, notices")
def test_a_signed_notice_is_read_and_its_repeat_has_the_same_id(case: Case) -> None:
    key = case.make()
    notices = case.notices(lambda: case.person_renames(key, "Said"))
    read = [c for n in notices for c in case.connector.verify_hook(lowered(n.headers), n.body, case.clock())]
    mine = [change for change in read if change.entity == "customer"]
    assert {change.key for change in mine} == {key}
    assert {change.system for change in mine} == {case.system}
    again = case.connector.verify_hook(lowered(notices[0].headers), notices[0].body, case.clock())
    assert [c.notice_id for c in again] == [c.notice_id for c in read[: len(again)]]
    assert all(change.notice_id for change in read)


@pytest.mark.back_door("person, notices")
def test_a_forged_changed_or_old_notice_is_refused(case: Case) -> None:
    key = case.make()
    notice = case.notices(lambda: case.person_renames(key, "Said"))[0]
    headers = lowered(notice.headers)
    for body, now in ((notice.body + b" ", 0.0), (notice.body, 400.0), (notice.body, -400.0)):
        with pytest.raises(HookRefused) as caught:
            case.connector.verify_hook(headers, body, case.clock() + now)
        assert caught.value.status == 401
    with pytest.raises(HookRefused):
        case.connector.verify_hook({}, notice.body, case.clock())
