"""Figures: several processes, one scrape; the dead keep counting, and rubbish in the directory harms nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sync_worker import metric_files, metrics
from sync_worker.metrics import SqlFigures

COUNT = """
import os, signal, sys
from pathlib import Path
from sync_worker import metrics
metrics.prepare(Path(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    metrics.pass_ended("customers", "in_sync")
    metrics.notice_done("customers", 0.2)
    metrics.vendor_call("crm", "read company", "ok", 0.03)
if sys.argv[3:]:
    os.kill(os.getpid(), signal.SIGKILL)
"""
SCRAPE = """
import sys
from pathlib import Path
from sync_worker import metrics
metrics.prepare(Path(sys.argv[1]))
body, kind = metrics.render(lambda: metrics.SqlFigures({("customers", "in_sync"): 12}, 3, 1.5))
sys.stdout.write(body.decode())
"""
FIRST_CALLS = """
import sys, threading, time
import prometheus_client
from sync_worker import metrics
plain = prometheus_client.Counter
def slow(*args):
    time.sleep(0.05)  # so that all threads are at it
    return plain(*args)
prometheus_client.Counter = slow
failed = []
def first():
    try:
        metrics.vendor_call("crm", "read company", "ok", 0.03)
    except ValueError as error:
        failed.append(error)
threads = [threading.Thread(target=first) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.exit(len(failed))
"""


def python(code: str, *args: object) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own: the storage of figures is chosen once per process."""
    command = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scrape(directory: Path) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    done = python(SCRAPE, directory)
    assert done.returncode == 0, done.stderr
    return samples(done.stdout)


def value(found: dict[Any, float], name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


@pytest.fixture
def counted(tmp_path: Path) -> Path:
    """Two processes that counted and ended, one of them by kill -9."""
    directory = tmp_path / "metrics"
    assert python(COUNT, directory, 2).returncode == 0
    assert python(COUNT, directory, 3, "die").returncode == -signal.SIGKILL
    return directory


def test_a_scrape_adds_up_all_processes_also_killed_ones(counted: Path) -> None:
    found = scrape(counted)
    assert value(found, "sync_passes_total", flow="customers", outcome="in_sync") == 5
    assert value(found, "sync_vendor_calls_total", system="crm", operation="read company", result="ok") == 5
    assert value(found, "sync_vendor_call_seconds_count", system="crm", operation="read company") == 5
    assert value(found, "sync_notice_to_done_seconds_bucket", flow="customers", le="0.15") == 0
    assert value(found, "sync_notice_to_done_seconds_bucket", flow="customers", le="0.25") == 5
    assert value(found, "sync_notice_to_done_seconds_sum", flow="customers") == pytest.approx(1.0)


def test_the_first_figures_of_a_process_may_come_from_many_threads_at_once() -> None:
    assert python(FIRST_CALLS).returncode == 0


def test_a_scrape_asks_sql_for_what_is_due(counted: Path) -> None:
    found = scrape(counted)
    assert value(found, "sync_links", flow="customers", state="in_sync") == 12
    assert value(found, "sync_due") == 3
    assert value(found, "sync_oldest_due_seconds") == 1.5


def test_files_of_ended_processes_become_one_archive_and_no_count_is_lost_or_doubled(counted: Path) -> None:
    first, second, third = scrape(counted), scrape(counted), scrape(counted)
    assert first == second == third
    assert {file.name for file in counted.glob("*.db")} == {"counter_archive.db", "histogram_archive.db"}


def test_counts_go_on_after_a_restart(counted: Path) -> None:
    python(COUNT, counted, 4)
    assert value(scrape(counted), "sync_passes_total", flow="customers", outcome="in_sync") == 9


def test_a_clean_start_forgets_earlier_runs(counted: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(metric_files.DIRECTORY_ENV, "")
        metric_files.clear(counted)
    assert not [name for name, _ in scrape(counted) if name == "sync_passes_total"]


def test_a_clean_start_leaves_figures_of_living_processes_alone(counted: Path) -> None:
    mine = counted / f"counter_{metric_files._HOST}.{os.getpid()}.db"
    mine.write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00")
    metric_files.archive_dead(counted)
    metric_files.clear(counted)
    assert list(counted.glob("*.db")) == [mine]


def test_a_directory_that_was_cleaned_away_is_made_again_for_a_scrape_and_for_the_first_figure(tmp_path: Path) -> None:
    for code in (SCRAPE, COUNT):
        cleaned = code.replace("(Path(sys.argv[1]))", "(Path(sys.argv[1])); import shutil; shutil.rmtree(sys.argv[1])")
        done = python(cleaned, tmp_path / "metrics", 1)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("rubbish", [b"", b"\x01", b"\xff" * 200, b"\x40\x00\x00\x00" + b"\x20" * 60, b"text" * 50])
def test_a_file_nobody_can_read_is_passed_over(counted: Path, rubbish: bytes) -> None:
    (counted / f"counter_{metric_files._HOST}.{os.getpid()}.db").write_bytes(rubbish)
    (counted / "counter_elsewhere.1.db").write_bytes(rubbish)
    assert value(scrape(counted), "sync_passes_total", flow="customers", outcome="in_sync") == 5


def test_files_of_living_processes_and_of_other_machines_are_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / f"counter_{metric_files._HOST}.{os.getpid()}.db"
    theirs = tmp_path / "counter_0123456789.1.db"
    gone = tmp_path / "counter_9876543210.1.db"
    for file in (mine, theirs, gone):
        file.write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00")
    os.utime(gone, (0, 0))
    metric_files.archive_dead(tmp_path)
    assert (mine.exists(), theirs.exists(), gone.exists()) == (True, True, False)


def test_without_a_directory_figures_stay_in_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(metric_files.DIRECTORY_ENV, raising=False)
    metrics.pass_ended("alone", "in_sync")
    body, kind = metrics.render(SqlFigures)
    found = samples(body.decode())
    assert value(found, "sync_passes_total", flow="alone", outcome="in_sync") == 1
    assert value(found, "sync_oldest_due_seconds") == 0
    assert kind.startswith("text/plain")


def test_a_failing_question_to_sql_is_not_hidden() -> None:
    def broken() -> SqlFigures:
        raise OSError("away")

    with pytest.raises(OSError, match="away"):
        metrics.render(broken)
