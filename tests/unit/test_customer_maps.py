"""The customer of Sage Intacct and of Sage CRM: the rules of each map, by example."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from mappings import intacct, sage_crm
from mappings.canonical import ADDRESS_LINES, MapSettings
from mappings.fields import Value

ERP = intacct.customer_map(MapSettings(default_country="GB", custom={"region": "nsp::REGION"}))
CRM = sage_crm.customer_map(
    MapSettings(
        default_country="GB",
        columns={"tax_number": "comp_vatnumber", "erp_key": "comp_intacct_recordno"},
        custom={"region": "comp_region", "shoe_size": "Pers_ShoeSize"},
    )
)
NATIVE_ADDRESS: Mapping[str, Any] = dict.fromkeys(CRM.fields["address"].columns)


def test_five_lines_go_into_three_without_losing_a_word() -> None:
    value: Value = {line: line.upper() for line in ADDRESS_LINES}
    out = ERP.put({"address": value}, {})
    assert out["contacts.default.mailingAddress.addressLine3"] == "LINE3, LINE4, LINE5"
    assert ERP.same("address", ERP.fit("address", value), value)


def test_an_edit_from_three_lines_leaves_the_other_sides_line_breaks_alone() -> None:
    native = {**NATIVE_ADDRESS, "Addr_Address3": "Unit 4", "Addr_Address4": "Mill Park", "Addr_City": "Leeds"}
    shown_in_erp = ERP.fit("address", CRM.get(native)["address"])
    assert isinstance(shown_in_erp, dict)
    assert CRM.put({"address": {**shown_in_erp, "city": "York"}}, native) == {"Addr_City": "York"}


def test_a_new_intacct_address_always_names_its_country() -> None:
    column = "contacts.default.mailingAddress.isoCountryCode"
    assert ERP.put({"address": {"line1": "1 Mill Row"}}, {})[column] == "GB"
    assert ERP.put({"address": {"line1": "1 Rue A", "country": "France"}}, {})[column] == "FR"
    assert ERP.create_extra({"name": "Orchard"})[column] == "GB"
    assert ERP.create_extra({"name": "Orchard", "address": None})[column] == "GB"
    assert intacct.customer_map(MapSettings()).put({"address": None}, {})[column] == "US"


def test_the_country_that_intacct_fills_in_by_itself_is_no_address() -> None:
    native = {**dict.fromkeys(ERP.columns), "contacts.default.mailingAddress.isoCountryCode": "us"}
    assert ERP.get(native)["address"] is None


def test_country_codes_compare_without_case() -> None:
    native = dict.fromkeys(ERP.columns)
    native |= {"contacts.default.mailingAddress.city": "Leeds", "contacts.default.mailingAddress.isoCountryCode": "gb"}
    assert ERP.put({"address": {"city": "York", "country": "GB"}}, native) == {
        "contacts.default.mailingAddress.city": "York"
    }


@pytest.mark.parametrize("cell", ["activeNonPosting", "active", None, ""])
def test_every_intacct_status_but_inactive_is_active_and_left_as_it_is(cell: str | None) -> None:
    assert ERP.get({"status": cell}) == {"status": "active"}
    assert ERP.put({"status": "active"}, {"status": cell}) == {}
    assert ERP.put({"status": "inactive"}, {"status": cell}) == {"status": "inactive"}


@pytest.mark.parametrize("cell", ["Closed", "Archive", "Active", None, ""])
def test_every_sage_crm_status_but_inactive_is_active_and_left_as_it_is(cell: str | None) -> None:
    assert CRM.get({"Comp_Status": cell}) == {"status": "active"}
    assert CRM.put({"status": "active"}, {"Comp_Status": cell}) == {}
    assert CRM.put({"status": "inactive"}, {"Comp_Status": cell}) == {"Comp_Status": "Inactive"}


def test_a_new_record_gets_the_plain_status() -> None:
    assert ERP.put({"status": "active"}, {}) == {"status": "active"}
    assert CRM.put({"status": "active"}, {}) == {"Comp_Status": "Active"}


def test_an_inactive_company_can_become_active_again() -> None:
    assert CRM.put({"status": "active"}, {"Comp_Status": "inactive"}) == {"Comp_Status": "Active"}


@pytest.mark.parametrize(("cell", "key"), [(4, "4"), ("4", "4"), (4.0, "4"), (None, None), ("", None), (0, None)])
def test_a_crm_user_is_a_number_there_and_a_key_here(cell: Any, key: str | None) -> None:
    assert CRM.get({"Comp_PrimaryUserId": cell}) == {"account_manager": key}
    assert CRM.put({"account_manager": key}, {"Comp_PrimaryUserId": cell}) == {}
    assert CRM.put({"account_manager": "12"}, {"Comp_PrimaryUserId": cell}) == {"Comp_PrimaryUserId": 12}


def test_an_erp_manager_keeps_its_zeros() -> None:
    assert ERP.put({"account_manager": "007"}, {"salesRepresentative.id": "7"}) == {"salesRepresentative.id": "007"}


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
    assert CRM.get(native) == {"email": seen}
    assert CRM.put({"email": seen.upper()}, native) == {}


def test_one_changed_digit_writes_one_phone_column() -> None:
    code, area, number = CRM.fields["phone"].columns
    native = {code: "44", area: "113", number: "496 0000"}
    assert CRM.put({"phone": "0113 496 0001"}, native) == {number: "496 0001"}
    assert CRM.put({"phone": "0113 4960000"}, native) == {}
    assert CRM.put({"phone": None}, native) == {code: None, area: None, number: None}


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
    assert ERP.fields["tax_number"].columns == ("taxId",)


def test_a_custom_column_belongs_to_the_table_of_its_prefix() -> None:
    assert CRM.fields["region"].part == "company"
    assert CRM.fields["shoe_size"].part == "person"
    for wrong in ({"custom": {"x": "oppo_total"}}, {"columns": {"erp_key": "pers_key"}}, {"custom": {"x": ""}}):
        with pytest.raises(ValueError, match="comp_"):
            sage_crm.customer_map(MapSettings.model_validate(wrong))


@pytest.mark.parametrize(
    ("cell", "value", "written"),
    [(7, "8", 8), (True, "false", False), (1.5, "2.25", 2.25), ("7", "8", "8"), (None, "8", "8"), (7, "many", "many")],
)
def test_a_custom_cell_keeps_its_type(cell: Any, value: str, written: Any) -> None:
    out = CRM.put({"region": value}, {"comp_region": cell})
    assert out == {"comp_region": written}
    assert type(out["comp_region"]) is type(written)


def test_a_custom_day_travels_as_a_day() -> None:
    assert CRM.get({"comp_region": "2026-07-30T00:00:00Z"}) == {"region": "2026-07-30"}


def test_parts_and_columns_are_the_connectors() -> None:
    assert {f.part for f in CRM.fields.values()} == set(sage_crm.PARTS)
    assert {f.part for f in ERP.fields.values()} == {"customer"}
    assert "comp_intacct_recordno" in CRM.columns
    assert {"key", "id", "contacts.default.key"} <= set(ERP.columns)


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
