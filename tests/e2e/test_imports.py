"""``sync-worker import`` and ``preview`` as people use them, over real processes: killed, stopped, gone on with."""

from __future__ import annotations

import json
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.installation import Installation
from support.waiting import until
from sync_worker import sheets
from sync_worker.demo.installation import command

CUSTOMERS = 700
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def it() -> Iterator[Installation]:
    """Both vendors and a migrated database; nothing of ours runs but the commands."""
    made = Installation(poll=3600)
    try:
        assert made.cli("migrate").returncode == 0
        yield made
    finally:
        made.close()


def importing(it: Installation, log: Path) -> subprocess.Popen[bytes]:
    argv = command("import", "customers", "--config", str(it.config_path))
    with log.open("wb") as err:
        return subprocess.Popen(
            argv, env=it.environment, cwd=it.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=err
        )


def created(it: Installation) -> Counter[str]:
    """Companies that we made in the CRM, by the ERP key they name."""
    rows = [row for row in it.crm.ledger() if (row["entity"], row["op"]) == ("Company", "create")]
    return Counter(str(row["after"]["comp_intacct_recordno"]) for row in rows)


def test_gumu_13_an_import_that_is_stopped_killed_and_gone_on_with_does_nothing_twice(
    it: Installation, tmp_path: Path
) -> None:
    keys = it.erp.post("seed", {"customers": CUSTOMERS})["keys"]
    it.crm.faults(latency_ms=40)  # slow enough to be caught in the middle
    first = importing(it, tmp_path / "err")
    until(lambda: created(it).total() >= 30, 60)
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=40)
    said = (tmp_path / "err").read_text()
    assert first.returncode == 130 and "import customers --resume goes on" in said and "Traceback" not in said

    before = created(it).total()  # what was begun when it was stopped was brought to its end
    it.spawn("import", command("import", "customers", "--resume", "--config", str(it.config_path)))
    until(lambda: created(it).total() >= before + 20, 60)
    killed = it.running.pop("import")
    killed.kill()
    killed.wait()
    assert created(it).total() < CUSTOMERS
    it.crm.faults(latency_ms=5)

    it.spawn("again", command("import", "customers", "--resume", "--config", str(it.config_path)))
    again = it.running.pop("again")
    assert again.wait(timeout=200) == 0, it.log_of("again").read_text()
    assert it.log_of("again").read_text().count("was killed just now: waiting, at most") == 1
    assert created(it) == Counter(keys), "each customer once"
    [(state, counts)] = it.rows("select state, counts from run where kind = 'import'")
    assert (state, json.loads(counts)) == ("done", {"created": CUSTOMERS})
    assert it.rows("select count(*), count(distinct link_id) from journal where what = 'create'") == [
        (CUSTOMERS, CUSTOMERS)
    ]
    assert {row["op"] for row in it.crm.ledger()} == {"create"}, "and nothing was written again"


def test_a_limit_stops_an_import_with_one_line_and_yes_lets_it_pass(it: Installation) -> None:
    it.erp.create({"id": "NEW-1", "name": "One More Ltd"})
    strict = it.config_with("strict.toml", ("[flows.customers]", "[flows.customers]\nlimits = { changed = 0 }"))
    before = created(it).total()
    refused = it.cli("import", "customers", config=strict)
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (1, "", 1), refused.stderr
    assert "limits.changed = 0" in refused.stderr and "--yes" in refused.stderr and "--dry-run" in refused.stderr
    assert created(it).total() == before
    assert it.cli("import", "customers", "--yes", config=strict).returncode == 0
    assert created(it).total() == before + 1


def test_a_preview_is_a_table_json_or_a_file_and_writes_nothing(it: Installation, tmp_path: Path) -> None:
    key = it.erp.customers_by_name()["One More Ltd"]
    it.erp.post("script", {"edits": [{"entity": "customer", "key": key, "columns": {"name": "=1+1"}}]})
    before = len(it.crm.ledger())
    found = it.cli_json("preview", "customers")
    assert [(one["verdict"], one["fields"]["name"]["after"]) for one in found] == [("update", "=1+1")]
    table = it.cli("preview", "customers")
    assert "crm\tname\tOne More Ltd\t=1+1" in table.stdout and "1 record: 1 update" in table.stdout
    file = tmp_path / "preview.xlsx"
    assert it.cli("preview", "customers", "--out", str(file)).returncode == 0
    [line] = sheets.read(file).lines
    assert (line.cells["Before"], line.cells["After"]) == ("One More Ltd", "=1+1"), "a text, never a formula"
    assert len(it.crm.ledger()) == before
    unknown = it.cli("preview", "suppliers")
    assert (unknown.returncode, unknown.stderr.count("\n")) == (1, 1) and "customers" in unknown.stderr
