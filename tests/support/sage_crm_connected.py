"""Fixtures: the Sage CRM connector over the emulator of ``sage_crm_fixtures``; a plugin of files that name both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mappings.canonical import MapSettings
from mappings.sage_crm import customer_map
from support.sage_crm_connector import Connect, settings
from sync_worker.connectors.sage_crm.client import SageCrmConnector, connect


@pytest.fixture
def connected(root: str) -> Iterator[Connect]:
    made: list[SageCrmConnector] = []

    def make(**changes: Any) -> SageCrmConnector:
        chosen = settings(root, **changes)
        maps = {"customer": customer_map(MapSettings(columns=dict(chosen.columns), default_country="GB"))}
        made.append(connect("crm", chosen, maps=maps))
        return made[-1]

    yield make
    for connector in made:
        connector.close()


@pytest.fixture
def sage(connected: Connect) -> SageCrmConnector:
    return connected()
