"""``python -m sync_worker.demo`` as ``make demo`` runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.installation import ROOT, working_in
from support.redaction import WATCH
from support.waiting import until


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sync-demo-") as name:
        yield Path(name)
        WATCH.see_files(Path(name))


def start(folder: Path, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "sync_worker.demo", *args],
        env=os.environ | {"SYNC_DATA_DIR": str(folder), "PYTHONPATH": str(ROOT)},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.timeout(300)
def test_the_tour_shows_every_edit_arriving_and_nothing_written_at_rest(folder: Path) -> None:
    demo = start(folder)
    output, errors = demo.communicate(timeout=280)
    report = json.loads((folder / "demo-report.json").read_text())
    assert demo.returncode == 0, output + errors
    assert report.keys() == {"ok", "edits", "writes_after_rest"}
    assert (report["ok"], report["writes_after_rest"]) == (True, 0)
    assert {(edit["from"], edit["to"]) for edit in report["edits"]} == {("crm", "erp"), ("erp", "crm")}
    for edit in report["edits"]:
        assert edit.keys() == {"from", "to", "what", "latency_ms", "vendor_calls", "arrived"}
        assert edit["arrived"] is True
        assert edit["latency_ms"] > 0
        assert edit["vendor_calls"] >= 3, "read here, read there, write"
        assert edit["what"] in output
    words = " ".join(edit["what"] for edit in report["edits"])
    assert all(
        word in words
        for word in (
            "created",
            "name",
            "phone",
            "e-mail",
            "address",
            "status",
            "conflict",
            "lost",
            "doubled",
            "manager",
            "invoice",
        )
    )
    assert working_in(folder) == {}


def test_staying_up_ends_with_ctrl_c_and_exit_code_0_and_leaves_nothing_running(folder: Path) -> None:
    demo = start(folder, "--stay")
    assert demo.stdout is not None
    lines: list[str] = []
    for line in demo.stdout:
        lines.append(line)
        if "Ctrl-C" in line:
            break
    assert sum(line.startswith("  curl ") for line in lines) == 3
    assert any(line.startswith("Status: http://127.0.0.1:") for line in lines)
    assert len(working_in(folder)) == 9
    demo.send_signal(signal.SIGINT)
    assert demo.wait(30) == 0
    demo.communicate()
    until(lambda: working_in(folder) == {})


def test_a_demo_that_is_killed_takes_its_processes_along(folder: Path) -> None:
    demo = start(folder, "--stay")
    until(lambda: len(working_in(folder)) >= 2, 60)
    demo.kill()
    demo.communicate()
    until(lambda: working_in(folder) == {}, 25)
