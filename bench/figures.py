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

PAGE = """# Benchmarks

Written by `make bench`; do not edit. Every ratio compares two things that took turns on the same machine in the same
run; figures are medians of these turns. `python -m bench --only NAME` repeats one, `--quick` is a short look.

| Machine | |
|---|---|
{machine}

| Figure | Bar | Measured | |
|---|---|---|---|
{figures}

How each is measured stands in the first lines of `bench/NAME.py`.
"""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured. ``repeats``: turns of what alternates; ``scale``: share of the full number of records."""

    repeats: int = 3
    scale: float = 1.0

    def of(self, full: int) -> int:
        return max(20, int(full * self.scale))


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. ``also``: what explains the figure and has no bar of its own."""

    name: str
    bar: str
    measured: str
    ok: bool
    also: str = ""


def at_most(name: str, value: float, bar: float, unit: str = "", also: str = "") -> Figure:
    """A figure that may not be larger than its bar."""
    return Figure(name, f"<= {bar:g}{unit}", f"{value:.3g}{unit}", value <= bar, also)


def ratio(name: str, mine: Sequence[float], base: Sequence[float], bar: float, unit: str, more: str = "") -> Figure:
    """The median of the ratios of turns that followed each other."""
    value = statistics.median(one / other for one, other in zip(mine, base, strict=True))
    also = f"{statistics.median(mine):,.0f} {unit} against {statistics.median(base):,.0f}"
    also = f"{also}; {more}" if more else also
    return Figure(name, f">= {bar:g}", f"{value:.2f}", value >= bar, also)


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
    verdict = "ok    " if figure.ok else "MISSED"
    print(f"{verdict} {figure.name}: {figure.measured} (bar {figure.bar}) {figure.also}".rstrip(), flush=True)


def page(facts: Sequence[tuple[str, str]], figures: Sequence[Figure]) -> str:
    """docs/benchmarks.md."""
    return PAGE.format(
        machine="\n".join(f"| {name} | {value} |" for name, value in facts),
        figures="\n".join(f"| {f.name} | {f.bar} | {_cell(f)} | {'ok' if f.ok else '**missed**'} |" for f in figures),
    )


def _cell(figure: Figure) -> str:
    return f"{figure.measured} ({figure.also})" if figure.also else figure.measured


def until(condition: Callable[[], bool], seconds: float, what: str, pause: float = 0.02) -> None:
    """Wait until it comes true. Raises ``TimeoutError`` that says what did not."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {seconds:.0f} s: {what}")
        time.sleep(pause)
