"""The Intacct emulator: objects one by one, as documented, and what is left open refused or switched."""

from __future__ import annotations

from support.intacct_emulator import CONTACT, CUSTOMER, INVOICE, Api, error_of, targets

pytest_plugins = ("support.intacct_emulator_fixtures",)


def test_a_customer_is_created_with_its_contact_and_shown_nested(intacct: Api) -> None:
    contact = {
        "printAs": "Orchard Foods",
        "firstName": "Ivy",
        "lastName": "Dean",
        "email1": "ivy@orchard.example",
        "URL1": "https://orchard.example",
        "mailingAddress": {"addressLine1": "1 Mill Row", "city": "Leeds", "isoCountryCode": "gb"},
    }
    body = {"id": "C-77", "name": "Orchard Foods", "taxId": "GB123456789", "term": {"id": "Net 30"}}
    answer = intacct.call(
        "POST", CUSTOMER, {**body, "salesRepresentative": {"id": "E-10"}, "contacts": {"default": contact}}
    )
    assert answer.status_code == 201
    key = answer.json()["ia::result"]["key"]
    assert answer.json() == {
        "ia::result": {"key": key, "id": "C-77", "href": f"/objects/accounts-receivable/customer/{key}"},
        "ia::meta": {"totalCount": 1, "totalSuccess": 1, "totalError": 0},
    }
    shown = intacct.result("GET", f"{CUSTOMER}/{key}")
    assert shown["status"] == "active"
    assert shown["salesRepresentative"] == {
        "key": "1",
        "id": "E-10",
        "name": "Nora Quill",
        "href": "/objects/company-config/employee/1",
    }
    assert shown["parent"] == {"key": None, "id": None, "href": None, "name": None}
    default = shown["contacts"]["default"]
    assert (default["id"], default["firstName"]) == ("Orchard Foods(C-77)", "Ivy")
    assert (default["mailingAddress"]["isoCountryCode"], default["mailingAddress"]["country"]) == (
        "GB",
        "United Kingdom",
    )
    assert shown["audit"]["modifiedDateTime"] == "2026-11-22T10:00:00Z"
    assert shown["audit"]["modifiedByUser"]["id"] == "sync"
    own = intacct.result("GET", f"{CONTACT}/{default['key']}")
    assert own["email1"] == "ivy@orchard.example"
    assert "audit" not in own


def test_a_new_customer_lives_in_the_united_states_unless_it_says_otherwise(intacct: Api) -> None:
    key = intacct.create(id="C-1", name="Plain")
    address = intacct.result("GET", f"{CUSTOMER}/{key}")["contacts"]["default"]["mailingAddress"]
    assert (address["isoCountryCode"], address["country"]) == ("US", "United States")


def test_an_unknown_read_only_or_malformed_field_is_400_with_its_target(intacct: Api) -> None:
    wrong = {"id": "C-1", "name": "A", "custRep": "x", "totalDue": "1.00", "isOnHold": "no", "status": "gone"}
    answer = intacct.call("POST", CUSTOMER, {**wrong, "contacts": {"default": {"tax": {"taxId": "1"}}}})
    assert answer.status_code == 400
    assert error_of(answer)["errorId"] == "REST-1064"
    assert targets(answer) == ["/custRep", "/totalDue", "/isOnHold", "/status", "/contacts/default/tax/taxId"]
    assert error_of(answer)["details"][0]["message"] == "/custRep is not a valid field"
    assert intacct.call("POST", CUSTOMER, {}).status_code == 400
    assert intacct.emulator.ledger == []


def test_name_and_id_are_required_unless_the_company_numbers_its_customers(intacct: Api) -> None:
    assert targets(intacct.call("POST", CUSTOMER, {"status": "active"})) == ["/name", "/id"]
    intacct.emulator.faults.merge({"sequence_numbers": True})
    first, second = (intacct.result("POST", CUSTOMER, {"name": n})["id"] for n in "AB")
    assert (first, second) == ("C-00001", "C-00002")


def test_a_taken_id_is_409_and_an_unknown_reference_422(intacct: Api) -> None:
    intacct.create(id="C-1", name="A")
    assert intacct.call("POST", CUSTOMER, {"id": "C-1", "name": "B"}).status_code == 409
    answer = intacct.call("POST", CUSTOMER, {"id": "C-2", "name": "B", "salesRepresentative": {"id": "E-99"}})
    assert (answer.status_code, targets(answer)) == (422, ["/salesRepresentative"])
    assert intacct.ids() == ["C-1"]


def test_an_unknown_key_is_404_for_every_verb_and_ids_are_not_keys(intacct: Api) -> None:
    intacct.create(id="C-1", name="A")
    for key in ("999", "C-1"):
        assert intacct.call("GET", f"{CUSTOMER}/{key}").status_code == 404
        assert error_of(intacct.call("PATCH", f"{CUSTOMER}/{key}", {"name": "x"}))["code"] == "notFound"
        assert intacct.call("DELETE", f"{CUSTOMER}/{key}").status_code == 404


def test_a_patch_changes_what_it_names_and_nothing_else(intacct: Api) -> None:
    key = intacct.create(id="C-1", name="A", taxId="1", notes="keep", salesRepresentative={"id": "E-10"})
    intacct.clock.now += 5
    intacct.call("PATCH", f"{CUSTOMER}/{key}", {"taxId": None, "contacts": {"default": {"email1": "a@b.example"}}})
    shown = intacct.result("GET", f"{CUSTOMER}/{key}")
    assert (shown["name"], shown["taxId"], shown["notes"]) == ("A", None, "keep")
    assert shown["salesRepresentative"]["id"] == "E-10"
    assert shown["contacts"]["default"]["email1"] == "a@b.example"
    assert shown["contacts"]["default"]["printAs"] == "A"
    assert shown["audit"]["createdDateTime"] == "2026-11-22T10:00:00Z"
    assert shown["audit"]["modifiedDateTime"] == "2026-11-22T10:00:05Z"
    row = intacct.back_door("ledger?after=1")["rows"][0]
    assert row["before"] == {"taxId": "1", "contacts.default.email1": None}
    assert row["after"] == {"taxId": None, "contacts.default.email1": "a@b.example"}
    assert (row["actor"], row["entity"], row["op"]) == ("api", "customer", "update")


def test_a_reference_is_emptied_by_null_members_and_by_null_only_where_switched(intacct: Api) -> None:
    key = intacct.create(id="C-1", name="A", salesRepresentative={"key": "2"})
    assert intacct.call("PATCH", f"{CUSTOMER}/{key}", {"salesRepresentative": None}).status_code == 400
    intacct.result("PATCH", f"{CUSTOMER}/{key}", {"salesRepresentative": {"id": None}})
    assert intacct.result("GET", f"{CUSTOMER}/{key}")["salesRepresentative"]["id"] is None
    intacct.emulator.faults.merge({"null_reference": True})
    assert intacct.call("PATCH", f"{CUSTOMER}/{key}", {"salesRepresentative": None}).status_code == 200


def test_where_the_default_contact_is_read_only_through_the_customer_the_contact_itself_can_be_written(
    intacct: Api,
) -> None:
    intacct.emulator.faults.merge({"writable_default_contact": False})
    key = intacct.create(id="C-1", name="A", contacts={"default": {"email1": "old@b.example"}})
    change = {"name": "B", "contacts": {"default": {"email1": "new@b.example"}}}
    answer = intacct.call("PATCH", f"{CUSTOMER}/{key}", change)
    assert (answer.status_code, targets(answer)) == (422, ["/contacts/default"])
    shown = intacct.result("GET", f"{CUSTOMER}/{key}")
    assert (shown["name"], shown["contacts"]["default"]["email1"]) == ("A", "old@b.example")
    intacct.clock.now += 10
    intacct.result("PATCH", f"{CONTACT}/{shown['contacts']['default']['key']}", {"email1": "new@b.example"})
    shown = intacct.result("GET", f"{CUSTOMER}/{key}")
    assert shown["contacts"]["default"]["email1"] == "new@b.example"
    assert shown["audit"]["modifiedDateTime"] == "2026-11-22T10:00:00Z"


def test_a_contacts_edit_moves_the_customers_stamp_only_where_switched(intacct: Api) -> None:
    key = intacct.create(id="C-1", name="A")
    contact = intacct.result("GET", f"{CUSTOMER}/{key}")["contacts"]["default"]["key"]
    intacct.emulator.faults.merge({"contact_bumps_customer": True})
    intacct.clock.now += 10
    intacct.result("PATCH", f"{CONTACT}/{contact}", {"email1": "x@b.example"})
    assert intacct.result("GET", f"{CUSTOMER}/{key}")["audit"]["modifiedDateTime"] == "2026-11-22T10:00:10Z"


def test_a_contact_shows_audit_only_where_switched(intacct: Api) -> None:
    fields = ["key", "audit.modifiedDateTime"]
    assert intacct.query(object="company-config/contact", fields=fields).status_code == 400
    model = intacct.result("GET", "services/core/model?name=company-config/contact")
    assert "audit" not in model["groups"]
    intacct.emulator.faults.merge({"audit_on_contact": True})
    assert intacct.query(object="company-config/contact", fields=fields).status_code == 200
    assert "audit" in intacct.result("GET", "services/core/model?name=company-config/contact")["groups"]


def test_a_record_in_use_cannot_be_deleted_and_an_unused_one_is_gone(intacct: Api) -> None:
    used, unused = intacct.create(id="C-1", name="A"), intacct.create(id="C-2", name="B")
    intacct.result("POST", INVOICE, {"customer": {"key": used}, "invoiceDate": "2026-11-22"})
    assert intacct.call("DELETE", f"{CUSTOMER}/{used}").status_code == 422
    answer = intacct.call("DELETE", f"{CUSTOMER}/{unused}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert intacct.call("GET", f"{CUSTOMER}/{unused}").status_code == 404
    assert intacct.ids() == ["C-1"]


def test_users_are_read_only_and_a_wrong_verb_is_405(intacct: Api) -> None:
    assert intacct.call("POST", "objects/company-config/user", {"id": "x"}).status_code == 403
    assert intacct.call("PATCH", CUSTOMER, {"name": "x"}).status_code == 405
    assert intacct.call("GET", "objects/accounts-receivable/nothing").status_code == 404


def test_an_employee_needs_a_contact_and_is_called_what_it_prints(intacct: Api) -> None:
    path = "objects/company-config/employee"
    answer = intacct.call("POST", path, {"id": "E-50"})
    assert (answer.status_code, error_of(answer)["details"][0]["code"]) == (422, "BL01001973")
    intacct.result("POST", CONTACT, {"id": "Vale", "printAs": "Rita Vale", "email1": "rita@acme.example"})
    key = intacct.result("POST", path, {"id": "E-50", "primaryContact": {"id": "Vale"}})["key"]
    shown = intacct.result("GET", f"{path}/{key}")
    assert (shown["name"], shown["primaryContact"]["email1"]) == ("Rita Vale", "rita@acme.example")


def test_a_draft_invoice_is_posted_and_reversed_by_workflows_only(intacct: Api) -> None:
    customer = intacct.create(id="C-1", name="A")
    body = {"customer": {"key": customer}, "invoiceDate": "2026-11-22", "state": "draft"}
    key = intacct.result("POST", INVOICE, body)["key"]
    assert intacct.call("PATCH", f"{INVOICE}/{key}", {"state": "posted"}).status_code == 422
    assert intacct.call("POST", "workflows/accounts-receivable/invoice/reverse", {"key": key}).status_code == 422
    intacct.result("POST", "workflows/accounts-receivable/invoice/submit", {"key": key})
    assert intacct.result("GET", f"{INVOICE}/{key}")["state"] == "posted"
    assert intacct.result("GET", f"{CUSTOMER}/{customer}")["lastInvoiceCreatedDate"] == "2026-11-22"
    intacct.result("POST", "workflows/accounts-receivable/invoice/reverse", {"key": key, "reversedDate": "2026-11-23"})
    assert intacct.result("GET", f"{INVOICE}/{key}")["state"] == "reversed"


def test_custom_fields_are_written_read_and_queried_by_their_full_name(intacct: Api) -> None:
    key = intacct.create(id="C-1", name="A", **{"nsp::REGION": "North"})
    assert intacct.result("GET", f"{CUSTOMER}/{key}")["nsp::REGION"] == "North"
    assert intacct.ids({"$eq": {"nsp::REGION": "North"}}) == ["C-1"]
    assert intacct.call("PATCH", f"{CUSTOMER}/{key}", {"nsp::OTHER": "x"}).status_code == 400
