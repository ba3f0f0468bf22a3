"""The Intacct emulator: several records in one call, and keys that make a call safe to repeat."""

from __future__ import annotations

import httpx
import pytest

from support.intacct_emulator import CONTACT, CUSTOMER, Api

pytest_plugins = ("support.intacct_emulator_fixtures",)


# --- batches ---------------------------------------------------------------------------------------------------------


def test_a_batch_patch_answers_each_record_and_applies_the_good_ones(intacct: Api) -> None:
    keys = [intacct.create(id=f"C-{i}", name=f"N{i}") for i in range(3)]
    body = [{"key": keys[0], "name": "X"}, {"key": "999", "name": "Y"}, {"name": "Z"}, {"key": keys[2], "nope": 1}]
    answer = intacct.call("PATCH", CUSTOMER, body)
    assert answer.status_code == 207
    assert [item["ia::status"] for item in answer.json()["ia::result"]] == [200, 404, 400, 400]
    assert answer.json()["ia::result"][0]["key"] == keys[0]
    assert answer.json()["ia::result"][3]["ia::error"]["details"][0]["target"] == "/nope"
    assert answer.json()["ia::meta"] == {"totalCount": 4, "totalSuccess": 1, "totalError": 3}
    assert intacct.result("GET", f"{CUSTOMER}/{keys[0]}")["name"] == "X"


def test_an_atomic_batch_leaves_nothing_when_one_record_fails(intacct: Api) -> None:
    key = intacct.create(id="C-1", name="A", contacts={"default": {"email1": "a@b.example"}})
    before = len(intacct.emulator.ledger)
    change = {"key": key, "name": "X", "contacts": {"default": {"email1": "x@b.example"}}}
    answer = intacct.call("PATCH", CUSTOMER, [change, {"key": "999"}], X_IA_API_Param_Transaction="true")
    assert answer.status_code == 207
    assert [i["ia::error"]["code"] for i in answer.json()["ia::result"]] == ["unprocessed", "notFound"]
    shown = intacct.result("GET", f"{CUSTOMER}/{key}")
    assert (shown["name"], shown["contacts"]["default"]["email1"]) == ("A", "a@b.example")
    assert len(intacct.emulator.ledger) == before
    assert intacct.ids({"$eq": {"name": "A"}}) == ["C-1"]


def test_batches_create_read_and_delete(intacct: Api) -> None:
    made = intacct.call("POST", CUSTOMER, [{"id": f"C-{i}", "name": f"N{i}"} for i in range(3)])
    assert made.status_code == 201
    keys = [item["key"] for item in made.json()["ia::result"]]
    assert [c["id"] for c in intacct.result("GET", f"{CUSTOMER}/{','.join(keys)}")] == ["C-0", "C-1", "C-2"]
    mixed = intacct.call("GET", f"{CUSTOMER}/{keys[0]},999")
    assert mixed.status_code == 207
    assert [i["ia::status"] for i in mixed.json()["ia::result"]] == [200, 404]
    assert intacct.call("DELETE", f"{CUSTOMER}/{keys[0]},{keys[1]}").status_code == 204
    assert intacct.call("DELETE", f"{CUSTOMER}/{keys[2]},999").status_code == 207
    assert intacct.ids() == []


def test_a_batch_over_its_limit_is_refused_whole(intacct: Api) -> None:
    intacct.emulator.faults.merge({"max_batch": 2})
    assert intacct.call("POST", CUSTOMER, [{"id": f"C-{i}", "name": "N"} for i in range(3)]).status_code == 400
    assert intacct.ids() == []


def test_a_batch_whose_records_fail_alike_can_answer_with_their_status(intacct: Api) -> None:
    body = [{"key": "998"}, {"key": "999"}]
    assert intacct.call("PATCH", CUSTOMER, body).status_code == 207
    intacct.emulator.faults.merge({"batch_uniform_status": True})
    assert intacct.call("PATCH", CUSTOMER, body).status_code == 404


# --- idempotency -----------------------------------------------------------------------------------------------------


def test_a_repeated_request_with_its_key_gets_the_kept_answer_and_creates_nothing(intacct: Api) -> None:
    body = {"id": "C-1", "name": "A"}
    first = intacct.call("POST", CUSTOMER, body, Idempotency_Key="k1")
    again = intacct.call("POST", CUSTOMER, body, Idempotency_Key="k1")
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["Idempotency-Key"] == "k1"
    assert again.headers["x-ia-idempotency-cached-date"] == "2026-11-22T10:00:00Z"
    assert intacct.ids() == ["C-1"]
    assert [r.idempotency_key for r in intacct.emulator.ledger] == ["k1"]


def test_failures_are_kept_too_and_the_key_is_bound_to_its_body(intacct: Api) -> None:
    body = {"id": "C-1", "name": "A", "salesRepresentative": {"id": "E-60"}}
    assert intacct.call("POST", CUSTOMER, body, Idempotency_Key="k1").status_code == 422
    intacct.result("POST", CONTACT, {"id": "X", "printAs": "X"})
    intacct.result("POST", "objects/company-config/employee", {"id": "E-60", "primaryContact": {"id": "X"}})
    assert intacct.call("POST", CUSTOMER, body, Idempotency_Key="k1").status_code == 422
    assert intacct.call("POST", CUSTOMER, {"id": "C-1", "name": "B"}, Idempotency_Key="k1").status_code == 409
    assert intacct.call("POST", CUSTOMER, body, Idempotency_Key="k2").status_code == 201


def test_after_48_hours_a_key_is_no_longer_answered_but_still_reserved(intacct: Api) -> None:
    intacct.emulator.faults.merge({"token_lifetime": 10_000_000})
    intacct.http.headers["Authorization"] = f"Bearer {intacct.token()['access_token']}"
    body = {"id": "C-1", "name": "A"}
    intacct.call("POST", CUSTOMER, body, Idempotency_Key="k1")
    intacct.clock.now += 49 * 3600
    assert intacct.call("POST", CUSTOMER, body, Idempotency_Key="k1").status_code == 409
    intacct.clock.now += 60 * 86_400
    assert intacct.call("POST", CUSTOMER, {**body, "id": "C-2"}, Idempotency_Key="k1").status_code == 201


def test_a_create_whose_answer_was_lost_is_found_again_by_its_key(intacct: Api) -> None:
    intacct.emulator.faults.merge({"fail_next": [{"operation": "create customer", "fault": "lost_after_apply"}]})
    body = {"id": "C-1", "name": "A"}
    with pytest.raises(httpx.RemoteProtocolError):
        intacct.call("POST", CUSTOMER, body, Idempotency_Key="k1")
    assert intacct.call("POST", CUSTOMER, body, Idempotency_Key="k1").status_code == 201
    assert len(intacct.emulator.ledger) == 1
