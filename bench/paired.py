"""``python -m bench.paired FOLDER``: speed and CPU of an older checkout in FOLDER and of this one, in turns.

What a machine needs for the same work differs by a third from one hour to the next, so only what was measured in the
same minutes says what a change brought. How many a second and CPU in all are measured without sampling (medians),
functions with it (of the turns, the one in the middle), both by ``bench/spent.py``. The part about CPU of
docs/benchmarks.md is written anew.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from bench import profile
from bench.figures import REPORT, with_profiles
from bench.spent import Profile

TURNS, TRIES = 3, 3
ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Profile both, keep what is shown, and show it."""
    parser = argparse.ArgumentParser(prog="python -m bench.paired", description=str(__doc__).partition("\n")[0])
    parser.add_argument("folder", type=Path, help="a checkout of an older commit (git worktree add FOLDER COMMIT)")
    roots = {"before": parser.parse_args().folder.resolve(), "after": ROOT}
    spent: dict[str, list[Profile]] = {name: [] for name in roots}
    turns: dict[str, list[Profile]] = {name: [] for name in roots}
    for turn in range(TURNS):
        for name, root in roots.items():
            spent[name].append(_measured(root))
            print(f"turn {turn + 1} of {TURNS}, {name}: {_shown(spent[name][-1])}", flush=True)
    for turn in range(TURNS):
        for name, root in roots.items():
            turns[name].append(_measured(root, "--by-function"))
            print(f"sampled, turn {turn + 1} of {TURNS}, {name}", flush=True)
    for name, found in turns.items():
        profile.keep(middle(found), name)
    profile.keep_spent({name: medians(found) for name, found in spent.items()})
    commits = {name: _git(root, "rev-parse", "--short", "HEAD") for name, root in roots.items()}
    profile.tell({**commits, "when": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "turns": str(TURNS)})
    REPORT.write_text(with_profiles(REPORT.read_text(encoding="utf-8"), profile.section()), encoding="utf-8")
    print(f"written: {REPORT}")
    return 0


def _measured(root: Path, *option: str) -> Profile:
    """One turn of a checkout. A sampled one that fails is made again, and says so: asking for the CPU of a thread that
    ends in that very moment may take the process that is watched with it."""
    argv = [sys.executable, str(ROOT / "bench" / "spent.py"), *option]
    environment = os.environ | {"PYTHONPATH": str(root)}
    for left in reversed(range(TRIES if option else 1)):
        ended = subprocess.run(argv, cwd=root, env=environment, capture_output=True, text=True, check=False)
        if not ended.returncode:
            found: Profile = json.loads(ended.stdout.splitlines()[-1])
            return found
        print(f"bench.paired: a turn of {root.name} failed, {left} more to try", file=sys.stderr)
    raise SystemExit(f"bench.paired: no figures of {root}: {ended.stderr[-2000:]}")


def middle(turns: list[Profile]) -> Profile:
    """Per figure the whole turn whose sum is the median: functions of different turns do not add up."""
    return {what: sorted((turn[what] for turn in turns), key=profile.total)[len(turns) // 2] for what in turns[0]}


def medians(turns: list[Profile]) -> Profile:
    """Of every number by itself."""
    return {
        what: {name: statistics.median(turn[what][name] for turn in turns) for name in turns[0][what]}
        for what in turns[0]
    }


def _shown(found: Profile) -> str:
    return ", ".join(f"{what} {one['rate']:,.0f} a second" for what, one in found.items())


def _git(root: Path, *argv: str) -> str:
    return subprocess.run(["git", *argv], cwd=root, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
