"""Whatever a vendor sends beside its records (errors, tokens, notices) is read within the same limits as they are."""

from __future__ import annotations

import base64
import json
import re
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

import sync_worker.connectors
from sync_worker.connectors import documents, standard_webhooks
from sync_worker.connectors.answers import Answer
from sync_worker.connectors.base import HookRefused
from sync_worker.connectors.http import VendorHttp
from sync_worker.connectors.intacct import errors as intacct_errors
from sync_worker.connectors.intacct.auth import MAX_TOKEN, UNSTATED_LIFETIME, classify_token, mint_with
from sync_worker.connectors.intacct.changes import read_events
from sync_worker.connectors.intacct.hooks import MAX_TOLD, read_context, read_notice, read_payload
from sync_worker.connectors.rest import errors as rest_errors
from sync_worker.connectors.sage_crm import errors as sage_crm_errors
from sync_worker.errors import NotFound, Rejected, SystemUnavailable

DEEP = b'{"a":' * 150 + b"1" + b"}" * 150
MANY = b"[" + b"[]," * documents.MOST_VALUES + b"0]"


def test_json_of_vendors_is_parsed_in_one_place() -> None:
    root = Path(sync_worker.connectors.__path__[0])
    parsing = re.compile(r"\b(json|jsonlib)\.loads?\(|JSONDecoder|from json import")
    found = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if not {"emulation", "emulator"} & set(path.relative_to(root).parts) and parsing.search(path.read_text())
    }
    assert found == {"documents.py"}


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [DEEP, MANY])
def test_an_error_body_of_a_rest_api_beyond_the_limits_is_no_json(body: bytes) -> None:
    absent, refused = (rest_errors.classify(Answer(status, {}, body), "/a") for status in (404, 422))
    assert isinstance(absent, SystemUnavailable)
    assert isinstance(refused, Rejected)
    assert refused.column is None
    assert isinstance(rest_errors.classify(Answer(404, {}, b'{"code": 1}'), ""), NotFound)


def diagnosis(severity: str, message: str = "comp_name is missing", more: str = "") -> bytes:
    said = {"$severity": severity, "$sdataCode": "BadRequest", "$message": message}
    return json.dumps({"$diagnoses": [said], "more": more}).encode()


@pytest.mark.parametrize("status", [200, 400])
def test_an_error_of_sage_crm_is_looked_for_in_the_first_part_of_an_answer_only(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = []
    real = documents.read
    monkeypatch.setattr(documents, "read", lambda content: looked_at.append(len(content)) or real(content))
    found = sage_crm_errors.classify(Answer(status, {}, diagnosis("error", more="x" * 1_000_000)))
    assert isinstance(found, Rejected)
    assert (str(found), found.column, found.said) == (f"HTTP {status} BadRequest", "comp_name", "comp_name is missing")
    assert looked_at == [64 * 1024]


def test_a_warning_before_a_long_list_of_sage_crm_is_no_error() -> None:
    assert sage_crm_errors.classify(Answer(200, {}, diagnosis("warning", more="x" * 1_000_000))) is None
    quoted = json.dumps({"Comp_Name": '"$diagnoses', "Comp_Note": '"$severity": "error"' + "x" * 100_000}).encode()
    assert sage_crm_errors.classify(Answer(200, {}, quoted)) is None


def test_a_column_name_in_an_error_of_sage_crm_has_the_length_of_one() -> None:
    longest = "comp_" + "a" * 75
    assert sage_crm_errors.read_diagnosis(diagnosis("error", longest)).column == longest
    assert sage_crm_errors.read_diagnosis(diagnosis("error", longest + "a")).column is None


@pytest.mark.parametrize("piece", [b'"$severity" ', b'"$severity":"', b" " * 100, b'"$message":"\\'])
def test_json_that_was_cut_is_searched_in_no_time(piece: bytes) -> None:
    began = time.perf_counter()
    sage_crm_errors.read_diagnosis(b'{"$diagnoses":[' + piece * (64 * 1024 // len(piece)))
    assert time.perf_counter() - began < 5.0


def test_an_error_of_intacct_names_ten_codes_and_ten_columns_at_most() -> None:
    details = [{"code": f"c{n}", "target": f"/contacts/f{n}", "message": "wrong"} for n in range(50_000)]
    body = json.dumps({"ia::error": {"code": "invalidRequest", "details": details}}).encode()
    found = intacct_errors.classify(Answer(400, {}, body))
    assert isinstance(found, Rejected)
    codes, columns = ("c0 c1 c2 c3 c4 c5 c6 c7 c8", " ".join(f"contacts.f{n}" for n in range(10)))
    assert str(found) == f"HTTP 400 invalidrequest {codes} {columns}"
    assert found.column == "contacts.f0"


# --- the token of Intacct --------------------------------------------------------------------------------------------


def minted(answer: dict[str, Any]) -> tuple[str, float | None]:
    transport = httpx.MockTransport(lambda _request: httpx.Response(200, json=answer))
    http = VendorHttp("erp", "http://vendor.test/ia/api/v1", classify=classify_token, transport=transport)
    try:
        return mint_with(http, "client", "secret", "sync@ACME")()
    finally:
        http.close()


def test_a_token_that_no_header_would_hold_fails_the_login_in_one_line() -> None:
    assert minted({"access_token": "x" * MAX_TOKEN, "expires_in": 60}) == ("x" * MAX_TOKEN, 60)
    with pytest.raises(SystemUnavailable, match=r"no token: the access_token is longer than 16,384 characters") as said:
        minted({"access_token": "x" * (MAX_TOKEN + 1), "expires_in": 60})
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("claims", [DEEP, b"[" * 9000, b"[]", b'{"exp": {}}', b"\xff"])
def test_a_token_whose_claims_cannot_be_read_lives_as_long_as_one_that_says_nothing(claims: bytes) -> None:
    token = f"a.{base64.urlsafe_b64encode(claims).decode()}.c"
    assert minted({"access_token": token}) == (token, UNSTATED_LIFETIME)


# --- notices ---------------------------------------------------------------------------------------------------------


def test_a_webhook_that_is_nested_too_deeply_is_400() -> None:
    with pytest.raises(HookRefused, match="not readable JSON"):
        standard_webhooks.read_events("crm", b'{"events": [], "x": ' + DEEP + b"}", "msg_1", {})
    with pytest.raises(HookRefused, match="not a JSON object"):
        read_notice("erp", {}, DEEP, 0.0)


def told(value: dict[str, Any], length: int = 0) -> str:
    """Base64 of so many characters at least."""
    bare = len(json.dumps({**value, "more": ""}))
    return base64.b64encode(json.dumps({**value, "more": "x" * (length * 3 // 4 - bare)}).encode()).decode()


def test_an_event_that_says_more_than_an_event_does_is_left_out_and_the_others_are_read() -> None:
    long = told({"entity": "customer", "op": "updated", "key": "1"}, MAX_TOLD + 4)
    fits = told({"entity": "customer", "op": "updated", "key": "2"}, MAX_TOLD - 4)
    events = [{"eventId": "a", "payload": long}, {"eventId": "b", "payload": fits}]
    body = json.dumps({"ia::result": {"events": events, "ackId": "ack"}}).encode()
    rows, ack = read_events("erp", Answer(200, {}, body))
    assert ([row.change.key for row in rows], ack) == (["2"], "ack")
    assert read_payload(long) is None
    assert read_context(told({"event": "x"}, MAX_TOLD + 4)) == {}


def test_an_employee_in_a_notice_is_named_by_text_that_the_database_holds() -> None:
    body = json.dumps({"entity": "employee", "op": "updated", "id": "E\x001"}).encode()
    assert [change.key for change in read_notice("erp", {}, body, 0.0)] == ["E1"]
