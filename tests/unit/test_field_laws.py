"""Laws that hold for every field of every system, whatever people and vendors put into it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from mappings import intacct, rest, sage_crm
from mappings.canonical import ADDRESS_PARTS, MapSettings
from mappings.fields import FieldMap

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
PLACES = {
    **{name: f"/{name}" for name in ("name", "email", "website", "phone", "mobile", "fax", "tax_number", "status")},
    **{f"contact.{part}": f"/main/{part}" for part in ("first", "last")},
    **{f"address.{part}": f"/address/{part}" for part in ADDRESS_PARTS},
    "account_manager": "/manager",
    "erp_key": "/sage/key",
}
API = {**BASE, "columns": PLACES, "custom": {"region": "/more/region"}}
MAPS: dict[str, FieldMap] = {
    "intacct": intacct.customer_map(MapSettings.model_validate(ERP)),
    "sage_crm": sage_crm.customer_map(MapSettings.model_validate(CRM)),
    "intacct, short": intacct.customer_map(MapSettings.model_validate({**ERP, "limits": LIMITS})),
    "rest": rest.customer_map(MapSettings.model_validate(API), "Live", "Closed"),
    "rest, short": rest.customer_map(MapSettings.model_validate({**API, "limits": LIMITS})),
    "sage_crm, short": sage_crm.customer_map(MapSettings.model_validate({**CRM, "limits": LIMITS})),
    "intacct, no country": intacct.customer_map(MapSettings.model_validate({**ERP, "default_country": ""})),
    "sage_crm, no country": sage_crm.customer_map(MapSettings.model_validate({**CRM, "default_country": ""})),
}
REGIONAL = ("address", "phone")  # the only fields a default country matters to
ALL = [(m, f) for m in MAPS for f in MAPS[m].fields if "no country" not in m or f in REGIONAL]
WIDE = [(m, f) for m, f in ALL if "short" not in m]
CUTTABLE = [(m, f) for m, f in WIDE if f not in ("account_manager", "status")]  # cut, these name something else
wide = pytest.mark.parametrize(("system", "name"), WIDE)
every = pytest.mark.parametrize(("system", "name"), ALL)

law = settings(
    max_examples=20,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
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
# Not 0 and False: FieldMap takes them for empty cells when it drops unchanged columns.
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


@pytest.mark.parametrize(("system", "name"), CUTTABLE)
@law
@given(data=st.data())
def test_a_cut_value_is_a_loss(system: str, name: str, data: st.DataObject) -> None:
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
    """Letters and digits without case; a web address also counts without its scheme."""
    return "".join(c for c in text.upper().casefold().removeprefix("http://") if c.isalnum())


def phone_changes_form(value: Any, found: Any) -> bool:
    """A cut through an extension's word leaves neither a number nor the text that was written."""
    return isinstance(found, str) and found.rstrip()[-1:] in ("x", "+", "(")


@law
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
