"""The supervisor with real child processes: it keeps them up, ends them in order, and leaves nothing running."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from support.waiting import until
from sync_worker import supervisor
from sync_worker.errors import ConfigError
from sync_worker.processes import StopSignal

# A child says when it starts and when it ends; "stubborn" ones ignore the stop signal.
CHILD = """
import os, signal, sys, time
from pathlib import Path
from sync_worker.processes import StopSignal, end_with_parent
name, diary = sys.argv[1], Path(sys.argv[2])
def note(word):
    with diary.open("a") as file:
        file.write(f"{word} {name} {os.getpid()} {time.monotonic()}\\n")
def told(name):
    return os.environ[name] or "nobody"
stop = StopSignal()
end_with_parent()
with diary.with_name("succession").open("a") as file:
    file.write(f"{name} {told('SYNC_PROCESS')} {told('SYNC_PREDECESSOR')}\\n")
note("start")
if name == "stubborn":
    while True:
        stop.wait(60)
if name == "short":
    sys.exit(3)
stop.wait(60)
note("end")
"""

PARENT = """
import sys
from sync_worker.processes import StopSignal
from sync_worker.supervisor import Part, Supervisor
child, diary, *groups = sys.argv[1:]
parts = [[Part(name, [sys.executable, child, name, diary]) for name in group.split(",")] for group in groups]
sys.exit(Supervisor(parts).run(StopSignal()))
"""


class Family:
    """A supervisor process and what its children wrote."""

    def __init__(self, folder: Path, *groups: str) -> None:
        self.diary = folder / "diary"
        (folder / "child.py").write_text(CHILD)
        (folder / "parent.py").write_text(PARENT)
        argv = [sys.executable, str(folder / "parent.py"), str(folder / "child.py"), str(self.diary), *groups]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        self.process = subprocess.Popen(argv, env=environment, start_new_session=True, stdout=subprocess.DEVNULL)

    def noted(self, word: str) -> list[tuple[str, int, float]]:
        """(child, process id, when) of every line with that word, oldest first."""
        if not self.diary.exists():
            return []
        rows = [line.split() for line in self.diary.read_text().splitlines()]
        return [(row[1], int(row[2]), float(row[3])) for row in rows if row[0] == word]

    def starts_of(self, name: str) -> list[tuple[int, float]]:
        return [(pid, at) for child, pid, at in self.noted("start") if child == name]

    def pids(self) -> set[int]:
        return {pid for _, pid, _ in self.noted("start")}


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Callable[..., Family]]:
    families: list[Family] = []

    def start(*groups: str) -> Family:
        families.append(Family(tmp_path, *groups))
        return families[-1]

    yield start
    for one in families:
        for pid in (one.process.pid, *one.pids()):
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        one.process.wait()


def is_alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_a_stop_signal_ends_every_part_and_the_supervisor_with_exit_code_0(family: Callable[..., Family]) -> None:
    run = family("web,scheduler", "worker-1,worker-2")
    until(lambda: len(run.pids()) == 4)
    run.process.send_signal(signal.SIGTERM)
    assert run.process.wait(timeout=20) == 0
    assert not any(is_alive(pid) for pid in run.pids())


def test_parts_are_stopped_group_by_group(family: Callable[..., Family]) -> None:
    run = family("web,scheduler", "worker-1")
    until(lambda: len(run.pids()) == 3)
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(timeout=20) == 0
    assert [name for name, _, _ in run.noted("end")][-1] == "worker-1"
    assert {name for name, _, _ in run.noted("end")} == {"web", "scheduler", "worker-1"}


def test_a_killed_part_is_started_again_and_the_others_stay(family: Callable[..., Family]) -> None:
    run = family("web", "worker-1")
    until(lambda: len(run.pids()) == 2)
    [(worker, _)] = run.starts_of("worker-1")
    os.kill(worker, signal.SIGKILL)
    until(lambda: len(run.starts_of("worker-1")) == 2)
    assert len(run.starts_of("web")) == 1


def test_a_part_is_told_in_whose_place_it_was_started_and_no_two_have_the_same_name(
    family: Callable[..., Family], tmp_path: Path
) -> None:
    run = family("worker-1,worker-2")
    for deaths in range(2):
        until(lambda count=deaths: len(run.starts_of("worker-1")) == count + 1)
        os.kill(run.starts_of("worker-1")[-1][0], signal.SIGKILL)
    until(lambda: len((tmp_path / "succession").read_text().splitlines()) == 4)
    told = [line.split() for line in (tmp_path / "succession").read_text().splitlines()]
    first, second, third = ((name, before) for part, name, before in told if part == "worker-1")
    assert (first[1], second[1], third[1]) == ("nobody", first[0], second[0])
    assert [before for part, _, before in told if part == "worker-2"] == ["nobody"]
    assert len({name for _, name, _ in told}) == 4


def test_a_part_that_dies_at_once_is_started_again_after_growing_pauses(family: Callable[..., Family]) -> None:
    run = family("short")
    until(lambda: len(run.starts_of("short")) == 3)
    first, second, third = (at for _, at in run.starts_of("short"))
    assert second - first >= 0.5
    assert third - second >= 1.0


def test_a_supervisor_killed_outright_leaves_nothing_running(family: Callable[..., Family]) -> None:
    run = family("web", "worker-1,worker-2")
    until(lambda: len(run.pids()) == 3)
    run.process.kill()
    run.process.wait()
    until(lambda: not any(is_alive(pid) for pid in run.pids()))


def test_a_second_ctrl_c_kills_what_does_not_end(family: Callable[..., Family]) -> None:
    run = family("stubborn")
    until(lambda: len(run.pids()) == 1)
    run.process.send_signal(signal.SIGINT)
    begun = time.monotonic()
    until(lambda: time.monotonic() - begun > 0.8)
    assert run.process.poll() is None, "a stubborn part was not given time to finish"
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(timeout=20) == 130
    assert not any(is_alive(pid) for pid in run.pids())


needs_process_table = pytest.mark.skipif(
    not Path(f"/proc/self/task/{os.getpid()}/children").exists(), reason="reads the process table of Linux"
)

CONFIG = """
[systems.erp]
connector = "intacct"
base_url = "http://127.0.0.1:9/ia/api/v1"
client_id = "a"
client_secret = "b"
username = "sync@ACME"
[systems.crm]
connector = "sage_crm"
base_url = "http://127.0.0.1:9/sdata/crmj/sagecrm2/-"
username = "u"
password = "p"
[flows.customers]
entity = "customer"
erp = "erp"
crm = "crm"
"""


class Run:
    """``sync-worker run`` with its own data directory; both vendors are down."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        (folder / "sync.toml").write_text(CONFIG)
        environment = {key: value for key, value in os.environ.items() if key not in ("REDIS_URL", "DATABASE_URL")}
        environment |= {"PYTHONPATH": str(Path(__file__).parents[2]), "SYNC_DATA_DIR": str(folder / "var")}
        self.log = (folder / "log").open("wb")
        options = ["--config", "sync.toml", "--port", str(self.port), "--processes", "1", "--threads", "2"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sync_worker.cli", "run", *options],
            cwd=folder, env=environment, stdout=self.log, stderr=self.log, start_new_session=True,
        )  # fmt: skip
        self.seen: set[int] = set()
        until(self.ready, 30)

    def ready(self) -> bool:
        self.seen |= set(self.children())
        connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            assert self.process.poll() is None, "run ended"
            return False
        finally:
            connection.close()

    def children(self) -> dict[int, str]:
        """Process id -> command line of everything the supervisor has started."""
        folder = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        pids = [int(pid) for pid in folder.read_text().split()] if folder.exists() else []
        return {pid: command_of(pid) for pid in pids}

    def queue_server(self) -> int:
        [pid] = [pid for pid, command in self.children().items() if "-server" in command]
        return pid


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path)
    yield run
    for pid in (run.process.pid, *run.seen):
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)
    run.process.wait()
    run.log.close()


@needs_process_table
def test_run_brings_a_dead_queue_server_back_and_one_stop_signal_ends_all_with_exit_code_0(run: Run) -> None:
    assert len(run.seen) == 4, "web, scheduler, one worker, queue server"
    os.kill(killed := run.queue_server(), signal.SIGKILL)
    until(lambda: killed not in run.children() and run.ready(), 20)
    run.process.send_signal(signal.SIGTERM)
    assert run.process.wait(timeout=20) == 0
    assert not any(is_alive(pid) for pid in run.seen)


def test_run_is_stopped_at_once_while_it_waits_for_its_database(tmp_path: Path) -> None:
    (tmp_path / "sync.toml").write_text(CONFIG)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environment = os.environ | {
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "SYNC_DATA_DIR": str(tmp_path / "var"),
        }
        environment["DATABASE_URL"] = f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/d"
        command = [sys.executable, "-m", "sync_worker.cli", "run", "--config", "sync.toml", "--port", "0"]
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
        silent.settimeout(30)
        connection, _ = silent.accept()
        with connection:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=20) == 0


@needs_process_table
def test_run_killed_outright_leaves_nothing_running(run: Run) -> None:
    run.process.kill()
    run.process.wait()
    until(lambda: not any(is_alive(pid) for pid in run.seen), 20)


def test_a_queue_server_that_cannot_be_started_again_does_not_end_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    class Dead:
        """A queue server on a disk that is full."""

        tries = 0

        def running(self) -> bool:
            return False

        def start(self) -> None:
            self.tries += 1
            raise OSError(errno.ENOSPC, "No space left on device")

        def stop(self) -> None:
            """Nothing runs."""

    class Later(StopSignal):
        """A stop after the third look."""

        looks = 0

        def wait(self, seconds: float) -> int:
            self.looks += 1
            return signal.SIGTERM if self.looks > 3 else 0

    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(supervisor, "SERVER_PAUSE", 0.0)
    server = Dead()
    assert supervisor.Supervisor([], server).run(Later()) == 0
    assert server.tries == 3


@pytest.mark.parametrize(("given", "told"), [(None, "2"), ("6", "6"), ("1", "2")])
def test_ops_workers_are_told_how_many_there_are_on_all_machines(
    monkeypatch: pytest.MonkeyPatch, given: str | None, told: str
) -> None:
    monkeypatch.delenv("SYNC_PROCESSES", raising=False)
    if given is not None:
        monkeypatch.setenv("SYNC_PROCESSES", given)
    started: list[supervisor.Part] = []
    monkeypatch.setattr(supervisor.Supervisor, "run", lambda self, _stop: started.extend(*self.parts) or 0)
    monkeypatch.setattr(supervisor, "StopSignal", lambda: None)
    assert supervisor.run_workers(processes=2, threads=8, config_path=None) == 0
    assert [part.env["SYNC_PROCESSES"] for part in started] == [told, told]


@pytest.mark.parametrize("given", ["many", "0", "-1", "1.5"])
def test_ops_a_number_of_processes_that_is_none_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("SYNC_PROCESSES", given)
    with pytest.raises(ConfigError, match="SYNC_PROCESSES must be a number of processes, 1 or more"):
        supervisor.run_workers(processes=2, threads=8, config_path=None)
