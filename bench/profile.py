"""CPU per event by function, as ``bench/spent.py`` measures it: what is kept, and how it is shown.

``python -m bench --profile NAME`` keeps the result in bench/profiles/NAME.json. docs/benchmarks.md shows ``before`` and
``after``, which ``bench/paired.py`` measures in turns. Sampling makes all of it a few per cent dearer: compare it with
other profiles, not with the clock.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

from bench.spent import VENDORS, WITH_CALLEES, Profile

KEPT = Path(__file__).parent / "profiles"
PAIR = ("before", "after")
TOLD = KEPT / "of.txt"
"""Of which commits the pair is, and when it was measured."""
SPENT = KEPT / "spent.json"
SHOWN = 30  # functions
SMALL = 0.01  # milliseconds: what is less is kept as one sum

Where = tuple[str, str]
"""Process and function."""


def keep(profile: Profile, name: str) -> None:
    """In the repository, to be shown beside others."""
    KEPT.mkdir(exist_ok=True)
    short = {what: _without_small_ones(spent) for what, spent in profile.items()}
    (KEPT / f"{name}.json").write_text(json.dumps(short, indent=1) + "\n", encoding="utf-8")


def _without_small_ones(spent: Mapping[str, float]) -> dict[str, float]:
    """Rounded; a process's small entries, and all of an emulator's, are one."""
    found: Counter[str] = Counter()
    for where, ms in spent.items():
        process, _, package = where.split("|")
        if process not in VENDORS and ms >= SMALL:
            found[where] = ms
        elif package != WITH_CALLEES:
            found[f"{process}|(emulator)|" if process in VENDORS else f"{process}|(small ones)|"] += ms
    return {where: round(ms, 3) for where, ms in sorted(found.items())}


def tell(of: Mapping[str, str]) -> None:
    """Keep what the pair is of: commits by ``before`` and ``after``, ``when`` and how many ``turns``."""
    TOLD.write_text(
        "Before: commit {before}. After: commit {after}. {turns} turns each, one after the other on the same machine, "
        "{when}; of each figure the turn with the median sum is shown.\n".format(**of),
        encoding="utf-8",
    )


def section() -> str:
    """The page's part: what the pair is of, and its tables."""
    pair: dict[str, Profile] = {name: json.loads((KEPT / f"{name}.json").read_text(encoding="utf-8")) for name in PAIR}
    spent: dict[str, Profile] = json.loads(SPENT.read_text(encoding="utf-8"))
    return "\n".join((TOLD.read_text(encoding="utf-8"), *whole(spent), "", tables(pair)))


def keep_spent(spent: Mapping[str, Profile]) -> None:
    """How many a second and CPU in all of the pair, unsampled: by name of the pair, figure, and ``rate`` or process."""
    SPENT.write_text(json.dumps(spent, indent=1) + "\n", encoding="utf-8")


def whole(spent: Mapping[str, Profile]) -> list[str]:
    """A table of them."""
    before, after = (spent[name] for name in PAIR)
    lines = ["| Without sampling | before | after |", "|---|---:|---:|"]
    for what, one in after.items():
        lines.append(f"| {what}: how many a second | {before[what]['rate']:,.0f} | {one['rate']:,.0f} |")
        cpu = [sum(ms for kind, ms in told.items() if kind != "rate") for told in (before[what], one)]
        lines.append(f"| {what}: CPU of each, all but the vendors, ms | {cpu[0]:.2f} | {cpu[1]:.2f} |")
    return lines


def total(spent: Mapping[str, float]) -> float:
    """Milliseconds per event of one figure, without the vendors'."""
    return _Spent(spent).ours()


def tables(profiles: Mapping[str, Profile]) -> str:
    """Markdown: one table per figure, one column per profile."""
    whats = dict.fromkeys(what for profile in profiles.values() for what in profile)
    return "\n\n".join(_table(what, {name: one.get(what, {}) for name, one in profiles.items()}) for what in whats)


def _table(what: str, spent: Mapping[str, Mapping[str, float]]) -> str:
    each = {name: _Spent(one) for name, one in spent.items()}
    last = list(each.values())[-1]
    weight: Counter[Where] = Counter()
    for one in each.values():
        for where in sorted(one.alone.keys() | one.whole.keys()):
            weight[where] = max(weight[where], one.alone[where], one.whole[where] / 4)
    rows = [where for where, _ in weight.most_common(SHOWN)]
    head = " | ".join(f"{name}: itself | with callees" for name in each)
    rule = f"|---|---|{'---:|---:|' * len(each)}---|"
    lines = [f"### {what}", "", f"| Process | Function | {head} | In whose code |", rule]
    lines.append(_row("all but the vendors", "", [(one.ours(), None) for one in each.values()], ""))
    for process in sorted({where[0] for where in weight}):
        lines.append(_row(process, "all", [(one.of(process), None) for one in each.values()], ""))
    for where in sorted(rows, key=lambda where: -max(last.alone[where], last.whole[where] / 4)):
        if where[0] not in VENDORS:
            values = [(one.alone[where], one.whole[where]) for one in each.values()]
            lines.append(_row(where[0], f"`{where[1]}`", values, last.packages(where)))
    return "\n".join(lines)


def _row(process: str, function: str, values: list[tuple[float, float | None]], packages: str) -> str:
    shown = [f"{alone:.3f} | {'' if whole is None else f'{whole:.3f}'}" for alone, whole in values]
    return f"| {process} | {function} | {' | '.join(shown)} | {packages} |"


class _Spent:
    """Milliseconds per event of one figure. ``alone``: spent by a function itself; ``whole``: with all it calls."""

    def __init__(self, spent: Mapping[str, float]) -> None:
        self.alone: Counter[Where] = Counter()
        self.whole: Counter[Where] = Counter()
        self._packages: dict[Where, Counter[str]] = defaultdict(Counter)
        for key, ms in spent.items():
            process, function, package = key.split("|")
            if package == WITH_CALLEES:
                self.whole[process, function] += ms
            else:
                self.alone[process, function] += ms
                self._packages[process, function][package] += ms

    def of(self, process: str) -> float:
        """A kind of process, whole."""
        return sum(ms for where, ms in self.alone.items() if where[0] == process)

    def ours(self) -> float:
        """All but the emulators."""
        return sum(ms for where, ms in self.alone.items() if where[0] not in VENDORS)

    def packages(self, where: Where) -> str:
        """Whose code ran for a function itself, the three that took most."""
        found = self._packages.get(where, Counter())
        shown = [(name, ms / found.total()) for name, ms in found.most_common(3) if name and found.total()]
        return ", ".join(f"{name} {share:.0%}" for name, share in shown if share >= 0.01)
