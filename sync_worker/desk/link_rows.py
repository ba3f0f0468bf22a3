"""Rows of a link file: what each asks for, checked against the flows, the vendors and each other (LAY-9 to LAY-13)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mappings.codecs import collapse, fold
from sync_worker.connectors.base import Ask, Criteria, Record
from sync_worker.engine.flow import Flow
from sync_worker.events import Side
from sync_worker.store.bulk import storable
from sync_worker.wiring import App

CUSTOMER, COMPANY, SITE = "CustomerId", "SageCompanyName", "SageSiteId"
ACCOUNT, SAGE_ID, SYNCED = "SageAccountNumber", "SageCustomerId", "Synced"
TEMPLATE = (CUSTOMER, COMPANY, SITE, ACCOUNT, SAGE_ID, SYNCED)
REQUIRED = (CUSTOMER, COMPANY, SITE)
NAME, STATE = "Name", "State"
OWN = (NAME, STATE)
ALSO = {"Sage Company": COMPANY, "Sage Site": SITE}  # captions of the grid; the others differ in blanks only
MAIN_PART = 1  # the record's own row: enough to know that it is there
_WHOLE = re.compile(r"(\d+)\.0+")
_UNPRINTABLE = re.compile(r"[^\w\s.,;:/|@&+#'()-]")


@dataclass(slots=True)
class Asked:
    """One row. ``flow``: by its company. ``errors``: all there are; ``blank``: an export's row that links nobody."""

    line: int
    flow: str = ""
    crm_key: str = ""
    crm_ref: str = ""
    erp_key: str = ""
    erp_ref: str = ""
    errors: list[str] = field(default_factory=list)
    blank: bool = False
    same: bool = False  # the link stands so already

    def detail(self) -> dict[str, Any]:
        """As a run remembers it: keys and ids, nobody's name."""
        names = ("flow", "crm_key", "crm_ref", "erp_key", "erp_ref")
        found = {name: value for name in names if (value := getattr(self, name))}
        return found | ({"errors": self.errors} if self.errors else {})


def company_of(flow: Flow) -> str:
    """What stands in SageCompanyName: the company's name, else the system's."""
    return flow.company or flow.systems["erp"]


def sites_of(app: App, flow: Flow) -> tuple[str, ...]:
    """What may stand in SageSiteId; the first is what is written."""
    return app.config.systems[flow.systems["erp"]].sites() or (flow.systems["erp"],)


class Reader:
    """Reads rows. ``flow``: only this one. Asks the vendors only what our own links do not say already."""

    def __init__(self, app: App, flow: str | None = None) -> None:
        self._app = app
        self._flows = {name: one for name, one in app.flows.items() if flow in (None, name)}
        self._sites = {name: sites_of(app, one) for name, one in self._flows.items()}

    def read(
        self, lines: Iterable[tuple[int, Mapping[str, str]]], known: Mapping[str, Mapping[str, Any]]
    ) -> list[Asked]:
        """All errors of every row. ``known``: flow -> CRM key -> (erp key, erp ref) of the links that stand."""
        asked: list[Asked] = []
        open_by_flow: dict[str, list[Asked]] = {}
        without_flow: list[Asked] = []
        for number, cells in lines:
            one = self._asked(number, cells)
            asked.append(one)
            if one.flow and not one.blank:
                standing = known.get(one.flow, {}).get(one.crm_key)
                if standing is not None and not one.errors and _says(one, *standing):
                    (one.erp_key, one.erp_ref), one.same = standing, True
                else:
                    open_by_flow.setdefault(one.flow, []).append(one)
            elif not one.blank and not any(one.crm_key in links for links in known.values()):
                without_flow.append(one)
        for name, some in open_by_flow.items():
            self._check(self._flows[name], some)
        if len({flow.systems["crm"] for flow in self._flows.values()}) == 1:
            _check_crm(next(iter(self._flows.values())), without_flow)
        return asked

    def wanted_keys(self, lines: Iterable[tuple[int, Mapping[str, str]]]) -> list[str]:
        """The CRM keys that rows are about."""
        return sorted({key for _, cells in lines if storable(key := _number(cells.get(CUSTOMER, "")))})

    def _asked(self, number: int, cells: Mapping[str, str]) -> Asked:
        one = Asked(number, crm_key=_number(cells.get(CUSTOMER, "")))
        one.erp_key, one.erp_ref = _number(cells.get(SAGE_ID, "")), cells.get(ACCOUNT, "")
        without_ids = not one.erp_key and not one.erp_ref
        unsynced = cells.get(STATE) or not (cells.get(COMPANY) or cells.get(SITE))
        if unsynced and ((without_ids and one.crm_key) or (not one.crm_key and cells.get(STATE))):
            one.blank = True  # LAY-12: what an export shows of a record without partner
            return one
        one.errors += [f"{name} is missing" for name in REQUIRED if not cells.get(name)]
        if without_ids:
            one.errors.append(f"neither {ACCOUNT} nor {SAGE_ID} is given: fill in one of them")
        one.flow = self._flow(cells.get(COMPANY, ""), cells.get(SITE, ""), one.errors)
        return one

    def _flow(self, company: str, site: str, errors: list[str]) -> str:
        if not company:
            return ""
        named = [n for n, flow in self._flows.items() if _same(company, company_of(flow))]
        if not named:
            there = ", ".join(sorted({company_of(flow) for flow in self._flows.values()}))
            errors.append(f"{COMPANY} {shown(company)}: there is {there}")
            return ""
        if len(named) > 1:
            by_site = [n for n in named if any(_same(site, s) for s in self._sites[n])]
            if len(by_site) != 1:
                errors.append(f"{COMPANY} {shown(company)}: several flows have it; say which by --flow")
                return ""
            named = by_site
        sites = self._sites[named[0]]
        if site and not any(_same(site, s) for s in sites):
            errors.append(f"{SITE} {shown(site)}: {company_of(self._flows[named[0]])} has {' or '.join(sites)}")
        return named[0]

    def _check(self, flow: Flow, rows: Sequence[Asked]) -> None:
        """Do the records exist? In batches, and of the CRM's tables only the first."""
        _check_crm(flow, rows)
        erp = _read(flow, "erp", {one.erp_key for one in rows})
        refs = _find(flow, {one.erp_ref for one in rows if not one.erp_key})
        for one in rows:
            customer = _customer(flow, one, erp, refs)
            one.erp_key, one.erp_ref = (customer.key, customer.ref) if customer is not None else ("", "")


def _check_crm(flow: Flow, rows: Sequence[Asked]) -> None:
    """Does the CRM have them? That needs no flow where all have the same CRM."""
    crm = _read(flow, "crm", {one.crm_key for one in rows})
    for one in rows:
        record = crm.get(one.crm_key)
        if record is not None:
            one.crm_ref = record.ref
        elif one.crm_key:
            one.errors.append(f"{CUSTOMER} {shown(one.crm_key)}: {flow.systems['crm']} has no such record")


def _customer(flow: Flow, one: Asked, erp: Mapping[str, Record], refs: Mapping[str, Record]) -> Record | None:
    system = flow.systems["erp"]
    if one.erp_key:
        found = erp.get(one.erp_key)
        if found is None:
            one.errors.append(f"{SAGE_ID} {shown(one.erp_key)}: {system} has no such customer")
        elif one.erp_ref and not _says_ref(one.erp_ref, found.ref):
            one.errors.append(
                f"{SAGE_ID} {found.key} is {found.ref}, not {ACCOUNT} {shown(one.erp_ref)}: "
                "they name different customers; correct or empty one of them"
            )
            return None
        return found
    if not one.erp_ref:
        return None
    found = next((refs[form] for form in _forms(one.erp_ref) if form in refs), None)
    if found is None:
        one.errors.append(f"{ACCOUNT} {shown(one.erp_ref)}: {system} has no such customer")
    return found


def _read(flow: Flow, side: Side, keys: set[str]) -> dict[str, Record]:
    asks = [Ask(key, MAIN_PART, alone=True) for key in sorted(keys) if storable(key)]
    found = flow.connectors[side].read_many(flow.entity, asks) if asks else {}
    return {key: record for key, record in found.items() if record is not None}


def _find(flow: Flow, refs: set[str]) -> dict[str, Record]:
    """Customers by account number, as it is written or as a spreadsheet made it a number."""
    forms = sorted({form for ref in refs if storable(ref) for form in _forms(ref)})
    if not forms:
        return {}
    found = flow.connectors["erp"].find_many(flow.entity, [Criteria(ref=form) for form in forms])
    made: dict[str, Record] = {}
    for form, records in zip(forms, found, strict=True):
        exact = [r for r in records if r.ref == form] or [r for r in records if fold(r.ref) == fold(form)]
        if len(exact) == 1:
            made[form] = exact[0]
    return made


def known_customer(flow: Flow, side: Side, wanted: str) -> Record | None:
    """One record by its key, else by the number people see; ``key:K`` and ``ref:R`` say which."""
    kind, _, rest = wanted.partition(":")
    plain = rest if kind in ("key", "ref") and rest else wanted
    found = _read(flow, side, {plain}).get(plain) if kind != "ref" else None
    if found is not None or kind == "key" or not storable(plain):
        return found
    if side == "erp":
        return _find(flow, {plain}).get(plain)
    listed = flow.connectors[side].find_many(flow.entity, [Criteria(ref=plain)])[0]
    exact = [record for record in listed if record.ref == plain]
    return exact[0] if len(exact) == 1 else None


def _says(one: Asked, erp_key: str, erp_ref: str) -> bool:
    """Does the row ask for just that customer?"""
    if one.erp_key:
        return one.erp_key == erp_key and (not one.erp_ref or _says_ref(one.erp_ref, erp_ref))
    return bool(erp_ref) and _says_ref(one.erp_ref, erp_ref)


def _says_ref(written: str, ref: str) -> bool:
    return any(fold(form) == fold(ref) for form in _forms(written))


def _forms(ref: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((ref, _number(ref))))


def _number(text: str) -> str:
    """1001.0, as spreadsheets write a key they took for a number, is 1001."""
    match = _WHOLE.fullmatch(text)
    return match[1] if match else text


def _same(a: str, b: str) -> bool:
    return fold(collapse(a)) == fold(collapse(b))


def shown(text: str) -> str:
    """A cell in a message: short, and nothing a terminal or a database chokes on."""
    return _UNPRINTABLE.sub("?", text)[:60]
