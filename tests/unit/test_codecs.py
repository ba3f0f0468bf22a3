"""Kinds of values: what counts as the same, what counts as a store's loss, what is a person's edit."""

from __future__ import annotations

import pytest

from mappings import codecs
from mappings.canonical import MapSettings, read_typed
from mappings.codecs import COUNTRY, CUSTOM, EMAIL, KEY, PERSON, TEXT, URL, VAT, country_code
from mappings.fields import Kind, Value
from mappings.phones import join_phone, phone_key, split_phone

PHONE = codecs.phone("GB")
ADDRESS = codecs.address("GB", frozenset({"GB", "US"}))
STATUS = codecs.choice("choice", ("active", "inactive"), "active")
USER = codecs.number_key()


@pytest.mark.parametrize(
    ("kind", "a", "b"),
    [
        (TEXT, " Orchard   Foods ", "Orchard Foods"),
        (TEXT, "Café", "Cafe\u0301"),
        (TEXT, "  ", None),
        (EMAIL, "Ivy@Orchard.Example ", "ivy@orchard.example"),
        (PHONE, "+44 113 496 0000", "0113 4960000"),
        (PHONE, "0044 (0)113 496-0000", "01134960000"),
        (PHONE, "0113 496 0000 x12", "+44 113 496 0000 ext. 12"),
        (COUNTRY, "United Kingdom", "gb"),
        (COUNTRY, "UK", "GBR"),
        (COUNTRY, "Deutschland?", "deutschland?"),
        (URL, "HTTPS://Orchard.Example/", "https://orchard.example"),
        (VAT, "GB 123.456-789", "gb123456789"),
        (CUSTOM, "2026-07-30 00:00", "2026-07-30"),
        (USER, "007", "7"),
        (STATUS, "Archive", "active"),
        (STATUS, None, "active"),
        (PERSON, {"first": "Ivy ", "last": ""}, {"first": "Ivy", "last": None}),
        (PERSON, {"first": "", "last": None}, None),
        (ADDRESS, {"line1": "1 Mill Row", "country": None}, {"line1": "1 Mill Row", "country": "United Kingdom"}),
        (ADDRESS, {"line3": "a", "line4": "b"}, {"line3": "a, b"}),
        (ADDRESS, {"country": "US"}, None),
    ],
)
def test_these_are_the_same(kind: Kind, a: Value, b: Value) -> None:
    assert kind.normal(a) == kind.normal(b)
    assert kind.loss(a, b)


@pytest.mark.parametrize(
    ("kind", "a", "b"),
    [
        (TEXT, "orchard foods", "Orchard Foods"),
        (TEXT, "Orchard Foods", "OrchardFoods"),
        (PHONE, "0113 496 0000", "0113 496 0001"),
        (PHONE, "0113 496 0000", "0113 496 0000 x12"),
        (PHONE, "0113 496 0000", "ask Joe: 0113 496 0000"),
        (PHONE, "555-010", "+44 555 010"),
        (URL, "http://orchard.example", "https://orchard.example"),
        (URL, "https://orchard.example/a", "https://orchard.example/A"),
        (URL, "NET 30", "net 30"),
        (KEY, "007", "7"),
        (KEY, "E-1", "E-12"),
        (PERSON, {"first": "Ivy", "last": "Dean"}, {"first": "Dean", "last": "Ivy"}),
        (ADDRESS, {"line1": "a", "line2": "b"}, {"line1": "a, b"}),
        (ADDRESS, {"country": "FR"}, None),
        (COUNTRY, "Niger", "Nigeria"),
    ],
)
def test_these_are_edits(kind: Kind, a: Value, b: Value) -> None:
    assert kind.normal(a) != kind.normal(b)


@pytest.mark.parametrize(
    ("kind", "written", "found"),
    [
        (TEXT, "Orchard Foods", "ORCHARD FOODS"),
        (TEXT, "Orchard Foods", "Orchard Fo"),
        (TEXT, "Orchard Foods", "OrchardF"),
        (TEXT, "Straße", "STRASSE"),
        (PHONE, "+44 113 496 0000", "+44 113 49"),
        (PHONE, "0113 496 0000 x12", "0113 496 0000"),
        (URL, "orchard.example/shop", "http://orchard.example/sh"),
        (VAT, "GB 123 456 789", "gb1234567"),
        (PERSON, {"first": "Ivy", "last": "Dean-Forrester"}, {"first": "IVY", "last": "Dean-Forr"}),
        (ADDRESS, {"line1": "1 Mill Row", "city": "Leeds"}, {"line1": "1 MILL ROW", "city": "LEEDS", "country": "GB"}),
        (ADDRESS, {"line3": "Unit 4", "line4": "Mill Park"}, {"line3": "Unit 4, Mill"}),
    ],
)
def test_these_are_what_a_store_may_make_of_a_value(kind: Kind, written: Value, found: Value) -> None:
    assert kind.loss(written, found)


@pytest.mark.parametrize(
    ("kind", "written", "found"),
    [
        (TEXT, "Orchard Foods", "Orchard Farms"),
        (TEXT, "Orchard", "Orchard Foods"),
        (TEXT, "Orchard", None),
        (TEXT, None, "Orchard"),
        (TEXT, "Smith-Jones", "Smith Jones"),
        (PHONE, "+44 113 496 0000", "+44 113 496 0001"),
        (PHONE, "+44 113 496 0000", "44 (old one)"),
        (VAT, "GB123", "---"),
        (KEY, "E-12", "E-1"),
        (USER, "12", "1"),
        (STATUS, "active", "inactive"),
        (COUNTRY, "GB", "G"),
        (PERSON, {"first": "Ivy", "last": "Dean"}, {"first": "Ivy", "last": None}),
        (PERSON, {"first": "Ivy", "last": "Dean"}, {"first": "I", "last": "Moss"}),
        (ADDRESS, {"line1": "1 Mill Row", "city": "Leeds"}, {"line1": "1 Mill", "city": "York"}),
        (ADDRESS, {"line1": "1 Mill Row"}, None),
    ],
)
def test_these_are_never_a_loss(kind: Kind, written: Value, found: Value) -> None:
    assert not kind.loss(written, found)


@pytest.mark.parametrize("text", ["Narnia", "Unite", "G B", "X", "42"])
def test_countries_are_never_guessed(text: str) -> None:
    assert country_code(text) is None


@pytest.mark.parametrize(
    ("typed", "columns"),
    [
        ("+44 113 496 0000", ("44", "113", "496 0000")),
        ("0113 496 0000", (None, "0113", "496 0000")),
        ("(0113) 496-0000 x12", (None, "0113", "496-0000 x12")),
        ("+44 (0)113 496 0000", ("44", "113", "496 0000")),
        ("+1 (212) 555-0100", ("1", "212", "555-0100")),
        ("ask at the desk", (None, None, "ask at the desk")),
        ("+44 113 000", (None, None, "+44 113 000")),
    ],
)
def test_a_typed_number_is_split_as_it_was_typed(typed: str, columns: tuple[str | None, ...]) -> None:
    assert split_phone(typed, "GB", False) == columns
    assert phone_key(join_phone(*columns) or "", "GB") == phone_key(typed, "GB")


def test_a_row_with_a_country_code_keeps_one() -> None:
    assert split_phone("0113 496 0000", "GB", True) == ("44", "113", "496 0000")


@pytest.mark.parametrize(
    ("columns", "joined"),
    [
        (("44", "113", "4960000"), "+44 113 4960000"),
        (("+44", "0113", "4960000"), "+44 0113 4960000"),
        ((None, "212", "555-0100"), "212 555-0100"),
        (("44", None, "+33 1 23 45 67 89"), "+33 1 23 45 67 89"),
        (("UK", None, "555"), "555"),
        (("44", None, None), None),
        ((None, None, None), None),
    ],
)
def test_pieces_are_joined_to_one_number(columns: tuple[str | None, ...], joined: str | None) -> None:
    assert join_phone(*columns) == joined


def test_without_a_default_region_only_numbers_with_a_country_code_are_understood() -> None:
    assert phone_key("+44 113 496 0000", "") == "+441134960000"
    assert phone_key("0113 496 0000", "") == "0113 496 0000"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("name", " Orchard  Foods ", "Orchard Foods"),
        ("email", "  ", None),
        ("contact", "Ivy Rose Dean", {"first": "Ivy Rose", "last": "Dean"}),
        ("contact", '{"first": "Ivy"}', {"first": "Ivy", "last": None}),
        ("contact", "{}", None),
        ("status", " Inactive ", "inactive"),
    ],
)
def test_a_value_typed_by_a_person_is_read_for_its_field(name: str, text: str, value: Value) -> None:
    assert read_typed(name, text) == value


@pytest.mark.parametrize(
    ("name", "text"), [("address", "1 Mill Row"), ("address", '{"town": "Leeds"}'), ("contact", '{"first": 1}')]
)
def test_a_unit_typed_wrongly_is_refused_with_what_is_allowed(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=r"first, last|line1"):
        read_typed(name, text)


@pytest.mark.parametrize(("name", "text"), [("name", ""), ("name", " \t"), ("status", ""), ("status", "closed")])
def test_a_typed_value_that_no_system_would_take_is_refused(name: str, text: str) -> None:
    with pytest.raises(ValueError, match="type"):
        read_typed(name, text)


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"custom": {"email": "comp_x"}}, "custom.email"), ({"phone_types": {"mobile": "Fax"}}, "phone_types")],
)
def test_settings_that_contradict_themselves_are_refused_by_name(settings: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        MapSettings.model_validate(settings)
