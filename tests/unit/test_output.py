"""What commands print for people."""

from __future__ import annotations

import io
import sys

import pytest

from sync_worker.output import Printer, runs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_company_is_called_on_a_terminal_what_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    printer = Printer(False)
    printer.styled(":cat: [bold]Cats[/bold]", "")
    printer.table("", ["name"], [[":cat: [bold]Cats[/bold]"]])
    assert str(sys.stdout.getvalue()).count(":cat: [bold]Cats[/bold]") == 2  # type: ignore[attr-defined]


def test_a_run_shows_what_it_counted_and_nothing_else_of_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    said = {"ok": False, "run": 7, "complete": True, "matched": 12, "only_erp": 1, "seen": {"erp": 13}, "seconds": 0.4}
    about = {"run": 7, "kind": "verify", "flow": "customers", "started_at": "now", "actor": "cli", "state": "done"}
    runs.listed(Printer(False), [{**about, "counts": said}])
    assert capsys.readouterr().out == "7\tverify\tcustomers\tnow\tcli\t12 matched, 1 only erp\tdone\n"
