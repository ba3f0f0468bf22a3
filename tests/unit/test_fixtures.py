"""Fixtures of plugins are seen by every test file of a run, whichever file named the plugin."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

SUPPORT = Path(__file__).parents[1] / "support"


def test_no_two_plugins_have_a_fixture_of_the_same_name() -> None:
    found: Counter[str] = Counter()
    for path in SUPPORT.glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and "pytest.fixture" in "".join(map(ast.unparse, node.decorator_list)):
                found[node.name] += 1
    assert found and [name for name, times in found.items() if times > 1] == []
