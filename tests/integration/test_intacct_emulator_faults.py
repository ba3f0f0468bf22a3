"""The Intacct emulator: faults on request, the back door, and speed."""

from __future__ import annotations

import json
import threading
import time

import httpx
import pytest

from support.intacct_emulator import CUSTOMER, Api, error_of, targets
from sync_worker.connectors.emulation import Request
from sync_worker.connectors.intacct.emulator import make

pytest_plugins = ("support.intacct_emulator_fixtures",)


# --- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["normal", "result", "error", "bare"])
def test_errors_come_in_each_of_the_four_shapes(intacct: Api, shape: str) -> None:
    intacct.emulator.faults.merge({"error_shape": shape, "details_object": True})
    body = intacct.call("POST", CUSTOMER, {"nope": 1}).json()
    for step in {"normal": ["ia::error"], "result": ["ia::result", "ia::error"], "error": ["error"], "bare": []}[shape]:
        body = body[step]
    assert body["errorId"] == "REST-1064"
    assert body["details"]["target"] == "/nope"


def test_a_rate_limit_comes_with_the_vendors_hint_or_without(intacct: Api) -> None:
    intacct.emulator.faults.merge(
        {
            "retry_after_s": 7,
            "fail_next": [{"operation": "*", "fault": "429"}, {"operation": "*", "fault": "429_no_hint"}],
        }
    )
    hinted, bare = intacct.call("GET", CUSTOMER), intacct.call("GET", CUSTOMER)
    assert (hinted.status_code, hinted.headers["X-IA-Throttle-Limit-Retry-After"]) == (429, "7")
    assert error_of(hinted)["code"] == "GW-0010"
    assert bare.status_code == 429
    assert not [h for h in bare.headers if "retry-after" in h]


def test_more_calls_at_once_than_allowed_are_429(intacct: Api) -> None:
    intacct.emulator.faults.merge({"max_in_flight": 2, "latency_ms": 300})
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(intacct.call("GET", CUSTOMER).status_code)) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200, 200, 429, 429, 429]


def test_the_company_cuts_recases_and_refuses_values_by_column(intacct: Api) -> None:
    intacct.emulator.faults.merge(
        {
            "cut": {"name": 4, "contacts.default.phone1": 3},
            "upper": ["email1"],
            "refuse": {"taxId": ["BAD"]},
            "refuse_longer": {"notes": 3},
        }
    )
    key = intacct.create(id="C-1", name="abcdef", contacts={"default": {"phone1": "12345", "email1": "a@b.example"}})
    shown = intacct.result("GET", f"{CUSTOMER}/{key}")
    default = shown["contacts"]["default"]
    assert (shown["name"], default["phone1"], default["email1"]) == ("abcd", "123", "A@B.EXAMPLE")
    assert targets(intacct.call("PATCH", f"{CUSTOMER}/{key}", {"taxId": "BAD"})) == ["/taxId"]
    assert intacct.call("PATCH", f"{CUSTOMER}/{key}", {"notes": "long"}).status_code == 422


def test_a_stale_read_shows_the_version_before_by_key_and_by_query(intacct: Api) -> None:
    key = intacct.create(id="C-1", name="old", contacts={"default": {"email1": "old@b.example"}})
    intacct.clock.now += 60
    intacct.emulator.person("customer", key, {"name": "new", "contacts.default.email1": "new@b.example"})
    intacct.emulator.faults.merge({"p_stale_read": 1.0, "stale_seconds": 30})
    shown = intacct.result("GET", f"{CUSTOMER}/{key}")
    assert (shown["name"], shown["contacts"]["default"]["email1"]) == ("old", "old@b.example")
    assert intacct.ids({"$eq": {"name": "new"}}) == []
    assert intacct.ids({"$eq": {"name": "old"}}) == ["C-1"]
    assert intacct.ids({"$eq": {"contacts.default.email1": "old@b.example"}}) == ["C-1"]
    assert intacct.ids({"$gte": {"audit.modifiedDateTime": "2026-11-22T10:00:30Z"}}) == []
    fresh = intacct.create(id="C-2", name="fresh")
    assert intacct.call("GET", f"{CUSTOMER}/{fresh}").status_code == 404
    intacct.clock.now += 31
    assert intacct.result("GET", f"{CUSTOMER}/{key}")["name"] == "new"
    assert intacct.ids({"$eq": {"name": "old"}}) == []


# --- the back door and speed -----------------------------------------------------------------------------------------


def test_a_persons_edit_is_stamped_with_the_person_and_stands_in_the_ledger(intacct: Api) -> None:
    created = intacct.back_door(
        "person",
        {"entity": "customer", "key": None, "columns": {"id": "C-1", "name": "A", "salesRepresentative.id": "E-11"}},
    )
    shown = intacct.result("GET", f"{CUSTOMER}/{created['key']}")
    assert shown["audit"]["modifiedByUser"]["id"] == "admin"
    assert shown["salesRepresentative"]["id"] == "E-11"
    flat = intacct.back_door(f"record?entity=customer&key={created['key']}")["record"]
    assert (flat["salesRepresentative.id"], flat["contacts.default.printAs"]) == ("E-11", "A")
    row = intacct.back_door("ledger")["rows"][0]
    assert (row["actor"], row["op"], row["after"]["salesRepresentative.id"]) == ("person", "create", "E-11")
    refused = httpx.post(f"{intacct.base}/_emulator/person", json={"entity": "customer", "columns": {"nope": "x"}})
    assert refused.status_code == 400
    assert "/nope" in refused.json()["error"]


def test_a_person_issues_an_invoice_with_an_amount_and_the_customer_shows_it(intacct: Api) -> None:
    customer = intacct.create(id="C-1", name="A")
    invoice = {"customer.id": "C-1", "invoiceDate": "2026-11-22", "state": "posted", "totalTxnAmount": "440.00"}
    intacct.emulator.person("invoice", None, invoice, "create")
    assert intacct.result("GET", f"{CUSTOMER}/{customer}")["totalDue"] == "440.00"


def test_seeded_customers_leave_no_ledger_and_no_notices_and_are_the_same_every_time(intacct: Api) -> None:
    spec = {"customers": 3, "id": "CRM-{n}", "columns": {"nsp::REGION": "R{n}"}}
    assert intacct.back_door("seed", spec)["ids"] == ["CRM-1", "CRM-2", "CRM-3"]
    other = make(seed=9)
    other.seed(spec)
    names = [r["name"] for r in other.list_records("customer")]
    assert [r["name"] for r in intacct.back_door("records?entity=customer")["records"]] == names
    assert len(set(names)) == 3
    assert intacct.back_door("ledger")["rows"] == []
    assert intacct.emulator.take_notices() == []
    assert intacct.result("GET", "services/delivery/event/count") == {"count": 0}


def test_calls_are_counted_by_operation(intacct: Api) -> None:
    key = intacct.create(id="C-1", name="A")
    intacct.call("GET", f"{CUSTOMER}/{key}")
    intacct.ids()
    intacct.call("PATCH", CUSTOMER, [{"key": key, "name": "B"}])
    stats = intacct.back_door("stats")
    expected = {"token": 1, "create customer": 1, "read customer": 1, "query customer": 1, "patch customer": 1}
    assert stats["calls"] == expected
    assert (stats["reads"], stats["writes"]) == (2, 2)


def test_the_call_log_names_the_records_that_calls_are_about_and_the_faults_that_struck_them(intacct: Api) -> None:
    keys = [intacct.create(id=f"C-{i}", name="A") for i in range(2)]
    intacct.emulator.names_records = True
    listed = {"object": "accounts-receivable/customer", "fields": ["key"], "filters": [{"$in": {"key": keys}}]}
    beyond = listed | {"filters": [{"$gt": {"key": keys[0]}}]}
    intacct.emulator.faults.merge({"fail_next": [{"operation": "query customer", "fault": "503"}]})
    for query in (listed, listed, beyond):
        intacct.call("POST", "services/core/query", query)
    intacct.call("PATCH", CUSTOMER, [{"key": keys[1], "name": "B"}])
    intacct.call("GET", f"{CUSTOMER}/{keys[0]}")
    both = [("customer", key) for key in keys]
    log = [(name, fault, list(named)) for _, name, _, fault, named in list(intacct.emulator.call_log)[-5:]]
    assert log == [
        ("query customer", "503", both),
        ("query customer", None, both),
        ("query customer", None, []),
        ("patch customer", None, both[1:]),
        ("read customer", None, both[:1]),
    ]


def test_a_lookup_among_many_customers_does_not_scan_them() -> None:
    emulator = make()
    as_json = {"content-type": "application/json"}
    form = {"grant_type": "client_credentials", "client_id": "demo-client", "client_secret": "demo-secret"}
    grant = json.dumps({**form, "username": "sync@ACME"}).encode()
    answer = emulator.handle(Request("POST", "/ia/api/v1/oauth2/token", "", as_json, grant))
    headers = {**as_json, "authorization": f"Bearer {json.loads(answer.body)['access_token']}"}

    def lookup_seconds() -> float:
        query = {
            "object": "accounts-receivable/customer",
            "fields": ["key", "name"],
            "filters": [{"$in": {"key": ["7", "9"]}}],
        }
        request = Request("POST", "/ia/api/v1/services/core/query", "", headers, json.dumps(query).encode())
        best = 1.0
        for _ in range(30):
            started = time.process_time()
            assert emulator.handle(request).status == 200
            best = min(best, time.process_time() - started)
        return best

    emulator.seed({"customers": 50})
    few = lookup_seconds()
    emulator.seed({"customers": 5_000, "start": 51})
    assert lookup_seconds() < 5 * few + 0.001
