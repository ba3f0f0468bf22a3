"""``python -m faults [--seed N] [--seeds N] [--postgres] [--controls] [--short]``; exit code 1: not as it should be.

Run it through ``make faults``, which sets the path. Only whole runs of the full size write docs/reliability.md.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
from pathlib import Path

from bench.figures import machine
from bench.stopping import until_ctrl_c
from faults import plan as plans
from faults import report
from faults.controls import BASELINE, CONTROLS
from faults.run import judged_again, once
from sync_worker import logs

FOLDER = Path("var") / "faults"
OF_A_MOMENT = ("when", "load at the start")
"""Facts of the machine that say nothing where the page keeps earlier runs."""


def main() -> int:
    """Run, print each table as soon as it is known, and write the report."""
    given = _arguments()
    logs.configure("warning")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what was started is ended, folders go
    FOLDER.mkdir(parents=True, exist_ok=True)
    first = given.seed if given.seed is not None else random.SystemRandom().randrange(1, 1_000_000)
    size = plans.SHORT if given.short else plans.FULL
    facts = [fact for fact in machine(FOLDER) if fact[0] not in OF_A_MOMENT]
    kept = FOLDER / "report.json"
    if given.page or given.judge:
        runs = _earlier(kept)
        if given.judge:
            runs = [
                one if one.control else judged_again(one, plans.FULL, _folder(one.database, one.seed, ""))
                for one in runs
            ]
            kept.write_text(json.dumps([one.as_dict() for one in runs], indent=1), encoding="utf-8")
        report.write_page(facts, runs)
        return 1 if any(not one.as_it_should_be for one in runs) else 0
    runs: list[report.Run] = []
    for postgres in (False, True) if given.both else (given.postgres,):
        wanted = [(seed, "") for seed in range(first, first + given.seeds)] if not given.control else []
        names = [given.control] if given.control else [BASELINE, *CONTROLS] if given.controls else []
        for seed, control in wanted + [(first, name) for name in names]:
            runs.append(_play(seed, size, control, postgres=postgres, names_only=given.names_only))
    played = runs
    if given.more and kept.exists():
        runs = report.merged(_earlier(kept), runs)
    if not given.short and not given.names_only and (given.more or not given.control):
        kept.write_text(json.dumps([one.as_dict() for one in runs], indent=1), encoding="utf-8")
        report.write_page(facts, runs)
    bad = [one.title for one in played if not one.as_it_should_be]
    print(
        f"{len(played) - len(bad)} of {len(played)} runs as they should be" + "".join(f"\n  not: {one}" for one in bad)
    )
    return 1 if bad else 0


def _earlier(kept: Path) -> list[report.Run]:
    return [report.from_dict(one) for one in json.loads(kept.read_text(encoding="utf-8"))]


def _folder(database: str, seed: int, control: str) -> Path:
    """Where logs and ledgers of a run stay."""
    return FOLDER / f"{database}-{seed}-{control or 'product'}".replace(" ", "-").replace("'", "")


def _play(seed: int, size: plans.Size, control: str, *, postgres: bool, names_only: bool) -> report.Run:
    """One run, told line by line. Controls are played on their own plan, by names only: key columns heal too much."""
    database = "PostgreSQL" if postgres else "SQLite"
    print(", ".join(filter(None, (f"seed {seed}", database, control))), flush=True)
    size = CONTROLS[control].size if control in CONTROLS else plans.CONTROL if control else size
    columns = not control and not names_only
    keep = _folder(database, seed, control)
    one = once(seed, size, postgres=postgres, control=control, columns=columns, say=_say, keep=keep)
    print(report.table(one), flush=True)
    return one


def _say(line: str) -> None:
    print(f"  {line}", flush=True)


def _how_many(given: str) -> int:
    """None would be none that failed, and a page of nothing."""
    if not given.isdecimal() or int(given) < 1:
        raise argparse.ArgumentTypeError("must be a number, 1 or more")
    return int(given)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m faults", description="Real processes, hurt by a seeded plan.")
    parser.add_argument("--seed", type=int, help="the first seed (drawn and printed without it)")
    parser.add_argument("--seeds", type=_how_many, default=1, help="so many seeds, one after the other")
    databases = parser.add_mutually_exclusive_group()
    databases.add_argument("--postgres", action="store_true", help="on PostgreSQL instead of SQLite")
    databases.add_argument("--both", action="store_true", help="on SQLite, then on PostgreSQL")
    parser.add_argument(
        "--controls",
        action="store_true",
        help="also the controls' plan as it is, and every negative control, which must fail",
    )
    parser.add_argument("--control", choices=[BASELINE, *CONTROLS], help="this negative control only")
    parser.add_argument("--names-only", action="store_true", help="without columns for the ERP's keys in the CRM")
    parser.add_argument("--more", action="store_true", help="added to the runs that the page tells of, not instead")
    parser.add_argument("--short", action="store_true", help="the short form; the page is left as it is")
    parser.add_argument("--judge", action="store_true", help="the same, once they are judged anew from their ledgers")
    parser.add_argument("--page", action="store_true", help="play nothing: write the page from the runs that are kept")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(until_ctrl_c(main, "the page"))
