"""``python -m bench [--only NAME] [--quick] [--profile [NAME]]``: exit code 1 when a bar is missed.

Only a whole run writes docs/benchmarks.md and its picture. One run at a time: they share a folder.
"""

from __future__ import annotations

import argparse
import fcntl
import signal
import sys
import time
from collections.abc import Callable, Mapping

from bench import (
    burst,
    calls,
    chart,
    crash,
    engine,
    growth,
    hooks,
    idle,
    imports,
    links,
    peers,
    profile,
    releases,
    rest,
    resync,
    sockets,
    spent,
    verify,
)
from bench.figures import PICTURE, REPORT, Figure, Size, machine, page, say
from bench.rig import FOLDER
from bench.stopping import until_ctrl_c
from sync_worker import logs

BENCHMARKS: Mapping[str, Callable[[Size], list[Figure]]] = {
    "calls": calls.measure,
    "idle": idle.measure,
    "burst": burst.measure,
    "engine": engine.measure,
    "sockets": sockets.measure,
    "peers": peers.measure,
    "hooks": hooks.measure,
    "releases": releases.measure,
    "rest": rest.measure,
    "resync": resync.measure,
    "crash": crash.measure,
    "links": links.measure,
    "imports": imports.measure,
    "verify": verify.measure,
    "growth": growth.measure,
}


def main() -> int:
    """Measure; print each figure as soon as it is known."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="The figures this product has to reach.")
    parser.add_argument("--only", choices=sorted(BENCHMARKS), help="one benchmark; the report is left as it is")
    parser.add_argument("--quick", action="store_true", help="fewer records, one turn; the report is left as it is")
    parser.add_argument(
        "--profile",
        nargs="?",
        const="",
        metavar="NAME",
        help="instead: CPU per event by function; with a name it is kept (bench/paired.py compares two commits)",
    )
    given = parser.parse_args()
    logs.configure("warning")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what was started is ended, folders go
    size = Size(repeats=1, scale=0.25) if given.quick else Size()
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"bench: another run is using {FOLDER}", file=sys.stderr)
            return 2
        if given.profile is not None:
            _profile(size, given.profile)
            return 0
        return _figures(size, given.only, report=not given.only and not given.quick)


def _figures(size: Size, only: str | None, *, report: bool) -> int:
    facts = machine(FOLDER)
    for name, value in facts:
        print(f"{name}: {value}")
    figures = []
    for name in [only] if only else BENCHMARKS:
        begun = time.monotonic()
        for figure in BENCHMARKS[name](size):
            say(figure)
            figures.append(figure)
        print(f"       {name}: {time.monotonic() - begun:.0f} s", flush=True)
    if report:
        REPORT.write_text(page(facts, figures, profile.section()), encoding="utf-8")
        PICTURE.write_text(chart.draw(figures), encoding="utf-8")
        print(f"written: {REPORT}, {PICTURE}")
    bars = [figure for figure in figures if figure.bar]
    goals = [figure for figure in figures if figure.goal]
    reached = sum(figure.ok for figure in bars)
    print(f"{reached} of {len(bars)} bars reached, {sum(figure.reached for figure in goals)} of {len(goals)} goals")
    return 0 if reached == len(bars) else 1


def _profile(size: Size, name: str) -> None:
    found = spent.by_function(size)
    print(profile.tables({name or "now": found}))
    if name:
        profile.keep(found, name)


if __name__ == "__main__":
    sys.exit(until_ctrl_c(main, "the report"))
