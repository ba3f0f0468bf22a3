"""Fixtures of the Intacct emulator on a real socket, a plugin of the test files that name it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.intacct_emulator import Api, Clock, new_emulator
from sync_worker.connectors.emulation import EmulatorServer


@pytest.fixture(scope="module")
def emulator_server() -> Iterator[tuple[EmulatorServer, str]]:
    running = EmulatorServer(new_emulator(Clock()))
    with running as base:
        yield running, base


@pytest.fixture
def intacct(emulator_server: tuple[EmulatorServer, str]) -> Iterator[Api]:
    clock = Clock()
    emulator = new_emulator(clock)
    emulator_server[0].use(emulator)
    caller = Api(emulator_server[1], emulator, clock)
    yield caller
    caller.http.close()
