"""E7 for what gives no notice of its own: contacts, phones, e-mails, addresses, persons."""

from __future__ import annotations

import pytest

from support.rules import (
    pair,
    rest,
    when,
)
from support.world import Crash, World


def contact_of(world: World, erp_key: str) -> str:
    return str(world.erp_record(erp_key)["contacts.default.key"])


@pytest.mark.parametrize("found_by", ["notice", "poll", "event queue", "sweep"])
def test_e7_an_intacct_contact_edited_alone_arrives(world: World, found_by: str) -> None:
    one = pair(world)
    world.app.feeds.drain("erp")
    world.poll()
    world.settle()
    # whether a contact's edit moves its customer's stamp is documented nowhere; where it does, polls find it
    world.erp.faults.merge(
        {
            "notices_off": found_by in ("sweep", "poll"),
            "webhooks": found_by == "notice",
            "contact_bumps_customer": found_by == "poll",
        }
    )
    world.clock.advance(300)
    world.erp.person("contact", contact_of(world, one.erp), {"email1": "new@northwind.example"})
    if found_by == "event queue":
        world.app.feeds.drain("erp")
    elif found_by == "sweep":
        world.poll()
        world.sweep()
    elif found_by == "poll":
        world.poll()
    world.settle()
    child = world.crm_child(one.crm, "Email")
    assert child is not None and child["Emai_EmailAddress"] == "new@northwind.example"


@pytest.mark.parametrize("found_by", ["notice", "poll", "sweep"])
@pytest.mark.parametrize(
    ("table", "columns", "erp_column", "expected"),
    [
        ("Email", {"Emai_EmailAddress": "new@nw.example"}, "contacts.default.email1", "new@nw.example"),
        ("Phone", {"Phon_Number": "79461111"}, "contacts.default.phone1", "79461111"),
        ("Address", {"Addr_City": "York"}, "contacts.default.mailingAddress.city", "York"),
        ("Person", {"Pers_FirstName": "Adela"}, "contacts.default.firstName", "Adela"),
    ],
)
def test_e7_a_child_row_of_sage_crm_edited_alone_arrives(
    world: World, found_by: str, table: str, columns: dict[str, str], erp_column: str, expected: str
) -> None:
    one = pair(world)
    world.poll()
    world.clock.advance(300)
    if found_by != "notice":
        world.crm.faults.merge({"notices_off": True})
    world.crm.person(table, world.crm_child_key(one.crm, table), columns)
    if found_by == "poll":
        world.poll()
    elif found_by == "sweep":
        world.sweep()
    world.settle()
    assert str(world.erp_record(one.erp)[erp_column]).endswith(expected)


def test_e7_a_child_row_nobody_has_seen_before_finds_its_company(world: World) -> None:
    one = pair(world, phone=[], email=[])
    phone = world.crm.person("Phone", None, {"Phon_Number": "0113 4960000"}, "create")
    email = world.crm.person("Email", None, {"Emai_EmailAddress": "first@nw.example"}, "create")
    link = {"PLink_EntityID": 5, "PLink_RecordID": int(one.crm), "PLink_PhoneId": int(phone), "PLink_Type": "Business"}
    world.crm.person("PhoneLink", None, link, "create")
    link = {"ELink_EntityID": 5, "ELink_RecordID": int(one.crm), "ELink_EmailId": int(email), "ELink_Type": "Business"}
    world.crm.person("EmailLink", None, link, "create")
    world.settle()
    customer = world.erp_record(one.erp)
    assert customer["contacts.default.phone1"] == "0113 4960000"
    assert customer["contacts.default.email1"] == "first@nw.example"


def test_e7_another_primary_person_and_address_are_an_edit_of_the_company(world: World) -> None:
    one = pair(world)
    person = world.crm.person(
        "Person", None, {"Pers_FirstName": "Ben", "Pers_LastName": "Baker", "Pers_CompanyId": int(one.crm)}, "create"
    )
    address = world.crm.person("Address", None, {"Addr_Address1": "9 High Row", "Addr_City": "York"}, "create")
    world.edit_crm(one.crm, Comp_PrimaryPersonId=int(person), Comp_PrimaryAddressId=int(address))
    world.settle()
    customer = world.erp_record(one.erp)
    assert (customer["contacts.default.firstName"], customer["contacts.default.lastName"]) == ("Ben", "Baker")
    assert customer["contacts.default.mailingAddress.city"] == "York"
    world.crm.person("Address", address, {"Addr_City": "Selby"})
    world.settle()
    assert world.erp_record(one.erp)["contacts.default.mailingAddress.city"] == "Selby"


@pytest.mark.parametrize("announced", ["the other phone", "both sides' mobiles", "nothing in the CRM"])
def test_e8_a_mobile_that_came_unheard_is_seen_before_one_is_written(world: World, announced: str) -> None:
    """A phone known to be absent is not read for an echo, yet no decision is made without looking."""
    one = pair(world)
    world.settle()
    world.crm.faults.merge({"notices_off": announced != "both sides' mobiles"})
    phone = world.crm.person("Phone", None, {"Phon_Number": "07700 900111"}, "create")
    link = {"PLink_EntityID": 5, "PLink_RecordID": int(one.crm), "PLink_PhoneId": int(phone), "PLink_Type": "Mobile"}
    world.crm.person("PhoneLink", None, link, "create")
    world.crm.faults.merge({"notices_off": False})
    if announced == "the other phone":
        world.crm.person("Phone", world.crm_child_key(one.crm, "Phone"), {"Phon_Number": "79461111"})
    world.edit_erp(one.erp, **{"contacts.default.mobile": "07700 900222"})
    world.settle()
    assert world.crm.get_record("phone", phone)["Phon_Number"] == "07700 900111"  # type: ignore[index]
    (one_link,) = world.links()
    assert one_link["state"] == "conflict"


# --- E18: a child row that an earlier try left untied -----------------------------------------------------------------


@pytest.mark.parametrize("how", ["crash", "lost"])
def test_e18_an_email_or_phone_row_that_a_cut_off_try_left_is_found_and_not_made_again(world: World, how: str) -> None:
    one = pair(world, phone=[], email=[])
    world.edit_erp(
        one.erp, **{"contacts.default.email1": "first@nw.example", "contacts.default.phone1": "+44 113 4960000"}
    )
    world.deliver()
    for table in ("EmailLink", "PhoneLink"):
        shot = {"operation": f"create {table.lower()}", "fault": "before_apply"}
        if how == "lost":
            world.crm.faults.merge({"fail_next": [shot]})
        else:
            when(world.crm, shot["operation"], crash)
        try:
            world.work()
        except Crash:
            world.app = world.build()
        world.clock.advance(31)
    world.settle()
    rest(world)
    assert [row["Emai_EmailAddress"] for row in world.crm.list_records("Email")] == ["first@nw.example"]
    assert len(world.crm.list_records("Phone")) == 1
    assert len(world.crm.list_records("EmailLink")) == len(world.crm.list_records("PhoneLink")) == 1
    assert world.explain("crm", one.crm)["state"] == "in_sync"


def crash() -> None:
    raise Crash


def test_e18_the_same_address_of_another_company_is_never_taken_for_what_a_try_left(world: World) -> None:
    theirs = pair(world, "Their Ltd", comp_vatnumber="GB987654321")
    one = pair(world, phone=[], email=[])
    world.edit_erp(one.erp, **{"contacts.default.email1": "desk@northwind.example"})
    world.deliver()
    world.crm.faults.merge({"fail_next": [{"operation": "create email", "fault": "before_apply"}]})
    world.settle()
    rest(world)
    assert world.crm_child_key(one.crm, "Email") != world.crm_child_key(theirs.crm, "Email")
