"""A run as a table, as JSON, and as the figures of docs/reliability.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from faults.controls import BASELINE, CONTROLS
from faults.judge import Judgement, Verdict

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
DOUBLED, LOST = "customers created twice", "lost edits"
BEGIN, END = "<!-- figures: written by make faults -->\n", "<!-- end of figures -->\n"


@dataclass(frozen=True)
class Run:
    """One judged run. ``control``: what was taken out of the product, and one of the invariants in ``breaks`` must be
    seen to break, and none in ``holds``; empty, or ``BASELINE`` on the controls' plan: the product as it is, and all
    must hold."""

    database: str
    seed: int
    control: str
    seconds: float
    judgement: Judgement
    breaks: frozenset[str] = frozenset()
    holds: frozenset[str] = frozenset()
    played: str = ""  # when, and what: the commit, if that is known

    @property
    def as_it_should_be(self) -> bool:
        if self.control in ("", BASELINE):
            return self.judgement.ok
        broken = {one.name for one in self.judgement.verdicts if not one.ok}
        return bool(broken & self.breaks) and not broken & self.holds

    @property
    def title(self) -> str:
        return f"{self.database}, seed {self.seed}" + (f", taken out: {self.control}" if self.control else "")

    def as_dict(self) -> dict[str, Any]:
        """As JSON; ``from_dict`` reads it."""
        told = asdict(self) | {"breaks": sorted(self.breaks), "holds": sorted(self.holds), "ok": self.as_it_should_be}
        told["judgement"]["verdicts"] = [asdict(one) | {"ok": one.ok} for one in self.judgement.verdicts]
        return told


def from_dict(told: Mapping[str, Any]) -> Run:
    """A run of an earlier report."""
    verdicts = [Verdict(**{k: v for k, v in one.items() if k != "ok"}) for one in told["judgement"]["verdicts"]]
    judgement = Judgement(verdicts, told["judgement"]["facts"])
    kept = {name: told[name] for name in ("database", "seed", "control", "seconds", "played")}
    return Run(**kept, judgement=judgement, breaks=frozenset(told["breaks"]), holds=frozenset(told["holds"]))


def merged(earlier: Sequence[Run], runs: Sequence[Run]) -> list[Run]:
    """Earlier runs with those of the same title replaced and new ones added; by control, database and seed.

    Those that were judged by other invariants than the new ones are left out: no table can hold both.
    """
    judged_by = {tuple(one.name for one in run.judgement.verdicts) for run in runs}
    kept = [run for run in earlier if tuple(one.name for one in run.judgement.verdicts) in judged_by]
    by_title = {run.title: run for run in (*kept, *runs)}
    order = ["", BASELINE, *CONTROLS]
    return sorted(by_title.values(), key=lambda run: (order.index(run.control), run.database == "PostgreSQL", run.seed))


def table(run: Run) -> str:
    """Every invariant with its count, then what happened."""
    lines = [f"{run.title}: {'all invariants hold' if run.judgement.ok else 'BROKEN'} ({run.seconds:.0f} s)"]
    for one in run.judgement.verdicts:
        mark = "ok    " if one.ok else "BROKEN"
        lines.append(f"  {mark} {one.name}: {_count(one)} (allowed {one.allowed:g}) {one.also}".rstrip())
    lines += [f"         {name}: {_shown(value)}" for name, value in run.judgement.facts.items()]
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {count}" for name, count in sorted(value.items()))
    return str(value)


def figures(facts: Sequence[tuple[str, str]], runs: Sequence[Run]) -> str:
    """The part of the page that a run writes: the machine, then a column per run."""
    plain = [run for run in runs if not run.control]
    lines = ["| Machine | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts), ""]
    if plain:
        lines += [_rate(plain), "", *_columns(plain)]
    controls = [run for run in runs if run.control]
    if controls:
        lines += [
            "",
            "| Taken out of the product | Database, seed | Seconds | What the harness found |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| {run.control} | {run.database}, {run.seed} | {run.seconds:.0f} | {_found(run)} |" for run in controls
        ]
    return "\n".join(lines) + "\n"


def _rate(runs: Sequence[Run]) -> str:
    """What a reader compares with other products."""
    creates, edits = (sum(int(run.judgement.facts[name]) for run in runs) for name in ("creates", "edits"))
    doubled, lost = (
        sum(one.count or 0 for run in runs for one in run.judgement.verdicts if one.name == name)
        for name in (DOUBLED, LOST)
    )
    return (
        f"**Duplicates per 10,000 creates: {_of(doubled, creates)}** ({doubled:g} of {creates:,}). "
        f"**Lost edits per 10,000: {_of(lost, edits)}** ({lost:g} of {edits:,}; what the window of E22 took is counted "
        "apart, below)."
    )


def _of(count: float, all_of_them: int) -> str:
    return f"{10_000 * count / max(all_of_them, 1):g}"


def _columns(runs: Sequence[Run]) -> list[str]:
    heads = [f"{run.database}, seed {run.seed}" for run in runs]
    lines = [f"| Invariant | Allowed | {' | '.join(heads)} |", f"|---|---|{'---|' * len(runs)}"]
    for i, one in enumerate(runs[0].judgement.verdicts):
        cells = [_cell(run.judgement.verdicts[i]) for run in runs]
        lines.append(f"| {one.name} | {one.allowed:g} | {' | '.join(cells)} |")
    for name in runs[0].judgement.facts:
        lines += _fact_lines(name, [run.judgement.facts[name] for run in runs])
    lines.append(f"| *played* | | {' | '.join(run.played for run in runs)} |")
    lines.append(f"| *seconds in all* | | {' | '.join(f'{run.seconds:.0f}' for run in runs)} |")
    return lines


def _fact_lines(name: str, values: Sequence[Any]) -> list[str]:
    """A line, or one for each part of what has several."""
    if not all(isinstance(one, Mapping) for one in values):
        return [f"| *{name}* | | {' | '.join(map(str, values))} |"]
    parts = sorted({part for one in values for part in one})
    return [f"| *{name}: {part}* | | {' | '.join(str(one.get(part, 0)) for one in values)} |" for part in parts]


def _count(one: Verdict) -> str:
    if one.count is None:
        return "not measured"
    return f"{one.count:.1f}" if one.count != int(one.count) else f"{int(one.count)}"


def _cell(one: Verdict) -> str:
    return _count(one) if one.ok else f"**{_count(one)}**"


def _found(run: Run) -> str:
    broken = [one for one in run.judgement.verdicts if not one.ok]
    if run.control == BASELINE:
        return "all invariants hold" if not broken else f"**broken: {_named(broken)}**"
    wrong = [one for one in broken if one.name in run.holds]
    if wrong:
        return f"**broken, too: {_named(wrong)}**"
    meant = [one for one in broken if one.name in run.breaks]
    return _named(meant) if meant else "**nothing: a defect of the harness**"


def _named(broken: Sequence[Verdict]) -> str:
    return "; ".join(f"{one.name}: {_count(one)}" for one in broken)


def write_page(facts: Sequence[tuple[str, str]], runs: Sequence[Run], page: Path = PAGE) -> None:
    """Put the figures between the marks of the page. Raises ``ValueError`` when it has none."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no marks for the figures")
    page.write_text(f"{before}{begin}\n{figures(facts, runs)}\n{end}{after}", encoding="utf-8")
