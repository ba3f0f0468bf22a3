"""The Intacct emulator: signed webhooks, and the event queue that is pulled and acknowledged."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from support.intacct_emulator import CUSTOMER, START, Api
from support.waiting import until
from sync_worker.connectors.emulation import Hook

pytest_plugins = ("support.intacct_emulator_fixtures",)


# --- webhooks --------------------------------------------------------------------------------------------------------


class Receiver:
    def __init__(self, *statuses: int) -> None:
        self.seen: list[tuple[dict[str, str], bytes]] = []
        left = list(statuses)
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.seen.append(({k.lower(): v for k, v in self.headers.items()}, body))
                self.send_response(left.pop(0) if left else 200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hooks/erp"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receivers() -> Iterator[Any]:
    made: list[Receiver] = []

    def make_receiver(*statuses: int) -> Receiver:
        made.append(Receiver(*statuses))
        return made[-1]

    yield make_receiver
    for receiver in made:
        receiver.close()


def unpad(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def verify_by_hand(token: str, body: bytes, secret: str) -> dict[str, Any]:
    head, claims, signature = token.split(".")
    expected = hmac.new(secret.encode(), f"{head}.{claims}".encode(), hashlib.sha256).digest()
    assert hmac.compare_digest(unpad(signature), expected)
    assert json.loads(unpad(head)) == {"alg": "HS256", "typ": "JWT"}
    read: dict[str, Any] = json.loads(unpad(claims))
    assert read["payload_signature"] == hashlib.sha256(body).hexdigest()
    assert read["payload_signature_alg"] == "SHA-256"
    return read


@pytest.mark.parametrize("form", ["bare", "envelope"])
def test_a_webhook_is_signed_over_its_exact_body_with_times_in_milliseconds(
    intacct: Api, receivers: Any, form: str
) -> None:
    receiver = receivers()
    intacct.emulator.faults.merge({"hook_form": form})
    intacct.back_door("hooks", {"url": receiver.url})
    key = intacct.create(id="C-1", name="A")
    until(lambda: receiver.seen)
    headers, body = receiver.seen[0]
    assert json.loads(body) == {"entity": "customer", "key": key, "id": "C-1", "op": "created"}
    token = headers["x-ia-sage-signature"]
    if form == "envelope":
        token = json.loads(base64.b64decode(token))["jwtData"]
    claims = verify_by_hand(token, body, "demo-secret")
    assert claims["iss"] == "Sage Intacct"
    assert claims["iat"] == int(START * 1000)
    assert claims["exp"] - claims["iat"] == 3_600_000
    context = json.loads(base64.b64decode(headers["x-clientcontext"]))
    assert (context["RESTOBJECTNAME"], context["EVENT"], context["USER"]) == (
        "accounts-receivable/customer",
        "after_create",
        "2",
    )
    assert headers["idempotency-key"]


def test_a_hooks_own_secret_and_form_come_first_and_a_broken_context_is_sent_as_such(
    intacct: Api, receivers: Any
) -> None:
    receiver = receivers()
    intacct.emulator.faults.merge({"hook_context": "broken", "trigger_template": ["entity", "key"]})
    intacct.back_door("hooks", {"url": receiver.url, "secret": "own", "form": "envelope"})
    key = intacct.create(id="C-1", name="A")
    until(lambda: receiver.seen)
    headers, body = receiver.seen[0]
    verify_by_hand(json.loads(base64.b64decode(headers["x-ia-sage-signature"]))["jwtData"], body, "own")
    assert json.loads(body) == {"entity": "customer", "key": key}
    with pytest.raises(ValueError, match=r".+"):
        json.loads(base64.b64decode(headers["x-clientcontext"] + "=="))


def test_a_webhook_is_tried_four_times_then_waits_in_the_event_queue(intacct: Api, receivers: Any) -> None:
    receiver = receivers(503, 500, 429, 504)
    intacct.emulator.faults.merge({"event_queue": False})
    intacct.back_door("hooks", {"url": receiver.url})
    intacct.create(id="C-1", name="A")
    until(lambda: len(intacct.emulator.queue) == 1)
    assert len(receiver.seen) == 4
    assert len({headers["idempotency-key"] for headers, _ in receiver.seen}) == 1
    assert intacct.result("GET", "services/delivery/event/count") == {"count": 1}


@pytest.mark.parametrize("status", [400, 401, 202, 204])
def test_any_other_status_than_200_or_the_listed_ones_loses_the_push(intacct: Api, receivers: Any, status: int) -> None:
    receiver = receivers(status)
    intacct.emulator.faults.merge({"event_queue": False})
    intacct.back_door("hooks", {"url": receiver.url})
    intacct.create(id="C-1", name="A")
    until(lambda: intacct.emulator.stats()["notices_failed"] == 1)
    assert len(receiver.seen) == 1
    assert len(intacct.emulator.queue) == 0


def test_people_and_the_api_both_fire_triggers_and_each_object_its_own(intacct: Api) -> None:
    intacct.emulator.hooks.append(Hook("http://hook.example/"))
    intacct.emulator.faults.merge({"event_queue": False, "webhooks": False})
    key = intacct.create(id="C-1", name="A")
    assert intacct.emulator.take_notices() == []
    with EmulatorlessNotices(intacct) as notices:
        intacct.emulator.person("customer", key, {"name": "B"})
        contact = intacct.result("GET", f"{CUSTOMER}/{key}")["contacts"]["default"]["key"]
        intacct.emulator.person("contact", contact, {"email1": "x@b.example"})
        intacct.result("PATCH", f"{CUSTOMER}/{key}", {"contacts": {"default": {"fax": "1"}}})
        intacct.emulator.person("customer", key, {}, "delete")
    assert notices() == [
        ("customer", "updated"),
        ("contact", "updated"),
        ("customer", "updated"),
        ("customer", "deleted"),
    ]


class EmulatorlessNotices:
    """What the queue collected meanwhile, as (entity, op)."""

    def __init__(self, intacct: Api) -> None:
        self.api = intacct

    def __enter__(self) -> Any:
        self.api.emulator.faults.merge({"event_queue": True})
        return self.read

    def __exit__(self, *args: object) -> None:
        return

    def read(self) -> list[tuple[str, str]]:
        listed = self.api.result("GET", "services/delivery/event/list")
        bodies = [json.loads(base64.b64decode(e["payload"])) for e in listed["events"]]
        return [(b["entity"], b["op"]) for b in bodies]


# --- the event queue -------------------------------------------------------------------------------------------------


def test_an_empty_event_queue_answers_with_an_array(intacct: Api) -> None:
    assert intacct.call("GET", "services/delivery/event/list").json() == {
        "ia::result": [],
        "ia::meta": {"totalCount": 1, "totalSuccess": 1, "totalError": 0},
    }


def test_events_come_again_until_their_batch_is_acknowledged_as_a_whole(intacct: Api) -> None:
    intacct.emulator.faults.merge({"queue_batch": 2})
    for i in range(3):
        intacct.create(id=f"C-{i}", name="N")
    first = intacct.result("GET", "services/delivery/event/list")
    assert intacct.result("GET", "services/delivery/event/list") == first
    assert len(first["events"]) == 2
    ack = intacct.result("POST", "services/delivery/event/ack", {"ackId": first["ackId"]})
    assert ack == {"ackId": first["ackId"], "status": "success"}
    second = intacct.result("GET", "services/delivery/event/list")
    assert len(second["events"]) == 1
    assert intacct.call("POST", "services/delivery/event/ack", {"ackId": first["ackId"]}).status_code == 422
    assert intacct.call("POST", "services/delivery/event/ack", {"id": second["ackId"]}).status_code == 400
    assert intacct.result("GET", "services/delivery/event/count") == {"count": 1}


def test_queued_events_are_overtaken_as_often_as_the_fault_says(intacct: Api) -> None:
    for i in range(20):
        intacct.create(id=f"C-{i:02d}", name="N")

    def listed() -> list[str]:
        shown = intacct.result("GET", "services/delivery/event/list")["events"]
        return [json.loads(base64.b64decode(event["payload"]))["id"] for event in shown]

    in_order = listed()
    intacct.emulator.faults.merge({"p_notice_reordered": 0.3})
    shuffled = listed()
    assert in_order == sorted(shuffled) != shuffled


def test_an_event_carries_the_triggers_body_and_a_context_that_may_be_broken(intacct: Api) -> None:
    key = intacct.create(id="C-1", name="A")
    event = intacct.result("GET", "services/delivery/event/list")["events"][0]
    assert event["eventType"] == "pull"
    assert json.loads(base64.b64decode(event["payload"])) == {
        "entity": "customer",
        "key": key,
        "id": "C-1",
        "op": "created",
    }
    assert json.loads(base64.b64decode(event["clientContext"]))["event"] == "after.create"
    intacct.emulator.faults.merge({"hook_context": "broken"})
    event = intacct.result("GET", "services/delivery/event/list")["events"][0]
    with pytest.raises(ValueError, match="property name"):
        json.loads(base64.b64decode(event["clientContext"]))


def test_queued_events_are_forgotten_after_seven_days(intacct: Api) -> None:
    intacct.create(id="C-1", name="A")
    intacct.clock.now += 8 * 86_400
    intacct.http.headers["Authorization"] = f"Bearer {intacct.token()['access_token']}"
    assert intacct.result("GET", "services/delivery/event/list") == []
