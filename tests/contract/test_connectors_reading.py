"""The contract of every connector, over its emulator: reading and finding records. See ``suite.py``."""

from __future__ import annotations

import pytest
from suite import CUSTOMER, NOBODY, NOW, STANDING, Case, needs, requests_sent

from sync_worker.connectors.base import Ask, Criteria

MOST = 20  # candidates that one search brings
TRICKY = [
    'O\'Brien & "Sons"',
    "<script>alert(1)</script>",
    "Käse 🧀 GmbH",
    "مخبز النور",
    "100% _under_ [x] {y} \\ /",
    "N" * 100,
    "0012",
]


# --- reading ----------------------------------------------------------------------------------------------------------


def test_what_is_created_is_read_back(case: Case) -> None:
    key, ref = case.create()
    record = case.read(key)
    values = case.fmap.get(record.native)
    for name, value in {n: case.own(n, v) for n, v in CUSTOMER.items() if n in case.fmap.fields}.items():
        assert case.fmap.same(name, values.get(name), value), name
    assert record.key == key
    assert record.ref == ref != ""
    assert record.created_at == pytest.approx(case.now(), abs=case.apart)


@pytest.mark.only_reads
def test_a_key_that_is_not_there_is_none_and_no_error(case: Case) -> None:
    (key,) = case.there()
    found = case.connector.read_many("customer", [Ask(NOBODY), Ask(key)])
    assert found[NOBODY] is None
    assert found[key] is not None


@pytest.mark.only_reads
def test_asking_for_nothing_calls_nobody(case: Case) -> None:
    with requests_sent() as sent:
        assert case.connector.read_many("customer", []) == {}
        assert case.connector.find_many("customer", []) == []
        assert case.connector.write_many("customer", []) == []
    assert sent == []


@pytest.mark.back_door("counters")
def test_whether_records_are_there_is_one_read_for_all_of_them(case: Case) -> None:
    keys = [case.create()[0], case.make()]
    case.emulator.reset_stats()
    found = case.connector.read_many("customer", [Ask(key, 1, alone=True) for key in (*keys, "99999999")])
    assert [found[key] is not None for key in keys] == [True, True]
    assert found["99999999"] is None
    assert case.emulator.reads == 1


@pytest.mark.back_door("counters")
def test_a_batch_of_reads_takes_as_many_calls_as_two_records(case: Case) -> None:
    keys = [case.make(name=f"Batch {n}") for n in range(12)]
    case.emulator.reset_stats()
    case.connector.read_many("customer", [Ask(key) for key in keys[:2]])
    calls_for_two = case.emulator.reads
    case.emulator.reset_stats()
    found = case.connector.read_many("customer", [Ask(key) for key in keys])
    assert [case.fmap.get(found[key].native)["name"] for key in keys] == [f"Batch {n}" for n in range(12)]  # type: ignore[union-attr]
    assert case.emulator.reads == calls_for_two


@pytest.mark.only_reads
def test_a_second_read_changes_nothing_unmapped(case: Case) -> None:
    for key in case.there(STANDING):
        record = case.read(key)
        assert case.fmap.put(case.fmap.get(record.native), record.native) == {}


@pytest.mark.parametrize("name", TRICKY)
def test_any_text_travels_and_is_found_again(case: Case, name: str) -> None:
    key = case.make(name=name)
    assert case.fmap.same("name", case.values(key)["name"], case.own("name", name))
    (found,) = case.connector.find_many("customer", [case.criteria(name=name)])
    assert [record.key for record in found] == [key]


# --- finding ----------------------------------------------------------------------------------------------------------


@pytest.mark.only_reads
def test_a_record_that_stands_there_is_found_by_the_name_it_shows(case: Case) -> None:
    for key in case.there(STANDING):
        (found,) = case.connector.find_many("customer", [Criteria(name=str(case.values(key)["name"]))])
        assert key in [record.key for record in found] or len(found) == MOST


def test_a_record_is_found_by_the_key_it_was_created_for(case: Case) -> None:
    needs(case, capability="correlation")
    key, other = case.make("4711"), case.make("47")
    asked = [case.criteria(correlation=theirs) for theirs in ("4711", "47", "471")]
    found = case.connector.find_many("customer", asked)
    assert [[record.key for record in one] for one in found] == [[key], [other], []]
    assert case.connector.correlated_key(found[0][0]) == case.own("correlation", "4711")


def test_candidates_match_by_name_email_or_tax_number_without_regard_to_case(case: Case) -> None:
    by_tax_number = "tax_number" in case.fmap.fields
    key = case.make()
    case.make(name="Somebody Else", email="else@else.example", tax_number="GB999999973")
    asked = [
        case.criteria(name="ORCHARD FOODS"),
        case.criteria(email="IVY@orchard.example"),
        case.criteria(name="nobody", email="ivy@orchard.example"),
        case.criteria(name="nobody"),
        Criteria(),
    ]
    if by_tax_number:
        asked.append(case.criteria(tax_number="GB123456789"))
    found = [[record.key for record in one] for one in case.connector.find_many("customer", asked)]
    assert found == [[key], [key], [key], [], [], [key]][: len(asked)]


def test_a_name_is_found_whole_never_in_part(case: Case) -> None:
    case.make(name="Orchard Foods Leeds")
    assert case.connector.find_many("customer", [case.criteria(name="Orchard Foods")]) == [[]]


@pytest.mark.back_door("clock")
def test_a_time_limit_leaves_out_what_was_made_before(case: Case) -> None:
    case.make(name="Twin")
    case.clock.advance(3600)
    key = case.make(name="Twin")
    (found, both) = case.connector.find_many(
        "customer", [Criteria(name="Twin", created_since=NOW + 1800), Criteria(name="Twin")]
    )
    assert [record.key for record in found] == [key]
    assert len(both) == 2


@pytest.mark.back_door("room for a crowd")
def test_at_most_twenty_candidates_come_back(case: Case) -> None:
    for _ in range(22):
        case.make(name="Twin")
    (found,) = case.connector.find_many("customer", [Criteria(name="Twin")])
    assert len(found) == MOST
