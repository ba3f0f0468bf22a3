"""Predicates that reach SQL: what people typed can never become part of one."""

from __future__ import annotations

from urllib.parse import quote_plus
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_worker.connectors.sage_crm import where
from sync_worker.connectors.sage_crm.emulator.where import Column, Compare, In, Literal, parse

ATTACKS = [
    "O'Hara & Sons",
    "'; drop table Company; --",
    "x' or '1' eq '1",
    "''",
    "'",
    "\\' or comp_name like '%",
    "@2026-01-01@",
    "名前 ' 🙂",
]
LONDON = ZoneInfo("Europe/London")


@pytest.mark.parametrize("value", ATTACKS)
def test_any_text_stays_one_literal(value: str) -> None:
    tree = parse(where.equals("Comp_Name", where.text(value)))
    assert tree == Compare("eq", Column("comp_name"), Literal("str", value))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1, max_size=30))
def test_lists_of_any_texts_come_back_as_they_were(values: list[str]) -> None:
    read: list[str] = []
    for predicate in where.lists("comp_name", map(where.text, values)):
        tree = parse(predicate)
        assert isinstance(tree, In)
        read += [item.value for item in tree.items if isinstance(item, Literal)]
    assert read == list(dict.fromkeys(values))


def test_a_nul_cannot_end_a_literal_early() -> None:
    assert where.text("a\0b'") == "'ab'''"


@pytest.mark.parametrize(
    "key", ["", "0", "-1", "43 or 1 eq 1", "43'", "４３", "043", "4e3", "2147483648", "9" * 12, "4\n"]
)
def test_what_is_no_row_id_never_becomes_a_number(key: str) -> None:
    assert not where.is_id(key)
    with pytest.raises(ValueError, match="not a row id"):
        where.number(key)
    assert list(where.id_lists("comp_companyid", [key])) == []


def test_ids_stand_unquoted_and_once() -> None:
    assert list(where.id_lists("Comp_CompanyId", ["43", "45", "43"])) == ["comp_companyid in (43,45)"]


def test_long_lists_are_split_so_that_every_url_stays_short() -> None:
    names = [f"Müller & Söhne {n} GmbH" for n in range(200)]
    predicates = list(where.lists("comp_name", map(where.text, names)))
    assert len(predicates) > 1
    assert max(len(quote_plus(predicate)) for predicate in predicates) < 1800  # of 2048
    assert sum(len(parse(predicate).items) for predicate in predicates) == len(names)  # type: ignore[union-attr]  # In


@pytest.mark.parametrize("column", ["comp_name eq 'x' or comp_name", "", "1comp", "comp-name", "comp_name;"])
def test_a_configured_column_name_cannot_carry_a_predicate(column: str) -> None:
    with pytest.raises(ValueError, match="not a column name"):
        where.equals(column, "1")


def test_a_search_for_spellings_lets_anything_stand_between_the_pieces() -> None:
    (predicate,) = where.patterns("comp_name", [("Smith", "Sons"), ("", "sterreich"), ("Smith", "Sons"), ()])
    assert predicate == "comp_name like 'Smith%Sons%' or comp_name like '%sterreich%'"


def test_wildcards_and_quotes_in_a_piece_mean_nothing() -> None:
    assert list(where.patterns("comp_name", [("a%b[1]", "O'Hara")])) == ["comp_name like 'a_b_1_%O''Hara%'"]


def test_many_spellings_are_asked_for_in_as_many_predicates_as_urls_can_hold() -> None:
    wanted = [(f"Customer{n}", "Tools") for n in range(200)]
    found = list(where.patterns("comp_name", wanted))
    assert 1 < len(found) < 20
    assert all(len(quote_plus(one)) <= where.MAX_LIST for one in found)
    assert sum(one.count(" like ") for one in found) == 200


@pytest.mark.parametrize(
    ("seconds", "zone", "day"),
    [
        (1_795_392_000.0, "UTC", "2026-11-22"),  # midnight of the 23rd
        (1_795_392_000.0 + 3600, "America/New_York", "2026-11-21"),  # still the 22nd there
        (1_795_392_000.0 - 3600, "Asia/Tokyo", "2026-11-21"),  # already the 23rd there: the earlier day counts
        (0.0, "UTC", "1969-12-31"),
        (-5.0, "UTC", "1969-12-31"),
    ],
)
def test_a_moment_becomes_the_day_before_the_earlier_of_both_days(seconds: float, zone: str, day: str) -> None:
    assert where.since_day("Comp_UpdatedDate", seconds, ZoneInfo(zone)) == f"comp_updateddate gt @{day}@"
