"""``sync-worker verify`` as people and scripts use it, over real processes: Ctrl-C, going on, exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.installation import Installation
from support.waiting import until

CUSTOMERS = 1100


@pytest.fixture(scope="module")
def it() -> Iterator[Installation]:
    made = Installation(poll=60)
    try:
        made.start()
        yield made
    finally:
        made.close()


def linked(it: Installation, name: str, ref: str) -> tuple[str, str]:
    """A customer on both sides, at rest; both keys."""
    erp = it.erp.create({"id": ref, "name": name})
    until(lambda: name in it.crm.companies_by_name() and it.at_rest())
    return erp, it.crm.companies_by_name()[name]


def test_a_difference_is_found_synced_by_the_workers_and_gone_at_the_next_look(it: Installation) -> None:
    _, crm = linked(it, "Drifting Ltd", "DR-1")
    fine = it.cli("verify", "customers")
    assert fine.returncode == 0, fine.stdout + fine.stderr
    assert "both sides of customers agree" in fine.stdout
    it.crm.post("script", {"edits": [{"entity": "Company", "key": crm, "columns": {"Comp_Name": "Drifted Ltd"}}]})
    found = it.cli("verify", "customers", "--json")
    report = json.loads(found.stdout)
    assert (found.returncode, report["ok"], report["complete"], report["differing"]) == (1, False, True, 1)
    assert report["examples"] == [{"verdict": "differing", "system": "crm", "key": crm, "fields": ["name"]}]
    assert "Drifted" not in found.stdout + found.stderr, "keys, no names"
    until(lambda: "Drifted Ltd" in it.erp.customers_by_name() and it.at_rest())
    again = it.cli("verify", "customers", "--json")
    assert (again.returncode, json.loads(again.stdout)["matched"]) == (0, report["matched"] + 1)


def test_what_cannot_be_verified_is_one_line(it: Installation) -> None:
    unknown = it.cli("verify", "suppliers")
    assert (unknown.returncode, unknown.stdout, unknown.stderr.count("\n")) == (1, "", 1)
    assert "customers" in unknown.stderr, "the message says which flows there are"
    assert it.cli("verify").returncode == 2


def walked(it: Installation) -> int:
    """Companies that the newest run has seen so far."""
    found = it.rows("select counts from run where state = 'running' order by id desc limit 1")
    return int(json.loads(found[0][0] or "{}").get("seen_crm", 0)) if found else 0


def test_ctrl_c_leaves_a_run_to_go_on_with(it: Installation, tmp_path: Path) -> None:
    it.crm.post("seed", {"customers": CUSTOMERS})
    it.crm.faults(latency_ms=60)
    argv = [sys.executable, "-m", "sync_worker.cli", "verify", "customers", "--config", str(it.config_path)]
    with (tmp_path / "err").open("wb") as err:
        walking = subprocess.Popen(
            argv, env=it.environment, cwd=it.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=err
        )
        until(lambda: walked(it) >= 200, 60)
        walking.send_signal(signal.SIGINT)
        out, _ = walking.communicate(timeout=30)
    said = (tmp_path / "err").read_text()
    assert (walking.returncode, out) == (130, b""), said
    assert "--resume" in said and "Traceback" not in said
    it.crm.faults(latency_ms=0)
    [(state, counts)] = it.rows("select state, counts from run order by id desc limit 1")
    seen = json.loads(counts)["seen_crm"]
    assert state == "stopped"
    assert 0 < seen < CUSTOMERS
    before = it.crm.stats()["calls"].get("query phone", 0)
    resumed = it.cli("verify", "customers", "--resume", "--json")
    report = json.loads(resumed.stdout)
    assert resumed.returncode == 1, "the seeded ones have no partner"
    assert report["complete"]
    assert report["only_crm"] >= CUSTOMERS
    assert report["seen"]["crm"] == report["totals"]["crm"] == len(it.crm.records("Company"))
    assert "limits.changed" in report["held_back"]
    assert it.crm.stats()["calls"]["query phone"] - before <= (CUSTOMERS - seen) // 100 + 2
    assert it.rows("select state from run order by id desc limit 1") == [("done",)]


def test_an_interrupted_run_is_told_of_when_a_new_one_begins(it: Installation) -> None:
    assert json.loads(it.cli("verify", "customers", "--json").stdout)["complete"]
    with it.db.write() as conn:
        conn.exec_driver_sql("update run set state = 'stopped' where id = (select max(id) from run)")
    told = it.cli("verify", "customers", "--json")
    assert "was interrupted" in told.stderr
    assert json.loads(told.stdout)["complete"]
    assert it.rows("select count(*) from run where state = 'replaced'") == [(1,)]
