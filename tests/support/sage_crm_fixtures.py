"""Fixtures of the emulated Sage CRM, a plugin of the test files that name it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from support.clock import FakeClock
from support.sage_crm import BASE, Receiver
from sync_worker.connectors.emulation import EmulatorServer
from sync_worker.connectors.sage_crm.emulator import SageCrmEmulator


@pytest.fixture
def crm(clock: FakeClock) -> SageCrmEmulator:
    return SageCrmEmulator(seed=1, clock=clock)


@pytest.fixture
def root(crm: SageCrmEmulator) -> Iterator[str]:
    with EmulatorServer(crm) as url:
        yield url


@pytest.fixture
def api(root: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=root + BASE, auth=("sync", "demo-password"), trust_env=False) as client:
        yield client


@pytest.fixture
def door(root: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=root + "/_emulator/", trust_env=False) as client:
        yield client


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()
