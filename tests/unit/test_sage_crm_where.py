"""The where language of the emulated Sage CRM, and the rule that an index and a scan find the same rows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_worker.connectors.sage_crm.emulator.predicate import Options, build
from sync_worker.connectors.sage_crm.emulator.query import parse_order, select_keys
from sync_worker.connectors.sage_crm.emulator.schema import DEFAULT_CUSTOM_COLUMNS, Row, build_tables
from sync_worker.connectors.sage_crm.emulator.store import Table
from sync_worker.connectors.sage_crm.emulator.where import BadWhere, parse

SPEC = build_tables(DEFAULT_CUSTOM_COLUMNS)["Company"]
PLAIN = Options()
ROWS: list[Row] = [
    {
        "Comp_CompanyId": 41,
        "Comp_Name": "Alder Ltd",
        "Comp_Type": "Customer",
        "Comp_UpdatedDate": "2026-07-29T23:59:59Z",
    },
    {
        "Comp_CompanyId": 42,
        "Comp_Name": "O'Brien & Co",
        "Comp_Type": "Prospect",
        "Comp_UpdatedDate": "2026-07-30T00:00:00Z",
    },
    {
        "Comp_CompanyId": 43,
        "Comp_Name": "Northwind 100%",
        "Comp_SecTerr": -7,
        "Comp_UpdatedDate": "2026-07-30T16:50:58Z",
    },
    {"Comp_CompanyId": 44, "Comp_Name": "northwind ", "Comp_OptOut": True, "Comp_UpdatedDate": "2026-07-31T08:00:00Z"},
]


def table_of(rows: list[Row]) -> Table:
    table = Table(SPEC)
    table.load(dict(row) for row in rows)
    return table


def found(where: str, options: Options = PLAIN, order: str = "") -> list[int]:
    table = table_of(ROWS)
    ordered = parse_order(order, table, options) if order else ()
    return list(select_keys(table, parse(where), ordered, options))


@pytest.mark.parametrize(
    ("where", "keys"),
    [
        ("Comp_CompanyId eq 43", [43]),
        ("comp_companyid eq '43'", [43]),
        ("COMP_NAME eq 'NORTHWIND'", [44]),
        ("comp_name eq 'O''Brien & Co'", [42]),
        ("comp_name like 'north%'", [43, 44]),
        ("comp_name like '_lder%'", [41]),
        ("comp_name like '%[%]'", [43]),
        ("comp_name like 'o%b%n%co'", [42]),
        ("comp_name like 'o%n%b%'", []),
        ("comp_name like '%%'", [41, 42, 43, 44]),
        ("comp_name like ''", []),
        ("comp_name ne 'alder ltd'", [42, 43, 44]),
        ("comp_type ne 'Customer'", [42]),
        ("comp_companyid in ('41','44',99)", [41, 44]),
        ("comp_companyid in (44, 41)", [41, 44]),
        ("comp_companyid between 42 and 43", [42, 43]),
        ("comp_companyid gt 42 and comp_companyid le 43", [43]),
        ("comp_companyid eq 41 or comp_companyid eq 42 and comp_type eq 'Customer'", [41]),
        ("(comp_companyid eq 41 or comp_companyid eq 42) and comp_type eq 'Prospect'", [42]),
        ("concat(comp_name, '|', comp_type) eq 'alder ltd|customer'", [41]),
        ("abs(comp_secterr) eq 7", [43]),
        ("sign(comp_secterr) lt 0", [43]),
        ("comp_optout eq 'Y'", [44]),
        ("comp_updateddate gt @2026-07-30@", [43, 44]),
        ("comp_updateddate ge @2026-07-30@", [42, 43, 44]),
        ("comp_updateddate lt @2026-07-30@", [41]),
        ("comp_updateddate between @2026-07-30@ and @2026-07-31@", [42, 43]),
        ("comp_createddate lt @2030-01-01@", []),
    ],
)
def test_a_predicate_finds_its_rows(where: str, keys: list[int]) -> None:
    assert found(where) == keys


@pytest.mark.timeout(10)
def test_a_pattern_of_many_pieces_is_tried_once_from_left_to_right() -> None:
    table = table_of([{"Comp_CompanyId": 1, "Comp_Name": "ab" * 50}])
    assert not list(select_keys(table, parse(f"comp_name like '{'a%' * 50}c%'"), (), PLAIN))


@pytest.mark.parametrize(
    "where",
    [
        "",
        "comp_name",
        "comp_name eq",
        "comp_name eq 'open",
        "comp_name eq 'O'Brien'",
        'comp_name eq "double"',
        "comp_nme eq 'x'",
        "comp_name eq 43",
        "comp_name eq null",
        "not comp_name eq 'x'",
        "comp_companyid eq 'abc'",
        "comp_companyid in ()",
        "comp_companyid in (1,)",
        "comp_companyid between 1",
        "(comp_companyid eq 1",
        "comp_companyid eq 1)",
        "'43' eq comp_companyid",
        "upper(comp_name) eq 'X'",
        "abs(1, 2) eq 1",
        "comp_updateddate gt '2026-07-30'",
        "comp_updateddate gt @2026-07-30T16:00:00Z@",
        "comp_updateddate gt @yesterday@",
        "comp_name eq 'x'; drop",
        "(" * 100 + "comp_companyid eq 1" + ")" * 100,
    ],
)
def test_bad_grammar_unknown_columns_and_wrong_types_are_refused(where: str) -> None:
    with pytest.raises(BadWhere):
        found(where)


def test_a_time_of_day_between_at_signs_works_only_when_switched_on() -> None:
    where = "comp_updateddate gt @2026-07-30T16:50:57Z@"
    assert found(where, Options(timestamps=True)) == [43, 44]
    with pytest.raises(BadWhere):
        found(where)


def test_a_day_may_stand_for_the_whole_day_when_switched_on() -> None:
    whole = Options(day_is_whole=True)
    assert found("comp_updateddate gt @2026-07-30@", whole) == [44]
    assert found("comp_updateddate le @2026-07-30@", whole) == [41, 42, 43]
    assert found("comp_updateddate eq @2026-07-30@", whole) == [42, 43]


def test_a_column_hidden_by_field_security_cannot_be_asked_for() -> None:
    with pytest.raises(BadWhere):
        found("comp_name eq 'x'", Options(hidden=frozenset({"comp_name"})))


def test_rows_come_by_key_or_as_ordered() -> None:
    everything = "comp_companyid gt 0"
    assert found("comp_updateddate ge @2026-01-01@") == [41, 42, 43, 44]
    assert found(everything, order="Comp_UpdatedDate desc") == [44, 43, 42, 41]
    assert found("comp_updateddate ge @2026-07-30@", order="comp_updateddate desc") == [44, 43, 42]
    assert found(everything, order="comp_type, comp_companyid desc") == [44, 43, 41, 42]
    with pytest.raises(BadWhere):
        found(everything, order="comp_name sideways")


def test_an_older_version_is_found_by_what_it_held_and_not_by_what_it_holds_now() -> None:
    table = table_of(ROWS)
    older: dict[int, Row | None] = {41: {**ROWS[0], "Comp_Name": "Before"}, 44: None}
    assert list(select_keys(table, parse("comp_name eq 'before'"), (), Options(), older)) == [41]
    assert list(select_keys(table, parse("comp_name eq 'alder ltd'"), (), Options(), older)) == []
    assert list(select_keys(table, None, (), Options(), older)) == [41, 42, 43]


_NAMES = st.sampled_from(["Elm", "elm ", "Oak", "Ash", None])
_STAMPS = st.sampled_from(["2026-07-29T10:00:00Z", "2026-07-30T00:00:00Z", "2026-07-30T10:00:00Z"])
_WHERES = st.sampled_from(
    [
        "comp_name eq 'elm'",
        "comp_name in ('oak','ash')",
        "comp_name eq 'elm' or comp_companyid in (2,3)",
        "comp_name eq 'elm' or comp_type eq 'Customer'",
        "comp_name eq 'elm' and comp_updateddate ge @2026-07-30@",
        "comp_updateddate gt @2026-07-30@",
        "comp_updateddate le @2026-07-30@",
        "comp_companyid gt 2 and comp_companyid lt 5",
        "comp_companyid between 2 and 4",
    ]
)


@given(
    start=st.lists(st.tuples(_NAMES, _STAMPS), min_size=1, max_size=6),
    writes=st.lists(st.tuples(st.integers(1, 6), _NAMES, _STAMPS, st.booleans()), max_size=8),
    where=_WHERES,
)
def test_an_index_finds_what_a_scan_of_the_live_rows_finds(
    start: list[tuple[str | None, str]], writes: list[tuple[int, str | None, str, bool]], where: str
) -> None:
    def row(key: int, name: str | None, stamp: str, deleted: bool = False) -> Row:
        made: Row = {"Comp_CompanyId": key, "Comp_UpdatedDate": stamp}
        return made | ({"Comp_Name": name} if name else {}) | ({"Comp_Deleted": 1} if deleted else {})

    table = table_of([row(key, *cells) for key, cells in enumerate(start, start=1)])
    for key, name, stamp, deleted in writes:
        if key <= len(start):
            table.save(key, row(key, name, stamp, deleted))
    holds = build(parse(where), SPEC, Options())
    scan = sorted(key for key, stored in table.rows.items() if not stored.get("Comp_Deleted") and holds(stored))
    assert list(select_keys(table, parse(where), (), Options())) == scan
