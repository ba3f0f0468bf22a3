"""A run as a table, as JSON, and as the figures of docs/reliability.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from faults.judge import Judgement

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- figures: written by make faults -->\n", "<!-- end of figures -->\n"


@dataclass(frozen=True)
class Run:
    """One judged run. ``control``: what was taken out of the product, empty for the product as it is; then one of the
    invariants in ``breaks`` must be seen to break."""

    database: str
    seed: int
    control: str
    seconds: float
    judgement: Judgement
    breaks: frozenset[str] = frozenset()

    @property
    def as_it_should_be(self) -> bool:
        if not self.control:
            return self.judgement.ok
        return any(one.name in self.breaks and not one.ok for one in self.judgement.verdicts)

    @property
    def title(self) -> str:
        return f"{self.database}, seed {self.seed}" + (f", control: {self.control}" if self.control else "")

    def as_dict(self) -> dict[str, Any]:
        judged = {
            "ok": self.judgement.ok,
            "facts": self.judgement.facts,
            "verdicts": [asdict(verdict) | {"ok": verdict.ok} for verdict in self.judgement.verdicts],
        }
        return {"database": self.database, "seed": self.seed, "control": self.control, "seconds": self.seconds} | judged


def table(run: Run) -> str:
    """Every invariant with its count, then what happened."""
    lines = [f"{run.title}: {'all invariants hold' if run.judgement.ok else 'BROKEN'} ({run.seconds:.0f} s)"]
    for one in run.judgement.verdicts:
        mark = "ok    " if one.ok else "BROKEN"
        lines.append(f"  {mark} {one.name}: {one.count:g} (allowed {one.allowed:g}) {one.also}".rstrip())
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
        lines += _columns(plain)
    controls = [run for run in runs if run.control]
    if controls:
        lines += ["", "| Taken out of the product | Database | What the harness found |", "|---|---|---|"]
        lines += [f"| {run.control} | {run.database} | {_broken(run)} |" for run in controls]
    return "\n".join(lines) + "\n"


def _columns(runs: Sequence[Run]) -> list[str]:
    heads = [f"{run.database}, seed {run.seed}" for run in runs]
    lines = [f"| Invariant | Allowed | {' | '.join(heads)} |", f"|---|---|{'---|' * len(runs)}"]
    for i, one in enumerate(runs[0].judgement.verdicts):
        cells = [_cell(run.judgement.verdicts[i].count, ok=run.judgement.verdicts[i].ok) for run in runs]
        lines.append(f"| {one.name} | {one.allowed:g} | {' | '.join(cells)} |")
    for name in runs[0].judgement.facts:
        lines.append(f"| *{name}* | | {' | '.join(_shown(run.judgement.facts[name]) for run in runs)} |")
    lines.append(f"| *seconds in all* | | {' | '.join(f'{run.seconds:.0f}' for run in runs)} |")
    return lines


def _cell(count: float, *, ok: bool) -> str:
    shown = f"{count:.1f}" if count != int(count) else f"{int(count)}"
    return shown if ok else f"**{shown}**"


def _broken(run: Run) -> str:
    broken = [f"{one.name}: {one.count:g}" for one in run.judgement.verdicts if not one.ok and one.name in run.breaks]
    return "; ".join(broken) if broken else "**nothing: a defect of the harness**"


def write_page(facts: Sequence[tuple[str, str]], runs: Sequence[Run], page: Path = PAGE) -> None:
    """Put the figures between the marks of the page. Raises ``ValueError`` when it has none."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no marks for the figures")
    page.write_text(f"{before}{begin}\n{figures(facts, runs)}\n{end}{after}", encoding="utf-8")
