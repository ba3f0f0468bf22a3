"""``make audit`` says clean only of what the index was asked about."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import audit

ROOT = Path(__file__).parents[2]
CLEAN: dict[str, Any] = {"name": "httpx", "version": "1.0", "vulns": []}
KNOWN: dict[str, Any] = {"name": "lib", "version": "2.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}]}
UNASKED: dict[str, Any] = {"name": "other", "skip_reason": "not found"}


def test_all_checked_and_clean_is_the_only_success() -> None:
    lines, code = audit.verdict({"dependencies": [CLEAN, CLEAN]})
    assert (lines, code) == (["audit: 2 of 2 packages checked, 0 known vulnerabilities"], 0)


def test_a_known_vulnerability_is_named_with_the_version_that_mends_it() -> None:
    lines, code = audit.verdict({"dependencies": [CLEAN, KNOWN]})
    assert lines == ["lib 2.0: PYSEC-1, mended in 2.1", "audit: 2 of 2 packages checked, 1 known vulnerabilities"]
    assert code == 1


def test_what_the_index_does_not_know_is_never_taken_for_clean() -> None:
    assert audit.verdict({"dependencies": [CLEAN, UNASKED]})[1] == 1
    lines, code = audit.verdict({"dependencies": [UNASKED]})
    assert code == 1
    assert "none of 1 was checked" in lines[0]
    assert audit.verdict({})[1] == 1


def test_the_audited_lock_file_holds_everything_of_the_other_in_the_same_version() -> None:
    def pinned(name: str) -> set[str]:
        return set(re.findall(r"^[a-z0-9._-]+(?:\[[a-z,]+\])?==[^ ;\\]+", (ROOT / name).read_text(), re.MULTILINE))

    assert len(pinned("requirements.lock")) > 20
    assert pinned("requirements.lock") <= pinned(audit.LOCK)
