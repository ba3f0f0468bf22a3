"""Fixtures: a queue server for the tests of one file, and our broker on it, empty at the start of each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.valkey import QueueServer
from sync_worker import broker
from sync_worker.broker import QueueBroker


@pytest.fixture(scope="module")
def server() -> Iterator[QueueServer]:
    server = QueueServer()
    yield server
    server.close()


@pytest.fixture
def queue(server: QueueServer) -> Iterator[QueueBroker]:
    queue = broker.make_broker(server.url)
    queue.client.flushall()
    yield queue
    queue.close()
