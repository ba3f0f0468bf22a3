"""An emulated vendor from the outside, through its back door: what its people do, and what stands there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from sync_worker.demo.ports import ask

COMPANY_LINK = 5  # PLink_EntityID and ELink_EntityID of a company (documented)


class VendorAway(Exception):
    """The emulator does not answer, or refused what a person wanted to do."""


@dataclass
class Vendor:
    """One emulator on ``port`` of this machine."""

    port: int
    root: str = field(init=False)

    def __post_init__(self) -> None:
        self.root = f"http://127.0.0.1:{self.port}"

    def get(self, route: str, **query: object) -> dict[str, Any]:
        """A question to the back door. Raises ``VendorAway``."""
        return self._ask("GET", f"{route}?{urlencode(query)}" if query else route, None)

    def post(self, route: str, body: Any) -> dict[str, Any]:
        return self._ask("POST", route, body)

    def _ask(self, method: str, target: str, body: Any) -> dict[str, Any]:
        sent = None if body is None else json.dumps(body)
        try:
            status, text = ask(self.port, method, f"/_emulator/{target}", sent)
        except OSError as error:
            raise VendorAway(f"the emulator on port {self.port} does not answer: {type(error).__name__}") from None
        if status not in (200, 404):
            raise VendorAway(f"the emulator on port {self.port} answered {status}: {text[:200].decode()}")
        return dict(json.loads(text))

    def alive(self) -> bool:
        try:
            return bool(self.get("healthz").get("ok"))
        except VendorAway:
            return False

    def send_notices_to(self, url: str, secret: str) -> None:
        self.post("hooks", {"url": url, "secret": secret})

    def faults(self, **switches: Any) -> None:
        self.post("faults", switches)

    def person(self, entity: str, key: str | None, columns: Mapping[str, Any]) -> str:
        """A person creates (no key) or changes a record on the vendor's screen; the key."""
        return str(self.post("person", {"entity": entity, "key": key, "columns": columns})["key"])

    def record(self, entity: str, key: object) -> dict[str, Any]:
        """One record, empty when there is none."""
        return dict(self.get("record", entity=entity, key=key).get("record") or {})

    def records(self, entity: str) -> list[dict[str, Any]]:
        return list(self.get("records", entity=entity)["records"])

    def ledger(self, after: int = 0, *, actor: str = "api") -> list[dict[str, Any]]:
        """Applied writes since ``after``; ours are those of actor ``api``."""
        return [row for row in self.get("ledger", after=after)["rows"] if row["actor"] == actor]

    def stats(self) -> dict[str, Any]:
        return self.get("stats")


@dataclass
class Erp(Vendor):
    """The emulated Sage Intacct: a customer with its display contact."""

    def create(self, columns: Mapping[str, Any]) -> str:
        return self.person("customer", None, columns)

    def edit(self, key: str, columns: Mapping[str, Any]) -> None:
        self.person("customer", key, columns)

    def customer(self, key: str) -> dict[str, Any]:
        return self.record("customer", key)

    def customers_by_name(self) -> dict[str, str]:
        return {str(row["name"]): str(row["key"]) for row in self.records("customer")}


@dataclass
class Crm(Vendor):
    """The emulated Sage CRM: a company, with person, address, phone and e-mail in tables of their own."""

    def create(self, columns: Mapping[str, Any]) -> str:
        return self.person("Company", None, columns)

    def edit(self, key: str, columns: Mapping[str, Any]) -> None:
        self.person("Company", key, columns)

    def edit_child(self, table: str, key: str, columns: Mapping[str, Any]) -> None:
        """Change the company's primary person or address, its Business phone or its Business e-mail."""
        self.person(table, str(self._child_key(table, key)), columns)

    def company(self, key: str) -> dict[str, Any]:
        return self.record("Company", key)

    def companies_by_name(self) -> dict[str, str]:
        return {str(row["Comp_Name"]): str(row["Comp_CompanyId"]) for row in self.records("Company")}

    def child(self, table: str, key: str) -> dict[str, Any]:
        found = self._child_key(table, key)
        return self.record(table, found) if found is not None else {}

    def _child_key(self, table: str, key: str) -> object:
        if table in ("Person", "Address"):
            return self.company(key).get(f"Comp_Primary{table}Id")
        prefix = {"Phone": "PLink", "Email": "ELink"}[table]
        wanted = {f"{prefix}_EntityID": COMPANY_LINK, f"{prefix}_RecordID": int(key), f"{prefix}_Type": "Business"}
        links = [row for row in self.records(f"{table}Link") if not row[f"{prefix}_Deleted"]]
        return next((row[f"{prefix}_{table}Id"] for row in links if wanted.items() <= row.items()), None)
