"""The contract of every connector, over its emulator: see ``suite.py``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from suite import CASES, CUSTOMER, NOW, Case

from mappings.fields import Value
from sync_worker.connectors import http
from sync_worker.connectors.base import Ask, Criteria, HookRefused, Page, Write
from sync_worker.errors import (
    AlreadyExists,
    AuthFailed,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    Rejected,
    RetryableError,
    SystemUnavailable,
    WritesRefused,
)

TRICKY = [
    'O\'Brien & "Sons"',
    "<script>alert(1)</script>",
    "Käse 🧀 GmbH",
    "مخبز النور",
    "100% _under_ [x] {y} \\ /",
    "N" * 100,
    "0012",
]


@pytest.fixture(params=sorted(CASES))
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    with CASES[request.param]() as made:
        yield made


@contextmanager
def fault(case: Case, **switches: Any) -> Iterator[None]:
    before = {name: getattr(case.emulator.faults, name) for name in switches}
    case.emulator.faults.merge(switches)
    try:
        yield
    finally:
        case.emulator.faults.merge(before)


def needs(case: Case, *, capability: str) -> None:
    if not getattr(case.connector.capabilities, capability):
        pytest.skip(f"{case.system}: no {capability}")


def changed_keys(pages: Iterator[Page]) -> list[str]:
    return [row.change.key for page in pages for row in page.rows if row.change.entity == "customer"]


def names(found: list[Any], case: Case) -> list[Value]:
    return [case.fmap.get(record.native).get("name") for record in found]


# --- reading ---------------------------------------------------------------------------------------------------------


def test_what_is_created_is_read_back(case: Case) -> None:
    key, ref = case.create()
    record = case.read(key)
    values = case.fmap.get(record.native)
    for name, value in CUSTOMER.items():
        assert case.fmap.same(name, values.get(name), value), name
    assert record.key == key
    assert record.ref == ref != ""
    assert record.created_at == pytest.approx(NOW, abs=2)


def test_a_key_that_is_not_there_is_none_and_no_error(case: Case) -> None:
    key = case.make()
    found = case.connector.read_many("customer", [Ask("99999999"), Ask(key)])
    assert found["99999999"] is None
    assert found[key] is not None


def test_asking_for_nothing_calls_nobody(case: Case) -> None:
    case.emulator.reset_stats()
    assert case.connector.read_many("customer", []) == {}
    assert case.connector.find_many("customer", []) == []
    assert case.connector.write_many("customer", []) == []
    assert case.emulator.stats()["calls"] == {}


def test_a_batch_of_reads_takes_as_many_calls_as_two_records(case: Case) -> None:
    keys = [case.make(name=f"Batch {n}") for n in range(12)]
    case.emulator.reset_stats()
    case.connector.read_many("customer", [Ask(key) for key in keys[:2]])
    calls_for_two = case.emulator.reads
    case.emulator.reset_stats()
    found = case.connector.read_many("customer", [Ask(key) for key in keys])
    assert [case.fmap.get(found[key].native)["name"] for key in keys] == [f"Batch {n}" for n in range(12)]  # type: ignore[union-attr]
    assert case.emulator.reads == calls_for_two


def test_a_second_read_changes_nothing_unmapped(case: Case) -> None:
    record = case.read(case.make())
    assert case.fmap.put(case.fmap.get(record.native), record.native) == {}


@pytest.mark.parametrize("name", TRICKY)
def test_any_text_travels_and_is_found_again(case: Case, name: str) -> None:
    key = case.make(name=name)
    assert case.fmap.same("name", case.values(key)["name"], name)
    (found,) = case.connector.find_many("customer", [Criteria(name=name)])
    assert [record.key for record in found] == [key]


# --- finding ---------------------------------------------------------------------------------------------------------


def test_a_record_is_found_by_the_key_it_was_created_for(case: Case) -> None:
    needs(case, capability="correlation")
    key, other = case.make("4711"), case.make("47")
    found = case.connector.find_many("customer", [Criteria(correlation="4711"), Criteria(correlation="47")])
    assert [[record.key for record in one] for one in found] == [[key], [other]]
    assert case.connector.correlated_key(found[0][0]) == "4711"
    assert case.connector.find_many("customer", [Criteria(correlation="471")]) == [[]]


def test_candidates_match_by_name_email_or_tax_number_without_regard_to_case(case: Case) -> None:
    key = case.make()
    case.make(name="Somebody Else", email="else@else.example", tax_number="GB999999973")
    asked = [
        Criteria(name="ORCHARD FOODS"),
        Criteria(email="IVY@orchard.example"),
        Criteria(tax_number="GB123456789"),
        Criteria(name="nobody", email="ivy@orchard.example"),
        Criteria(name="nobody"),
        Criteria(),
    ]
    found = [[record.key for record in one] for one in case.connector.find_many("customer", asked)]
    assert found == [[key], [key], [key], [key], [], []]


def test_a_name_is_found_whole_never_in_part(case: Case) -> None:
    case.make(name="Orchard Foods Leeds")
    assert case.connector.find_many("customer", [Criteria(name="Orchard Foods")]) == [[]]


def test_a_time_limit_leaves_out_what_was_made_before(case: Case) -> None:
    case.make(name="Twin")
    case.clock.advance(3600)
    key = case.make(name="Twin")
    (found, both) = case.connector.find_many(
        "customer", [Criteria(name="Twin", created_since=NOW + 1800), Criteria(name="Twin")]
    )
    assert [record.key for record in found] == [key]
    assert len(both) == 2


def test_at_most_twenty_candidates_come_back(case: Case) -> None:
    for _ in range(22):
        case.make(name="Twin")
    (found,) = case.connector.find_many("customer", [Criteria(name="Twin")])
    assert len(found) == 20


# --- writing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "Orchard Foods Ltd"),
        ("email", "new@orchard.example"),
        ("phone", "+44 113 496 0099"),
        ("website", "https://new.example"),
        ("tax_number", "GB999999973"),
        ("status", "inactive"),
        ("contact", {"first": "Ivy", "last": "Miller"}),
    ],
)
def test_an_update_changes_that_field_and_no_other(case: Case, field: str, value: Value) -> None:
    key = case.make()
    before = case.values(key)
    outcome = case.update(key, **{field: value})
    assert outcome.error is None
    after = case.values(key)
    assert case.fmap.same(field, after[field], value)
    assert {n: v for n, v in after.items() if n != field} == {n: v for n, v in before.items() if n != field}


def test_an_update_writes_only_the_columns_it_names(case: Case) -> None:
    key = case.make()
    since = len(case.emulator.ledger)
    case.update(key, name="Renamed")
    written = case.written(since)
    assert [set(row.after) for row in written] == [{case.fmap.fields["name"].columns[0]}]


def test_what_a_person_changed_meanwhile_in_another_field_stays(case: Case) -> None:
    key = case.make()
    write = case.update_of(key, email="new@orchard.example")
    case.person_renames(key, "By Hand")
    (outcome,) = case.connector.write_many("customer", [write])
    assert outcome.error is None
    assert (case.values(key)["name"], case.values(key)["email"]) == ("By Hand", "new@orchard.example")


@pytest.mark.parametrize("field", ["email", "phone", "website", "tax_number"])
def test_a_value_can_be_emptied(case: Case, field: str) -> None:
    key = case.make()
    outcome = case.update(key, **{field: None})
    assert outcome.error is None
    assert case.values(key)[field] is None


def test_an_account_manager_is_set_and_emptied(case: Case) -> None:
    key = case.make()
    assert case.update(key, account_manager=case.manager).error is None
    assert case.values(key)["account_manager"] == case.manager
    assert case.update(key, account_manager=None).error is None
    assert case.values(key)["account_manager"] is None


def test_the_directory_lists_managers_by_the_key_that_customers_hold(case: Case) -> None:
    managers = {manager.key: manager for manager in case.connector.list_managers()}
    assert managers[case.manager].active
    assert managers[case.manager].name


def test_a_batch_has_one_outcome_each_in_order_and_one_refusal_stops_no_other(case: Case) -> None:
    keys = [case.make(name=f"Batch {n}") for n in range(4)]
    column = case.fmap.fields["name"].columns[0]
    with fault(case, refuse={column: ["Forbidden"]}):
        wanted = ["A", "Forbidden", "C", "D"]
        writes = [case.update_of(key, name=name) for key, name in zip(keys, wanted, strict=True)]
        outcomes = case.connector.write_many("customer", writes)
    assert [outcome.error is None for outcome in outcomes] == [True, False, True, True]
    assert [case.values(key)["name"] for key in keys] == ["A", "Batch 1", "C", "D"]
    refusal = outcomes[1].error
    assert isinstance(refusal, Rejected)
    assert case.fmap.field_of_column(refusal.column or "") == "name"
    assert "Forbidden" not in str(refusal)


def test_a_refused_create_makes_nothing_and_names_the_column(case: Case) -> None:
    column = case.fmap.fields["name"].columns[0]
    with fault(case, refuse={column: ["Forbidden"]}):
        (outcome,) = case.connector.write_many("customer", [case.write_of("77", name="Forbidden")])
    assert outcome.key is None
    assert isinstance(outcome.error, Rejected)
    assert case.connector.find_many("customer", [Criteria(name="Forbidden")]) == [[]]


def test_a_write_to_a_record_that_is_gone_is_not_found(case: Case) -> None:
    write = Write("99999999", {case.fmap.fields["name"].columns[0]: "X"})
    (outcome,) = case.connector.write_many("customer", [write])
    assert isinstance(outcome.error, NotFound)


def test_a_create_whose_answer_is_lost_makes_one_record_that_is_found(case: Case) -> None:
    with fault(case, fail_next=[{"operation": "write", "fault": "lost_after_apply"}]):
        (outcome,) = case.connector.write_many("customer", [case.write_of("900", "once")])
    if case.connector.capabilities.idempotency_keys:
        assert outcome.error is None
    else:
        assert isinstance(outcome.error, OutcomeUnknown)
    criteria = [Criteria(correlation="900"), Criteria(name="Orchard Foods", created_since=NOW - 60)]
    by_key, by_name = case.connector.find_many("customer", criteria)
    assert len(by_name) == 1
    assert [r.key for r in by_key] == [r.key for r in by_name]


def test_a_create_that_was_never_applied_leaves_no_record(case: Case) -> None:
    every_try = [{"operation": "write", "fault": "before_apply"} for _ in range(3)]
    with fault(case, fail_next=every_try):
        (outcome,) = case.connector.write_many("customer", [case.write_of("901")])
    assert isinstance(outcome.error, OutcomeUnknown)
    assert case.connector.find_many("customer", [Criteria(name="Orchard Foods")]) == [[]]


def test_the_same_create_decision_sent_twice_makes_one_record(case: Case) -> None:
    needs(case, capability="idempotency_keys")
    write = case.write_of("902", "the same")
    first, second = (case.connector.write_many("customer", [write])[0] for _ in range(2))
    assert first.key == second.key is not None


def test_a_taken_id_is_already_exists(case: Case) -> None:
    needs(case, capability="idempotency_keys")
    case.make("903")
    (outcome,) = case.connector.write_many("customer", [case.write_of("903", "another decision")])
    assert isinstance(outcome.error, AlreadyExists)


def test_an_update_whose_answer_is_lost_has_an_unknown_outcome_and_is_not_repeated(case: Case) -> None:
    key = case.make()
    write = case.update_of(key, name="Perhaps")
    since = len(case.emulator.ledger)
    with fault(case, fail_next=[{"operation": "write", "fault": "lost_after_apply"}]):
        (outcome,) = case.connector.write_many("customer", [write])
    assert isinstance(outcome.error, OutcomeUnknown)
    assert len(case.written(since)) == 1


def test_where_only_reading_is_allowed_no_write_is_sent(case: Case) -> None:
    key = case.make()
    update = case.update_of(key, name="Dry")
    since = len(case.emulator.ledger)
    token = http.writes_allowed.set(False)
    try:
        for write in (update, case.write_of("904")):
            with pytest.raises(WritesRefused):
                (outcome,) = case.connector.write_many("customer", [write])
                raise outcome.error or AssertionError("it was written")
        assert case.values(key)["name"] == "Orchard Foods"
    finally:
        http.writes_allowed.reset(token)
    assert len(case.emulator.ledger) == since


# --- changes ---------------------------------------------------------------------------------------------------------


def test_the_first_look_at_the_feed_brings_no_rows_and_a_watermark(case: Case) -> None:
    case.make()
    pages = list(case.connector.changes("customer", None))
    assert [row for page in pages for row in page.rows] == []
    assert pages[-1].watermark


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


def test_an_edit_in_the_second_of_the_watermark_is_not_missed(case: Case) -> None:
    one, two = case.make(), case.make(name="Two")
    case.clock.advance(86_400)
    start = list(case.connector.changes("customer", None))[-1].watermark
    case.person_renames(one, "First")
    watermark = [page.watermark for page in case.connector.changes("customer", start) if page.watermark][-1]
    case.person_renames(two, "Second, the same second")
    assert two in changed_keys(case.connector.changes("customer", watermark))


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
    assert case.fmap.get(record.native)["name"] == "Sweep 3"
    behind = changed_keys(case.connector.sweep("customer", keys[3]))
    assert [key for key in behind if key in keys] == keys[4:]


def test_children_are_told_whose_they_are(case: Case) -> None:
    key = case.make()
    children = case.read(key).children
    for entity in case.connector.capabilities.child_entities:
        own = next(value for name, value in children.items() if name.partition("@")[0] == entity and value)
        assert case.connector.resolve_parts(entity, [own, "99999999"]) == {own: [key], "99999999": []}


def test_the_event_queue_repeats_until_it_is_acknowledged(case: Case) -> None:
    needs(case, capability="feed_needs_ack")
    key = case.make()
    seen = list(case.connector.queue_events())
    assert key in [row.change.key for page in seen for row in page.rows]
    again = next(case.connector.queue_events())
    assert [row.change.notice_id for row in again.rows] == [row.change.notice_id for row in seen[0].rows]
    case.connector.acknowledge(again.ack or "")
    assert list(case.connector.queue_events()) == []


# --- notices ---------------------------------------------------------------------------------------------------------


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


def lowered(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


# --- trouble ---------------------------------------------------------------------------------------------------------


def test_a_vendor_that_is_down_is_unavailable_and_comes_back(case: Case) -> None:
    key = case.make()
    write = case.update_of(key, name="Later")
    with fault(case, blackout=True):
        with pytest.raises(SystemUnavailable):
            case.read(key)
        (outcome,) = case.connector.write_many("customer", [write])
        assert isinstance(outcome.error, RetryableError)
    assert case.read(key).key == key


def test_one_hiccup_of_a_read_is_not_noticed(case: Case) -> None:
    key = case.make()
    for kind in ("500", "503", "before_apply", "reset"):
        with fault(case, fail_next=[{"operation": "read", "fault": kind}]):
            assert case.read(key).key == key


def test_a_rate_limit_says_how_long_to_wait(case: Case) -> None:
    key = case.make()
    with fault(case, p_429=1.0, retry_after_s=30), pytest.raises(RateLimited) as caught:
        case.read(key)
    assert caught.value.after == 30.0


def test_a_rate_limit_without_a_hint_is_still_a_rate_limit(case: Case) -> None:
    key = case.make()
    write = case.update_of(key, name="Later")
    with fault(case, p_429_no_hint=1.0):
        (outcome,) = case.connector.write_many("customer", [write])
    assert isinstance(outcome.error, RateLimited)
    assert case.values(key)["name"] == "Orchard Foods"


def test_after_an_error_that_concerns_all_the_rest_of_the_creates_is_not_doubtful(case: Case) -> None:
    writes = [case.write_of(str(n), f"k{n}", name=f"New {n}") for n in range(3)]
    with fault(case, p_429=1.0, retry_after_s=60):
        outcomes = case.connector.write_many("customer", writes)
    assert [type(outcome.error) for outcome in outcomes] == [RateLimited] * 3
    assert all(outcome.key is None for outcome in outcomes)


def test_wrong_credentials_are_an_auth_error_and_doctor_says_which_setting(case: Case) -> None:
    stranger = case.connect(**case.bad_secret)
    with pytest.raises(AuthFailed):
        stranger.read_many("customer", [Ask("1")])
    bad = [check for check in stranger.check() if not check.ok]
    assert any(setting in check.fix for check in bad for setting in case.bad_secret)


def test_doctor_is_content_with_a_healthy_system_and_writes_nothing(case: Case) -> None:
    case.make()
    case.emulator.reset_stats()
    checks = case.connector.check()
    assert [check for check in checks if not check.ok] == []
    assert len(checks) >= 3
    assert case.emulator.writes == 0


def test_a_configured_column_that_is_not_there_stops_that_field_only_and_doctor_names_it(case: Case) -> None:
    key = case.make()
    broken = case.connect(**case.missing_column)
    (record,) = broken.read_many("customer", [Ask(key)]).values()
    assert record is not None
    values = broken.maps["customer"].get(record.native)
    assert values["name"] == "Orchard Foods"
    assert "region" not in values
    named = [check for check in broken.check() if not check.ok]
    assert any(case.missing_name in f"{check.name} {check.detail} {check.fix}" for check in named)


def test_errors_never_repeat_what_was_written(case: Case) -> None:
    key = case.make()
    with fault(case, refuse={case.fmap.fields["name"].columns[0]: ["Zanzibar Ltd"]}):
        outcome = case.update(key, name="Zanzibar Ltd")
    assert "Zanzibar" not in f"{outcome.error!s} {outcome.error!r}"
