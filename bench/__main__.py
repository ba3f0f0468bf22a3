"""``python -m bench [--only NAME] [--quick]``: exit code 1 when a bar is missed.

Only a whole run writes docs/benchmarks.md. One run at a time: they share a folder.
"""

from __future__ import annotations

import argparse
import fcntl
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from bench import burst, calls, engine, hooks, idle, imports, links, releases, rest, sockets, verify
from bench.figures import Figure, Size, machine, page, say
from bench.rig import FOLDER
from sync_worker import logs

REPORT = Path(__file__).parents[1] / "docs" / "benchmarks.md"
BENCHMARKS: Mapping[str, Callable[[Size], list[Figure]]] = {
    "calls": calls.measure,
    "idle": idle.measure,
    "burst": burst.measure,
    "engine": engine.measure,
    "sockets": sockets.measure,
    "hooks": hooks.measure,
    "releases": releases.measure,
    "rest": rest.measure,
    "links": links.measure,
    "imports": imports.measure,
    "verify": verify.measure,
}


def main() -> int:
    """Measure; print each figure as soon as it is known."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="The figures this product has to reach.")
    parser.add_argument("--only", choices=sorted(BENCHMARKS), help="one benchmark; the report is left as it is")
    parser.add_argument("--quick", action="store_true", help="fewer records, one turn; the report is left as it is")
    given = parser.parse_args()
    logs.configure("warning")
    size = Size(repeats=1, scale=0.25) if given.quick else Size()
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"bench: another run is using {FOLDER}", file=sys.stderr)
            return 2
        facts = machine(FOLDER)
        for name, value in facts:
            print(f"{name}: {value}")
        figures = []
        for name in [given.only] if given.only else BENCHMARKS:
            for figure in BENCHMARKS[name](size):
                say(figure)
                figures.append(figure)
    if not given.only and not given.quick:
        REPORT.write_text(page(facts, figures), encoding="utf-8")
        print(f"written: {REPORT}")
    missed = [figure.name for figure in figures if not figure.ok]
    print(f"{len(figures) - len(missed)} of {len(figures)} bars reached")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
