"""Laws that hold for every field of every system, whatever people and vendors put into it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from mappings import intacct, sage_crm
from mappings.canonical import ADDRESS_LINES, ADDRESS_PARTS, MapSettings
from mappings.fields import FieldMap, Value

LIMITS = {
    "name": 12,
    "email": 30,
    "phone": 24,
    "website": 30,
    "tax_number": 10,
    "contact": 8,
    "address": 9,
    "region": 6,
}
BASE = {"columns": {"tax_number": "comp_vatnumber", "erp_key": "comp_intacct_recordno"}, "default_country": "GB"}
CRM = {**BASE, "custom": {"region": "comp_region", "shoe_size": "Pers_ShoeSize"}}
ERP = {**BASE, "columns": {}, "custom": {"region": "nsp::REGION", "shoe_size": "nsp::SHOE"}}
MAPS: dict[str, FieldMap] = {
    "intacct": intacct.customer_map(MapSettings.model_validate(ERP)),
    "sage_crm": sage_crm.customer_map(MapSettings.model_validate(CRM)),
    "intacct, short": intacct.customer_map(MapSettings.model_validate({**ERP, "limits": LIMITS})),
    "sage_crm, short": sage_crm.customer_map(MapSettings.model_validate({**CRM, "limits": LIMITS})),
    "intacct, no country": intacct.customer_map(MapSettings.model_validate({**ERP, "default_country": ""})),
    "sage_crm, no country": sage_crm.customer_map(MapSettings.model_validate({**CRM, "default_country": ""})),
}
REGIONAL = ("address", "phone")  # the only fields a default country matters to
ALL = [(m, f) for m in MAPS for f in MAPS[m].fields if "no country" not in m or f in REGIONAL]
WIDE = [(m, f) for m, f in ALL if "short" not in m]
wide = pytest.mark.parametrize(("system", "name"), WIDE)
every = pytest.mark.parametrize(("system", "name"), ALL)

law = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow]
)
# Few characters, each of them trouble: case that grows, marks, blanks of all sorts, separators, quotes, right-to-left.
words = st.text(st.sampled_from("aAbZß\u0130ıée\u0301ﬁǆΣς 0 7\u00a0\u2003,;.-_/'\"<>@x+אב🙂"), min_size=1, max_size=16)
blank = st.sampled_from([None, "", "  "])
digits = st.text("0123456789", min_size=1, max_size=9)
phones = st.one_of(
    st.builds(lambda a, b: f"+44 113 {a}{b}", digits, digits),
    st.builds("0{0} {1}".format, digits, digits),
    st.builds("+{0} ({1}) {2}-{1} x{0}".format, digits, digits, digits),
    st.builds("{0}.{1}".format, digits, digits),
    st.sampled_from(["+44 (0)113 496 0000", "0044 113 496 0000", "1-212-555-0100", "+39 06 1234 5678", "call Joe"]),
    words,
)
emails = st.one_of(
    st.builds("{0}@{1}.example".format, words, digits),
    st.sampled_from(["<a@b.example>", "Joe <a@b.example> old", "n/a"]),
)
urls = st.one_of(words, st.builds("http://{0}.example/{1}".format, digits, words), st.just("NET 30"))
countries = st.sampled_from([None, "", "GB", "gb", "US", "United Kingdom", "FRA", "Narnia", "fr "])
person = st.fixed_dictionaries({"first": words | blank, "last": words | blank})
addresses = st.fixed_dictionaries(
    {**{part: words | blank for part in ADDRESS_PARTS if part != "country"}, "country": countries}
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "contact": person | st.none(),
    "address": addresses | st.none(),
    "status": st.sampled_from(["active", "inactive"]),
    "phone": phones | blank,
    "mobile": phones | blank,
    "fax": phones | blank,
    "email": emails | words | blank,
    "website": urls | blank,
    "account_manager": digits | words | blank,
}
cells = st.one_of(words, phones, emails, urls, countries, blank, st.integers(1), st.just(True), st.just(1.5), digits)


def value_of(name: str) -> st.SearchStrategy[Any]:
    return VALUES.get(name, words | blank)


def record_of(fmap: FieldMap, name: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(dict.fromkeys(fmap.fields[name].columns, cells))


@wide
@law
@given(data=st.data())
def test_what_is_written_is_read_back_as_the_same_value(system: str, name: str, data: st.DataObject) -> None:
    fmap, value = MAPS[system], data.draw(value_of(name))
    assert fmap.same(name, fmap.fit(name, value), value)


@wide
@law
@given(data=st.data())
def test_it_is_the_same_over_whatever_stands_in_the_record(system: str, name: str, data: st.DataObject) -> None:
    fmap, value = MAPS[system], data.draw(value_of(name))
    native = data.draw(record_of(fmap, name))
    native.update(fmap.put({name: value}, native))
    assert fmap.same(name, fmap.get(native)[name], value)


@every
@law
@given(data=st.data())
def test_writing_what_was_read_changes_nothing(system: str, name: str, data: st.DataObject) -> None:
    fmap = MAPS[system]
    native = data.draw(record_of(fmap, name))
    assert fmap.put({name: fmap.get(native)[name]}, native) == {}


@every
@law
@given(data=st.data())
def test_a_write_touches_only_the_columns_of_its_field(system: str, name: str, data: st.DataObject) -> None:
    fmap = MAPS[system]
    native = data.draw(record_of(fmap, name))
    assert set(fmap.put({name: data.draw(value_of(name))}, native)) <= set(fmap.fields[name].columns)


@every
@law
@given(data=st.data())
def test_a_second_write_of_the_same_value_changes_nothing(system: str, name: str, data: st.DataObject) -> None:
    fmap, value = MAPS[system], data.draw(value_of(name))
    native = data.draw(record_of(fmap, name))
    native.update(fmap.put({name: value}, native))
    assert fmap.put({name: value}, native) == {}


@every
@law
@given(data=st.data())
def test_the_normal_form_of_a_normal_form_is_itself(system: str, name: str, data: st.DataObject) -> None:
    fmap, value = MAPS[system], data.draw(value_of(name))
    once = fmap.normal(name, value)
    assert fmap.normal(name, once) == once


@every
@law
@given(data=st.data())
def test_fitting_twice_is_fitting_once(system: str, name: str, data: st.DataObject) -> None:
    fmap = MAPS[system]
    once = fmap.fit(name, data.draw(value_of(name)))
    assert fmap.same(name, fmap.fit(name, once), once)


@every
@law
@given(data=st.data())
def test_every_record_can_be_read_whatever_the_vendor_holds(system: str, name: str, data: st.DataObject) -> None:
    fmap = MAPS[system]
    value = fmap.get(data.draw(record_of(fmap, name)))[name]
    assert (
        value is None or (isinstance(value, dict) and any(value.values())) or (isinstance(value, str) and value.strip())
    )


@wide
@law
@given(data=st.data())
def test_a_recased_value_is_a_loss(system: str, name: str, data: st.DataObject) -> None:
    fmap, value = MAPS[system], data.draw(value_of(name))
    assert fmap.loss(name, value, each_text(value, str.upper))


@wide
@law
@given(data=st.data())
def test_a_cut_value_is_a_loss_except_where_it_would_be_another_record(
    system: str, name: str, data: st.DataObject
) -> None:
    assume(name not in ("account_manager", "status"))
    fmap = MAPS[system]
    value: Any = fmap.fit(name, data.draw(value_of(name)))
    keep = data.draw(st.integers(1, 40))

    def cut(text: str) -> str:
        return text[:keep] if text[:keep].strip() else text

    found = (
        {**each_text(value, cut), "country": value["country"]} if name == "address" and value else each_text(value, cut)
    )
    assume(fmap.normal(name, found) is not None or fmap.normal(name, value) is None)
    assume(name not in ("phone", "mobile", "fax") or not phone_changes_form(value, found))
    assert fmap.loss(name, value, found)


@wide
@law
@given(data=st.data())
def test_a_really_different_value_is_never_a_loss(system: str, name: str, data: st.DataObject) -> None:
    fmap = MAPS[system]
    written, found = data.draw(value_of(name)), data.draw(value_of(name))
    assume(really_different(written, found) and really_different(fmap.normal(name, written), fmap.normal(name, found)))
    assert not fmap.loss(name, written, found)


def each_text(value: Any, change: Any) -> Any:
    if isinstance(value, dict):
        return {part: change(text) if text else text for part, text in value.items()}
    return change(value) if value else value


def really_different(written: Any, found: Any) -> bool:
    """Told apart without the code under test: some text that is not even the beginning of what was written."""
    if isinstance(written, dict) and isinstance(found, dict):
        return any(really_different(written[p], found[p]) for p in written if p[:4] != "line" and p != "country")
    a, b = (letters(v) if isinstance(v, str) else "" for v in (written, found))
    return bool(a) and bool(b) and not a.startswith(b)


def letters(text: str) -> str:
    return "".join(c for c in text.upper().casefold() if c.isalnum())


def phone_changes_form(value: Any, found: Any) -> bool:
    """A cut through an extension's word leaves neither a number nor the text that was written."""
    return isinstance(found, str) and found.rstrip()[-1:] in ("x", "+", "(")


def erp() -> FieldMap:
    return MAPS["intacct"]


def crm() -> FieldMap:
    return MAPS["sage_crm"]


NATIVE_ADDRESS: Mapping[str, Any] = dict.fromkeys(crm().fields["address"].columns)


def test_five_lines_go_into_three_without_losing_a_word() -> None:
    value: Value = {line: line.upper() for line in ADDRESS_LINES}
    out = erp().put({"address": value}, {})
    assert out["contacts.default.mailingAddress.addressLine3"] == "LINE3, LINE4, LINE5"
    assert erp().same("address", erp().fit("address", value), value)


def test_an_edit_from_three_lines_leaves_the_other_sides_line_breaks_alone() -> None:
    native = {**NATIVE_ADDRESS, "Addr_Address3": "Unit 4", "Addr_Address4": "Mill Park", "Addr_City": "Leeds"}
    shown_in_erp = erp().fit("address", crm().get(native)["address"])
    assert isinstance(shown_in_erp, dict)
    assert crm().put({"address": {**shown_in_erp, "city": "York"}}, native) == {"Addr_City": "York"}


def test_a_new_intacct_address_always_names_its_country() -> None:
    column = "contacts.default.mailingAddress.isoCountryCode"
    assert erp().put({"address": {"line1": "1 Mill Row"}}, {})[column] == "GB"
    assert erp().put({"address": {"line1": "1 Rue A", "country": "France"}}, {})[column] == "FR"
    assert erp().create_extra({"name": "Orchard"})[column] == "GB"
    assert MAPS["intacct, no country"].put({"address": None}, {})[column] == "US"


def test_the_country_that_intacct_fills_in_by_itself_is_no_address() -> None:
    native = {**dict.fromkeys(erp().columns), "contacts.default.mailingAddress.isoCountryCode": "us"}
    assert erp().get(native)["address"] is None


def test_country_codes_compare_without_case() -> None:
    native = dict.fromkeys(erp().columns)
    native |= {"contacts.default.mailingAddress.city": "Leeds", "contacts.default.mailingAddress.isoCountryCode": "gb"}
    assert erp().put({"address": {"city": "York", "country": "GB"}}, native) == {
        "contacts.default.mailingAddress.city": "York"
    }


@pytest.mark.parametrize("cell", ["activeNonPosting", "active", None, ""])
def test_every_intacct_status_but_inactive_is_active_and_left_as_it_is(cell: str | None) -> None:
    assert erp().get({"status": cell}) == {"status": "active"}
    assert erp().put({"status": "active"}, {"status": cell}) == {}
    assert erp().put({"status": "inactive"}, {"status": cell}) == {"status": "inactive"}


@pytest.mark.parametrize("cell", ["Closed", "Archive", "Active", None, ""])
def test_every_sage_crm_status_but_inactive_is_active_and_left_as_it_is(cell: str | None) -> None:
    assert crm().get({"Comp_Status": cell}) == {"status": "active"}
    assert crm().put({"status": "active"}, {"Comp_Status": cell}) == {}
    assert crm().put({"status": "inactive"}, {"Comp_Status": cell}) == {"Comp_Status": "Inactive"}


def test_a_new_record_gets_the_plain_status() -> None:
    assert erp().put({"status": "active"}, {}) == {"status": "active"}
    assert crm().put({"status": "active"}, {}) == {"Comp_Status": "Active"}


def test_an_inactive_company_can_become_active_again() -> None:
    assert crm().put({"status": "active"}, {"Comp_Status": "inactive"}) == {"Comp_Status": "Active"}


@pytest.mark.parametrize(("cell", "key"), [(4, "4"), ("4", "4"), (4.0, "4"), (None, None), ("", None), (0, None)])
def test_a_crm_user_is_a_number_there_and_a_key_here(cell: Any, key: str | None) -> None:
    assert crm().get({"Comp_PrimaryUserId": cell}) == {"account_manager": key}
    assert crm().put({"account_manager": key}, {"Comp_PrimaryUserId": cell}) == {}
    assert crm().put({"account_manager": "12"}, {"Comp_PrimaryUserId": cell}) == {"Comp_PrimaryUserId": 12}


def test_an_erp_manager_keeps_its_zeros() -> None:
    assert erp().put({"account_manager": "007"}, {"salesRepresentative.id": "7"}) == {"salesRepresentative.id": "007"}


@pytest.mark.parametrize(
    ("cell", "seen"),
    [
        ("<ivy@orchard.example>", "ivy@orchard.example"),
        ("Ivy <ivy@orchard.example> (old)", "ivy@orchard.example"),
        ("ask Ivy", "ask Ivy"),
        ("a@b.example; c@d.example", "a@b.example; c@d.example"),
    ],
)
def test_odd_e_mails_are_read_and_left_as_they_stand(cell: str, seen: str) -> None:
    native = {"Emai_EmailAddress@Business": cell}
    assert crm().get(native) == {"email": seen}
    assert crm().put({"email": seen.upper()}, native) == {}


def test_one_changed_digit_writes_one_phone_column() -> None:
    code, area, number = crm().fields["phone"].columns
    native = {code: "44", area: "113", number: "496 0000"}
    assert crm().put({"phone": "0113 496 0001"}, native) == {number: "496 0001"}
    assert crm().put({"phone": "0113 4960000"}, native) == {}
    assert crm().put({"phone": None}, native) == {code: None, area: None, number: None}


def test_phone_types_are_those_of_the_installation() -> None:
    fmap = sage_crm.customer_map(MapSettings(phone_types={"mobile": "Modem", "fax": ""}))
    assert fmap.fields["mobile"].columns[2] == "Phon_Number@Modem"
    assert fmap.fields["phone"].columns[2] == "Phon_Number@Business"
    assert "fax" not in fmap.fields


def test_too_long_a_number_loses_its_spelling_before_its_digits() -> None:
    fmap = intacct.customer_map(MapSettings(default_country="GB", limits={"phone": 13}))
    assert fmap.fit("phone", "+44 113 496 0000") == "+441134960000"
    assert fmap.fit("phone", "0113 - 496 - 0000") == "01134960000"


def test_a_field_without_its_column_is_left_out() -> None:
    assert "tax_number" not in sage_crm.customer_map(MapSettings()).fields
    assert erp().fields["tax_number"].columns == ("taxId",)


def test_a_custom_column_belongs_to_the_table_of_its_prefix() -> None:
    assert crm().fields["region"].part == "company"
    assert crm().fields["shoe_size"].part == "person"
    for wrong in ({"custom": {"x": "oppo_total"}}, {"columns": {"erp_key": "pers_key"}}, {"custom": {"x": ""}}):
        with pytest.raises(ValueError, match="comp_"):
            sage_crm.customer_map(MapSettings.model_validate(wrong))


@pytest.mark.parametrize(
    ("cell", "value", "written"),
    [(7, "8", 8), (True, "false", False), (1.5, "2.25", 2.25), ("7", "8", "8"), (None, "8", "8"), (7, "many", "many")],
)
def test_a_custom_cell_keeps_its_type(cell: Any, value: str, written: Any) -> None:
    out = crm().put({"region": value}, {"comp_region": cell})
    assert out == {"comp_region": written}
    assert type(out["comp_region"]) is type(written)


def test_a_custom_day_travels_as_a_day() -> None:
    assert crm().get({"comp_region": "2026-07-30T00:00:00Z"}) == {"region": "2026-07-30"}


def test_parts_and_columns_are_the_connectors() -> None:
    assert {f.part for f in crm().fields.values()} == set(sage_crm.PARTS)
    assert {f.part for f in erp().fields.values()} == {"customer"}
    assert "comp_intacct_recordno" in crm().columns
    assert {"key", "id", "contacts.default.key"} <= set(erp().columns)


def test_a_new_intacct_customer_prints_its_name_and_takes_defaults_where_nothing_was_said() -> None:
    settings = MapSettings(
        defaults={"term.id": "Net 30", "salesRepresentative.id": "E-1", "taxId": "none"}, limits={"name": 9}
    )
    extra = intacct.customer_map(settings).create_extra(
        {"name": "Orchard Foods", "account_manager": None, "tax_number": "1"}
    )
    assert extra["contacts.default.printAs"] == extra["contacts.default.companyName"] == "Orchard F"
    assert (extra["term.id"], extra["salesRepresentative.id"]) == ("Net 30", "E-1")
    assert "taxId" not in extra


def test_a_new_company_takes_defaults_where_nothing_was_said() -> None:
    fmap = sage_crm.customer_map(MapSettings(defaults={"Comp_Type": "Customer", "comp_status": "Active"}))
    assert fmap.create_extra({"status": "inactive"}) == {"Comp_Type": "Customer"}


@given(text=words)
@example(text="ß" * 12)
@example(text="a b c d e f g")
def test_a_limit_cuts_and_the_cut_is_known_as_a_loss(text: str) -> None:
    fmap = MAPS["intacct, short"]
    fitted = fmap.fit("name", text)
    assume(fitted is not None)
    assert isinstance(fitted, str)
    assert len(fitted) <= 12
    assert fmap.loss("name", text, fitted)
