"""Fixtures of the API's tests, a plugin beside ``support.queues``: the API of one world, on either database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.api import Api, served
from support.valkey import QueueServer
from support.world import World


@pytest.fixture
def web_world(tmp_path: Path, database_url: str) -> Iterator[World]:
    made = World(tmp_path, database_url)
    yield made
    made.close()


@pytest.fixture
def web_api(web_world: World, server: QueueServer) -> Iterator[Api]:
    with served(web_world, server) as found:
        yield found
