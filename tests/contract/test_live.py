"""The option ``--live``: the suite over systems that a sync.toml names, here emulators in processes of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from emulated import intacct
from live import Live

from sync_worker.demo.installation import command
from sync_worker.demo.vendor import Vendor
from sync_worker.errors import ConfigError

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SECRETS = ("demo-secret", "demo-password", "demo-token", "whsec_")
VENDORS = {"erp": "intacct", "crm": "sage_crm", "layer": "the_layer"}
ENTITIES = {"erp": ("customer", "name"), "crm": ("Company", "Comp_Name"), "layer": ("customer", "/companyName")}
CONFIG = """
[systems.erp]
connector = "intacct"
base_url = "{erp}/ia/api/v1"
client_id = "demo-client"
client_secret = "env:THE_SECRET"
username = "sync@ACME"
company = "Acme UK"

[systems.crm]
connector = "sage_crm"
base_url = "{crm}/sdata/crmj/sagecrm2/-"
username = "sync"
password = "demo-password"
webhook_secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
default_country = "GB"
  [systems.crm.columns]
  tax_number = "comp_vatnumber"
  erp_key = "comp_intacct_recordno"
  erp_ref = "comp_intacct_customerid"
  erp_company = "comp_intacct_company"

[systems.layer]
connector = "rest"
profile = "the_layer"
base_url = "{layer}/api/v1"
token = "demo-token"
webhook_secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
default_country = "GB"

[flows.customers]
entity = "customer"
erp = "erp"
crm = "crm"

[flows.layer]
entity = "customer"
erp = "erp"
crm = "layer"
new_customer_id = "LAY-{{crm_key}}"
"""


@dataclass
class Ended:
    """A run that has ended. ``passed``: (system, behaviour). ``skipped``: the same, and why."""

    code: int
    out: str
    err: str

    @property
    def passed(self) -> set[tuple[str, str]]:
        return {(system, name) for name, system in re.findall(r"::(test_\w+)\[(\w+)\S*.* PASSED", self.out)}

    @property
    def skipped(self) -> set[tuple[str, str, str]]:
        lines = re.findall(r"^SKIPPED \S+::(test_\w+)\[(\w+).*\] - Skipped: (.*)$", self.out, re.MULTILINE)
        return {(system, name, reason) for name, system, reason in lines}


def contract(*options: str, over: str = "tests/contract") -> Ended:
    """The contract suite, or one behaviour of it, in a process of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-v",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:hypothesispytest",
            over,
            *options,
        ],
        cwd=ROOT,
        env=kept | {"THE_SECRET": "demo-secret", "COLUMNS": "250"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def vendors() -> Iterator[dict[str, Vendor]]:
    """Each emulator in a process of its own."""
    started = {
        name: subprocess.Popen(command("emulate", vendor, "--port", "0"), stdout=subprocess.PIPE, text=True)
        for name, vendor in VENDORS.items()
    }
    try:
        found = {}
        for name, process in started.items():
            assert process.stdout is not None
            found[name] = Vendor(int(process.stdout.readline().rpartition(":")[2]))
        yield found
    finally:
        for process in started.values():
            process.terminate()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


@pytest.fixture(scope="module")
def file(vendors: dict[str, Vendor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("live") / "sync.toml"
    path.write_text(CONFIG.format(**{name: vendor.root for name, vendor in vendors.items()}))
    return path


@pytest.fixture(scope="module")
def wrote(file: Path) -> Ended:
    """A run that was allowed to write everywhere."""
    return contract("--live", str(file), *(word for name in VENDORS for word in ("--live-writes", name)))


@pytest.fixture(scope="module")
def ledgers(wrote: Ended, vendors: dict[str, Vendor]) -> dict[str, int]:
    """How much had been written everywhere when that run had ended."""
    return {name: vendor.stats()["ledger_seq"] for name, vendor in vendors.items()}


@pytest.fixture(scope="module")
def looked(ledgers: dict[str, int], file: Path) -> Ended:
    """A run behind it, over what stands there then, that was not."""
    return contract("--live", str(file))


def behaviours(marker: str = "") -> dict[str, str]:
    """Those that all connectors share, by name; with this marker only, and what it says."""
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(HERE.glob("test_connectors_*.py")))
    before = rf'@pytest\.mark\.{marker}(?:\("(.*)"\))?\n' if marker else "()"
    found = re.findall(rf"^{before}def (test_\w+)\(", text, re.MULTILINE)
    assert found
    return {name: said for said, name in found}


def test_a_system_that_may_be_written_to_passes_all_that_needs_no_back_door(wrote: Ended) -> None:
    assert wrote.code == 0, wrote.out[-3000:]
    ran = set(behaviours()) - set(behaviours("back_door"))
    others = {one for one in wrote.skipped if "back door" not in one[2]}
    assert wrote.passed | {one[:2] for one in others} == {(system, name) for system in VENDORS for name in ran}
    assert {why for _, _, why in others} == {
        "crm: no idempotency_keys",
        "layer: no idempotency_keys",
        "layer: no place for contact",
        "layer: no place for status",
    }


def test_what_only_an_emulator_can_do_is_left_out_by_name_with_what_it_needs(wrote: Ended, looked: Ended) -> None:
    for run in (wrote, looked):
        assert {one for one in run.skipped if "back door" in one[2]} == {
            (system, name, f"needs the emulator's back door: {what}")
            for system in VENDORS
            for name, what in behaviours("back_door").items()
        }


def test_what_was_made_carries_the_runs_name_and_is_told_at_the_end(wrote: Ended, vendors: dict[str, Vendor]) -> None:
    (mark,) = re.findall(r'Their names begin with "(Contract suite \d+)', wrote.out)
    assert "sync-worker never deletes" in wrote.out
    for system, (entity, column) in ENTITIES.items():
        rows = [row for row in vendors[system].ledger() if row["entity"] == entity]
        made = [row["key"] for row in rows if row["op"] == "create"]
        (count, keys) = re.findall(rf"^{system} \(.*left behind (\d+) customers, keys (.*)$", wrote.out, re.MULTILINE)[
            0
        ]
        assert keys.split(", ") == made and int(count) == len(made) > 20
        assert [name for row in rows if (name := row["after"].get(column)) and not name.startswith(mark)] == []


def test_without_the_second_option_only_reading_behaviours_run_and_nothing_is_written(
    looked: Ended, ledgers: dict[str, int], vendors: dict[str, Vendor]
) -> None:
    assert looked.code == 0, looked.out[-3000:]
    assert looked.passed == {(system, name) for system in VENDORS for name in behaviours("only_reads")}
    writing = set(behaviours()) - set(behaviours("only_reads")) - set(behaviours("back_door"))
    assert {one for one in looked.skipped if "back door" not in one[2]} == {
        (system, name, f"makes records: needs --live-writes {system}") for system in VENDORS for name in writing
    }
    assert {name: vendor.stats()["ledger_seq"] for name, vendor in vendors.items()} == ledgers
    assert looked.out.count("nothing was written") == len(VENDORS)


def test_neither_run_shows_a_secret(wrote: Ended, looked: Ended) -> None:
    for run in (wrote, looked):
        assert [secret for secret in SECRETS if secret in run.out + run.err] == []


def test_a_configuration_that_cannot_be_used_is_one_line(file: Path) -> None:
    wrong = file.with_name("wrong.toml")
    wrong.write_text(file.read_text().replace('crm = "crm"', 'crm = "crn"'))
    run = contract("--live", str(wrong))
    assert (run.code, run.out.strip()) == (4, "")
    assert run.err.strip().count("\n") == 0
    assert run.err.startswith(
        f"ERROR: {wrong} line 34: flows.customers.crm: there is no system 'crn'; did you mean 'crm'?"
    )


@pytest.mark.parametrize(
    ("systems", "writable", "said"),
    [
        (["crn"], [], "--live-system: there is no system 'crn'; did you mean 'crm'?; systems: erp, crm, layer"),
        ([], ["sage"], "--live-writes: there is no system 'sage'; systems: erp, crm, layer"),
        (["erp"], ["crm"], "--live-writes: there is no system 'crm'; systems: erp"),
    ],
)
def test_only_systems_that_run_can_be_named(
    file: Path, systems: list[str], writable: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_SECRET", "demo-secret")
    with pytest.raises(ConfigError) as caught:
        Live(str(file), systems, writable)
    assert str(caught.value) == said


def test_a_login_that_is_refused_ends_the_run_before_it_begins(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_SECRET", "not-the-secret")
    live = Live(str(file), ["erp"], [])
    try:
        with pytest.raises(ConfigError) as caught:
            live.open()
    finally:
        live.close()
    assert str(caught.value).startswith("systems.erp cannot be used: no token: HTTP 401")
    assert "sync-worker doctor" in str(caught.value)


def test_what_a_failing_behaviour_prints_holds_no_secret_and_no_address(file: Path) -> None:
    odd = file.with_name("odd.toml")
    odd.write_text(file.read_text().replace('"comp_vatnumber"', '"comp_demo-password_ivy@orchard.example"'))
    doctor = (
        "tests/contract/test_connectors_trouble.py::test_doctor_is_content_with_a_healthy_system_and_writes_nothing"
    )
    run = contract("--live", str(odd), "--live-system", "crm", "--showlocals", over=doctor)
    assert run.code == 1 and "1 failed" in run.out
    assert "checks     = [" in run.out and "[removed]" in run.out
    assert [shown for shown in (*SECRETS, "orchard.example") if shown in run.out + run.err] == []


def test_a_short_secret_is_hidden_and_a_short_name_of_an_account_is_not(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_SECRET", "s3cr")
    live = Live(str(file), [], [])
    shown = live.redacted("E  assert 's3cr' == 'demo-password'\nE  Basic c3luYzpkZW1v, sync")
    live.close()
    assert shown == "E  assert '[removed]' == '[removed]'\nE  [removed], sync"


def test_a_behaviour_that_has_not_said_that_it_needs_the_back_door_finds_none() -> None:
    with intacct() as made, pytest.raises(AssertionError, match="has to say what it needs"):
        _ = replace(made, back_door=None).emulator
