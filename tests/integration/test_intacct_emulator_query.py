"""The Intacct emulator: the query service, the list and the model."""

from __future__ import annotations

from typing import Any

import pytest

from support.intacct_emulator import CUSTOMER, Api

pytest_plugins = ("support.intacct_emulator_fixtures",)


@pytest.fixture
def filled(intacct: Api) -> Api:
    """Customers C-1..C-5: alpha, Alpine, beta, Gamma, delta; taxId only on the odd ones; a second apart."""
    for i, name in enumerate(["alpha", "Alpine", "beta", "Gamma", "delta"], 1):
        tax = {"taxId": f"T{i}"} if i % 2 else {}
        intacct.create(
            id=f"C-{i}", name=name, creditLimit=i * 10, contacts={"default": {"email1": f"e{i}@x.example"}}, **tax
        )
        intacct.clock.now += 1
    return intacct


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ({"$eq": {"name": "beta"}}, "3"),
        ({"$eq": {"name": "BETA"}}, ""),
        ({"$ne": {"name": "beta"}}, "1245"),
        ({"$eq": {"taxId": None}}, "24"),
        ({"$ne": {"taxId": None}}, "135"),
        ({"$lt": {"creditLimit": 30}}, "12"),
        ({"$lte": {"creditLimit": 30}}, "123"),
        ({"$gt": {"key": "3"}}, "45"),
        ({"$gte": {"audit.modifiedDateTime": "2026-11-22T10:00:03Z"}}, "45"),
        ({"$lt": {"audit.modifiedDateTime": "2026-11-22T10:00:01Z"}}, "1"),
        ({"$gte": {"audit.createdDateTime": "2026-11-22T10:00:04Z"}}, "5"),
        ({"$in": {"id": ["C-2", "C-4", "C-9"]}}, "24"),
        ({"$in": {"key": ["5", "1", "77"]}}, "15"),
        ({"$notIn": {"id": ["C-2", "C-4"]}}, "135"),
        ({"$notIn": {"taxId": ["T1"]}}, "35"),
        ({"$between": {"creditLimit": [20, 40]}}, "234"),
        ({"$notBetween": {"creditLimit": [20, 40]}}, "15"),
        ({"$between": {"audit.modifiedDateTime": ["2026-11-22T10:00:01Z", "2026-11-22T10:00:02Z"]}}, "23"),
        ({"$contains": {"name": "lp"}}, "12"),
        ({"$notContains": {"name": "a"}}, "2"),
        ({"$startsWith": {"name": "Al"}}, "2"),
        ({"$notStartsWith": {"name": "Al"}}, "1345"),
        ({"$endsWith": {"name": "ta"}}, "35"),
        ({"$notEndsWith": {"name": "a"}}, "2"),
        ({"$eq": {"contacts.default.email1": "e4@x.example"}}, "4"),
        ({"$eq": {"status": "active"}}, "12345"),
        ({"$eq": {"audit.modifiedDateTime": "today"}}, "12345"),
        ({"$lt": {"audit.createdDateTime": "today"}}, ""),
        ({"$lte": {"audit.createdDateTime": "currentYear"}}, "12345"),
        ({"$eq": {"lastInvoiceCreatedDate": "priorMonth"}}, ""),
    ],
)
def test_a_filter_finds(filled: Api, condition: Any, found: str) -> None:
    assert "".join(i.removeprefix("C-") for i in filled.ids(condition)) == found


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        (None, ""),
        ("and", ""),
        ("or", "12345"),
        ("1 and 2", ""),
        ("1 or 2", "1234"),
        ("2 and (1 or 3)", "3"),
        ("(1 or 2) and 3", "3"),
        ("1 or 2 and 3", "123"),
        ("3", "35"),
    ],
)
def test_a_filter_expression_combines(filled: Api, expression: Any, found: str) -> None:
    filters = [{"$contains": {"name": "lp"}}, {"$in": {"key": ["3", "4"]}}, {"$endsWith": {"name": "ta"}}]
    body = {"filterExpression": expression} if expression else {}
    assert "".join(i.removeprefix("C-") for i in filled.ids(*filters, **body)) == found


@pytest.mark.parametrize("expression", ["4", "1 and", "(1", "1 2", "1 xor 2", "0", ")1"])
def test_a_broken_filter_expression_is_refused(filled: Api, expression: str) -> None:
    filters = [{"$eq": {"id": "C-1"}}] * 3
    assert filled.query(filters=filters, filterExpression=expression).status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        {"object": "accounts-receivable/nothing"},
        {"fields": ["*"]},
        {"fields": ["key", "contactList.key"]},
        {"fields": []},
        {"filters": [{"$like": {"name": "a%"}}]},
        {"filters": [{"field": "name", "operator": "eq", "value": "a"}]},
        {"filters": [{"$eq": {"href": "/x"}}]},
        {"filters": [{"$eq": {"nope": "x"}}]},
        {"filters": [{"$between": {"creditLimit": [1]}}]},
        {"filters": [{"$in": {"id": "C-1"}}]},
        {"filters": [{"$gte": {"audit.modifiedDateTime": "2026-11-22"}}]},
        {"filters": [{"$contains": {"audit.modifiedDateTime": "2026"}}]},
        {"filterParameters": {"unknown": True}},
        {"orderBy": [{"nope": "asc"}]},
        {"orderBy": ["name"]},
        {"size": 4001},
        {"start": 0},
        {"limit": 5},
    ],
)
def test_a_query_that_is_not_documented_is_refused(filled: Api, body: Any) -> None:
    assert filled.query(**body).status_code == 400


def test_a_new_record_may_have_no_modified_time_and_is_found_by_its_creation(intacct: Api) -> None:
    intacct.emulator.faults.merge({"never_modified_is_null": True})
    key = intacct.create(id="C-1", name="A")
    since = "2026-11-22T10:00:00Z"
    filters = [
        {"$gte": {"audit.modifiedDateTime": since}},
        {"$eq": {"audit.modifiedDateTime": None}},
        {"$gte": {"audit.createdDateTime": since}},
    ]
    assert intacct.ids(filters[0]) == []
    assert intacct.ids(*filters, filterExpression="1 or (2 and 3)") == ["C-1"]
    intacct.result("PATCH", f"{CUSTOMER}/{key}", {"name": "B"})
    assert intacct.ids(filters[0]) == ["C-1"]


def test_case_is_ignored_only_when_asked(filled: Api) -> None:
    insensitive = {"filterParameters": {"caseSensitiveComparison": False}}
    assert filled.ids({"$eq": {"name": "BETA"}}, **insensitive) == ["C-3"]
    assert filled.ids({"$startsWith": {"name": "AL"}}, **insensitive) == ["C-1", "C-2"]


def test_rows_are_flat_with_dotted_names_and_nulls(filled: Api) -> None:
    fields = ["id", "salesRepresentative.id", "contacts.default.mailingAddress.isoCountryCode", "audit.modifiedBy"]
    row = filled.query(fields=fields, filters=[{"$eq": {"id": "C-1"}}]).json()["ia::result"][0]
    assert row == {
        "id": "C-1",
        "salesRepresentative.id": None,
        "contacts.default.mailingAddress.isoCountryCode": "US",
        "audit.modifiedBy": "2",
    }


def test_pages_are_one_based_and_the_last_one_has_no_next(filled: Api) -> None:
    order = [{"audit.modifiedDateTime": "desc"}, {"key": "asc"}]
    first = filled.query(orderBy=order, size=2).json()
    assert [r["id"] for r in first["ia::result"]] == ["C-5", "C-4"]
    assert first["ia::meta"] == {"totalCount": 5, "start": 1, "pageSize": 2, "next": 3, "previous": None}
    last = filled.query(orderBy=order, size=2, start=5).json()
    assert [r["id"] for r in last["ia::result"]] == ["C-1"]
    assert (last["ia::meta"]["next"], last["ia::meta"]["previous"]) == (None, 3)
    assert filled.query().json()["ia::meta"]["pageSize"] == 100


def test_keys_are_ordered_as_numbers(intacct: Api) -> None:
    intacct.back_door("seed", {"customers": 12})
    rows = intacct.query(orderBy=[{"key": "asc"}], filters=[{"$gt": {"key": "8"}}]).json()["ia::result"]
    assert [r["key"] for r in rows] == ["9", "10", "11", "12"]


def test_entity_private_records_are_hidden_at_the_top_level_unless_asked_for(intacct: Api) -> None:
    intacct.create(id="C-1", name="A")
    for entity in ("North", "South"):
        body = {"id": f"C-{entity}", "name": entity}
        assert intacct.call("POST", CUSTOMER, body, X_IA_API_Param_Entity=entity).status_code == 201
    assert intacct.ids() == ["C-1"]
    assert intacct.ids(filterParameters={"includePrivate": True}) == ["C-1", "C-North", "C-South"]
    query = {"object": "accounts-receivable/customer", "fields": ["id"]}
    inside = intacct.result("POST", "services/core/query", query, X_IA_API_Param_Entity="North")
    assert [r["id"] for r in inside] == ["C-1", "C-North"]
    assert intacct.call("POST", "services/core/query", query, X_IA_API_Param_Entity="Nowhere").status_code == 403
    token = intacct.token(username="sync@ACME|South")["access_token"]
    inside = intacct.result("POST", "services/core/query", query, Authorization=f"Bearer {token}")
    assert [r["id"] for r in inside] == ["C-1", "C-South"]


def test_employees_are_queried_through_their_contact(intacct: Api) -> None:
    rows = intacct.query(
        object="company-config/employee",
        fields=["id", "primaryContact.email1", "department.id"],
        filters=[{"$eq": {"primaryContact.firstName": "Omar"}}],
    ).json()["ia::result"]
    assert rows == [{"id": "E-11", "primaryContact.email1": "omar@acme.example", "department.id": "D-10"}]


def test_the_list_gives_references_only(filled: Api) -> None:
    answer = filled.call("GET", CUSTOMER).json()
    assert answer["ia::result"][0] == {"key": "1", "id": "C-1", "href": "/objects/accounts-receivable/customer/1"}
    assert answer["ia::meta"]["totalCount"] == 5


def test_the_model_tells_types_enums_references_and_custom_fields(intacct: Api) -> None:
    model = intacct.result("GET", "services/core/model?name=accounts-receivable/customer")
    assert model["fields"]["status"]["enum"] == ["active", "activeNonPosting", "inactive"]
    assert model["fields"]["totalDue"]["readOnly"] is True
    assert model["refs"]["salesRepresentative"]["apiObject"] == "company-config/employee"
    assert model["fields"]["nsp::REGION"]["type"] == "string"
    assert model["idempotenceSupported"] is True
    assert intacct.call("GET", "services/core/model?name=nothing").status_code == 404
