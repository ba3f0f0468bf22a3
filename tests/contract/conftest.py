"""Every connector over its emulator, once each; a file about one of them names it: ``ONLY = ["intacct"]``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from suite import CASES, Case


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", getattr(metafunc.module, "ONLY", sorted(CASES)), indirect=True)


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    with CASES[request.param]() as made:
        yield made
