"""The short form of ``make faults``: every kind of fault on real processes, and the product comes through it whole."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from faults.judge import RECOVERY
from faults.plan import SHORT
from faults.report import table
from faults.run import once
from support.redaction import WATCH

pytestmark = pytest.mark.timeout(420)

SEED = int(os.environ.get("SYNC_FAULTS_SEED", "20261122"))


def test_faults_of_every_kind_lose_and_double_nothing(tmp_path: Path) -> None:
    run = once(SEED, SHORT, say=sys.stderr.write, keep=tmp_path)
    WATCH.see_files(tmp_path)
    # how long a recovery takes is measured by ``make faults``, where nothing else runs beside it
    broken = [verdict for verdict in run.judgement.verdicts if not verdict.ok and verdict.name != RECOVERY]
    assert not broken, table(run)
