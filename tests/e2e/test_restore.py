"""A backup taken while everything runs, restored hours of work later: nothing is doubled, nobody's edit is lost."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.installation import Installation
from support.waiting import until

pytestmark = pytest.mark.timeout(300)

PAGE = Path(__file__).parents[2] / "docs/howto/back-up.md"
BACK_UP = re.findall(r'python -c "(import sqlite3.*?)"', PAGE.read_text(encoding="utf-8"))[0]


@pytest.fixture
def it() -> Iterator[Installation]:
    made = Installation()
    yield made
    made.close()


def stop(it: Installation) -> None:
    it.run.send_signal(signal.SIGTERM)
    assert it.run.wait(20) == 0


def names(it: Installation) -> tuple[list[str], list[str]]:
    customers = sorted(str(row["name"]) for row in it.erp.records("customer"))
    return customers, sorted(str(row["Comp_Name"]) for row in it.crm.records("Company"))


def test_after_a_restore_what_was_made_since_is_linked_again_and_an_edit_made_meanwhile_waits_for_a_person(
    it: Installation, tmp_path: Path
) -> None:
    it.start()
    keys = [it.erp.create({"id": f"C-{n}", "name": f"Customer {n}", "taxId": "GB1"}) for n in range(4)]
    until(lambda: len(it.crm.records("Company")) == 4 and it.at_rest(), 60)
    backup = tmp_path / "sync.db"
    subprocess.run([sys.executable, "-c", BACK_UP, it.folder / "sync.db", backup], check=True)

    companies = it.crm.companies_by_name()
    for n in (0, 1):
        it.crm.edit(companies[f"Customer {n}"], {"comp_vatnumber": f"GB2{n}"})
    it.erp.create({"id": "N-1", "name": "New in the ERP"})
    it.crm.create({"Comp_Name": "New in the CRM"})
    until(lambda: len(it.erp.records("customer")) == 6 == len(it.crm.records("Company")) and it.at_rest(), 60)
    until(lambda: it.erp.customer(keys[1])["taxId"] == "GB21")
    before = names(it)
    stop(it)

    it.erp.edit(keys[0], {"taxId": "GB30"})
    it.erp.edit(keys[2], {"taxId": "GB32"})
    it.db.close()
    for suffix in ("-wal", "-shm"):
        Path(f"{it.folder / 'sync.db'}{suffix}").unlink(missing_ok=True)
    (it.folder / "sync.db").write_bytes(backup.read_bytes())
    it.start()

    until(lambda: it.crm.company(companies["Customer 2"])["comp_vatnumber"] == "GB32", 60)
    until(it.at_rest, 90)
    counts = {state: n for state, n in it.cli_json("status")["links"].items() if n}
    assert names(it) == before
    assert counts == {"in_sync": 5, "conflict": 1}
    [open_field] = [one for one in it.cli_json("explain", "erp", keys[0])["fields"] if one["status"] != "in_step"]
    assert open_field == {"name": "tax_number", "erp": "GB30", "crm": "GB20", "status": "conflict"}
    stop(it)
