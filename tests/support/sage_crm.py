"""The emulated Sage CRM on a real socket: a company, short hands, and an endpoint that takes its notices."""

from __future__ import annotations

import json
import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
BASE = "/sdata/crmj/sagecrm2/-/"
COMPANY = {
    "Comp_Name": "Northwind Tools",
    "Comp_Type": "Customer",
    "person": [{"$isDefault": True, "$type": "Finance", "Pers_FirstName": "Ina", "Pers_LastName": "Holt"}],
    "Address": [{"$isDefault": True, "$type": "Business", "Addr_Address1": "1 Mill Lane", "Addr_City": "Leeds"}],
    "email": {"$type": "Business", "Emai_EmailAddress": "ap@northwind.test"},
    "phone": [
        {"$type": "Business", "Phon_CountryCode": "44", "Phon_AreaCode": "113", "Phon_Number": "4960000"},
        {"$type": "Fax", "Phon_Number": "4960001"},
    ],
}


def create(api: httpx.Client, body: dict[str, Any] = COMPANY) -> dict[str, Any]:
    answer = api.post("Company?returnPartial=false", json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def rows(api: httpx.Client, resource: str, where: str, **options: Any) -> list[dict[str, Any]]:
    answer = api.get(resource, params={"where": where, **options})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["$resources"])


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["$diagnoses"][0]["$sdataCode"]


class Receiver:
    """A real HTTP endpoint that keeps what it is sent; the first ``failures`` requests are answered with 503."""

    def __init__(self, failures: int = 0) -> None:
        self.got: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()
        self.failures = failures
        self.refused: list[str] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                refused = receiver.failures > 0
                if refused:
                    receiver.failures -= 1
                    receiver.refused.append(self.headers["webhook-id"])
                self.send_response(503 if refused else 204)
                self.send_header("content-length", "0")
                self.end_headers()
                if not refused:
                    receiver.got.put(({k.lower(): v for k, v in self.headers.items()}, body))

            def log_message(self, format: str, *args: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hooks/crm"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def events(self, count: int) -> list[tuple[str, str, str]]:
        out = [json.loads(self.got.get(timeout=10)[1])["events"][0] for _ in range(count)]
        return [(event["entity"], event["key"], event["op"]) for event in out]
