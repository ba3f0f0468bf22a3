"""Every connector over its emulator, once each; a file about one of them names it: ``ONLY = ["intacct"]``.

With ``--live sync.toml`` the behaviours that all connectors share run over that configuration's own systems instead.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
from emulated import CASES
from live import Live
from suite import STANDING, Case, only_reading

from sync_worker.errors import ConfigError

LIVE = pytest.StashKey[Live]()
MARKERS = (
    "back_door(what): needs what only an emulator can be made to do",
    "only_reads: writes nothing; customers that stand there will do",
)
LONG = 3600  # seconds: a sandbox may be slow, and is walked whole


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("contract suite over a real system (docs/howto/check-against-a-sandbox.md)")
    group.addoption("--live", metavar="FILE", help="run over the systems of this sync.toml; only reads")
    group.addoption("--live-system", metavar="NAME", action="append", help="only over this one; may be repeated")
    group.addoption("--live-writes", metavar="NAME", action="append", help="make records in this one; may be repeated")


def pytest_configure(config: pytest.Config) -> None:
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    file, systems, writes = (config.getoption(name, None) for name in ("--live", "--live-system", "--live-writes"))
    if file is None:
        if systems or writes:
            raise pytest.UsageError("--live-system and --live-writes go with --live FILE")
        return
    if config.getoption("numprocesses", None):
        raise pytest.UsageError("--live runs in one process: leave -n out")
    config.option.fold_skipped = False  # what is left out is named, not counted
    try:
        config.stash[LIVE] = Live(file, systems or [], writes or [])
    except ConfigError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_unconfigure(config: pytest.Config) -> None:
    if (live := config.stash.get(LIVE, None)) is not None:
        live.close()


def pytest_sessionstart(session: pytest.Session) -> None:
    """A system that cannot be used is one line, not a failure of every behaviour."""
    live = session.config.stash.get(LIVE, None)
    if live is not None and not session.config.getoption("collectonly"):
        try:
            live.open()
        except ConfigError as error:
            raise pytest.UsageError(str(error)) from None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        live = metafunc.config.stash.get(LIVE, None)
        over = live.names if live else sorted(CASES)
        metafunc.parametrize("case", getattr(metafunc.module, "ONLY", over), indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    live = config.stash.get(LIVE, None)
    if live is None:
        return
    shared = [item for item in items if is_shared(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in shared])
    items[:] = shared
    for item in shared:
        item.add_marker(pytest.mark.timeout(LONG))
        why = live.left_out(of(item), door=item.get_closest_marker("back_door"), reads=reads_only(item))
        if why:
            item.add_marker(pytest.mark.skip(reason=why))


def is_shared(item: pytest.Item) -> bool:
    """Is it a behaviour of every connector?"""
    return item.path.name.startswith("test_connectors_")


def reads_only(item: pytest.Item) -> bool:
    return item.get_closest_marker("only_reads") is not None


def of(item: Any) -> str:
    """The system that an item runs over."""
    return str(item.callspec.params["case"])


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    live: Live | None = request.config.stash.get(LIVE, None)
    if live is not None:
        gate = only_reading() if reads_only(request.node) or not live.may_write(request.param) else nullcontext()
        with gate:
            yield live.case(request.param)
        return
    with CASES[request.param]() as made:
        if not is_shared(request.node):
            yield made
        elif reads_only(request.node):
            for _ in range(STANDING):
                made.make()
            with only_reading():
                yield replace(made, back_door=None)
        else:
            yield made if request.node.get_closest_marker("back_door") else replace(made, back_door=None)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What is printed of a real system holds no secret and no e-mail address."""
    report = yield
    live = item.config.stash.get(LIVE, None)
    if live is not None:
        if report.failed:
            report.longrepr = live.redacted(report.longreprtext)
        report.sections[:] = [(name, live.redacted(text)) for name, text in report.sections]
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if (live := config.stash.get(LIVE, None)) is not None:
        terminalreporter.section("contract suite, live")
        for line in live.summary():
            terminalreporter.write_line(line)
