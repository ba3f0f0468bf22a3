"""One run from start to verdict."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path

from faults import plan as plans
from faults import schedule
from faults.controls import CONTROLS
from faults.judge import Observed, judge
from faults.plan import Fault
from faults.play import Player
from faults.proxy import proxies
from faults.report import Run
from faults.site import site
from faults.story import Customer
from support.postgres import DURABLE, PostgresServer, running

AHEAD_SECONDS = 90.0


def once(
    seed: int,
    size: plans.Size,
    *,
    postgres: bool = False,
    control: str = "",
    columns: bool = True,
    say: Callable[[str], None] = lambda _: None,
    keep: Path | None = None,
) -> Run:
    """Play the plan of ``seed`` and judge it. ``control``: what is taken out of the product, or ``BASELINE``.

    ``keep``: a folder for the logs and ledgers of this run.
    """
    began = time.monotonic()
    plan = schedule.make(seed, size, postgres=postgres)

    def tell(line: str) -> None:
        say(f"{time.monotonic() - began:5.0f} s  {line}")

    database = "PostgreSQL" if postgres else "SQLite"
    with contextlib.ExitStack() as stack:
        server: PostgresServer | None = None
        if postgres:
            server = stack.enter_context(running(DURABLE))
        gates = stack.enter_context(proxies())
        ahead = AHEAD_SECONDS if postgres else 0.0
        orders = any(fault.name in ("halt worker", "end creating") for fault in plan.faults)
        made = stack.enter_context(
            site(
                gates,
                server=server,
                control=control if control in CONTROLS else "",
                columns=columns,
                ahead=ahead,
                feeds=size.feeds,
                orders=orders,
            )
        )
        try:
            seen = Player(made, plan, tell).run()
        finally:
            if keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                for log in made.folder.glob("*.log"):
                    (keep / log.name).write_bytes(log.read_bytes())
                if made.db.is_sqlite:
                    with contextlib.suppress(OSError):
                        (keep / "sync.db").write_bytes(Path(str(made.db.url.database)).read_bytes())
        if keep is not None:
            told = {f.name: getattr(seen, f.name) for f in fields(seen) if f.name not in ("plan", "start", "done")}
            told |= {"start": [[*key, value] for key, value in seen.start.items()]}
            told |= {"done": [asdict(fault) for fault in seen.done], "seed": seed}
            (keep / "seen.json").write_text(json.dumps(told), encoding="utf-8")
    out = CONTROLS.get(control)
    breaks, holds = (out.breaks, out.holds) if out is not None else (frozenset[str](), frozenset[str]())
    return Run(database, seed, control, time.monotonic() - began, judge(seen), breaks, holds, _played())


def judged_again(run: Run, size: plans.Size, keep: Path) -> Run:
    """A kept run of the product, by the judge of today."""
    told = json.loads((keep / "seen.json").read_text(encoding="utf-8"))
    known = {f.name: told[f.name] for f in fields(Observed) if f.name in told}
    known["plan"] = schedule.make(told["seed"], size, postgres=run.database == "PostgreSQL")
    known["customers"] = [Customer(*one) for one in told["customers"]]
    known["start"] = {(number, name): value for number, name, value in told["start"]}
    known["done"] = [Fault(**one) for one in told["done"]]
    return replace(run, judgement=judge(Observed(**known)))


def _played() -> str:
    """When, and of which commit, with a ``+`` where files differ from it."""
    told = [time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):  # no git, or no repository
        told.append(
            _git("rev-parse", "--short", "HEAD") + ("+" if _git("status", "--porcelain", "--", ":/", ":!/docs") else "")
        )
    return ", ".join(told)


def _git(*argv: str) -> str:
    ended = subprocess.run(["git", *argv], cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    return ended.stdout.strip()
