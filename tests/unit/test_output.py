"""What commands print for people."""

from __future__ import annotations

import pytest

from sync_worker.output import Printer, runs


def test_a_run_shows_what_it_counted_and_nothing_else_of_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    said = {"ok": False, "run": 7, "complete": True, "matched": 12, "only_erp": 1, "seen": {"erp": 13}, "seconds": 0.4}
    about = {"run": 7, "kind": "verify", "flow": "customers", "started_at": "now", "actor": "cli", "state": "done"}
    runs.listed(Printer(False), [{**about, "counts": said}])
    assert capsys.readouterr().out == "7\tverify\tcustomers\tnow\tcli\t12 matched, 1 only erp\tdone\n"
