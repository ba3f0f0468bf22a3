"""A figure with its bar, the machine's facts, and how both are shown."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
REPORT, PICTURE = DOCS / "benchmarks.md", DOCS / "pictures" / "benchmarks.svg"
PAGE = """# Benchmarks

Written by `make bench`; do not edit. What is compared with something else by its speed (engine, sockets,
acknowledgements, imports, peers, growth) took turns with it on the same machine in the same run, and figures are
medians of these turns; for an import it is a client that only calls, and what the vendor's latency allows is a number.
Percentiles are over all calls or edits of one run. Memory, edits during an import, uploads and `verify` were measured
once each. `python -m bench --only NAME` repeats one, `--quick` is a short look.

No-op Dramatiq is one message each, and a message that says "look what is due" may carry a hundred links: the engine can
come near to it, or pass it, though each of its links is read, compared, written and stored.

A **bar** is what must hold: a missed one makes `make bench` fail. A **goal** is stricter and what we aim at: a missed
one is shown as such, here and in the picture, and fails nothing. Figures without either are there to be compared.

![Quotients with bars and goals, peers, growth](pictures/benchmarks.svg)

| Machine | |
|---|---|
{machine}

| Figure | Bar | Goal | Measured | |
|---|---|---|---|---|
{figures}

How each is measured stands in the first lines of `bench/NAME.py`.

{profiles_of}
Written by `python -m bench.paired`; `bench/spent.py` and `bench/sampled.py` say how. Milliseconds of CPU per customer
that is edited (by the import: made), over all processes of a kind. A function "itself" is the innermost one of ours,
with what the libraries it calls spend for it (last column: whose code ran, in the last profile); "with callees" adds
our own functions that it calls. What was renamed or moved between the two stands in two rows, each with nothing on one
side. Sampling makes all of it dearer by some per cent. Less waiting, for a write lock or a call slot, shows in how many
there are a second and not in CPU.

{profiles}
"""
PROFILES = "## CPU per event by function\n"


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured. ``repeats``: turns of what alternates; ``scale``: share of the full number of records."""

    repeats: int = 3
    scale: float = 1.0

    def of(self, full: int) -> int:
        return max(20, int(full * self.scale))


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. ``bar``: what must hold; "" for what is only shown. ``also``: what explains the figure.

    ``goal``: what is aimed at where that is stricter than the bar, and ``reached`` whether it is. ``share``: a quotient
    for the chart, with its bar and goal as numbers. ``growth``: number of links -> cost against the fewest. ``rates``:
    who did how many a second of the same work.
    """

    name: str
    bar: str
    measured: str
    ok: bool = True
    also: str = ""
    goal: str = ""
    reached: bool = True
    share: tuple[float, float | None, float | None] | None = None
    growth: tuple[tuple[int, float], ...] = ()
    rates: tuple[tuple[str, float], ...] = ()

    @property
    def verdict(self) -> str:
        if not self.ok:
            return "**missed**"
        if not self.reached:
            return "ok, goal missed"
        return "ok" if self.bar else ""


def at_most(
    name: str,
    value: float,
    bar: float,
    unit: str = "",
    also: str = "",
    *,
    goal: float | None = None,
    growth: tuple[tuple[int, float], ...] = (),
) -> Figure:
    """A figure that may not be larger than its bar."""
    aim, reached = ("", True) if goal is None else (f"<= {goal:g}{unit}", value <= goal)
    return Figure(name, f"<= {bar:g}{unit}", f"{value:.3g}{unit}", value <= bar, also, aim, reached, growth=growth)


def at_least(name: str, value: float, bar: float, also: str = "", *, goal: float | None = None) -> Figure:
    """A quotient that may not be smaller than its bar."""
    aim, reached = ("", True) if goal is None else (f">= {goal:g}", value >= goal)
    share = (value, bar, goal)
    return Figure(name, f">= {bar:g}", f"{value:.2f}", value >= bar, also, aim, reached, share=share)


def ratio(
    name: str,
    mine: Sequence[float],
    base: Sequence[float],
    bar: float,
    unit: str,
    more: str = "",
    *,
    goal: float | None = None,
) -> Figure:
    """The median of the ratios of turns that followed each other."""
    value = statistics.median(one / other for one, other in zip(mine, base, strict=True))
    also = f"{statistics.median(mine):,.0f} {unit} against {statistics.median(base):,.0f}"
    return at_least(name, value, bar, f"{also}; {more}" if more else also, goal=goal)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that is not exceeded by ``share`` of all."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered) + 0.5) - 1))]


def machine(folder: Path) -> list[tuple[str, str]]:
    """Facts that figures depend on. ``folder``: on the disk that the databases lie on."""
    return [
        ("when", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"),
        ("cores", str(os.cpu_count())),
        ("load at the start", f"{os.getloadavg()[0]:.1f}"),
        ("system", f"{platform.system()} {platform.machine()}"),
        ("python", platform.python_version()),
        ("sqlite", sqlite3.sqlite_version),
        ("fsync p50", f"{_fsync_ms(folder):.2f} ms"),
    ]


def _fsync_ms(folder: Path) -> float:
    file = folder / "fsync"
    took = []
    with file.open("wb", buffering=0) as out:
        for _ in range(100):
            out.write(b"x" * 4096)
            begun = time.perf_counter()
            os.fsync(out.fileno())
            took.append(time.perf_counter() - begun)
    file.unlink()
    return statistics.median(took) * 1000


def say(figure: Figure) -> None:
    """One line as soon as a figure is known."""
    aims = [f"{what} {text}" for what, text in (("bar", figure.bar), ("goal", figure.goal)) if text]
    verdict = "MISSED" if not figure.ok else "goal? " if not figure.reached else "ok    " if figure.bar else "      "
    shown = f" ({', '.join(aims)})" if aims else ""
    print(f"{verdict} {figure.name}: {figure.measured}{shown} {figure.also}".rstrip(), flush=True)


def page(facts: Sequence[tuple[str, str]], figures: Sequence[Figure], profiles: str) -> str:
    """docs/benchmarks.md. ``profiles``: tables of CPU per event."""
    return PAGE.format(
        machine="\n".join(f"| {name} | {value} |" for name, value in facts),
        figures="\n".join(f"| {f.name} | {f.bar} | {f.goal} | {_cell(f)} | {f.verdict} |" for f in figures),
        profiles_of=PROFILES,
        profiles=profiles,
    )


def with_profiles(written: str, profiles: str) -> str:
    """The same page with other profiles, and the figures it has. Raises ``ValueError`` when it has no part for them."""
    head, found, _ = written.partition(PROFILES)
    if not found:
        raise ValueError("the page has no part for profiles: make bench writes one")
    return head + PROFILES + PAGE.partition("{profiles_of}")[2].format(profiles=profiles)


def _cell(figure: Figure) -> str:
    return f"{figure.measured} ({figure.also})" if figure.also else figure.measured


def until(condition: Callable[[], bool], seconds: float, what: str, pause: float = 0.02) -> None:
    """Wait until it comes true. Raises ``TimeoutError`` that says what did not."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {seconds:.0f} s: {what}")
        time.sleep(pause)
