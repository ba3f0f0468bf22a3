"""Fixtures of the Intacct emulator on a real socket, a plugin of the test files that name it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.intacct_emulator import Api, Clock, new_emulator
from sync_worker.connectors.emulation import EmulatorServer


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[EmulatorServer, str]]:
    running = EmulatorServer(new_emulator(Clock()))
    with running as base:
        yield running, base


@pytest.fixture
def api(server: tuple[EmulatorServer, str]) -> Iterator[Api]:
    clock = Clock()
    emulator = new_emulator(clock)
    server[0].use(emulator)
    caller = Api(server[1], emulator, clock)
    yield caller
    caller.http.close()
