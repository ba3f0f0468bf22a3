"""What the fault runs plan, they do: what cannot be hurt at its moment is hurt as soon as it can."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import redis

from bench.stopping import until_ctrl_c
from faults import __main__ as command
from faults import plan as plans
from faults import play, report
from faults.plan import Fault, Plan
from faults.play import Player
from faults.site import Site
from support.clock import FakeClock

TINY = plans.Size(customers=1, edits=0, creates=0, conflicts=0, rate=1.0, drain=1.0)


class Crm:
    """Takes every order."""

    def faults(self, **_orders: object) -> None:
        """Nothing is done."""


class Away:
    """A site whose queue server comes back after so many looks."""

    lasting = False

    def __init__(self, looks: int) -> None:
        self.crm = Crm()
        self.vendors: dict[str, Any] = {}
        self._looks = looks
        self.flushed = 0

    def look(self) -> None:
        self._looks -= 1

    def flush_queue(self) -> None:
        if self._looks > 0:
            raise redis.ConnectionError("nobody is there")
        self.flushed += 1


def played(site: Away, *faults: Fault) -> tuple[Player, list[str]]:
    lines: list[str] = []
    player = Player(cast(Site, site), Plan(1, TINY, (), faults), lines.append)
    player._perform()
    return player, lines


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock(1_000.0)
    monkeypatch.setattr(play, "time", SimpleNamespace(monotonic=clock, time=clock, sleep=clock.advance))


def test_a_fault_that_meets_nothing_to_hurt_waits_until_it_does() -> None:
    site = Away(looks=5)
    player, lines = played(site, Fault(0, "flush"))
    assert (site.flushed, [fault.name for fault in player.done], lines) == (1, ["flush"], [])


def test_a_fault_that_never_meets_anything_is_given_up_and_said() -> None:
    site = Away(looks=10**9)
    player, lines = played(site, Fault(0, "flush"))
    assert (site.flushed, player.done) == (0, [])
    assert lines == ["flush did not happen: nobody is there"]


@pytest.mark.parametrize("seeds", ["0", "-2", "many"])
def test_no_run_at_all_is_wrong_usage_and_writes_no_page(
    seeds: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[object] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["faults", "--seeds", seeds])
    monkeypatch.setattr(report, "write_page", lambda *given: written.append(given))
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert (ended.value.code, written) == (2, [])


TERMINATED = """
import os, signal, sys, time
import faults.__main__ as command
def play(*_, **__):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
    finally:
        print("cleaned up", flush=True)
command._play = play
sys.argv = ["faults", "--short"]
command.main()
"""


def test_ctrl_c_ends_a_long_measurement_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def stopped() -> int:
        raise KeyboardInterrupt

    assert until_ctrl_c(lambda: 7, "the page") == 7
    assert until_ctrl_c(stopped, "the page") == 130
    told = capsys.readouterr().err
    assert told == "stopped: everything that was started has ended, and the page is as it was\n"


def test_sigterm_ends_a_run_as_ctrl_c_does(tmp_path: Path) -> None:
    """Killed outright, it would leave its folder and a process that a fault had stopped for ever."""
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", TERMINATED]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | paths, capture_output=True, check=False, timeout=60)
    assert done.stdout == b"cleaned up\n"
