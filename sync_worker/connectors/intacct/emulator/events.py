"""What triggers send: signed webhooks, and the event queue that is pulled and acknowledged."""

from __future__ import annotations

import base64
import hashlib
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sync_worker.connectors.emulation import Hook, OutgoingNotice, Response, encode_json
from sync_worker.connectors.intacct.emulator.envelope import ApiError, result_response
from sync_worker.connectors.intacct.emulator.switches import IntacctFaults
from sync_worker.connectors.intacct.emulator.tokens import Identity, sign_jwt
from sync_worker.connectors.intacct.emulator.unit import Trigger

_OPS = {"create": "created", "update": "updated", "delete": "deleted"}
_KEPT_SECONDS = 7 * 86_400
_HOUR_MS = 3_600_000


def trigger_body(trigger: Trigger, template: Iterable[str]) -> bytes:
    """The document template's output; a merge field that is not in the template is not in the body."""
    fields = {"entity": trigger.entity, "key": trigger.key, "id": trigger.id, "op": _OPS[trigger.op]}
    return encode_json({name: fields[name] for name in template if name in fields})


class WebhookSigner:
    """Makes the outbound webhook of a trigger; the signature's secret is the client secret unless the hook has one."""

    def __init__(self, identity: Identity, faults: IntacctFaults, rng: random.Random) -> None:
        self._identity = identity
        self._faults = faults
        self._rng = rng

    def notice(self, hook: Hook, trigger: Trigger) -> OutgoingNotice:
        body = trigger_body(trigger, self._faults.trigger_template)
        token = self._sign(body, int(trigger.at * 1000), hook.secret or self._identity.client_secret)
        form = hook.options.get("form", self._faults.hook_form)
        headers = {
            "Content-Type": "application/json",
            "X-IA-Sage-Signature": token if form == "bare" else _b64({"jwtData": token, "sessionKey": "emulated"}),
            "X-ClientContext": self._context(trigger),
            "Idempotency-Key": self._rng.randbytes(16).hex(),
            "Authorization": f"Bearer {self._rng.randbytes(8).hex()}",
        }
        return OutgoingNotice(hook.url, headers, body, about=trigger)

    def _sign(self, body: bytes, now_ms: int, secret: str) -> str:
        expires = now_ms + _HOUR_MS
        claims = {
            "iss": "Sage Intacct",
            "iat": now_ms,
            "exp": expires if self._faults.hook_exp_in_ms else expires // 1000,
            "tenant_id": self._identity.company,
            "app_id": self._identity.client_id,
            "payload_signature": hashlib.sha256(body).hexdigest(),
            "payload_signature_alg": "SHA-256",
        }
        return sign_jwt(claims, secret.encode())

    def _context(self, trigger: Trigger) -> str:
        if self._faults.hook_context == "broken":
            return "bm90IGpzb24"
        context = {
            "COMPANY": 199056,
            "ENTITY": False,
            "USER": trigger.user_key,
            "OBJECTNAME": trigger.entity.upper(),
            "RESTOBJECTNAME": trigger.path,
            "DOCTYPE": "",
            "ID": {},
            "VID": trigger.key,
            "EVENT": f"after_{trigger.op}",
            "EVENTNAME": f"{trigger.entity} {trigger.op}",
            "TIMESTAMP": time.strftime("%m/%d/%Y %H:%M:%S", time.gmtime(trigger.at)),
        }
        return _b64(context)


class EventQueue:
    """The pull queue: ``list`` shows the same batch until it is acknowledged as a whole."""

    def __init__(self, faults: IntacctFaults, rng: random.Random, clock: Callable[[], float]) -> None:
        self._faults = faults
        self._rng = rng
        self._clock = clock
        self._waiting: deque[tuple[str, Trigger]] = deque()
        self._lease: tuple[str, int] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, triggers: Iterable[Trigger]) -> None:
        for trigger in triggers:
            self._waiting.append((self._event_id(), trigger))

    def _event_id(self) -> str:
        raw = self._rng.randbytes(16).hex()
        return f"{raw[:8]}-{raw[8:12]}-{raw[12:16]}-{raw[16:20]}-{raw[20:]}"

    def count(self) -> Response:
        return result_response(200, {"count": len(self._waiting)})

    def list(self) -> Response:
        """The next batch, or the one not acknowledged yet; an empty queue is an array (observed)."""
        self._forget_old()
        if self._lease is None:
            if not self._waiting:
                return result_response(200, [])
            self._lease = (self._event_id(), min(len(self._waiting), self._faults.queue_batch))
        ack_id, size = self._lease
        events = [self._shown(self._waiting[i]) for i in range(size)]
        if self._faults.notices_reordered:
            self._rng.shuffle(events)
        elif p := self._faults.p_notice_reordered:
            events.sort(key=lambda _: self._rng.random() < p)
        return result_response(200, {"events": events, "ackId": ack_id})

    def ack(self, body: Any) -> Response:
        """Removes the listed batch. An ackId that is not the current one is refused (our assumption)."""
        ack_id = body.get("ackId") if isinstance(body, dict) else None
        if not isinstance(ack_id, str):
            raise ApiError(400, "invalidRequest", "ackId is required", "REST-1064")
        if self._lease is None or self._lease[0] != ack_id:
            raise ApiError(422, "operationFailed", "Unknown ackId")
        for _ in range(self._lease[1]):
            self._waiting.popleft()
        self._lease = None
        return result_response(200, {"ackId": ack_id, "status": "success"})

    def _forget_old(self) -> None:
        if self._lease is None:
            oldest = self._clock() - _KEPT_SECONDS
            while self._waiting and self._waiting[0][1].at < oldest:
                self._waiting.popleft()

    def _shown(self, event: tuple[str, Trigger]) -> dict[str, Any]:
        event_id, trigger = event
        return {
            "eventId": event_id,
            "eventType": "pull",
            "contentType": "application/json",
            "clientContext": self._context(trigger),
            "payload": base64.b64encode(trigger_body(trigger, self._faults.trigger_template)).decode(),
        }

    def _context(self, trigger: Trigger) -> str:
        """Lower-case names here; the vendor's own sample is invalid JSON, which ``hook_context`` broken imitates."""
        context = {"object": trigger.path, "event": f"after.{trigger.op}", "key": trigger.key, "id": trigger.id}
        raw = encode_json(context)
        return base64.b64encode(raw[:-1] + b",}" if self._faults.hook_context == "broken" else raw).decode()


def with_faults(triggers: list[Trigger], faults: IntacctFaults, rng: random.Random) -> Iterator[Trigger]:
    """Loss and doubling of queued events, as of pushed ones."""
    for trigger in triggers:
        if faults.p_notice_lost and rng.random() < faults.p_notice_lost:
            continue
        yield trigger
        if faults.p_notice_doubled and rng.random() < faults.p_notice_doubled:
            yield trigger


def _b64(obj: Any) -> str:
    return base64.b64encode(encode_json(obj)).decode()
