"""A signed-in caller of the Intacct emulator, over real sockets."""

from __future__ import annotations

from typing import Any

import httpx

from sync_worker.connectors.intacct.emulator import IntacctEmulator

CUSTOMER = "objects/accounts-receivable/customer"
CONTACT = "objects/company-config/contact"
INVOICE = "objects/accounts-receivable/invoice"
START = 1_795_341_600.0  # 2026-11-22T10:00:00Z


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


class Api:
    """A signed-in caller."""

    def __init__(self, base: str, emulator: IntacctEmulator, clock: Clock) -> None:
        self.base = base
        self.emulator = emulator
        self.clock = clock
        self.http = httpx.Client(base_url=f"{base}/ia/api/v1/", timeout=10)
        self.http.headers["Authorization"] = f"Bearer {self.token()['access_token']}"

    def token(self, **changes: Any) -> Any:
        return self.ask_token(**changes).json()

    def ask_token(self, **changes: Any) -> httpx.Response:
        form = {
            "grant_type": "client_credentials",
            "client_id": "demo-client",
            "client_secret": "demo-secret",
            "username": "sync@ACME",
        }
        form = {k: v for k, v in {**form, **changes}.items() if v is not None}
        return self.http.post("oauth2/token", data=form)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        if body is None:
            return self.http.request(method, path, headers=named)
        return self.http.request(method, path, json=body, headers=named)

    def result(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        answer = self.call(method, path, body, **headers)
        assert answer.status_code < 300, answer.text
        return answer.json()["ia::result"]

    def create(self, **body: Any) -> str:
        return str(self.result("POST", CUSTOMER, body)["key"])

    def query(self, **body: Any) -> Any:
        query = {"object": "accounts-receivable/customer", "fields": ["key", "id"], **body}
        return self.call("POST", "services/core/query", query)

    def ids(self, *filters: Any, **body: Any) -> list[str]:
        answer = self.query(filters=list(filters), **body)
        assert answer.status_code == 200, answer.text
        return [row["id"] for row in answer.json()["ia::result"]]

    def back_door(self, path: str, body: Any = None) -> Any:
        url = f"{self.base}/_emulator/{path}"
        answer = httpx.get(url) if body is None else httpx.post(url, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()


def new_emulator(clock: Clock) -> IntacctEmulator:
    emulator = IntacctEmulator(seed=1, clock=clock, entities=("North", "South"))
    emulator.notice_retry_scale = 0.002
    return emulator


def error_of(answer: httpx.Response) -> Any:
    return answer.json()["ia::error"]


def targets(answer: httpx.Response) -> list[str]:
    return [d["target"] for d in error_of(answer)["details"]]
