"""The emulated Sage CRM over real sockets: what a write makes, and what it refuses."""

from __future__ import annotations

import json
from typing import Any

import httpx

from support.clock import FakeClock
from support.sage_crm import COMPANY, create, rows
from sync_worker.connectors.sage_crm.emulator import SageCrmEmulator

pytest_plugins = ("support.sage_crm_fixtures",)


def test_a_nested_create_makes_the_children_their_links_and_the_primary_ones(api: httpx.Client) -> None:
    made = create(api)
    key = made["$key"]
    person = api.get(f"Person('{made['Comp_PrimaryPersonId']}')").json()
    assert (person["Pers_LastName"], person["Pers_CompanyId"]) == ("Holt", key)
    assert rows(api, "Person_Link", f"PeLi_CompanyID eq {key}")[0]["PeLi_Type"] == "Finance"
    assert rows(api, "Address_Link", f"AdLi_CompanyID eq {key}")[0]["AdLi_AddressId"] == made["Comp_PrimaryAddressId"]
    links = rows(api, "PhoneLink", f"PLink_RecordID eq {key} and PLink_EntityID eq 5")
    assert [link["PLink_Type"] for link in links] == ["Business", "Fax"]
    phones = rows(api, "Phone", f"phon_phoneid in ({links[0]['PLink_PhoneId']})")
    assert phones[0]["Phon_FullNumber"] == "44 113 4960000"
    assert not [column for column in phones[0] if column.startswith("PLink")]
    assert len(rows(api, "EmailLink", f"ELink_RecordID eq '{key}'")) == 1


def test_without_nested_create_the_children_are_refused_and_nothing_is_made(
    api: httpx.Client, door: httpx.Client, crm: SageCrmEmulator
) -> None:
    door.post("faults", json={"nested_create": False})
    answer = api.post("Company", json=COMPANY)
    assert answer.status_code == 400
    assert answer.json()["$diagnoses"][0]["$payloadPath"] == "person"
    assert crm.ledger == []


def test_a_company_can_be_made_step_by_step(api: httpx.Client, door: httpx.Client) -> None:
    door.post("faults", json={"nested_create": False})
    company = create(api, {"comp_name": "Alder"})["$key"]
    person = api.post("Person", json={"Pers_LastName": "Ray", "Pers_CompanyId": company}).json()["$key"]
    api.post("Person_Link", json={"PeLi_PersonId": person, "PeLi_CompanyID": company}).raise_for_status()
    address = api.post("Address", json={"Addr_City": "York"}).json()["$key"]
    api.post("Address_Link", json={"AdLi_AddressId": address, "AdLi_CompanyID": company}).raise_for_status()
    for kind, column, prefix in (("Phone", "Phon_Number", "PLink"), ("Email", "Emai_EmailAddress", "ELink")):
        child = api.post(kind, json={column: "1"}).json()["$key"]
        link = {f"{prefix}_{kind}Id": child, f"{prefix}_EntityID": 5, f"{prefix}_RecordID": company}
        api.post(f"{kind}Link", json={**link, f"{prefix}_Type": "Business"}).raise_for_status()
    primaries = {"Comp_PrimaryPersonId": person, "Comp_PrimaryAddressId": str(address)}
    stored = api.patch(f"Company('{company}')?returnPartial=false", json=primaries).json()
    assert (stored["Person"]["$key"], stored["Address"]["$key"]) == (person, address)


BAD_CREATES: list[tuple[str, dict[str, Any]]] = [
    ("Company", {"Comp_Type": "Customer"}),
    ("Company", {"Comp_Name": ""}),
    ("Company", {"Comp_Name": "x", "Comp_Nme": "y"}),
    ("Company", {"Comp_Name": "x", "Comp_CompanyId": 7}),
    ("Company", {"Comp_Name": "x", "Comp_PrimaryUserId": "ada"}),
    ("Company", {"Comp_Name": {"first": "x"}}),
    ("Company", {"Comp_Name": "x", "person": [{"Pers_Nme": "y"}]}),
    ("Company", {"Comp_Name": "x", "person": ["y"]}),
    ("Person", {"Pers_CompanyId": 999}),
    ("PhoneLink", {"PLink_EntityID": 5, "PLink_RecordID": 999, "PLink_PhoneId": 999}),
    ("PhoneLink", {"PLink_EntityID": 7, "PLink_RecordID": 1, "PLink_PhoneId": 1}),
    ("Phone", {"Phon_FullNumber": "1"}),
]


def test_a_refused_create_leaves_nothing_behind(api: httpx.Client, crm: SageCrmEmulator) -> None:
    for resource, body in BAD_CREATES:
        assert api.post(resource, json=body).status_code == 400, body
        assert crm.list_records(resource) == []
    assert crm.ledger == []


def test_patch_and_put_both_merge(api: httpx.Client) -> None:
    key = create(api)["$key"]
    api.patch(f"Company('{key}')", json={"comp_website": "http://a.test"}).raise_for_status()
    api.put(f"Company('{key}')", json={"Comp_Type": None}).raise_for_status()
    entry = api.get(f"Company('{key}')").json()
    assert (entry["Comp_Name"], entry["Comp_WebSite"], entry["Comp_Type"]) == ("Northwind Tools", "http://a.test", None)


def test_where_patch_is_not_known_put_still_works(api: httpx.Client, door: httpx.Client) -> None:
    key = create(api)["$key"]
    door.post("faults", json={"patch_allowed": False})
    assert api.patch(f"Company('{key}')", json={"Comp_Type": "Prospect"}).status_code == 405
    assert api.put(f"Company('{key}')", json={"Comp_Type": "Prospect"}).status_code == 200
    assert api.post(f"Company('{key}')", json={"Comp_Type": "Prospect"}).status_code == 405


def test_children_cannot_be_updated_through_their_parent(api: httpx.Client) -> None:
    key = create(api)["$key"]
    for name in ("person", "Address", "phone", "email"):
        answer = api.patch(f"Company('{key}')", json={"Comp_Type": "Prospect", name: COMPANY[name]})
        assert answer.status_code == 400
    assert api.get(f"Company('{key}')").json()["Comp_Type"] == "Customer"


def test_an_answer_echoes_what_was_sent_unless_the_stored_truth_is_asked_for(
    api: httpx.Client, door: httpx.Client
) -> None:
    key = create(api)["$key"]
    door.post("faults", json={"upper": ["Comp_Name"], "cut": {"Comp_WebSite": 10}})
    sent = {"comp_name": "alder", "Comp_WebSite": "http://alder.test"}
    echo = api.patch(f"Company('{key}')", json=sent).json()
    assert (echo["Comp_Name"], echo["Comp_WebSite"]) == ("alder", "http://alder.test")
    assert "Comp_Type" not in echo
    stored = api.patch(f"Company('{key}')?returnPartial=false", json=sent).json()
    assert (stored["Comp_Name"], stored["Comp_WebSite"], stored["Comp_Type"]) == ("ALDER", "http://ald", "Customer")


def test_a_refused_value_names_its_column_or_not(api: httpx.Client, door: httpx.Client) -> None:
    key = create(api)["$key"]
    door.post("faults", json={"refuse": {"Comp_Type": ["Rival"]}, "refuse_longer": {"Comp_Name": 5}})
    for body, column in (({"Comp_Type": "Rival"}, "Comp_Type"), ({"comp_name": "longer"}, "Comp_Name")):
        answer = api.patch(f"Company('{key}')", json=body)
        assert (answer.status_code, answer.json()["$diagnoses"][0]["$payloadPath"]) == (400, column)
    door.post("faults", json={"refusal_names_column": False})
    diagnosis = api.patch(f"Company('{key}')", json={"Comp_Type": "Rival"}).json()["$diagnoses"][0]
    assert "$payloadPath" not in diagnosis
    assert "Comp_Type" not in json.dumps(diagnosis)


def test_values_survive_whatever_people_type(api: httpx.Client) -> None:
    for name in ("O'Brien <script>", "İstanbul 🏗", "שלום", "x" * 200, "007"):
        key = create(api, {"Comp_Name": name})["$key"]
        quoted = name.replace("'", "''")
        assert [found["$key"] for found in rows(api, "Company", f"comp_name eq '{quoted}'")] == [key]
        assert api.get(f"Company('{key}')").json()["Comp_Name"] == name


def test_an_api_write_may_leave_the_updated_date_but_a_person_always_moves_it(
    api: httpx.Client, door: httpx.Client, clock: FakeClock
) -> None:
    key = create(api)["$key"]
    door.post("faults", json={"bump_updated_on_api_write": False})
    clock.advance(60)
    api.patch(f"Company('{key}')", json={"Comp_Type": "Prospect"})
    assert api.get(f"Company('{key}')").json()["Comp_UpdatedDate"] == "2027-01-15T08:00:00Z"
    door.post("person", json={"entity": "customer", "key": str(key), "columns": {"Comp_Type": "Customer"}})
    assert api.get(f"Company('{key}')").json()["Comp_UpdatedDate"] == "2027-01-15T08:01:00Z"


def test_a_childs_edit_moves_its_own_date_and_not_the_companys(api: httpx.Client, clock: FakeClock) -> None:
    key = create(api)["$key"]
    clock.advance(86_400)
    phone = rows(api, "PhoneLink", f"PLink_RecordID eq {key}")[0]["PLink_PhoneId"]
    api.patch(f"Phone('{phone}')", json={"Phon_Number": "1"}).raise_for_status()
    assert rows(api, "Company", "comp_updateddate ge @2027-01-16@") == []
    assert [row["$key"] for row in rows(api, "Phone", "phon_updateddate ge @2027-01-16@")] == [phone]


def test_an_unreadable_body_or_a_wrong_content_type_is_400(api: httpx.Client) -> None:
    for content, kind in (("{", "application/json"), ("[]", "application/json"), ('{"Comp_Name": "x"}', "text/plain")):
        assert api.post("Company", content=content, headers={"content-type": kind}).status_code == 400
