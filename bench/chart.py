"""The figures as a picture: quotients with their bars and goals, peers, and growth. SVG, by hand, light and dark."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from html import escape

from bench.figures import Figure

WIDTH, MARGIN, LABELS = 860, 24, 430
LINE, TITLE, GAP = 22, 34, 18
PLOT = 200  # height of the growth panel
_STYLE = """
  .paper { fill: #ffffff; } .ink { fill: #1f2328; } .soft { fill: #59636e; } .rule { stroke: #d1d9e0; }
  .a { fill: #2f6fb5; } .b { fill: #b9860b; } .bad { fill: #c0392b; } .line { fill: none; stroke-width: 2; }
  .bar { stroke: #1f2328; stroke-width: 2; } .goal { stroke: #1f2328; stroke-width: 2; stroke-dasharray: 3 3; }
  .s0 { stroke: #2f6fb5; } .s1 { stroke: #b9860b; } .s2 { stroke: #6a8f3c; }
  .f0 { fill: #2f6fb5; } .f1 { fill: #b9860b; } .f2 { fill: #6a8f3c; }
  text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
  .title { font-weight: 600; font-size: 15px; } .small { font-size: 12px; }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117; } .ink { fill: #e6edf3; } .soft { fill: #9da7b1; } .rule { stroke: #3d444d; }
    .a { fill: #5a9be0; } .b { fill: #d9a62e; } .bad { fill: #f0705f; }
    .bar, .goal { stroke: #e6edf3; }
    .s0 { stroke: #5a9be0; } .s1 { stroke: #d9a62e; } .s2 { stroke: #93bf5f; }
    .f0 { fill: #5a9be0; } .f1 { fill: #d9a62e; } .f2 { fill: #93bf5f; }
  }
"""


def draw(figures: Sequence[Figure]) -> str:
    """All panels that the figures have something for."""
    parts: list[str] = []
    y = float(MARGIN)
    for panel in (_shares, _peers, _growth):
        drawn, height = panel(figures, y)
        parts += drawn
        y += height + GAP if height else 0
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y:.0f}" role="img"'
    name = ' aria-label="Benchmarks: quotients against their bars, peers, growth">'
    paper = f'<rect class="paper" width="{WIDTH}" height="{y:.0f}" rx="8"/>'
    return "\n".join([head + name, f"<style>{_STYLE}</style>", paper, *parts, "</svg>", ""])


def _text(x: float, y: float, text: str, kind: str = "ink", anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _beam(x: float, y: float, width: float, kind: str) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y - 12:.1f}" width="{max(width, 1):.1f}" height="14" rx="2"/>'


def _tick(x: float, y: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 15:.1f}" y2="{y + 5:.1f}"/>'


def _title(y: float, title: str, note: str) -> list[str]:
    return [
        _text(MARGIN, y + 14, title, "ink title"),
        _text(WIDTH - MARGIN, y + 14, note, "soft small", "end"),
    ]


def _shares(figures: Sequence[Figure], top: float) -> tuple[list[str], float]:
    """One beam per quotient, 1 being what it is compared with."""
    chosen = [(one, one.share) for one in figures if one.share is not None]
    if not chosen:
        return [], 0
    parts = _title(top, "Against what does only the bare part of the work", "line: bar; dashes: goal; full width: 1")
    scale = WIDTH - MARGIN - LABELS - 44
    y = top + TITLE
    for one, (value, bar, goal) in chosen:
        y += LINE
        parts.append(_text(MARGIN, y, _short(one.name)))
        parts.append(_beam(LABELS, y, min(value, 1.0) * scale, "a" if one.ok else "bad"))
        marks = [("bar", bar), ("goal", goal)]
        parts += [_tick(LABELS + mark * scale, y, kind) for kind, mark in marks if mark is not None]
        parts.append(_text(WIDTH - MARGIN, y, f"{value:.2f}", "ink", "end"))
    parts.append(f'<line class="rule" x1="{LABELS}" x2="{LABELS}" y1="{top + TITLE}" y2="{y + 8:.1f}"/>')
    return parts, y + 8 - top


def _short(name: str) -> str:
    """A figure's name without what it is compared with."""
    return re.split(",? against ", name)[0].replace(", from the first edit on", "")


def _peers(figures: Sequence[Figure], top: float) -> tuple[list[str], float]:
    """Who did how many a second, in groups; the longest of a group is as wide as the panel."""
    chosen = [one for one in figures if one.rates]
    if not chosen:
        return [], 0
    parts = _title(top, "Peers on the same work", "a second; each group has a scale of its own")
    y = top + TITLE
    scale = WIDTH - MARGIN - LABELS - 60
    for one in chosen:
        best = max(rate for _, rate in one.rates)
        about = one.name.removeprefix("peers: ").partition(": engine")[0].partition(", Celery")[0]
        about = about.replace("vendors answering", "vendors")
        for number, (who, rate) in enumerate(one.rates):
            y += LINE
            if number == 0:
                parts.append(_text(MARGIN, y, about))
            parts.append(_text(LABELS - 8, y, who, "soft small", "end"))
            parts.append(_beam(LABELS, y, rate / best * scale, "ab"[number % 2]))
            parts.append(_text(WIDTH - MARGIN, y, f"{rate:,.0f}", "ink", "end"))
        y += 8
    return parts, y - top


def _growth(figures: Sequence[Figure], top: float) -> tuple[list[str], float]:
    """Cost against the fewest links, over their number (logarithmic)."""
    chosen = [one for one in figures if one.growth]
    if not chosen:
        return [], 0
    parts = _title(top, "Growth: time per piece of work, the fewest links being 1", "line: bar")
    left, right, low, high = MARGIN + 40.0, float(LABELS + 160), top + TITLE + PLOT, top + TITLE
    counts = [count for count, _ in chosen[0].growth]
    most = max(1.5, *(value for one in chosen for _, value in one.growth)) * 1.05

    def x_of(count: int) -> float:
        return left + (right - left) * math.log(count / counts[0]) / math.log(counts[-1] / counts[0])

    def y_of(value: float) -> float:
        return low - (low - high) * value / most

    for value in (0.0, 0.5, 1.0):
        parts.append(f'<line class="rule" x1="{left}" x2="{right}" y1="{y_of(value):.1f}" y2="{y_of(value):.1f}"/>')
        parts.append(_text(left - 8, y_of(value) + 4, f"{value:g}", "soft small", "end"))
    bar = float(chosen[0].bar.removeprefix("<= "))
    parts.append(f'<line class="bar" x1="{left}" x2="{right}" y1="{y_of(bar):.1f}" y2="{y_of(bar):.1f}"/>')
    parts.append(_text(left - 8, y_of(bar) + 4, f"{bar:g}", "ink small", "end"))
    parts += [_text(x_of(count), low + 18, f"{count:,}", "soft small", "middle") for count in counts]
    for number, one in enumerate(chosen):
        points = " ".join(f"{x_of(count):.1f},{y_of(value):.1f}" for count, value in one.growth)
        parts.append(f'<polyline class="line s{number % 3}" points="{points}"/>')
        dots = [(x_of(count), y_of(value)) for count, value in one.growth]
        parts += [f'<circle class="f{number % 3}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in dots]
        y = high + 20 + number * LINE
        parts.append(
            f'<rect class="f{number % 3}" x="{right + 40:.1f}" y="{y - 10:.1f}" width="12" height="12" rx="2"/>'
        )
        about = one.name.removeprefix("growth: time per ").partition(",")[0]
        parts.append(_text(right + 58, y, f"{about}: {one.growth[-1][1]:.2f}"))
    return parts, TITLE + PLOT + 24
