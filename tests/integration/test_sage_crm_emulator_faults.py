"""The emulated Sage CRM over real sockets: faults, notices, and the back door of the tests."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import xml.etree.ElementTree as ET  # reads only what the emulator under test wrote
from typing import Any

import httpx
import pytest

from support.clock import FakeClock
from support.sage_crm import COMPANY, NOW, Receiver, create, rows
from sync_worker.connectors.emulation import Hook
from sync_worker.connectors.sage_crm.emulator import SageCrmEmulator

pytest_plugins = ("support.sage_crm_fixtures",)


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


def test_the_call_log_names_the_records_that_calls_are_about_and_the_faults_that_struck_them(
    api: httpx.Client, door: httpx.Client, crm: SageCrmEmulator
) -> None:
    door.post("seed", json={"customers": 2})
    door.post("name_records", json={})
    door.post("faults", json={"fail_next": [{"operation": "query company", "fault": "503"}]})
    for where in ("comp_companyid in (1,2)", "comp_companyid in (1,2)", "comp_companyid gt 1"):
        api.get("Company", params={"where": where})
    api.patch("Company('2')", json={"Comp_Type": "Prospect"})
    both = [("Company", "1"), ("Company", "2")]
    assert [(name, fault, list(named)) for _, name, _, fault, named in crm.call_log] == [
        ("query company", "503", both),
        ("query company", None, both),
        ("query company", None, []),
        ("update company", None, both[1:]),
    ]


def test_a_write_whose_answer_is_lost_was_applied(api: httpx.Client, door: httpx.Client, crm: SageCrmEmulator) -> None:
    door.post("faults", json={"fail_next": [{"operation": "create company", "fault": "lost_after_apply"}]})
    with pytest.raises(httpx.RemoteProtocolError):
        api.post("Company", json={"Comp_Name": "Alder"})
    assert [(row.actor, row.entity, row.op) for row in crm.ledger] == [("api", "Company", "create")]
    assert len(rows(api, "Company", "comp_name eq 'Alder'")) == 1


def test_a_stale_read_shows_the_version_before_the_last_write_for_a_while(
    api: httpx.Client, door: httpx.Client, clock: FakeClock
) -> None:
    door.post("seed", json={"customers": 1})
    clock.advance(3600)
    door.post("faults", json={"p_stale_read": 1.0, "stale_seconds": 30})
    api.patch("Company('1')", json={"Comp_Name": "Renamed"}).raise_for_status()
    new = create(api, {"Comp_Name": "Fresh"})["$key"]
    assert api.get("Company('1')").json()["Comp_Name"] == "Customer 00001"
    assert rows(api, "Company", "comp_name eq 'renamed'") == []
    assert [row["$key"] for row in rows(api, "Company", "comp_companyid in (1,2)")] == [1]
    assert api.get(f"Company('{new}')").status_code == 404
    stored = api.patch("Company('1')?returnPartial=false", json={"Comp_Type": "Customer"}).json()
    assert stored["Comp_Name"] == "Renamed"
    clock.advance(31)
    assert api.get("Company('1')").json()["Comp_Name"] == "Renamed"
    assert api.get(f"Company('{new}')").status_code == 200


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
    edits: list[dict[str, Any]] = [
        {"entity": "Company", "key": "9", "columns": {"Comp_Type": "x"}},
        {"entity": "Company", "key": None, "columns": {"Comp_Nme": "x"}},
        {"entity": "Widget", "key": None, "columns": {}},
    ]
    for edit in edits:
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


def test_the_installations_own_invoicing_can_announce_an_invoice(
    door: httpx.Client, receiver: Receiver, crm: SageCrmEmulator
) -> None:
    door.post("hooks", json={"url": receiver.url})
    event = {"entity": "invoice", "key": "INV-9", "op": "finalised", "customer": "43"}
    assert door.post("announce", json=event).status_code == 200
    assert receiver.events(1) == [("invoice", "INV-9", "finalised")]
    assert len(crm.ledger) == 0


def test_a_notice_that_cannot_be_stored_is_sent_again_with_the_same_id(
    api: httpx.Client, door: httpx.Client, receiver: Receiver, crm: SageCrmEmulator
) -> None:
    crm.notice_retry_scale = 0.001
    receiver.failures = 2
    door.post("hooks", json={"url": receiver.url})
    create(api, {"Comp_Name": "Alder"})
    headers, _ = receiver.got.get(timeout=10)
    assert receiver.refused == [headers["webhook-id"]] * 2


def test_notices_can_be_lost_and_doubled(crm: SageCrmEmulator) -> None:
    crm.hooks.append(Hook("http://crm.test/hook"))
    crm.faults.merge({"p_notice_doubled": 1.0})
    crm.person("Company", None, {"Comp_Name": "Alder"}, "create")
    first, second = crm.take_notices()
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    crm.faults.merge({"p_notice_doubled": 0.0, "p_notice_lost": 1.0})
    crm.person("Company", "1", {"Comp_Name": "Elm"})
    assert crm.take_notices() == []


def test_an_installation_may_have_other_own_columns(clock: FakeClock) -> None:
    crm = SageCrmEmulator(clock=clock, custom_columns={"Company": {"comp_erpid": "str"}})
    crm.person("Company", None, {"Comp_Name": "Alder", "COMP_ERPID": "0007"}, "create")
    assert crm.get_record("Company", "1") is not None
    assert (crm.get_record("customer", "1") or {})["comp_erpid"] == "0007"
    with pytest.raises(ValueError, match="comp_region"):
        crm.person("Company", "1", {"comp_region": "N"})
