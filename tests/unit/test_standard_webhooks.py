"""Standard Webhooks: what is let in, what is refused, and that the script we hand out signs the same way."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from sync_worker.connectors.base import HookRefused
from sync_worker.connectors.sage_crm.hooks import read_hook
from sync_worker.connectors.standard_webhooks import read_events, secret_bytes, sign, verify
from sync_worker.events import Change

NOW = 1_800_000_000.0
SECRET = "whsec_" + base64.b64encode(b"0123456789abcdefghijklmn").decode()
OTHER = "whsec_" + base64.b64encode(b"another secret, long enough").decode()
BODY = b'{"events":[{"entity":"customer","key":"43","op":"updated"}]}'


def headers(body: bytes = BODY, *, at: float = NOW, secret: str = SECRET, **more: str) -> dict[str, str]:
    stamp = str(int(at))
    signed = {
        "webhook-id": "msg_1",
        "webhook-timestamp": stamp,
        "webhook-signature": sign(secret, "msg_1", stamp, body),
    }
    return {**signed, **{name.replace("_", "-"): value for name, value in more.items()}}


def events(*rows: Any) -> bytes:
    return json.dumps({"events": list(rows)}).encode()


def refused(given: dict[str, str], body: bytes = BODY, *, now: float = NOW, secret: str = SECRET) -> int:
    with pytest.raises(HookRefused) as caught:
        read_hook("crm", secret, given, body, now)
    return caught.value.status


def test_the_published_example_of_the_specification_verifies() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    given = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    assert verify(secret, given, b'{"test": 2432232314}', 1614265330.0) == given["webhook-id"]


def test_a_signed_notice_becomes_changes_with_ids_of_their_own() -> None:
    body = events(
        {"entity": "customer", "key": "43", "op": "updated", "at": "2026-11-22T10:00:00Z"},
        {"entity": "phone", "key": 77, "op": "created"},
    )
    assert read_hook("crm", SECRET, headers(body), body, NOW) == [
        Change("crm", "customer", "43", "updated", "webhook", "msg_1#0", 1_795_341_600.0),
        Change("crm", "phone", "77", "created", "webhook", "msg_1#1", None),
    ]


def test_the_tables_own_name_means_the_customer() -> None:
    body = events({"entity": "company", "key": "43", "op": "deleted"})
    assert [(c.entity, c.op) for c in read_hook("crm", SECRET, headers(body), body, NOW)] == [("customer", "deleted")]


def test_one_good_signature_among_several_is_enough() -> None:
    good = headers()["webhook-signature"]
    old = sign(OTHER, "msg_1", str(int(NOW)), BODY)
    assert len(read_hook("crm", SECRET, headers(webhook_signature=f"v1a,zzz {old} {good}"), BODY, NOW)) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"webhook_signature": ""},
        {"webhook_signature": "v1,"},
        {"webhook_signature": "v2," + sign(SECRET, "msg_1", str(int(NOW)), BODY)[3:]},
        {"webhook_signature": "v1,ünïcode"},
        {"webhook_id": "msg_2"},
        {"webhook_id": ""},
        {"webhook_id": "\ud800"},
        {"webhook_timestamp": str(int(NOW) + 1)},
        {"webhook_timestamp": ""},
        {"webhook_timestamp": "nan"},
        {"webhook_timestamp": "1" * 400},
        {"webhook_timestamp": f"{NOW}"},
        {"webhook_timestamp": "１８００００００００"},
    ],
)
def test_a_forged_notice_is_401(change: dict[str, str]) -> None:
    assert refused(headers(**change)) == 401


def test_a_changed_body_is_401() -> None:
    assert refused(headers(), BODY.replace(b"43", b"44")) == 401


def test_another_secret_is_401_and_so_is_none() -> None:
    assert refused(headers(secret=OTHER)) == 401
    for unusable in ("", "whsec_", "whsec_###", "whsec_c2hvcnQ="):
        assert refused(headers(), secret=unusable) == 401


@pytest.mark.parametrize(("off", "ok"), [(-301, False), (-299, True), (299, True), (301, False)])
def test_five_minutes_off_is_tolerated_and_no_more(off: int, ok: bool) -> None:
    given = headers(at=NOW + off)
    if ok:
        assert verify(SECRET, given, BODY, NOW) == "msg_1"
    else:
        assert refused(given) == 401


def test_a_bad_signature_counts_before_an_unreadable_body() -> None:
    assert refused(headers(b"{"), b"{") == 400
    assert refused(headers(), b"{") == 401


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"events": {}}',
        b'{"events": [1]}',
        b"[" * 100_000,
        events({"entity": "customer"}),
        events({"key": "43"}),
        events({"entity": "customer", "key": True}),
        events({"entity": "customer", "key": ""}),
        events({"entity": "customer", "key": "4" * 256}),
        events({"entity": "customer", "key": "4\0003"}),
        b'{"events": [{"entity": "customer", "key": "\\ud800"}]}',
    ],
)
def test_an_unreadable_body_is_400(body: bytes) -> None:
    assert refused(headers(body), body) == 400


def test_unknown_entities_and_ops_and_impossible_keys_are_acknowledged_and_ignored() -> None:
    body = events(
        {"entity": "spaceship", "key": "1", "op": "updated"},
        {"entity": "customer", "key": "1", "op": "painted"},
        {"entity": "customer", "key": "1", "op": "finalised"},
        {"entity": "customer", "key": "1 or 1 eq 1", "op": "updated"},
        {"entity": "customer", "key": "9", "op": "updated", "at": "yesterday", "customer": "7"},
    )
    assert read_hook("crm", SECRET, headers(body), body, NOW) == [
        Change("crm", "customer", "9", "updated", "webhook", "msg_1#4", None)
    ]


def test_a_system_that_announces_invoices_is_understood() -> None:
    body = events({"entity": "invoice", "key": "INV-9", "op": "finalised", "customer": "43"})
    (change,) = read_events("psa", body, "msg_1", {"invoice": "invoice"})
    assert (change.entity, change.key, change.op) == ("invoice", "INV-9", "finalised")


def test_a_very_long_webhook_id_still_gives_ids_that_fit() -> None:
    body = events({"entity": "customer", "key": "1"}, {"entity": "customer", "key": "2"})
    first, second = read_events("crm", body, "m" * 5000, {"customer": "customer"})
    assert first.notice_id != second.notice_id
    assert len(str(first.notice_id)) < 255


def test_a_secret_says_what_is_wrong_with_it() -> None:
    with pytest.raises(ValueError, match="base64"):
        secret_bytes("whsec_?")
    with pytest.raises(ValueError, match="shorter than 16 bytes"):
        secret_bytes("whsec_c2hvcnQ=")
