"""Profiles of the connector ``rest``: what is wrong is said in one line, and pointers lead where RFC 6901 says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sync_worker import config
from sync_worker.config.profile import SHIPPED, load, shipped
from sync_worker.connectors.answers import Answer
from sync_worker.connectors.rest import errors, pointers
from sync_worker.errors import ConfigError, NotFound, RecordBusy, Rejected, SystemUnavailable

LAYER = (SHIPPED / "the_layer.toml").read_text(encoding="utf-8")
CONFIG = """
[systems.crm]
connector = "rest"
profile = "{profile}"
base_url = "https://layer.example/api"
token = "secret-token"
"""


def broken(tmp_path: Path, old: str, new: str) -> str:
    """What is said of the shipped profile with one text replaced."""
    assert old in LAYER
    file = tmp_path / "own.toml"
    file.write_text(LAYER.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load("own.toml", tmp_path)
    return str(caught.value)


def test_lay_5_the_shipped_profile_has_a_place_for_the_six_fields_and_none_for_an_address() -> None:
    fields = load("the_layer", Path()).fields
    assert set(fields) - {"account_manager"} == {"name", "email", "website", "phone", "tax_number", "mobile"}


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_profile_says_that_it_is_a_convention_of_ours(name: str) -> None:
    assert "our own" in (SHIPPED / f"{name}.toml").read_text(encoding="utf-8").replace("\n# ", " ")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('kind = "cursor"', 'kind = "cursr"', "paging.kind: 'cursr' is not allowed; did you mean 'cursor'?"),
        ("items =", "itmes =", "customers.itmes: unknown key; did you mean 'items'?"),
        ('key = "/id"', 'key = "id"', "customers.key: must be a JSON pointer"),
        ('name = "/companyName"', 'nmae = "/companyName"', "fields.nmae: unknown; did you mean 'name'?"),
        ('one = "customers/{key}"', 'one = "customers"', "customers.one: must contain {key} once"),
        ('value = "Bearer {token}"', 'value = "Bearer"', "auth.value: must contain {token} once"),
        ('next = "/next" ', "first = 1 ", "paging.next: paging by cursor needs the place of the next cursor"),
        ('email = "/email"\nwebsite', '"address.city" = "/city"\nwebsite', "an address travels whole or not at all"),
        ('email = "/email"\nwebsite', '"contact.last" = "/last"\nwebsite', "contact.first is missing"),
        ("[find]", "[find", "is no valid TOML"),
    ],
)
def test_what_is_wrong_in_a_profile_is_said_in_one_line_with_its_place(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    text = broken(tmp_path, old, new)
    assert said in text
    assert text.startswith("own.toml")
    assert "\n" not in text


def test_the_configuration_names_its_line_and_the_profiles_line(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(LAYER.replace("[sort]", "[srot]"), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        config.parse(CONFIG.format(profile="own.toml"), environ={}, path=tmp_path / "sync.toml")
    assert "sync.toml line 4: systems.crm.profile: own.toml line" in str(caught.value)
    assert "srot: unknown key; did you mean 'sort'?" in str(caught.value)


def test_an_unknown_profile_is_refused_with_the_nearest_shipped_one() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'the_layer'\?; shipped: the_layer"):
        config.parse(CONFIG.format(profile="the_lyer"), environ={})


def test_a_profile_of_ones_own_lies_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(LAYER.replace("/companyName", "/title"), encoding="utf-8")
    made = config.parse(CONFIG.format(profile="own.toml"), environ={}, path=tmp_path / "sync.toml")
    assert made.systems["crm"].own_columns["name"] == "/title"
    assert "secret-token" not in repr(made)


def test_sub_companies_need_a_place_in_the_profile(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(LAYER.replace('sub_company = "/subCompany"', ""), encoding="utf-8")
    flow = """
[systems.erp]
connector = "intacct"
client_id = "a"
client_secret = "b"
username = "sync@ACME"
[flows.customers]
entity = "customer"
erp = "erp"
crm = "crm"
sub_companies = ["North Ltd"]
"""
    with pytest.raises(ConfigError, match=r"flows\.customers\.sub_companies: 'crm' has no place for a sub-company"):
        config.parse(CONFIG.format(profile="own.toml") + flow, environ={}, path=tmp_path / "sync.toml")


# --- pointers ---------------------------------------------------------------------------------------------------------

DOCUMENT: dict[str, Any] = {"a": {"b/c": 1, "m~n": 2, "": 3}, "list": ["x", {"y": 4}], "null": None}


@pytest.mark.parametrize(
    ("pointer", "found"),
    [
        ("", DOCUMENT),
        ("/a/b~1c", 1),
        ("/a/m~0n", 2),
        ("/list/1/y", 4),
        ("/null", None),
        ("/null/below", None),
        ("/a/missing", pointers.MISSING),
        ("/list/7", pointers.MISSING),
        ("/list/-", pointers.MISSING),
    ],
)
def test_a_pointer_leads_where_the_standard_says(pointer: str, found: Any) -> None:
    assert pointers.get(DOCUMENT, pointer) == found


def test_a_document_is_built_from_its_members() -> None:
    assert pointers.document_of({"/a/b~1c": 1, "/a/d": None, "/e": "f"}) == {"a": {"b/c": 1, "d": None}, "e": "f"}
    with pytest.raises(ValueError, match="no object"):
        pointers.document_of({"/a": 1, "/a/b": 2})


# --- errors -----------------------------------------------------------------------------------------------------------


def answer(status: int, content: bytes = b'{"error": {"field": "/email", "message": "Ada Archer"}}') -> Answer:
    return Answer(status, {}, content)


def test_a_refusal_names_its_field_and_repeats_nothing_that_was_typed() -> None:
    error = errors.classify(answer(422), "/error/field")
    assert isinstance(error, Rejected)
    assert (error.column, "Ada" in str(error)) == ("/email", False)


def test_a_text_that_is_no_field_is_not_repeated() -> None:
    error = errors.classify(answer(422, b'{"error": {"field": "Ada Archer <ada@archer>"}}'), "/error/field")
    assert isinstance(error, Rejected)
    assert error.column is None


def test_a_404_in_json_is_an_absence_and_the_page_of_a_proxy_is_none() -> None:
    assert isinstance(errors.classify(answer(404), ""), NotFound)
    assert isinstance(errors.classify(answer(404, b"<html>"), ""), SystemUnavailable)


def test_a_record_that_changed_meanwhile_is_busy_and_a_good_answer_is_no_error() -> None:
    assert isinstance(errors.classify(answer(412), ""), RecordBusy)
    assert errors.classify(answer(200), "/error/field") is None
