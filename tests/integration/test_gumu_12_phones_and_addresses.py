"""GUMU-12: phones, e-mails and addresses on their way there and back, whatever they were typed as."""

from __future__ import annotations

from typing import Any

import pytest

from support.rules import Make, in_the_past, rest, row_of, updates
from support.world import World
from sync_worker import config as configuration
from sync_worker import desk
from sync_worker.desk import importing
from sync_worker.imports import Selection

CONTACT = "contacts.default."
MODEM = 'phone_types = { phone = "Business", mobile = "Modem", fax = "Fax" }\n'


def phone(kind: str, *parts: str) -> dict[str, Any]:
    country, area, number = ("", *parts) if len(parts) == 2 else parts
    columns = {"Phon_CountryCode": country, "Phon_AreaCode": area, "Phon_Number": number}
    return {"$type": kind, **{name: value for name, value in columns.items() if value}}


def email(kind: str, address: str) -> dict[str, Any]:
    return {"$type": kind, "Emai_EmailAddress": address}


def address(city: str, *, primary: bool, kind: str = "Business") -> dict[str, Any]:
    return {"$isDefault": primary, "$type": kind, "Addr_Address1": "1 Mill Row", "Addr_City": city}


def promoted(world: World, **columns: Any) -> tuple[str, dict[str, Any]]:
    """A company that a person promotes, and its customer."""
    crm = world.new_crm("Northwind Tools", **columns)
    desk.sync_record(world.app, "crm", crm)
    rest(world)
    row = row_of(world, crm=crm)
    assert row.state == "in_sync", world.explain("crm", crm)
    return crm, world.erp_record(str(row.erp_key))


@pytest.fixture
def manual(make_light: Make) -> World:
    return make_light('create_in_erp = "manual"')


def test_gumu_12_business_phone_fax_mobile_and_business_email_go_to_the_contact(manual: World) -> None:
    phones = [phone("Business", "44", "113", "4960001"), phone("Fax", "44", "113", "4960002"),
              phone("Mobile", "44", "7700", "900003")]  # fmt: skip
    emails = [email("Business", "desk@northwind.example"), email("Sales", "sales@northwind.example")]
    _, customer = promoted(manual, phone=phones, email=emails)
    shown = {name: customer[f"{CONTACT}{name}"] for name in ("phone1", "fax", "mobile", "email1")}
    assert shown == {
        "phone1": "+44 113 4960001",
        "fax": "+44 113 4960002",
        "mobile": "+44 7700 900003",
        "email1": "desk@northwind.example",
    }


@pytest.mark.parametrize("caption", ["Modem", "Handy"])
def test_gumu_12_the_mobile_is_the_phone_of_the_type_that_this_installation_gives_it(
    make_light: Make, monkeypatch: pytest.MonkeyPatch, caption: str
) -> None:
    plain = World._configured

    def renamed(world: World, flow: str) -> configuration.Config:
        found = plain(world, flow)
        found.systems["crm"].phone_types["mobile"] = caption  # type: ignore[attr-defined]  # Sage CRM's own setting
        return found

    monkeypatch.setattr(World, "_configured", renamed)
    world = make_light('create_in_erp = "manual"')
    _, customer = promoted(world, phone=[phone(caption, "44", "7700", "900003"), phone("Mobile", "0113", "1")])
    assert customer[f"{CONTACT}mobile"] == "+44 7700 900003"


@pytest.mark.parametrize(
    "typed",
    [
        ("0113", "4960001"),
        ("44", "113", "4960001"),
        ("", "999"),
        ("", "112"),
        ("", "+44 113 496 0001"),
        ("0113", "4960001 ext. 12"),
        ("", "0800 FLOWERS"),
        ("", "see note"),
        ("212", "5550100"),
    ],
)
def test_gumu_12_a_number_comes_back_as_it_was_typed(manual: World, typed: tuple[str, ...]) -> None:
    given = phone("Business", *typed)
    crm, customer = promoted(manual, phone=[given])
    assert customer[f"{CONTACT}phone1"]
    child = manual.crm_child(crm, "Phone")
    assert child is not None
    names = ("Phon_CountryCode", "Phon_AreaCode", "Phon_Number")
    assert {name: child[name] for name in names if child[name]} == {n: v for n, v in given.items() if n != "$type"}
    manual.edit_erp(str(customer["key"]), name="Northwind Works")
    manual.settle()
    rest(manual)
    assert not any(table == "Phone" for table, _ in updates(manual, "crm"))


@pytest.mark.parametrize(
    ("typed", "pieces"),
    [
        ("+44 113 496 0001", ("44", "113", "496 0001")),
        ("0113 496 0001", ("", "0113", "496 0001")),
        ("999", ("", "", "999")),
        ("0800 FLOWERS", ("", "", "0800 FLOWERS")),
    ],
)
def test_gumu_12_an_imported_number_is_split_by_its_country_and_never_after_three_digits(
    make_light: Make, typed: str, pieces: tuple[str, str, str]
) -> None:
    world = make_light()
    with in_the_past(world):
        erp = world.new_erp("Archer Foods", id="C-1", **{f"{CONTACT}phone1": typed})
    importing.run_import(world.app, "customers", Selection())
    rest(world)
    child = world.crm_child(str(row_of(world, erp=erp).crm_key), "Phone")
    assert child is not None
    found = tuple(str(child[name] or "") for name in ("Phon_CountryCode", "Phon_AreaCode", "Phon_Number"))
    assert found == pieces
    assert world.erp_record(erp)[f"{CONTACT}phone1"] == typed and not world.written("erp")


def test_gumu_12_of_several_addresses_only_the_primary_one_goes(manual: World) -> None:
    crm, customer = promoted(
        manual,
        Address=[address("Leeds", primary=True), address("York", primary=False), address("Bath", primary=False)],
    )
    assert customer[f"{CONTACT}mailingAddress.city"] == "Leeds"
    for row in manual.crm.list_records("Address"):
        if row["Addr_City"] == "York":
            manual.crm.person("Address", str(row["Addr_AddressId"]), {"Addr_City": "Truro"})
    rest(manual)
    erp = str(row_of(manual, crm=crm).erp_key)
    assert manual.erp_record(erp)[f"{CONTACT}mailingAddress.city"] == "Leeds"
    assert {row["Addr_City"] for row in manual.crm.list_records("Address")} == {"Leeds", "Truro", "Bath"}


def test_gumu_12_without_a_primary_address_none_is_sent_but_the_country_intacct_asks_for(manual: World) -> None:
    _, customer = promoted(manual, Address=[address("York", primary=False)])
    assert customer[f"{CONTACT}mailingAddress.city"] in (None, "")
    assert customer[f"{CONTACT}mailingAddress.isoCountryCode"] == "GB"
