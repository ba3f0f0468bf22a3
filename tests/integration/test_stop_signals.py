"""A process hears its stop signals at whatever moment they come, and under nohup outlives its terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FINALISER = """
import os, signal, time
from sync_worker import processes
processes.LOST_SECONDS = 0.2
processes.exit_on_signal()
class Closing:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
Closing()
time.sleep(60)
"""

HANGUP = """
import os, signal
from sync_worker.processes import StopSignal, exit_on_signal
signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup starts us
exit_on_signal()
os.kill(os.getpid(), signal.SIGHUP)
stop = StopSignal()
os.kill(os.getpid(), signal.SIGHUP)
print(stop.wait(0.2))
"""


def test_a_stop_signal_in_the_midst_of_a_finaliser_is_obeyed_too() -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", FINALISER]
    done = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=30)
    assert done.returncode == 0


def test_under_nohup_a_process_outlives_its_terminal() -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", HANGUP]
    assert subprocess.run(command, env=environment, capture_output=True, check=True, timeout=30).stdout == b"0\n"
