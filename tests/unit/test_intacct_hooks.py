"""Intacct's signed webhooks and queue events: what is believed, what is refused, what is read."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_worker.connectors.base import HookRefused
from sync_worker.connectors.http import Answer
from sync_worker.connectors.intacct.changes import read_events
from sync_worker.connectors.intacct.hooks import read_context, read_notice, verify
from sync_worker.errors import SystemUnavailable
from sync_worker.events import Change

SECRET = "demo-secret"
NOW = 1_795_000_000.0
ENTITIES = ("customer", "contact", "invoice", "account_manager")
BODY = b'{"entity": "customer", "key": "501", "id": "C-77", "op": "updated"}'


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def claims(**changes: Any) -> dict[str, Any]:
    found = {
        "iss": "Sage Intacct",
        "iat": int(NOW * 1000),
        "exp": int(NOW * 1000) + 3_600_000,
        "payload_signature": hashlib.sha256(BODY).hexdigest(),
        "payload_signature_alg": "SHA-256",
        **changes,
    }
    return {name: value for name, value in found.items() if value is not ...}


def jwt(
    payload: Any = None, header: Any = None, secret: str = SECRET, digest: Any = hashlib.sha256, **changes: Any
) -> str:
    first = b64(json.dumps(header or {"alg": "HS256", "typ": "JWT"}).encode())
    second = b64(json.dumps(claims(**changes) if payload is None else payload).encode())
    return f"{first}.{second}.{b64(hmac.new(secret.encode(), f'{first}.{second}'.encode(), digest).digest())}"


def signed(token: str, **more: str) -> dict[str, str]:
    return {"x-ia-sage-signature": token, **more}


def read(headers: dict[str, str], body: bytes = BODY, now: float = NOW) -> list[Change]:
    return read_notice("erp", headers, body, verify(headers, body, now, SECRET))


def refused(headers: dict[str, str], body: bytes = BODY, now: float = NOW) -> int:
    with pytest.raises(HookRefused) as caught:
        read(headers, body, now)
    return caught.value.status


def notice(body: bytes, **headers: str) -> list[Change]:
    token = jwt(payload_signature=hashlib.sha256(body).hexdigest())
    return read(signed(token, **headers), body)


def context(**values: Any) -> str:
    return base64.b64encode(json.dumps(values).encode()).decode()


def test_a_bare_token_is_accepted() -> None:
    (change,) = read(signed(jwt(), **{"idempotency-key": "n-1"}))
    assert change == Change("erp", "customer", "501", "updated", "webhook", "n-1", NOW)


def test_a_token_in_an_envelope_is_accepted_in_either_base64_alphabet() -> None:
    envelope = json.dumps({"jwtData": jwt(), "sessionKey": "??>>"}).encode()
    assert read(signed(base64.b64encode(envelope).decode()))
    assert read(signed(base64.b64encode(envelope).decode().rstrip("=")))


def test_header_names_are_found_whatever_their_case() -> None:
    (change,) = read({"X-IA-Sage-Signature": jwt(), "X-IdempotencyKey": "n-2"})
    assert change.notice_id == "n-2"


def test_times_are_read_as_milliseconds_only_when_they_must_be() -> None:
    assert read(signed(jwt(iat=int(NOW), exp=int(NOW) + 3600)))
    assert read(signed(jwt(exp=int(NOW) + 3600)))


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a.b.c",
        "....",
        jwt(secret="other"),
        jwt(header={"alg": "none"}),
        jwt(header={"alg": "HS512"}, digest=hashlib.sha512),
        jwt(header={"alg": "HS256", "crit": ["x"]}),
        jwt(payload=["not", "claims"]),
        jwt(iss="Somebody"),
        jwt(iss=...),
        jwt(iat=...),
        jwt(exp=...),
        jwt(iat="now"),
        jwt(iat=True),
        jwt(iat=float("nan")),
        jwt(payload_signature=...),
        jwt(payload_signature="0" * 64),
        jwt(payload_signature_alg="MD5"),
        jwt().rpartition(".")[0] + ".",
        jwt() + "A" * 20_000,
        base64.b64encode(b'{"jwtData": null, "sessionKey": "s"}').decode(),
        base64.b64encode(b"not json").decode(),
        "é.é.é",
    ],
)
def test_whatever_is_wrong_with_the_signature_is_a_401(token: str) -> None:
    assert refused(signed(token)) == 401


def test_no_signature_at_all_is_a_401_and_so_is_a_worker_without_a_secret() -> None:
    assert refused({}) == 401
    with pytest.raises(HookRefused):
        verify(signed(jwt(secret="")), BODY, NOW, "")


def test_a_changed_body_is_a_401_before_it_is_looked_at() -> None:
    assert refused(signed(jwt()), BODY + b" ") == 401
    assert refused(signed(jwt()), b"not json") == 401


@pytest.mark.parametrize(("moved", "accepted"), [(299, True), (301, False), (-299, True), (-301, False)])
def test_five_minutes_of_difference_are_tolerated_either_way(moved: float, accepted: bool) -> None:
    headers = signed(jwt())
    if accepted:
        assert read(headers, now=NOW + moved)
    else:
        assert refused(headers, now=NOW + moved) == 401


@pytest.mark.parametrize(("after", "accepted"), [(59, True), (61, False)])
def test_an_expired_signature_has_a_minute_of_leeway(after: float, accepted: bool) -> None:
    headers = signed(jwt(exp=int(NOW * 1000)))
    if accepted:
        assert read(headers, now=NOW + after)
    else:
        assert refused(headers, now=NOW + after) == 401


@pytest.mark.parametrize("body", [b"not json", b"[]", b'"x"', b"", b'{"entity": "customer", "op": "updated"}'])
def test_a_signed_body_that_cannot_be_read_is_a_400(body: bytes) -> None:
    token = jwt(payload_signature=hashlib.sha256(body).hexdigest())
    assert refused(signed(token), body) == 400


@pytest.mark.parametrize(
    "body",
    [
        b'{"entity": "vendor", "key": "1", "op": "updated"}',
        b'{"entity": "customer", "key": "1", "op": "viewed"}',
        b'{"entity": 5, "key": "1", "op": "updated"}',
        b"{}",
    ],
)
def test_unknown_entities_and_operations_are_acknowledged_and_ignored(body: bytes) -> None:
    assert notice(body) == []


def test_a_contact_and_an_employee_are_told_apart() -> None:
    (contact,) = notice(b'{"entity": "contact", "key": "9", "id": "Dean", "op": "updated"}')
    (employee,) = notice(b'{"entity": "employee", "key": "7", "id": "E-7", "op": "updated"}')
    assert (contact.entity, contact.key) == ("contact", "9")
    assert (employee.entity, employee.key) == ("account_manager", "E-7")


def test_the_context_only_fills_gaps() -> None:
    told = context(RESTOBJECTNAME="company-config/contact", EVENT="after_delete", VID="500", key="12")
    (full,) = notice(BODY, **{"x-clientcontext": told})
    assert (full.entity, full.key, full.op) == ("customer", "501", "updated")
    (filled,) = notice(b'{"key": "7"}', **{"x-clientcontext": told})
    assert (filled.entity, filled.key, filled.op) == ("contact", "7", "deleted")


@pytest.mark.parametrize("broken", ["", "%%%", "bm90IGpzb24", base64.b64encode(b'{"a": 1,}').decode(), "é"])
def test_a_broken_context_does_no_harm(broken: str) -> None:
    assert read_context(broken) == {}
    assert notice(BODY, **{"x-clientcontext": broken})[0].key == "501"


def test_without_an_idempotency_key_the_notice_is_told_apart_by_its_body_and_time() -> None:
    first, again = read(signed(jwt())), read(signed(jwt()))
    later = read(signed(jwt(iat=int(NOW * 1000) + 1)))
    assert first[0].notice_id == again[0].notice_id != later[0].notice_id


def test_an_endless_idempotency_key_is_not_stored_as_it_is() -> None:
    (change,) = notice(BODY, **{"idempotency-key": "k" * 5000})
    assert change.notice_id is not None
    assert len(change.notice_id) <= 200


@given(st.text(max_size=300), st.binary(max_size=100))
def test_no_signature_of_chance_is_accepted_and_none_is_a_crash(text: str, body: bytes) -> None:
    with pytest.raises(HookRefused):
        verify({"x-ia-sage-signature": text}, body, NOW, SECRET)


@given(st.dictionaries(st.sampled_from(["entity", "key", "id", "op", "x"]), st.none() | st.text() | st.integers()))
def test_any_signed_object_is_read_refused_or_ignored(payload: dict[str, Any]) -> None:
    body = json.dumps(payload).encode()
    try:
        found = read_notice("erp", {}, body, NOW)
    except HookRefused as error:
        assert error.status == 400
    else:
        assert all(
            change.key and change.entity in ("customer", "contact", "invoice", "account_manager") for change in found
        )


# --- the event queue -------------------------------------------------------------------------------------------------


def event(payload: object, event_id: str = "e-1", client_context: str = "") -> dict[str, Any]:
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return {"eventId": event_id, "clientContext": client_context, "payload": base64.b64encode(raw).decode()}


def listing(result: Any) -> Answer:
    return Answer(200, {}, json.dumps({"ia::result": result, "ia::meta": {}}).encode())


def test_both_empty_forms_of_the_queue_end_it() -> None:
    assert read_events("erp", listing([])) == ([], None)
    assert read_events("erp", listing({"events": [], "ackId": "a"})) == ([], None)


def test_events_become_changes_that_carry_their_event_id() -> None:
    rows, ack = read_events("erp", listing({"events": [event(json.loads(BODY), "e-9")], "ackId": "a-1"}))
    assert ack == "a-1"
    assert rows[0].change == Change("erp", "customer", "501", "updated", "poll", "e-9", None)


@pytest.mark.parametrize(
    "broken",
    [event(b"not json"), event([]), {"eventId": "x"}, {"payload": 5}, None, "x", event({"entity": "customer"})],
)
def test_a_broken_event_spoils_no_other_and_the_batch_is_still_acknowledged(broken: Any) -> None:
    good = event(json.loads(BODY), "e-2", client_context="%%%")
    rows, ack = read_events("erp", listing({"events": [broken, good], "ackId": "a-2"}))
    assert ([row.change.notice_id for row in rows], ack) == (["e-2"], "a-2")


def test_the_context_of_a_queue_event_stands_in_for_a_broken_payload() -> None:
    told = context(object="accounts-receivable/customer", event="after.create", key="88", id="C-88")
    rows, _ = read_events("erp", listing({"events": [event(b"{", "e-3", told)], "ackId": "a"}))
    assert (rows[0].change.key, rows[0].change.op) == ("88", "created")


def test_a_listing_that_is_none_is_unavailable() -> None:
    with pytest.raises(SystemUnavailable):
        read_events("erp", listing("x"))
