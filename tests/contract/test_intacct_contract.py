"""What is Intacct's own: tokens, envelopes, ids."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from suite import Case, calls, fault

from support.tokens import MemoryTokens
from sync_worker.connectors.base import Ask, Criteria
from sync_worker.connectors.http import Answer
from sync_worker.connectors.intacct.client import IntacctConnector
from sync_worker.connectors.intacct.errors import TokenRejected, classify, column_of, item_error
from sync_worker.errors import (
    AlreadyExists,
    AuthFailed,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    RecordBusy,
    Rejected,
    SyncError,
    SystemUnavailable,
)

ONLY = ["intacct"]


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_many_threads_share_one_token(case: Case) -> None:
    key = case.make()
    fresh = case.connect()
    case.emulator.reset_stats()
    threads = [threading.Thread(target=fresh.read_many, args=("customer", [Ask(key)])) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (calls(case, "token"), calls(case, "query customer")) == (1, 6)


@pytest.mark.parametrize("form", ["401", "400"])
def test_a_rejected_token_is_renewed_once_and_the_call_repeated(case: Case, form: str) -> None:
    key = case.make()
    case.emulator.reset_stats()
    with fault(case, token_error_form=form, fail_next=[{"operation": "read", "fault": "401"}]):
        assert case.read(key).key == key
    assert calls(case, "token") == 1


def test_a_rejected_token_does_not_lose_or_double_a_write(case: Case) -> None:
    key = case.make()
    write, since = case.update_of(key, name="Once"), len(case.emulator.ledger)
    with fault(case, fail_next=[{"operation": "write", "fault": "401"}]):
        (outcome,) = case.connector.write_many("customer", [write])
    assert outcome.error is None
    assert len(case.written(since)) == 1


def test_a_token_that_is_rejected_again_is_an_auth_error(case: Case) -> None:
    key = case.make()
    twice = [{"operation": "read", "fault": "401"}, {"operation": "read", "fault": "401"}]
    with fault(case, fail_next=twice), pytest.raises(AuthFailed):
        case.read(key)


def test_a_token_is_renewed_a_minute_before_it_ends(case: Case) -> None:
    key = case.make()
    case.emulator.reset_stats()
    case.clock.advance(43_200 - 70)
    case.read(key)
    assert calls(case, "token") == 0
    case.clock.advance(20)
    case.read(key)
    assert calls(case, "token") == 1


def test_a_worker_whose_token_was_replaced_takes_the_new_one_instead_of_minting(case: Case) -> None:
    tokens = MemoryTokens(case.clock)
    minted: list[str] = []

    def mint() -> tuple[str, float]:
        minted.append("t")
        return f"t{len(minted)}", 3600.0

    first = tokens.refresh("x", mint)
    second = tokens.refresh("x", mint, rejected_version=first.version)
    assert tokens.refresh("x", mint, rejected_version=first.version) == second
    assert len(minted) == 2


def test_a_wrong_client_is_told_from_a_username_without_a_company(case: Case) -> None:
    with pytest.raises(AuthFailed, match="username"):
        case.connect(username="sync").list_managers()
    with pytest.raises(AuthFailed):
        case.connect(client_id="nobody").list_managers()


def test_doctor_names_an_entity_that_cannot_be_used(case: Case) -> None:
    bad = [check for check in case.connect(entity="NOWHERE").check() if not check.ok]
    assert bad


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["normal", "result", "error", "bare"])
@pytest.mark.parametrize("details_object", [False, True])
def test_all_four_envelopes_and_both_forms_of_details_name_the_column(
    case: Case, shape: str, details_object: bool
) -> None:
    key = case.make()
    email = "contacts.default.email1"
    switches: dict[str, Any] = {"error_shape": shape, "details_object": details_object}
    with fault(case, refuse={email: ["no@no.example"]}, **switches):
        outcome = case.update(key, email="no@no.example")
    assert isinstance(outcome.error, Rejected)
    assert outcome.error.column == email


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b"", TokenRejected),
        (400, b'{"ia::error": {"code": "x", "message": "Invalid token"}}', TokenRejected),
        (400, b'{"ia::error": {"code": "GW-0031"}}', TokenRejected),
        (403, b'{"error": {"code": "tokenInvalid", "errorId": "REST-2102"}}', TokenRejected),
        (403, b'{"ia::error": {"code": "unauthorizedUser"}}', AuthFailed),
        (400, b'{"ia::error": {"code": "GW-0011", "details": {"requestId": "r"}}}', AuthFailed),
        (404, b'{"ia::error": {"code": "notFound"}}', NotFound),
        (400, b'{"ia::error": {"code": "GW-0010"}}', RateLimited),
        (408, b"", SystemUnavailable),
        (500, b"<html>", SystemUnavailable),
        (409, b'{"ia::error": {"code": "operationFailed", "message": "Record is locked"}}', RecordBusy),
        (409, b'{"ia::error": {"code": "x", "message": "Idempotency key used with another body"}}', OutcomeUnknown),
        (409, b'{"ia::error": {"code": "x", "message": "another record has this id"}}', AlreadyExists),
        (422, b'{"code": "x"}', Rejected),
        (405, b"", Rejected),
        (302, b"", SystemUnavailable),
        (400, b"[" * 100_000, Rejected),
        (400, b'{"ia::error": {"details": [null, 5, {"additionalInfo": "x", "target": 7}]}}', Rejected),
    ],
)
def test_an_answer_is_classified_by_status_and_body(status: int, body: bytes, kind: type[SyncError]) -> None:
    assert type(classify(Answer(status, {}, body))) is kind


@pytest.mark.parametrize(
    ("headers", "after"),
    [
        ({"retry-after": "3", "x-ia-throttle-limit-retry-after": "9"}, 3.0),
        ({"x-ia-throttle-limit-retry-after": "9", "x-ia-hour-rate-limit-retry-after": "100"}, 9.0),
        ({"x-ia-throttle-limit-retryafter": "8"}, 8.0),
        ({"x-ia-minute-rate-limit-retry-after": "5", "x-ia-hour-rate-limit-retry-after": "100"}, 100.0),
        ({"x-ia-tenant-throttle-limit-retry-after": "4"}, 4.0),
        ({"x-ia-throttle-limit-remaining": "4"}, None),
    ],
)
def test_the_retry_hints_are_read_in_the_vendors_order_and_both_spellings(
    headers: dict[str, str], after: float | None
) -> None:
    error = classify(Answer(429, headers, b""))
    assert isinstance(error, RateLimited)
    assert error.after == after


def test_the_item_of_a_mixed_answer_is_classified_like_an_answer() -> None:
    assert item_error({"key": "1", "id": "C-1", "ia::status": 200}) is None
    assert isinstance(item_error({"ia::error": {"code": "notFound"}}), NotFound)
    assert isinstance(item_error({"ia::error": {"code": "x"}, "ia::status": "409"}), AlreadyExists)
    assert isinstance(item_error({"ia::error": {"code": "x"}}), Rejected)


def test_a_target_is_a_column_with_or_without_the_place_in_the_batch() -> None:
    assert column_of("/contacts/default/email1") == "contacts.default.email1"
    assert column_of("/3/taxId") == "taxId"
    assert column_of("nsp::REGION") == "nsp::REGION"


def test_a_base_url_that_leads_nowhere_pauses_instead_of_declaring_records_gone(case: Case) -> None:
    key = case.make()
    connector = case.connector
    assert isinstance(connector, IntacctConnector)
    wrong = case.connect(base_url=connector.settings.base_url.replace("v1", "v9"))
    with pytest.raises(AuthFailed):
        wrong.read_many("customer", [Ask(key)])
    (token,) = [check for check in wrong.check() if not check.ok]
    assert token.detail.endswith("there is no API at this base_url; does it end in /ia/api/v1?")
    assert token.fix == "correct systems.erp.base_url"


# --- ids --------------------------------------------------------------------------------------------------------------


def test_ids_that_we_did_not_give_name_nobody(case: Case) -> None:
    key = case.emulator.person("customer", None, {"id": "C-00003", "name": "By hand"}, "create")
    assert case.connector.correlated_key(case.read(key)) is None
    assert case.connector.correlation_columns("43", "43") == {"id": "CRM-43"}


def test_without_an_id_template_nothing_is_correlated_and_doctor_advises_one(case: Case) -> None:
    plain = case.connect(new_customer_id="")
    assert not plain.capabilities.correlation
    assert plain.correlation_columns("43", "43") == {}
    assert any("new_customer_id" in check.fix and check.ok for check in plain.check())


def test_hundreds_of_customer_ids_are_found_by_one_query_each_its_own(case: Case) -> None:
    made = [case.create(name=f"Found {n}") for n in range(60)]
    case.emulator.reset_stats()
    wanted = [Criteria(ref=ref.lower()) for _, ref in made] + [Criteria(ref="NO-SUCH")]
    found = case.connector.find_many("customer", wanted)
    assert [[record.key for record in records] for records in found] == [*([key] for key, _ in made), []]
    assert case.emulator.reads == 1
