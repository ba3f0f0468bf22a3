"""Worlds for the tests of the engine's rules: see ``support.rules``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.rules import Make, worlds
from support.world import World


@pytest.fixture
def make(tmp_path: Path, database_url: str) -> Iterator[Make]:
    """Worlds on SQLite and on PostgreSQL: for rules that live in SQL."""
    yield from worlds(tmp_path, database_url)


@pytest.fixture
def make_light(tmp_path: Path, sqlite_url: str) -> Iterator[Make]:
    yield from worlds(tmp_path, sqlite_url)


@pytest.fixture
def world(make_light: Make) -> World:
    return make_light()
