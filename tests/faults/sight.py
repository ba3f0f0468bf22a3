"""What can be seen of a site from outside: the product's own commands, processes, what was stored of notices."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from faults.plan import FIELDS
from faults.site import OURS, Site
from faults.story import Customer
from sync_worker.demo.installation import command
from sync_worker.store.tables import event

MOST_CONFLICTS = 1000


def status(site: Site) -> dict[str, Any]:
    """``sync-worker status --json``."""
    return _told(site, "status")


def in_conflict(site: Site) -> list[str]:
    """ERP keys (CRM keys where there is none) of what ``sync-worker links list --state conflict`` shows."""
    shown = _told(site, "links", "list", "--state", "conflict", "--limit", str(MOST_CONFLICTS))["links"]
    return [str(one["erp"]["key"] or one["crm"]["key"]) for one in shown]


def _told(site: Site, *args: str) -> dict[str, Any]:
    argv = command(*args, "--json", "--config", str(site.config_path))
    done = subprocess.run(argv, env=site.environment, capture_output=True, text=True, check=False, timeout=60)
    return dict(json.loads(done.stdout))


def resources(site: Site) -> dict[str, int]:
    """File descriptors and threads of each of our processes, and keys of the queue server."""
    found: dict[str, int] = {}
    for name in OURS:
        place = Path(f"/proc/{site.running[name].pid}")
        found[f"{name} files"] = len(list((place / "fd").iterdir()))
        lines = (place / "status").read_text().splitlines()
        found[f"{name} threads"] = next(int(line.split()[1]) for line in lines if line.startswith("Threads:"))
    found["queue keys"] = int(site.ask_queue("DBSIZE"))
    return found


def forged_stored(site: Site, keys: Sequence[str]) -> int:
    """Forged notices that became events: the one question that no ledger answers."""
    with site.db.read() as conn:
        return int(conn.execute(select(func.count()).where(event.c.key.in_(keys))).scalar_one())


def acknowledged(site: Site) -> set[tuple[str, str]]:
    """System and id of every notice that a vendor was told we had."""
    return {(name, str(one)) for name, vendor in site.vendors.items() for one in vendor.get("notices")["taken"]}


def unstored(site: Site, notices: Collection[tuple[str, str]]) -> int:
    """Those of these notices that are no event."""
    with site.db.read() as conn:
        found = conn.execute(select(event.c.system, event.c.notice_id).where(event.c.via == "webhook")).all()
    return len(set(notices) - {(system, str(number).partition("#")[0]) for system, number in found})


def customers(site: Site, pairs: Sequence[tuple[str, str]]) -> list[Customer]:
    """The keys of every seeded customer and of its rows in the CRM."""
    emails = {str(row["ELink_RecordID"]): str(row["ELink_EmailId"]) for row in site.crm.records("EmailLink")}
    places = {str(row["Comp_CompanyId"]): str(row["Comp_PrimaryAddressId"]) for row in site.crm.records("Company")}
    return [Customer(erp, crm, emails[crm], places[crm]) for erp, crm in pairs]


def first_values(number: int) -> dict[str, str]:
    """What the seeding gives customer ``number`` in the fields that are judged."""
    values = (f"Customer {number}", f"http://c{number}.test", None, f"ap{number}@customers.test", "Leeds")
    return dict(zip(FIELDS, values, strict=True))
