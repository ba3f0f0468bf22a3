"""Makes the in-process vendors: the module the wiring looks for in a connector's package."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from typing import Any

from bench import instant
from mappings import intacct, sage_crm
from mappings.canonical import Invoice, MapSettings
from mappings.fields import FieldMap
from sync_worker.connectors.base import (
    Ask,
    Capabilities,
    Check,
    Criteria,
    Manager,
    Outcome,
    Page,
    Record,
    Write,
)
from sync_worker.connectors.parts import FlowParts, Parts
from sync_worker.connectors.sage_crm.tables import BIT
from sync_worker.events import Change

_CONTACT = "contacts.default."
_ADDRESS = f"{_CONTACT}mailingAddress."


def connect(parts: Parts) -> Instant:
    """The connector of one system, with the real customer map of its kind."""
    if parts.settings.connector == "intacct":
        capabilities = Capabilities(
            webhook="intacct",
            parts=("customer",),
            child_entities={"contact": "customer"},
            stale_seconds=parts.settings.stale_seconds,
        )
        return Instant(parts.system, capabilities, intacct.customer_map, parts.map_settings, _Intacct())
    capabilities = Capabilities(
        webhook="standard",
        parts=sage_crm.PARTS,
        child_entities={part: part for part in sage_crm.PARTS[1:]},
        stale_seconds=parts.settings.stale_seconds,
        has_persons=True,
    )
    return Instant(parts.system, capabilities, sage_crm.customer_map, parts.map_settings, _SageCrm())


class _Intacct:
    """Customer records in the form that Intacct's query service gives them."""

    def record(self, key: str, parts: int, written: Mapping[str, Any]) -> Record:
        native = {
            "key": key,
            "id": f"C-{key}",
            "name": f"Customer {key}",
            "status": "active",
            "taxId": None,
            "salesRepresentative.id": None,
            f"{_CONTACT}key": f"9{key}",
            f"{_CONTACT}firstName": "Contact",
            f"{_CONTACT}lastName": f"Of {key}",
            f"{_CONTACT}email1": f"ap{key}@customers.test",
            f"{_CONTACT}phone1": f"+44 113 {key}",
            f"{_CONTACT}mobile": None,
            f"{_CONTACT}fax": None,
            f"{_CONTACT}URL1": f"http://c{key}.test",
            f"{_ADDRESS}addressLine1": f"{key} Mill Lane",
            f"{_ADDRESS}addressLine2": None,
            f"{_ADDRESS}addressLine3": None,
            f"{_ADDRESS}city": "Leeds",
            f"{_ADDRESS}state": None,
            f"{_ADDRESS}postCode": "LS1 1AA",
            f"{_ADDRESS}isoCountryCode": "GB",
            **written,
        }
        return Record(key, f"C-{key}", native, {"contact": f"9{key}"}, 1)


class _SageCrm:
    """Customer records in the form that the tables of Sage CRM give them; only the tables that are asked for."""

    def record(self, key: str, parts: int, written: Mapping[str, Any]) -> Record:
        asked = parts & ((1 << len(sage_crm.PARTS)) - 1)
        native: dict[str, Any] = {}
        children: dict[str, str] = {}
        for part, table in _TABLES.items():
            if asked & BIT[part]:
                native |= table(key)
                children |= {name: f"{place}{key}" for place, name in _CHILDREN.get(part, ())}
        return Record(key, key, {**native, **written}, children, asked)


def _company(key: str) -> dict[str, Any]:
    return {
        "Comp_CompanyId": int(key),
        "Comp_Name": f"Customer {key}{' Ltd' if instant.EDITED else ''}",
        "Comp_WebSite": f"http://c{key}.test",
        "Comp_Status": "Active",
        "Comp_PrimaryUserId": None,
        "comp_vatnumber": None,
    }


def _address(key: str) -> dict[str, Any]:
    blank = dict.fromkeys((*(f"Addr_Address{n}" for n in (2, 3, 4, 5)), "Addr_State"))
    town = {"Addr_City": "Leeds", "Addr_PostCode": "LS1 1AA", "Addr_Country": "GB"}
    return {"Addr_Address1": f"{key} Mill Lane", **town, **blank}


def _phones(key: str) -> dict[str, Any]:
    business = {"Phon_CountryCode": "44", "Phon_AreaCode": "113", "Phon_Number": key}
    none = dict.fromkeys(business)
    return {f"{c}@{kind}": v for kind in _KINDS for c, v in (business if kind == "Business" else none).items()}


_KINDS = ("Business", "Mobile", "Fax")
_TABLES: dict[str, Callable[[str], dict[str, Any]]] = {
    "company": _company,
    "person": lambda key: {"Pers_FirstName": "Contact", "Pers_LastName": f"Of {key}"},
    "address": _address,
    "phone": _phones,
    "email": lambda key: {"Emai_EmailAddress@Business": f"ap{key}@customers.test"},
}
_CHILDREN = {
    "person": ((1, "person"),),
    "address": ((2, "address"),),
    "phone": ((3, "phone@Business"),),
    "email": ((4, "email@Business"),),
}


class Instant:
    """A ``Connector`` over one kind of records. What is written is remembered by this process."""

    def __init__(
        self,
        system: str,
        capabilities: Capabilities,
        make_map: Callable[[MapSettings], FieldMap],
        settings: MapSettings,
        kind: _Intacct | _SageCrm,
    ) -> None:
        self.system = system
        self.capabilities = capabilities
        self.maps = {"customer": make_map(settings)}
        self._make_map = make_map
        self._record = kind.record
        self._written: dict[str, dict[str, Any]] = {}
        self.pages: dict[str, list[Page]] = {}  # feed -> what it shows next, once

    def for_flow(self, flow: FlowParts) -> Instant:
        view = copy(self)
        view.maps = {"customer": self._make_map(flow.map_settings)}
        return view

    def read_many(self, entity: str, asks: Sequence[Ask]) -> dict[str, Record | None]:
        return {ask.key: self._record(ask.key, ask.parts, self._written.get(ask.key, {})) for ask in asks}

    def write_many(self, entity: str, writes: Sequence[Write]) -> list[Outcome]:
        return [self._write(str(one.key), one.columns) for one in writes]

    def _write(self, key: str, columns: Mapping[str, Any]) -> Outcome:
        self._written[key] = {**self._written.get(key, {}), **columns}
        return Outcome(key)

    def find_many(self, entity: str, criteria: Sequence[Criteria]) -> list[list[Record]]:
        return [[] for _ in criteria]

    def correlation_columns(self, key: str, ref: str) -> dict[str, Any]:
        return {}

    def correlated_key(self, record: Record) -> str | None:
        return None

    def changes(self, entity: str, watermark: str | None) -> Iterator[Page]:
        return iter(self.pages.pop("changes", ()))

    def queue_events(self) -> Iterator[Page]:
        return iter(())

    def acknowledge(self, ack: str) -> None:
        """Nothing waits for this."""

    def sweep(self, entity: str, after: str | None = None) -> Iterator[Page]:
        return iter(self.pages.pop("sweep", ()))

    def count(self, entity: str, after: str | None = None) -> int | None:
        return None

    def resolve_parts(self, entity: str, keys: Sequence[str]) -> dict[str, list[str]]:
        return {key: [] for key in keys}

    def read_invoices(self, keys: Sequence[str]) -> dict[str, Invoice | None]:
        return dict.fromkeys(keys)

    def list_managers(self) -> list[Manager]:
        return []

    def check(self) -> list[Check]:
        return []

    def verify_hook(self, headers: Mapping[str, str], body: bytes, now: float) -> list[Change]:
        return []

    def close(self) -> None:
        """Nothing is held."""
