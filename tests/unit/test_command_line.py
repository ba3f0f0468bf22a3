"""What the command line says before any command runs."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sync_worker import cli, queue_server, supervisor
from sync_worker.errors import AuthFailed, RateLimited, RetryableError, SyncError

Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Exit code, stdout and stderr of a command line."""
    monkeypatch.setattr(os, "umask", lambda _mask: 0)  # ours is for processes of our own

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sync-worker", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(str(ended.value.code)), out, err

    return run


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stats"], "sync-worker: No such command 'stats'. Did you mean 'status'?; see sync-worker --help\n"),
        (["explain", "erp"], "sync-worker: Missing argument 'key'; see sync-worker explain --help\n"),
        (["replay"], "give exactly one of --link, --state, --waiting-on; see sync-worker replay --help\n"),
        (
            ["run", "--port", "99999"],
            "'--port': Input should be less than or equal to 65535; see sync-worker run --help\n",
        ),
        (["links", "list", "--lmit", "3"], "No such option: --lmit (Possible options: --limit)"),
        (["verify", "--config"], "Option '--config' requires an argument; see sync-worker --help\n"),
        (["emulate", "nobody", "--port", "0", "--config", "sync.toml"], "no emulator for nobody; there are: intacct"),
        (["explain", "erp", "C-\udcff"], "the command line is not UTF-8"),
        (["links", "upload", "in.csv", "--out", "out.csv"], "--out goes with --dry-run"),
        (["managers", "upload", "in.csv", "--out", "out.csv"], "--out goes with --dry-run"),
        (["managers", "map", "--flow", "f", "--erp", "1", "--crm", "2", "--out", "o.csv"], "--out goes with --dry-run"),
        (["import", "customers", "--out", "out.csv"], "--out goes with --dry-run"),
        (["undo", "--run", "1", "--out", "out.csv"], "--out goes with --dry-run"),
        (["links", "unlink", "--link", "9" * 20], "'--link': Input should be less than or equal to"),
        (["links", "list", "--after", "9" * 20], "'--after': Input should be less than or equal to"),
        (["undo", "--run", "9" * 20], "'--run': Input should be less than or equal to"),
        (["runs", "--run", "9" * 20], "'--run': Input should be less than or equal to"),
        (["undo", "--link", "0"], "'--link': Input should be greater than or equal to 1"),
        (["replay", "--link", "9" * 20], "'--link': Input should be less than or equal to"),
    ],
)
def test_wrong_usage_is_one_line_with_exit_code_2(typed: Typed, words: list[str], said: str) -> None:
    code, out, err = typed(*words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("sync-worker: ") and said in err


@pytest.mark.parametrize(
    "words",
    [
        ["links", "upload", "in.csv", "--errors"],
        ["links", "upload", "in.csv", "--dry-run", "--out"],
        ["managers", "upload", "in.csv", "--errors"],
        ["managers", "upload", "in.csv", "--dry-run", "--out"],
        ["import", "customers", "--dry-run", "--out"],
        ["preview", "customers", "--out"],
        ["undo", "--run", "1", "--dry-run", "--out"],
    ],
)
def test_a_file_that_cannot_be_written_is_said_before_anything_is_done(
    typed: Typed, words: list[str], tmp_path: Path
) -> None:
    target = tmp_path / "nowhere" / "out.csv"
    said = f"sync-worker: {target} cannot be written: No such file or directory\n"
    assert typed(*words, str(target), "--config", str(tmp_path / "none.toml")) == (1, "", said)


@pytest.mark.parametrize("command", ["links", "managers"])
@pytest.mark.parametrize("words", [["--errors"], ["--dry-run", "--out"]])
def test_an_uploaded_file_is_never_written_over_and_that_is_said_before_anything_is_done(
    typed: Typed, command: str, words: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "in.csv"
    file.write_text("as it was")
    link = tmp_path / "other.csv"
    link.symlink_to(file)
    code, _, err = typed(command, "upload", str(file), *words, str(link), "--config", str(tmp_path / "none.toml"))
    assert (code, err.count("\n")) == (2, 1) and f"{words[-1]} {link} is the uploaded file itself" in err
    assert file.read_text() == "as it was"


def test_help_is_asked_for_or_shown_where_nothing_was_said(typed: Typed) -> None:
    assert typed("--help")[0] == 0 and "explain" in typed("--help")[1]
    code, out, err = typed()
    assert code == 2 and "explain" in out + err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RateLimited("HTTP 429", system="crm"), "crm: HTTP 429; try again later"),
        (AuthFailed("HTTP 401: check username", system="erp"), "erp: HTTP 401: check username"),
        (RetryableError("crm: HTTP 503; --resume goes on from here"), "crm: HTTP 503; --resume goes on from here"),
    ],
)
def test_an_error_of_a_vendor_names_the_system_and_what_to_do(
    typed: Typed, error: SyncError, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(**_options: object) -> None:
        raise error

    monkeypatch.setattr(cli, "app", failing)
    assert typed("preview", "customers") == (1, "", f"sync-worker: {said}\n")


def test_an_emulator_whose_port_is_taken_says_so_in_one_line(typed: Typed) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = f"sync-worker: cannot listen on 127.0.0.1:{port}: Address already in use; choose another with --port\n"
        assert typed("emulate", "intacct", "--port", str(port)) == (1, "", said)


def test_a_disk_that_is_full_where_the_output_goes_is_one_line(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(**_options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")  # as print does: no file is named

    monkeypatch.setattr(cli, "app", failing)
    said = "what it prints or keeps cannot be written: No space left on device; what was done is done: sync-worker runs"
    assert typed("runs") == (1, "", f"sync-worker: {said}\n")


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_closed_output_stops_no_command(typed: Typed, monkeypatch: pytest.MonkeyPatch, closed: str) -> None:
    monkeypatch.setattr(cli, "app", lambda **_options: int(sys.stdout.isatty()) + int(sys.stderr.isatty()))
    monkeypatch.setattr(sys, closed, None)  # what Python has for it
    assert typed("runs")[0] == 0


def test_a_database_file_that_is_none_is_one_line(
    typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sync.db").write_bytes(b"no database" * 1000)
    (tmp_path / "sync.toml").touch()
    monkeypatch.setenv("SYNC_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    code, out, err = typed("status", "--config", str(tmp_path / "sync.toml"))
    assert (code, out) == (1, "")
    assert err == ("sync-worker: the database cannot be used: file is not a database; sync-worker doctor checks it\n")


def test_a_database_url_with_an_option_that_is_none_is_one_line(
    typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sync.toml").touch()
    monkeypatch.setenv("SYNC_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:hunter22@127.0.0.1:1/d?sslmod=require")
    code, out, err = typed("status", "--config", str(tmp_path / "sync.toml"))
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "the database cannot be used: " in err and "sslmod" in err and "hunter22" not in err


ASKING = """
import fcntl, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # its own terminal, as a shell gives it
from sync_worker import cli
from sync_worker.cli.asking import within_limits
from sync_worker.desk.limits import LimitReached

def run(*, unlimited):
    if not unlimited:
        raise LimitReached("up to 900 records would be created or changed", "sync-worker import f --dry-run")
    print("done")
    return 0

cli.app = lambda **_options: within_limits(run, yes=False)
sys.argv = ["sync-worker", "import", "f"]
cli.main()
"""


@pytest.mark.parametrize(("answer", "code"), [(b"y\n", 0), (b"n\n", 1), (b"\n", 1), (b"\x04", 1), (b"\x03", 1)])
def test_a_limit_that_is_not_agreed_to_on_a_terminal_is_one_line_and_nothing_is_done(answer: bytes, code: int) -> None:
    person, terminal = os.openpty()
    asking = subprocess.Popen(
        [sys.executable, "-c", ASKING], stdin=terminal, stdout=subprocess.PIPE, stderr=terminal, start_new_session=True
    )
    os.close(terminal)
    shown = b""
    while b"go on?" not in shown:
        shown += os.read(person, 4096)
    os.write(person, answer)
    out, _ = asking.communicate(timeout=30)
    with contextlib.suppress(OSError):  # on Linux the end of a terminal is an error
        while more := os.read(person, 4096):
            shown += more
    os.close(person)
    assert (asking.returncode, out.strip()) == (code, b"done" if code == 0 else b"")
    said = b"900 records would be created or changed; nothing was done; look with sync-worker import f --dry-run"
    assert (said in shown) == (code != 0) and b"Traceback" not in shown


def test_a_run_over_the_queue_of_a_running_one_ends_with_exit_code_1_and_may_be_started_again(
    typed: Typed, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sync.toml").touch()
    (tmp_path / "queue").mkdir()
    for variable, value in (("SYNC_DATA_DIR", str(tmp_path)), ("DATABASE_URL", sqlite_url), ("REDIS_URL", "")):
        monkeypatch.setenv(variable, value)
    for name in ("exit_on_signal", "end_with_parent", "StopSignal"):  # this process is the tests'
        monkeypatch.setattr(supervisor, name, lambda: None)
    figures = tmp_path / "metrics" / "counter_1.db"
    figures.parent.mkdir()
    figures.touch()
    monkeypatch.setattr(queue_server, "LOCK_SECONDS", 0.0)
    with (tmp_path / "queue" / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        code, out, err = typed("run", "--port", "0", "--config", str(tmp_path / "sync.toml"))
    assert (code, out, figures.exists()) == (1, "", True), "the running one's figures stay"
    assert err.endswith("queue is in use by another sync-worker: stop that one, or set SYNC_DATA_DIR\n")
