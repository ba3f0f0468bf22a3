"""Predicates that reach SQL: what people typed can never become part of one."""

from __future__ import annotations

from collections import Counter
from fnmatch import fnmatch
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

import httpx
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
    assert max(len(where.encoded(predicate)) for predicate in predicates) <= where.MAX_PREDICATE
    assert sum(len(parse(predicate).items) for predicate in predicates) == len(names)  # type: ignore[union-attr]  # In


@pytest.mark.parametrize("column", ["comp_name eq 'x' or comp_name", "", "1comp", "comp-name", "comp_name;"])
def test_a_configured_column_name_cannot_carry_a_predicate(column: str) -> None:
    with pytest.raises(ValueError, match="not a column name"):
        where.equals(column, "1")


def test_what_stands_beside_a_list_is_counted_with_it() -> None:
    names = [where.text(f"Name {n}") for n in range(300)]
    found = list(where.either(where.among("comp_name", names), beside=500))
    assert max(map(len, map(where.encoded, found))) <= where.MAX_PREDICATE - 500


def test_a_query_string_is_short_and_comes_back_as_it_was() -> None:
    asked = {"count": 200, "startIndex": None, "where": "comp_name in ('A & B','50%','a+b','x@y','ü?#')"}
    text = where.query(asked)
    assert text == "count=200&where=comp_name+in+('A+%26+B','50%25','a%2Bb','x@y','%C3%BC%3F%23')"
    assert parse_qsl(text) == [("count", "200"), ("where", asked["where"])]
    assert httpx.Request("GET", f"http://crm.test/Company?{text}").url.query.decode() == text


def test_a_search_for_spellings_lets_anything_stand_between_the_pieces() -> None:
    (predicate,) = where.either(where.alike("comp_name", [("Smith", "Sons"), ("", "sterreich"), ("Smith", "Sons"), ()]))
    assert predicate == "comp_name like 'Smith%Sons%' or comp_name like '%sterreich%'"


@pytest.mark.parametrize(
    ("pieces", "pattern"),
    [
        (("International", "Business", "Machines"), "International%Bus%"),
        (("Smith", "Sons", "Engineering"), "Smith%Engin%"),
        (("Wolverhamptonshire",), "Wolverhamptons%"),
        (("M", "ller", "Maschinenbau"), "M%Maschinen%"),
        (("", "sterreichische", "Post"), "%sterreichische%Pos%"),
        (("A", "B", "C"), "A%B%"),
    ],
)
def test_a_search_for_spellings_asks_for_as_little_of_a_name_as_tells_most_apart(
    pieces: tuple[str, ...], pattern: str
) -> None:
    assert list(where.either(where.alike("comp_name", [pieces]))) == [f"comp_name like '{pattern}'"]


@given(st.lists(st.text("abcdefghij", max_size=14), min_size=1, max_size=6).filter(any), st.text("xyz ", max_size=3))
def test_a_shortened_search_finds_whatever_the_whole_one_would(pieces: list[str], between: str) -> None:
    (predicate,) = where.either(where.alike("comp_name", [pieces]))
    tree = parse(predicate)
    assert isinstance(tree, Compare)
    assert isinstance(tree.right, Literal)
    assert fnmatch(between.join(["", *pieces]) if not pieces[0] else between.join(pieces), _glob(tree.right.value))


def _glob(like: object) -> str:
    return str(like).replace("%", "*")


def test_wildcards_and_quotes_in_a_piece_mean_nothing() -> None:
    found = list(where.either(where.alike("comp_name", [("a%b[1]", "O'Hara")])))
    assert found == ["comp_name like 'a_b_1_%O''Ha%'"]


def test_many_spellings_are_asked_for_in_as_many_predicates_as_urls_can_hold() -> None:
    wanted = [(f"Customer{n}", "Tools") for n in range(200)]
    found = list(where.either(where.alike("comp_name", wanted)))
    assert 1 < len(found) < 10
    assert all(len(where.encoded(one)) <= where.MAX_PREDICATE for one in found)
    assert sum(one.count(" like ") for one in found) == 200


def test_members_of_lists_and_spellings_share_predicates() -> None:
    terms = [
        *where.among("Comp_RecordNo", ["'1'", "'2'", "'1'"]),
        *where.among("Comp_CustomerId", ["'C-1'"]),
        *where.alike("Comp_Name", [("Smith", "Sons")]),
    ]
    (predicate,) = where.either(terms)
    assert predicate == "comp_recordno in ('1','2') or comp_customerid in ('C-1') or comp_name like 'Smith%Sons%'"


@given(st.lists(st.tuples(st.sampled_from(["aa", "bbb", "cccc"]), st.integers(1, 10**9)), max_size=300))
def test_however_terms_are_packed_each_is_asked_for_and_no_address_is_too_long(pairs: list[tuple[str, int]]) -> None:
    terms = [term for column, n in pairs for term in where.among(column, [f"'{n}'"])]
    found = list(where.either(terms))
    assert all(len(where.encoded(one)) <= where.MAX_PREDICATE for one in found)
    asked = Counter(
        (part.partition(" ")[0], item) for one in found for part in one.split(" or ") for item in _members(part)
    )
    assert asked == Counter((column, f"'{n}'") for column, n in pairs)


def _members(part: str) -> list[str]:
    return part.partition("(")[2].rstrip(")").split(",")


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
