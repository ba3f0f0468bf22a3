"""The emulated Sage CRM over real sockets: the check list of what its REST interface does, and does to a client."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import queue
import threading
import xml.etree.ElementTree as ET  # reads only what the emulator under test wrote
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from sync_worker.connectors.emulation import EmulatorServer, Hook
from sync_worker.connectors.sage_crm.emulator import Logon, SageCrmEmulator

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
BASE = "/sdata/crmj/sagecrm2/-/"
COMPANY = {
    "Comp_Name": "Northwind Tools",
    "Comp_Type": "Customer",
    "person": [{"$isDefault": True, "$type": "Finance", "Pers_FirstName": "Ina", "Pers_LastName": "Holt"}],
    "Address": [{"$isDefault": True, "$type": "Business", "Addr_Address1": "1 Mill Lane", "Addr_City": "Leeds"}],
    "email": {"$type": "Business", "Emai_EmailAddress": "ap@northwind.test"},
    "phone": [
        {"$type": "Business", "Phon_CountryCode": "44", "Phon_AreaCode": "113", "Phon_Number": "4960000"},
        {"$type": "Fax", "Phon_Number": "4960001"},
    ],
}


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def crm(clock: Clock) -> SageCrmEmulator:
    return SageCrmEmulator(seed=1, clock=clock)


@pytest.fixture
def root(crm: SageCrmEmulator) -> Iterator[str]:
    with EmulatorServer(crm) as url:
        yield url


@pytest.fixture
def api(root: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=root + BASE, auth=("sync", "demo-password"), trust_env=False) as client:
        yield client


@pytest.fixture
def door(root: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=root + "/_emulator/", trust_env=False) as client:
        yield client


def create(api: httpx.Client, body: dict[str, Any] = COMPANY) -> dict[str, Any]:
    answer = api.post("Company?returnPartial=false", json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def rows(api: httpx.Client, resource: str, where: str, **options: Any) -> list[dict[str, Any]]:
    answer = api.get(resource, params={"where": where, **options})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["$resources"])


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["$diagnoses"][0]["$sdataCode"]


# --- who may call ---------------------------------------------------------------------------------------------------


def test_a_wrong_logon_is_refused_without_a_challenge(root: str) -> None:
    for auth in (None, ("sync", "wrong"), ("nobody", ""), ("sync", "")):
        answer = httpx.get(f"{root}{BASE}Company", auth=auth, trust_env=False)
        assert answer.status_code == 401
        assert "www-authenticate" not in answer.headers


def test_the_alternate_header_and_a_session_id_act_as_their_user(root: str, crm: SageCrmEmulator) -> None:
    token = base64.b64encode(b"sync:demo-password").decode()
    headers = {"X-Sage-Authorization": f"Basic {token}"}
    assert httpx.get(f"{root}{BASE}Company", headers=headers, trust_env=False).status_code == 200
    sid = crm.open_session("sync")
    assert httpx.get(f"{root}{BASE}Company?SID={sid}", trust_env=False).status_code == 200
    assert httpx.get(f"{root}{BASE}Company?SID=1{sid}", trust_env=False).status_code == 401


def test_disabled_users_resources_and_users_without_the_web_service_right_are_refused(
    root: str, crm: SageCrmEmulator
) -> None:
    crm.accounts.logons |= {
        "leaver": Logon("p", 5),
        "room1": Logon("p", 6),
        "ada": Logon("p", 2, web_service=False),
        "ben": Logon("p", 3),
    }
    statuses = [
        httpx.get(f"{root}{BASE}Company", auth=(name, "p"), trust_env=False).status_code
        for name in ("leaver", "room1", "ada", "ben")
    ]
    assert statuses == [401, 401, 401, 200]


def test_the_web_service_right_can_be_taken_away_while_it_runs(api: httpx.Client, door: httpx.Client) -> None:
    door.post("faults", json={"no_web_service_right": True})
    assert code(api.get("Company")) == (401, "ApplicationDiagnosis")
    door.post("faults", json={"no_web_service_right": False})
    assert api.get("Company").status_code == 200


# --- reading --------------------------------------------------------------------------------------------------------


def test_an_entry_has_an_integer_key_native_columns_nulls_and_linked_record_objects(api: httpx.Client) -> None:
    made = create(api)
    entry = api.get(f"Company('{made['$key']}')").json()
    assert entry == made
    assert type(entry["$key"]) is int
    assert entry["$title"] == "Northwind Tools"
    assert entry["$url"].endswith(f"{BASE}Company('{entry['$key']}')")
    assert entry["Comp_CreatedDate"] == entry["Comp_UpdatedDate"] == "2027-01-15T08:00:00Z"
    assert entry["Comp_WebSite"] is None
    assert entry["Comp_Deleted"] is None
    assert entry["Comp_SecTerr"] < 0
    assert entry["Comp_Status"] == "Active"
    assert entry["Person"]["$key"] == entry["Comp_PrimaryPersonId"]
    assert entry["Address"]["$url"].endswith(f"Address('{entry['Comp_PrimaryAddressId']}')")


def test_names_are_read_without_case_and_doubled_slashes_are_tolerated(root: str, api: httpx.Client) -> None:
    key = create(api)["$key"]
    odd = httpx.get(f"{root}//sdata//CRMJ/sagecrm2/-//cOmPaNy('{key}')", auth=api.auth, trust_env=False)
    assert odd.json()["$key"] == key
    assert rows(api, "company", "COMP_NAME eq 'northwind tools'")[0]["$key"] == key


def test_a_key_without_quotes_is_no_entry_and_an_unknown_or_deleted_id_is_404(api: httpx.Client) -> None:
    key = create(api)["$key"]
    assert code(api.get(f"Company({key})")) == (400, "BadWhereSyntax")
    assert api.get("Company('999')").status_code == 404
    assert api.get("Company('abc')").status_code == 404
    assert code(api.get("Widgets")) == (404, "ResourceKindNotFound")
    deleted = api.delete(f"Company('{key}')")
    assert (deleted.status_code, deleted.content) == (200, b"")
    assert api.get(f"Company('{key}')").status_code == 404
    assert api.patch(f"Company('{key}')", json={"Comp_Name": "x"}).status_code == 404
    assert rows(api, "Company", "comp_companyid gt 0") == []


def test_a_deleted_row_stays_in_the_database(api: httpx.Client, door: httpx.Client) -> None:
    key = create(api)["$key"]
    api.delete(f"Company('{key}')")
    record = door.get("record", params={"entity": "Company", "key": key}).json()["record"]
    assert (record["Comp_Name"], record["Comp_Deleted"]) == ("Northwind Tools", 1)


def test_a_predicate_in_parentheses_is_a_feed(api: httpx.Client) -> None:
    key = create(api)["$key"]
    feed = api.get(f"company(comp_companyid eq '{key}')").json()
    assert (feed["$totalResults"], feed["$resources"][0]["$key"]) == (1, key)


def test_pages_start_at_one_and_hold_no_more_than_the_cap_whatever_is_asked(
    api: httpx.Client, door: httpx.Client
) -> None:
    door.post("seed", json={"customers": 250})
    door.post("faults", json={"page_cap": 100})
    seen: list[int] = []
    while True:
        page = api.get("Company", params={"count": 1000, "startIndex": len(seen) + 1}).json()
        if not page["$resources"]:
            break
        assert (page["$totalResults"], page["$itemsPerPage"]) == (250, 100)
        seen += [entry["$key"] for entry in page["$resources"]]
    assert seen == list(range(1, 251))
    assert len(api.get("Company").json()["$resources"]) == 10
    assert code(api.get("Company", params={"startIndex": 0})) == (400, "BadQueryParameter")


def test_select_shows_only_its_columns_and_order_by_sorts(api: httpx.Client, door: httpx.Client) -> None:
    door.post("seed", json={"customers": 3})
    found = rows(api, "Company", "comp_companyid gt 0", select="comp_name", orderBy="Comp_Name desc")
    assert [set(entry) for entry in found] == [{"$key", "$title", "$url", "Comp_Name"}] * 3
    assert [entry["$key"] for entry in found] == [3, 2, 1]
    assert code(api.get("Company", params={"select": "Comp_Nme"})) == (400, "BadQueryParameter")


@pytest.mark.parametrize("where", ["comp_nme eq 'x'", "comp_name eq", "comp_updateddate gt @2027-01-01T10:00:00@"])
def test_bad_predicates_are_told_as_bad_where_syntax(api: httpx.Client, where: str) -> None:
    assert code(api.get("Company", params={"where": where})) == (400, "BadWhereSyntax")


def test_include_is_refused_until_switched_on(api: httpx.Client, door: httpx.Client) -> None:
    key = create(api)["$key"]
    params = {"include": "person,address,phoneCollection,emailCollection"}
    assert code(api.get(f"Company('{key}')", params=params)) == (400, "BadQueryParameter")
    door.post("faults", json={"include_allowed": True})
    entry = api.get(f"Company('{key}')", params=params).json()
    assert entry["Person"]["Pers_LastName"] == "Holt"
    assert entry["Address"]["Addr_City"] == "Leeds"
    assert [p["Phon_Number"] for p in entry["PhoneCollection"]["$resources"]] == ["4960000", "4960001"]
    assert entry["EmailCollection"]["$resources"][0]["Emai_EmailAddress"] == "ap@northwind.test"


def test_an_unknown_query_option_is_refused(api: httpx.Client) -> None:
    assert code(api.get("Company", params={"pageSize": 5})) == (400, "BadQueryParameter")


def test_field_security_drops_columns_and_the_references_made_of_them(api: httpx.Client, door: httpx.Client) -> None:
    key = create(api)["$key"]
    door.post("faults", json={"hidden_columns": ["comp_type", "comp_primarypersonid", "Comp_Name"]})
    entry = api.get(f"Company('{key}')").json()
    assert not {"Comp_Type", "Comp_PrimaryPersonId", "Person", "Comp_Name"} & set(entry)
    assert entry["$title"] == ""
    assert "Address" in entry
    assert code(api.get("Company", params={"where": "comp_type eq 'x'"})) == (400, "BadWhereSyntax")


def test_times_may_come_with_an_offset(api: httpx.Client, door: httpx.Client) -> None:
    key = create(api)["$key"]
    door.post("faults", json={"datetime_form": "offset"})
    assert api.get(f"Company('{key}')").json()["Comp_UpdatedDate"] == "2027-01-15T03:00:00-05:00"


def test_users_are_listed_with_integer_ids_and_cannot_be_written(api: httpx.Client) -> None:
    users = rows(api, "users", "user_userid gt 0")
    assert [(user["$key"], user["User_Disabled"]) for user in users if user["User_Logon"] in ("sync", "leaver")] == [
        (4, False),
        (5, True),
    ]
    assert api.patch("Users('4')", json={"User_LastName": "x"}).status_code == 403


def test_prototypes_tell_entities_and_properties_but_no_lengths(api: httpx.Client, door: httpx.Client) -> None:
    listed = api.get("$prototypes").json()
    assert listed["$totalResults"] == 10
    company = api.get("$prototypes/company").json()
    assert company["$resourceKind"] == "Company"
    assert company["$properties"]["Comp_Name"] == {
        "$title": "Name",
        "$type": "string",
        "$isMandatory": True,
        "$isHidden": False,
        "$isReadOnly": False,
    }
    assert "comp_intacct_recordno" in company["$properties"]
    door.post("faults", json={"unexposed": ["Phone"], "hidden_columns": ["comp_region"]})
    assert api.get("$prototypes/phone").status_code == 404
    assert "comp_region" not in api.get("$prototypes/company").json()["$properties"]


def test_an_entity_that_is_not_exposed_answers_403(api: httpx.Client, door: httpx.Client) -> None:
    door.post("faults", json={"unexposed": ["Phone"]})
    assert api.get("phone").status_code == 403
    assert api.get("Email").status_code == 200


# --- writing --------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("resource", "body"),
    [
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
    ],
)
def test_a_refused_create_leaves_nothing_behind(
    api: httpx.Client, crm: SageCrmEmulator, resource: str, body: dict[str, Any]
) -> None:
    assert api.post(resource, json=body).status_code == 400
    assert crm.ledger == []
    assert crm.list_records(resource) == []


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
    api: httpx.Client, door: httpx.Client, clock: Clock
) -> None:
    key = create(api)["$key"]
    door.post("faults", json={"bump_updated_on_api_write": False})
    clock.now += 60
    api.patch(f"Company('{key}')", json={"Comp_Type": "Prospect"})
    assert api.get(f"Company('{key}')").json()["Comp_UpdatedDate"] == "2027-01-15T08:00:00Z"
    door.post("person", json={"entity": "customer", "key": str(key), "columns": {"Comp_Type": "Customer"}})
    assert api.get(f"Company('{key}')").json()["Comp_UpdatedDate"] == "2027-01-15T08:01:00Z"


def test_a_childs_edit_moves_its_own_date_and_not_the_companys(api: httpx.Client, clock: Clock) -> None:
    key = create(api)["$key"]
    clock.now += 86_400
    phone = rows(api, "PhoneLink", f"PLink_RecordID eq {key}")[0]["PLink_PhoneId"]
    api.patch(f"Phone('{phone}')", json={"Phon_Number": "1"}).raise_for_status()
    assert rows(api, "Company", "comp_updateddate ge @2027-01-16@") == []
    assert [row["$key"] for row in rows(api, "Phone", "phon_updateddate ge @2027-01-16@")] == [phone]


def test_an_unreadable_body_or_a_wrong_content_type_is_400(api: httpx.Client) -> None:
    for content, kind in (("{", "application/json"), ("[]", "application/json"), ('{"Comp_Name": "x"}', "text/plain")):
        assert api.post("Company", content=content, headers={"content-type": kind}).status_code == 400


# --- errors and faults ----------------------------------------------------------------------------------------------


def test_errors_come_in_every_form_a_client_must_survive(api: httpx.Client, door: httpx.Client) -> None:
    def bad(form: str) -> httpx.Response:
        door.post("faults", json={"error_form": form})
        answer = api.get("Company", params={"where": "x"})
        assert answer.status_code == 400
        return answer

    assert bad("diagnoses").json()["$diagnoses"][0]["$severity"] == "error"
    assert bad("diagnosis").json()["$diagnosis"]["$sdataCode"] == "BadWhereSyntax"
    tree = ET.fromstring(bad("xml").text)  # noqa: S314 - our own emulator wrote it
    assert tree.findtext("{http://schemas.sage.com/sdata/2008/1}sdataCode") == "BadWhereSyntax"
    assert bad("html").text.startswith("<html>")


def test_faults_strike_as_asked_and_are_counted(api: httpx.Client, door: httpx.Client, crm: SageCrmEmulator) -> None:
    shots = ["500", "transient", "429", "401"]
    door.post("faults", json={"fail_next": [{"operation": "query company", "fault": shot} for shot in shots]})
    answers = [api.get("Company") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [500, 500, 429, 401, 200]
    assert answers[0].headers["content-type"].startswith("text/html")
    assert answers[1].json()["$diagnoses"][0]["$severity"] == "transient"
    assert answers[2].headers["retry-after"] == "1"
    assert crm.calls["query company"] == 5
    assert crm.reads == 5


def test_a_write_whose_answer_is_lost_was_applied(api: httpx.Client, door: httpx.Client, crm: SageCrmEmulator) -> None:
    door.post("faults", json={"fail_next": [{"operation": "create company", "fault": "lost_after_apply"}]})
    with pytest.raises(httpx.RemoteProtocolError):
        api.post("Company", json={"Comp_Name": "Alder"})
    assert [(row.actor, row.entity, row.op) for row in crm.ledger] == [("api", "Company", "create")]
    assert len(rows(api, "Company", "comp_name eq 'Alder'")) == 1


def test_a_stale_read_shows_the_version_before_the_last_write_for_a_while(
    api: httpx.Client, door: httpx.Client, clock: Clock
) -> None:
    door.post("seed", json={"customers": 1})
    clock.now += 3600
    door.post("faults", json={"p_stale_read": 1.0, "stale_seconds": 30})
    api.patch("Company('1')", json={"Comp_Name": "Renamed"}).raise_for_status()
    new = create(api, {"Comp_Name": "Fresh"})["$key"]
    assert api.get("Company('1')").json()["Comp_Name"] == "Customer 00001"
    assert rows(api, "Company", "comp_name eq 'renamed'") == []
    assert [row["$key"] for row in rows(api, "Company", "comp_companyid in (1,2)")] == [1]
    assert api.get(f"Company('{new}')").status_code == 404
    stored = api.patch("Company('1')?returnPartial=false", json={"Comp_Type": "Customer"}).json()
    assert stored["Comp_Name"] == "Renamed"
    clock.now += 31
    assert api.get("Company('1')").json()["Comp_Name"] == "Renamed"
    assert api.get(f"Company('{new}')").status_code == 200


# --- the back door and the notices ------------------------------------------------------------------------------------


def test_the_ledger_tells_who_wrote_what(api: httpx.Client, door: httpx.Client, crm: SageCrmEmulator) -> None:
    key = door.post("person", json={"entity": "Company", "key": None, "columns": COMPANY}).json()["key"]
    children = ["Person", "Person_Link", "Address", "Address_Link", "Email", "EmailLink"]
    made = [row.entity for row in crm.ledger]
    assert made == ["Company", *children, "Phone", "PhoneLink", "Phone", "PhoneLink"]
    assert {row.actor for row in crm.ledger} == {"person"}
    api.patch(f"Company('{key}')", json={"Comp_Type": "Prospect"})
    last = door.get("ledger", params={"after": len(made)}).json()["rows"]
    assert [(row["actor"], row["op"], row["before"], row["after"]) for row in last] == [
        ("api", "update", {"Comp_Type": "Customer"}, {"Comp_Type": "Prospect"})
    ]


def test_an_impossible_edit_by_a_person_is_refused_by_the_back_door(door: httpx.Client) -> None:
    for edit in (
        {"entity": "Company", "key": "9", "columns": {"Comp_Type": "x"}},
        {"entity": "Company", "key": None, "columns": {"Comp_Nme": "x"}},
        {"entity": "Widget", "key": None, "columns": {}},
    ):
        assert door.post("person", json=edit).status_code == 400


def test_seeded_customers_are_whole_linked_and_silent(
    api: httpx.Client, door: httpx.Client, crm: SageCrmEmulator
) -> None:
    crm.hooks.append(Hook("http://127.0.0.1:9/hook"))
    create(api, {"Comp_Name": "Before"})
    crm.take_notices()
    seeded = door.post("seed", json={"customers": 5, "linked": True, "erp_key": "1{n:03d}"}).json()
    assert seeded == {"customers": 5, "first_key": "2", "last_key": "6"}
    entry = rows(api, "Company", "comp_intacct_recordno eq '1005'")[0]
    assert (entry["$key"], entry["comp_intacct_customerid"]) == (6, "C-00005")
    assert api.get(f"Person('{entry['Comp_PrimaryPersonId']}')").json()["Pers_CompanyId"] == 6
    link = rows(api, "PhoneLink", "PLink_RecordID eq 6")[0]
    assert api.get(f"Phone('{link['PLink_PhoneId']}')").json()["Phon_Number"] == "4960005"
    assert crm.take_notices() == []
    assert len(crm.ledger) == 1


class Receiver:
    """A real HTTP endpoint that keeps what it is sent; the first ``failures`` requests are answered with 503."""

    def __init__(self, failures: int = 0) -> None:
        self.got: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()
        self.failures = failures
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                refused = receiver.failures > 0
                receiver.failures -= 1
                self.send_response(503 if refused else 204)
                self.send_header("content-length", "0")
                self.end_headers()
                if not refused:
                    receiver.got.put(({k.lower(): v for k, v in self.headers.items()}, body))

            def log_message(self, format: str, *args: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hooks/crm"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def events(self, count: int) -> list[tuple[str, str, str]]:
        out = [json.loads(self.got.get(timeout=10)[1])["events"][0] for _ in range(count)]
        return [(event["entity"], event["key"], event["op"]) for event in out]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


def test_a_notice_is_signed_so_that_a_receiver_can_check_it(
    api: httpx.Client, door: httpx.Client, receiver: Receiver
) -> None:
    key = b"0123456789abcdef01234567"
    door.post("hooks", json={"url": receiver.url, "secret": "whsec_" + base64.b64encode(key).decode()})
    create(api, {"Comp_Name": "Alder"})
    headers, body = receiver.got.get(timeout=10)
    assert json.loads(body) == {
        "events": [{"entity": "customer", "key": "1", "op": "created", "at": "2027-01-15T08:00:00Z"}]
    }
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    wanted = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{wanted}"
    assert headers["webhook-timestamp"] == str(int(NOW))


def test_every_write_is_announced_the_apis_own_too_and_a_link_announces_its_phone(
    api: httpx.Client, door: httpx.Client, receiver: Receiver, crm: SageCrmEmulator
) -> None:
    door.post("hooks", json={"url": receiver.url})
    key = create(api)["$key"]
    made = [("customer", "1", "created"), ("person", "1", "created"), ("address", "1", "created")]
    made += [("email", "1", "created")] * 2 + [("phone", "1", "created")] * 2 + [("phone", "2", "created")] * 2
    assert sorted(receiver.events(9)) == sorted(made)
    api.patch(f"Company('{key}')", json={"Comp_Type": "Prospect"})
    door.post("person", json={"entity": "phone", "key": "2", "columns": {"Phon_Number": "5"}})
    door.post("person", json={"entity": "Email", "key": "1", "op": "delete"})
    assert sorted(receiver.events(3)) == [
        ("customer", "1", "updated"),
        ("email", "1", "deleted"),
        ("phone", "2", "updated"),
    ]
    door.post("faults", json={"notices_off": True})
    api.patch(f"Company('{key}')", json={"Comp_Type": "Customer"})
    assert crm.take_notices() == []


def test_a_notice_that_cannot_be_stored_is_sent_again_with_the_same_id(
    api: httpx.Client, door: httpx.Client, receiver: Receiver, crm: SageCrmEmulator
) -> None:
    crm.notice_retry_scale = 0.001
    receiver.failures = 2
    door.post("hooks", json={"url": receiver.url})
    create(api, {"Comp_Name": "Alder"})
    assert receiver.events(1) == [("customer", "1", "created")]


def test_notices_can_be_lost_doubled_and_reordered(crm: SageCrmEmulator) -> None:
    crm.hooks.append(Hook("http://crm.test/hook"))
    crm.faults.merge({"p_notice_doubled": 1.0})
    crm.person("Company", None, {"Comp_Name": "Alder"}, "create")
    first, second = crm.take_notices()
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    crm.faults.merge({"p_notice_doubled": 0.0, "p_notice_lost": 1.0})
    crm.person("Company", "1", {"Comp_Name": "Elm"})
    assert crm.take_notices() == []


def test_an_installation_may_have_other_own_columns(clock: Clock) -> None:
    crm = SageCrmEmulator(clock=clock, custom_columns={"Company": {"comp_erpid": "str"}})
    crm.person("Company", None, {"Comp_Name": "Alder", "COMP_ERPID": "0007"}, "create")
    assert crm.get_record("Company", "1") is not None
    assert (crm.get_record("customer", "1") or {})["comp_erpid"] == "0007"
    with pytest.raises(ValueError, match="comp_region"):
        crm.person("Company", "1", {"comp_region": "N"})
