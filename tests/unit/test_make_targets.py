"""The way in for a newcomer: make's targets, the lock files, what CI does, and the import contracts' completeness."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TARGETS = {
    "demo": [".venv/bin/python -m sync_worker.demo"],
    "run": [".venv/bin/python -m sync_worker.demo --stay"],
    "check": [".venv/bin/ruff format --check .", ".venv/bin/ruff check .", ".venv/bin/mypy", ".venv/bin/lint-imports"],
    "bench": [".venv/bin/python -m bench"],
    "faults": ["PYTHONPATH=tests .venv/bin/python -m faults"],
    "audit": ["PYTHONPATH=tests .venv/bin/python -m audit"],
    "fuzz": ["PYTHONPATH=tests:tests/unit .venv/bin/python -m fuzz"],
}
SETUP = [
    "-m venv --clear .venv",
    "pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock",
    "pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .",
]
PYTHON = f'#!/bin/sh\nexec {sys.executable} "$@"\n'
NO_VENV = f'#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\nexec {sys.executable} "$@"\n'
TOO_OLD = "#!/bin/sh\nexit 1\n"

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What make looks at, without a .venv."""
    place = tmp_path / "a clone"
    place.mkdir()
    for name in ("Makefile", "pyproject.toml", "requirements-dev.lock", "requirements-bench.lock"):
        shutil.copy(ROOT / name, place)
    return place


def make(place: Path, *args: str, **pythons: str) -> subprocess.CompletedProcess[str]:
    """``make -n`` with nothing but these Pythons to be found."""
    tools = place.parent / "tools"
    tools.mkdir(exist_ok=True)
    for name, text in pythons.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    for name in ("sh", "grep"):
        found = shutil.which(name)
        if found and not (tools / name).exists():
            (tools / name).symlink_to(found)
    program = shutil.which("make")
    assert program is not None
    command = [program, "-n", *args]
    return subprocess.run(command, cwd=place, env={"PATH": str(tools)}, capture_output=True, text=True, check=False)


@needs_make
@pytest.mark.parametrize("target", TARGETS)
def test_each_target_sets_up_first_and_runs_in_the_projects_own_venv(clone: Path, target: str) -> None:
    done = make(clone, target, python3=PYTHON)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-len(TARGETS[target]) :] == TARGETS[target]
    steps = [next(n for n, line in enumerate(lines) if part in line) for part in SETUP]
    assert steps == sorted(steps)
    assert steps[-1] < len(lines) - len(TARGETS[target])


@needs_make
def test_the_fast_tests_run_first_and_of_the_slow_ones_all_the_longest_first() -> None:
    fast, slow = (re.findall(r"tests/(\S+)", line) for line in make(ROOT, "test", python3=PYTHON).stdout.splitlines())
    assert fast == ["unit", "contract", "integration"]
    assert slow[:2] == ["e2e/test_faults.py", "e2e/test_two_hosts.py"]
    assert sorted(slow) == sorted(f"e2e/{path.name}" for path in (ROOT / "tests/e2e").glob("test_*.py"))


@needs_make
@pytest.mark.parametrize(
    ("pythons", "line"),
    [
        ({}, "sync-worker needs Python 3.11 or newer"),
        ({"python3": TOO_OLD}, "sync-worker needs Python 3.11 or newer"),
        (
            {"python3": NO_VENV},
            "Python lacks its venv module: install it (Debian and Ubuntu: apt install python3-venv)",
        ),
    ],
)
def test_what_the_machine_lacks_is_told_in_one_line(clone: Path, pythons: dict[str, str], line: str) -> None:
    done = make(clone, "test", **pythons)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert line in done.stderr


@needs_make
def test_a_python_that_will_do_is_taken_though_others_will_not(clone: Path) -> None:
    done = make(clone, "setup", **{"python3.13": TOO_OLD, "python3.12": NO_VENV, "python3.11": PYTHON})
    assert '"python3.11" -m venv --clear .venv' in done.stdout


@needs_make
def test_setting_up_happens_once_until_the_lock_changes(clone: Path) -> None:
    (clone / ".venv" / "bin").mkdir(parents=True)
    (clone / ".venv" / "bin" / "python").write_text(PYTHON)
    (clone / ".venv" / "bin" / "python").chmod(0o755)
    ready = clone / ".venv" / ".ready"
    ready.write_text(f"{clone}\n")
    assert "pip install" not in make(clone, "setup", python3=PYTHON).stdout
    later = ready.stat().st_mtime + 10
    os.utime(clone / "requirements-dev.lock", (later, later))
    again = make(clone, "setup", python3=PYTHON).stdout
    assert "pip install" in again
    assert "-m venv" not in again


@needs_make
def test_a_venv_that_was_moved_here_is_made_anew(clone: Path) -> None:
    (clone / ".venv" / "bin").mkdir(parents=True)
    (clone / ".venv" / "bin" / "python").write_text(PYTHON)
    (clone / ".venv" / "bin" / "python").chmod(0o755)
    (clone / ".venv" / ".ready").write_text("/somewhere/else\n")
    assert "-m venv --clear .venv" in make(clone, "setup", python3=PYTHON).stdout


# ----- lock files


def pins(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", (ROOT / name).read_text(), re.MULTILINE))


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock", "requirements-bench.lock"])
def test_a_lock_file_pins_public_versions_by_hash_and_names_no_index_and_no_host(name: str) -> None:
    text = (ROOT / name).read_text()
    assert not re.search(
        r"://|^\s*-|^\s*#| @ ", re.sub(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$", "", text, flags=re.M), re.M
    )
    entries = re.split(r"\n(?=\S)", text.strip())
    assert len(entries) == len(pins(name))
    assert all("--hash=sha256:" in entry for entry in entries)
    assert not [version for version in pins(name).values() if "+" in version]


def test_the_development_lock_holds_the_same_versions_and_the_tools() -> None:
    run, dev = pins("requirements.lock"), pins("requirements-dev.lock")
    assert run.items() <= dev.items()
    assert {"pytest", "mypy", "ruff", "import-linter", "hypothesis", "hatchling", "editables"} <= dev.keys()


def test_what_only_the_benchmark_needs_is_locked_apart_and_changes_no_version() -> None:
    dev, bench = pins("requirements-dev.lock"), pins("requirements-bench.lock")
    assert pins("requirements.lock").items() <= bench.items()
    assert {name for name in bench.keys() & dev.keys() if bench[name] != dev[name]} == set()
    assert "celery" in bench.keys() - dev.keys()


@needs_make
def test_only_the_benchmark_installs_what_we_are_compared_with(clone: Path) -> None:
    installed = "-r requirements-bench.lock"
    assert installed in make(clone, "bench", python3=PYTHON).stdout
    assert not [t for t in TARGETS if t != "bench" and installed in make(clone, t, python3=PYTHON).stdout]


def test_everything_the_project_needs_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [re.split(r"[\[;<>=! ]", one, maxsplit=1)[0].lower() for one in project["dependencies"]]
    assert set(names) <= pins("requirements.lock").keys()
    tools = [re.split(r"[\[;<>=! ]", one, maxsplit=1)[0].lower() for one in project["optional-dependencies"]["dev"]]
    assert set(tools) <= pins("requirements-dev.lock").keys()


def test_the_parts_with_compiled_code_are_locked_for_several_platforms() -> None:
    text = (ROOT / "requirements.lock").read_text()
    for name in ("pydantic-core", "psycopg-binary", "cryptography", "uvloop", "httptools", "rapidfuzz"):
        entry = re.search(rf"^{name}==.*?(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL)
        assert entry is not None
        assert entry[0].count("--hash=") > 10


# ----- CI


def test_ci_runs_exactly_the_check_and_the_tests() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=False).returncode == 0
    assert re.findall(r"^make .*", script, re.MULTILINE) == ["make check", "make test"]
    assert "export CI=true" in script


# ----- import contracts


def test_every_client_module_is_out_of_the_emulators_reach() -> None:
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    forbidden = contracts["importlinter:contract:emulators"]["forbidden_modules"].split()
    connectors = ROOT / "sync_worker" / "connectors"
    modules = [
        "sync_worker." + ".".join(path.relative_to(ROOT / "sync_worker").with_suffix("").parts)
        for path in [*connectors.glob("*.py"), *connectors.glob("*/*.py")]
        if path.parent.name != "emulation" and path.stem != "__init__"
    ]
    assert len(modules) > 10
    assert [module for module in modules if not any(fnmatchcase(module, pattern) for pattern in forbidden)] == []


def test_every_module_has_its_layer() -> None:
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    layers = set(re.findall(r"[\w.]+", contracts["importlinter:contract:layers"]["layers"]))
    found = {
        f"sync_worker.{path.stem}" for path in (ROOT / "sync_worker").iterdir() if path.suffix == ".py" or path.is_dir()
    }
    assert found - {"sync_worker.__init__", "sync_worker.__pycache__"} <= layers
