"""The emulated Sage CRM over real sockets: who may call, and what a read shows."""

from __future__ import annotations

import base64

import httpx

from support.sage_crm import BASE, code, create, rows
from sync_worker.connectors.sage_crm.emulator import Logon, SageCrmEmulator

pytest_plugins = ("support.sage_crm_fixtures",)


def test_a_wrong_logon_is_refused_without_a_challenge(root: str) -> None:
    for auth in (None, ("sync", "wrong"), ("nobody", ""), ("sync", "")):
        answer = httpx.get(f"{root}{BASE}Company", auth=auth, trust_env=False)
        assert answer.status_code == 401
        assert "www-authenticate" not in answer.headers


def test_the_alternate_header_and_a_session_id_act_as_their_user(root: str, crm: SageCrmEmulator) -> None:
    token = base64.b64encode(b"sync:demo-password").decode()
    headers = {"X-Sage-Authorization": f"Basic {token}"}
    assert httpx.get(f"{root}{BASE}Company", headers=headers, trust_env=False).status_code == 200
    sid = "139843651812344"
    crm.accounts.sessions[sid] = "sync"
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


def test_bad_predicates_are_told_as_bad_where_syntax(api: httpx.Client) -> None:
    for where in ("comp_nme eq 'x'", "comp_name eq", "comp_updateddate gt @2027-01-01T10:00:00@", ""):
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
    assert "Comp_Type" not in api.get(f"Company('{key}')", params={"select": "Comp_Type,Comp_Status"}).json()
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
