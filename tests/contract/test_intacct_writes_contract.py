"""What is Intacct's own in writing: batches, the default contact, columns that are not there."""

from __future__ import annotations

import pytest
from suite import Case, calls, fault

from sync_worker.connectors.base import Ask, Write
from sync_worker.errors import (
    NotFound,
    OutcomeUnknown,
    RecordBusy,
    Rejected,
    SystemUnavailable,
)

ONLY = ["intacct"]


# --- batches ----------------------------------------------------------------------------------------------------------


def test_two_hundred_reads_are_one_call_and_a_hundred_updates_are_one_call(case: Case) -> None:
    keys = case.emulator.seed({"customers": 200})["keys"]
    case.emulator.reset_stats()
    found = case.connector.read_many("customer", [Ask(key) for key in keys])
    assert all(found.values())
    writes = [Write(key, {"name": f"New {key}"}, found[key]) for key in keys]
    outcomes = case.connector.write_many("customer", writes)
    assert [outcome.error for outcome in outcomes] == [None] * 200
    assert (case.emulator.reads, case.emulator.writes) == (1, 2)
    assert case.read(keys[150]).native["name"] == f"New {keys[150]}"


@pytest.mark.parametrize("uniform", [False, True])
def test_a_batch_whose_items_all_fail_says_so_for_each(case: Case, uniform: bool) -> None:
    writes = [Write(f"9999999{n}", {"name": "X"}) for n in range(3)]
    with fault(case, batch_uniform_status=uniform):
        outcomes = case.connector.write_many("customer", writes)
    assert [type(outcome.error) for outcome in outcomes] == [NotFound] * 3


def test_a_batch_refused_as_a_whole_is_halved_until_the_culprit_stands_alone(case: Case) -> None:
    keys = case.emulator.seed({"customers": 5})["keys"]
    with fault(case, max_batch=1):
        outcomes = case.connector.write_many("customer", [Write(key, {"name": f"N{key}"}) for key in keys])
    assert [outcome.error for outcome in outcomes] == [None] * 5
    assert [case.read(key).native["name"] for key in keys] == [f"N{key}" for key in keys]


def test_after_a_batch_without_an_answer_later_batches_are_not_sent(case: Case) -> None:
    keys = case.emulator.seed({"customers": 150})["keys"]
    case.emulator.reset_stats()
    with fault(case, fail_next=[{"operation": "write", "fault": "lost_after_apply"}]):
        outcomes = case.connector.write_many("customer", [Write(key, {"name": "N"}) for key in keys])
    kinds = [type(outcome.error) for outcome in outcomes]
    assert kinds == [OutcomeUnknown] * 100 + [SystemUnavailable] * 50
    assert [outcome.key for outcome in outcomes] == keys
    assert case.emulator.writes == 1


def test_a_locked_record_is_busy(case: Case) -> None:
    key = case.make()
    write = case.update_of(key, name="Later")
    with fault(case, fail_next=[{"operation": "write", "fault": "locked"}]):
        (outcome,) = case.connector.write_many("customer", [write])
    assert isinstance(outcome.error, RecordBusy)


def test_an_idempotency_key_used_for_another_body_leaves_the_outcome_unknown(case: Case) -> None:
    case.make("1", "same key")
    (outcome,) = case.connector.write_many("customer", [case.write_of("2", "same key")])
    assert isinstance(outcome.error, OutcomeUnknown)


# --- the default contact ----------------------------------------------------------------------------------------------


def test_a_refused_default_contact_is_written_by_itself_and_that_is_remembered(case: Case) -> None:
    key, other = case.make(), case.make(name="Other")
    with fault(case, writable_default_contact=False):
        outcome = case.update(key, name="Renamed", email="new@orchard.example", address={"city": "York"})
        assert outcome.error is None
        values = case.values(key)
        assert (values["name"], values["email"]) == ("Renamed", "new@orchard.example")
        case.emulator.reset_stats()
        assert case.update(other, email="other@orchard.example").error is None
        assert (calls(case, "patch customer"), calls(case, "patch contact")) == (0, 1)


def test_in_a_batch_each_contact_is_written_and_one_refusal_stops_no_other(case: Case) -> None:
    keys = [case.make(name=f"Batch {n}") for n in range(3)]
    emails = ["a@a.example", "no@no.example", "c@c.example"]
    with fault(case, writable_default_contact=False, refuse={"contacts.default.email1": ["no@no.example"]}):
        writes = [case.update_of(k, email=e, name=f"New {e}") for k, e in zip(keys, emails, strict=True)]
        outcomes = case.connector.write_many("customer", writes)
    assert [outcome.error is None for outcome in outcomes] == [True, False, True]
    assert isinstance(outcomes[1].error, Rejected)
    assert outcomes[1].error.column == "contacts.default.email1"
    assert outcomes[1].stored == {"name": "New no@no.example"}
    assert [case.values(key)["email"] for key in keys] == ["a@a.example", "ivy@orchard.example", "c@c.example"]


def test_once_contacts_are_apart_a_create_fills_its_contact_afterwards(case: Case) -> None:
    with fault(case, writable_default_contact=False):
        case.update(case.make(), email="new@orchard.example")
        key = case.make(name="Fresh")
        assert case.values(key)["email"] == "ivy@orchard.example"
    assert calls(case, "patch contact") == 2


def test_a_create_whose_contact_is_refused_has_its_key_the_error_and_what_is_stored(case: Case) -> None:
    switches = {"refuse": {"contacts.default.email1": ["no@no.example"]}, "cut": {"name": 5}}
    with fault(case, writable_default_contact=False):
        case.update(case.make(), email="new@orchard.example")
        with fault(case, **switches):
            write = case.write_of("55", "k55", name="Long Name", email="no@no.example")
            (outcome,) = case.connector.write_many("customer", [write])
    assert outcome.key is not None
    assert isinstance(outcome.error, Rejected)
    assert outcome.error.column == "contacts.default.email1"
    assert (outcome.stored["name"], outcome.stored["contacts.default.email1"]) == ("Long ", None)


def test_a_refused_value_of_the_contact_teaches_nothing_about_the_contact(case: Case) -> None:
    key = case.make()
    with fault(case, refuse={"contacts.default.email1": ["no@no.example"]}):
        assert isinstance(case.update(key, email="no@no.example").error, Rejected)
    case.emulator.reset_stats()
    assert case.update(key, email="yes@yes.example").error is None
    assert (calls(case, "patch customer"), calls(case, "patch contact")) == (1, 0)


def test_a_contact_that_two_customers_show_belongs_to_both(case: Case) -> None:
    one = case.make()
    contact = case.read(one).children["contact"]
    two = case.emulator.person(
        "customer", None, {"id": "C-2", "name": "Two", "contacts.default.key": contact}, "create"
    )
    assert case.connector.resolve_parts("contact", [contact]) == {contact: [one, two]}


# --- columns ----------------------------------------------------------------------------------------------------------


def test_a_column_that_is_not_there_is_left_out_of_creates_and_refused_in_updates(case: Case) -> None:
    key = case.make()
    broken = case.connect(custom={"region": "nsp::NOWHERE"})
    broken.read_many("customer", [Ask(key)])
    made, updated = broken.write_many(
        "customer",
        [
            Write(None, {"id": "C-9", "name": "New", "nsp::NOWHERE": "x"}, idempotency_key="k"),
            Write(key, {"name": "New", "nsp::NOWHERE": "x"}),
        ],
    )
    assert made.error is None
    assert isinstance(updated.error, Rejected)
    assert updated.error.column == "nsp::NOWHERE"


def test_a_custom_column_is_read_and_written(case: Case) -> None:
    key = case.make()
    assert case.update(key, region="North").error is None
    assert case.values(key)["region"] == "North"
