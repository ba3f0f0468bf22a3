"""The contract of every connector: what becomes of a write, a batch, a create."""

from __future__ import annotations

import pytest
from suite import NOBODY, NOW, Case, fault, mapped, needs, only_reading, requests_sent

from mappings.fields import Value
from sync_worker.connectors.base import Ask, Criteria, Write
from sync_worker.errors import (
    AlreadyExists,
    NotFound,
    OutcomeUnknown,
    Rejected,
    WritesRefused,
)


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
    mapped(case, field)
    key = case.make()
    before = case.values(key)
    outcome = case.update(key, **{field: value})
    assert outcome.error is None
    after = case.values(key)
    assert case.fmap.same(field, after[field], case.own(field, value))
    assert {n: v for n, v in after.items() if n != field} == {n: v for n, v in before.items() if n != field}


@pytest.mark.back_door("ledger")
def test_an_update_writes_only_the_columns_it_names(case: Case) -> None:
    key = case.make()
    since = len(case.emulator.ledger)
    case.update(key, name="Renamed")
    written = case.written(since)
    assert [set(row.after) for row in written] == [{case.fmap.fields["name"].columns[0]}]


@pytest.mark.back_door("person")
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


@pytest.mark.only_reads
def test_the_directory_lists_managers_by_the_key_that_customers_hold(case: Case) -> None:
    managers = {manager.key: manager for manager in case.connector.list_managers()}
    assert managers[case.manager].active
    assert managers[case.manager].name


@pytest.mark.back_door("faults")
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


@pytest.mark.back_door("faults")
def test_a_refused_create_makes_nothing_and_names_the_column(case: Case) -> None:
    column = case.fmap.fields["name"].columns[0]
    with fault(case, refuse={column: ["Forbidden"]}):
        (outcome,) = case.connector.write_many("customer", [case.write_of("77", name="Forbidden")])
    assert outcome.key is None
    assert isinstance(outcome.error, Rejected)
    assert case.connector.find_many("customer", [Criteria(name="Forbidden")]) == [[]]


def test_a_write_to_a_record_that_is_gone_is_not_found(case: Case) -> None:
    assert case.connector.read_many("customer", [Ask(NOBODY)]) == {NOBODY: None}
    write = Write(NOBODY, {case.fmap.fields["name"].columns[0]: "X"})
    (outcome,) = case.connector.write_many("customer", [write])
    assert isinstance(outcome.error, NotFound)


@pytest.mark.back_door("faults")
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


@pytest.mark.back_door("faults")
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
    needs(case, capability="correlation")
    case.make("903")
    (outcome,) = case.connector.write_many("customer", [case.write_of("903", "another decision")])
    assert isinstance(outcome.error, AlreadyExists)


@pytest.mark.back_door("faults")
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
    writes = [case.update_of(key, name="Dry"), case.write_of("904", name="Dry")]
    with only_reading(), requests_sent() as sent:
        for write in writes:
            with pytest.raises(WritesRefused):
                (outcome,) = case.connector.write_many("customer", [write])
                raise outcome.error or AssertionError("it was written")
    assert sent == []
    assert case.values(key)["name"] == case.own("name", "Orchard Foods")
    assert case.connector.find_many("customer", [case.criteria(name="Dry")]) == [[]]
