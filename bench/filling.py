"""Linked customers at rest: both vendors seeded alike, and link rows that know it, made by the product's own maps."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, insert

from bench.rig import Rig
from sync_worker import wiring
from sync_worker.connectors.base import Ask, Record
from sync_worker.engine.flow import Flow
from sync_worker.events import SIDES, Side
from sync_worker.store import counters, parts
from sync_worker.store.tables import link

FLOW = "customers"
FIRST = 60_001  # Sage CRM's seeded phone of customer n ends in n % 10000, so that "49" + n is the same number from here
MOST = 9_000
# What the CRM's seeding gives customer n, in Intacct's columns.
_CONTACT = "contacts.default."
COLUMNS = {
    "name": "Customer {n}",
    f"{_CONTACT}printAs": "Customer {n}",
    f"{_CONTACT}companyName": "Customer {n}",
    f"{_CONTACT}firstName": "Contact",
    f"{_CONTACT}lastName": "Of {n}",
    f"{_CONTACT}email1": "ap{n}@customers.test",
    f"{_CONTACT}phone1": "+44 113 49{n}",
    f"{_CONTACT}URL1": "http://c{n}.test",
    f"{_CONTACT}mailingAddress.addressLine1": "{n} Mill Lane",
    f"{_CONTACT}mailingAddress.city": "Leeds",
    f"{_CONTACT}mailingAddress.postCode": "LS1 1AA",
    f"{_CONTACT}mailingAddress.isoCountryCode": "GB",
}

Pair = tuple[str, str]
"""Keys of one customer: the ERP's and the CRM's."""


def seed(rig: Rig, count: int) -> list[Pair]:
    """Fill both emulators with the same ``count`` customers."""
    assert count <= MOST
    erp = rig.erp.post("seed", {"customers": count, "start": FIRST, "id": "C-{n:05d}", "columns": COLUMNS})
    crm = rig.crm.post("seed", {"customers": count, "first": FIRST, "linked": True, "erp_ref": "C-{n:05d}"})
    first = int(crm["first_key"])
    return [(key, str(first + i)) for i, key in enumerate(erp["keys"])]


def link_all(rig: Rig, pairs: list[Pair]) -> None:
    """Read every record as the product does and store the links as if both sides had agreed a minute ago."""
    app = wiring.build(rig.config, db=rig.db)
    flow = app.flows[FLOW]
    try:
        records: dict[Side, dict[str, Record]] = {
            side: _read(flow, side, [pair[i] for pair in pairs]) for i, side in enumerate(SIDES)
        }
    finally:
        for connector in app.systems.values():
            connector.close()
    ago = rig.db.clock() - 60
    rows = [_row(flow, records["erp"][erp], records["crm"][crm], ago) for erp, crm in pairs]

    def store(conn: Connection) -> None:
        conn.execute(insert(link), rows)
        for side in SIDES:
            shown = {
                record.key: frozenset((name.partition("@")[0], key) for name, key in record.children.items() if key)
                for record in records[side].values()
            }
            parts.remember_parts(conn, flow.systems[side], shown)

    rig.db.run(store)
    counters.recount(rig.db)


def _read(flow: Flow, side: Side, keys: Iterable[str]) -> dict[str, Record]:
    found = flow.connectors[side].read_many(flow.entity, [Ask(key) for key in keys])
    return {key: record for key, record in found.items() if record is not None}


def _row(flow: Flow, erp: Record, crm: Record, ago: float) -> dict[str, object]:
    was = {"erp": flow.maps["erp"].get(erp.native), "crm": flow.maps["crm"].get(crm.native)}
    shared = was["erp"].keys() & was["crm"].keys()
    apart = [name for name in shared if not flow.maps["crm"].same(name, was["erp"][name], was["crm"][name])]
    assert not apart, f"seeded differently: {sorted(apart)}"
    return {
        "flow": flow.name,
        "entity": flow.entity,
        "erp_key": erp.key,
        "erp_ref": erp.ref,
        "crm_key": crm.key,
        "crm_ref": crm.ref,
        "erp_was": was["erp"],
        "crm_was": was["crm"],
        "erp_children": dict(erp.children),
        "crm_children": dict(crm.children),
        "state": "in_sync",
        "created_at": ago,
        "first_synced_at": ago,
        "last_synced_at": ago,
    }
