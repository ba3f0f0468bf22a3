"""The benchmark's report: what a missed bar and a missed goal mean, and a picture that any viewer can draw."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from bench import chart, paired, profile
from bench.figures import Figure, at_least, at_most, page, ratio, with_profiles

SVG = "{http://www.w3.org/2000/svg}"


def figures() -> list[Figure]:
    growth = ((10_000, 1.0), (100_000, 1.1), (1_000_000, 1.2))
    return [
        ratio("engine, against no-op Dramatiq", [300.0], [1000.0], 0.25, "links/s", goal=0.4),
        at_least("import <of many> & more", 0.5, 0.9, goal=0.95),
        at_most("growth: time per sync, 1,000,000 links against 10,000", 1.2, 1.3, growth=growth),
        Figure("peers: there: engine against a plain loop", "", "2", rates=(("a", 2.0), ("b", 1.0))),
    ]


def picture() -> ElementTree.Element:
    return ElementTree.fromstring(chart.draw(figures()))  # noqa: S314  # our own


def test_a_figure_between_its_bar_and_its_goal_holds_and_says_what_it_misses() -> None:
    between, below, _, shown = figures()
    assert (between.ok, between.reached, between.verdict) == (True, False, "ok, goal missed")
    assert (below.ok, below.verdict) == (False, "**missed**")
    assert (shown.ok, shown.bar, shown.verdict) == (True, "", "")


def test_the_page_shows_bar_and_goal_side_by_side_and_the_picture() -> None:
    text = page([("cores", "2")], figures(), "no profile")
    assert (
        "| engine, against no-op Dramatiq | >= 0.25 | >= 0.4 | 0.30 (300 links/s against 1,000) | ok, goal missed |"
        in text
    )
    assert "(pictures/benchmarks.svg)" in text


def test_the_picture_is_well_formed_and_has_every_quotient_peer_and_curve() -> None:
    root = picture()
    texts = [one.text for one in root.iter(f"{SVG}text")]
    assert {"0.30", "0.50", "sync: 1.20", "import <of many> & more", "1,000,000"} <= set(texts)
    assert len(list(root.iter(f"{SVG}polyline"))) == 1
    style = next(root.iter(f"{SVG}style")).text or ""
    assert "prefers-color-scheme: dark" in style


def test_nothing_in_the_picture_leaves_its_frame() -> None:
    root = picture()
    _, _, width, height = (float(part) for part in root.attrib["viewBox"].split())
    for one in root.iter(f"{SVG}rect"):
        assert 0 <= float(one.attrib.get("x", 0)) + float(one.attrib["width"]) <= width
    for one in root.iter(f"{SVG}text"):
        assert 0 < float(one.attrib["x"]) <= width
        assert 0 < float(one.attrib["y"]) < height


def test_profiles_stand_side_by_side_with_what_is_gone_and_what_is_new() -> None:
    before = {"engine": {"worker|a.py: slow|sqlalchemy": 0.5, "worker|a.py: slow|+": 0.6, "erp|x.py: y|python": 9.0}}
    now = {"engine": {"worker|a.py: quick|python": 0.2, "worker|a.py: quick|+": 0.2}}
    text = profile.tables({"before": before, "now": now})
    assert "| all but the vendors |  | 0.500 |  | 0.200 |  |  |" in text
    assert "| worker | `a.py: slow` | 0.500 | 0.600 | 0.000 | 0.000 |  |" in text
    assert "| worker | `a.py: quick` | 0.000 | 0.000 | 0.200 | 0.200 | python 100% |" in text
    assert "`x.py: y`" not in text


def test_of_several_turns_the_whole_turn_in_the_middle_is_kept_for_each_figure() -> None:
    slow, quick, odd = (
        {
            "engine": {"worker|a|python": ms, "erp|(emulator)|": 9.0 - ms, "worker|a|+": 7.0},
            "sockets": {"web|b|x": other},
        }
        for ms, other in ((3.0, 1.0), (1.0, 2.0), (2.0, 3.0))
    )
    assert paired.middle([slow, quick, odd]) == {"engine": odd["engine"], "sockets": quick["sockets"]}


def test_other_profiles_leave_the_page_its_figures() -> None:
    written = page([("cores", "2")], figures(), "of old\n")
    assert with_profiles(written, "of new\n") == page([("cores", "2")], figures(), "of new\n")
    with pytest.raises(ValueError, match="no part for profiles"):
        with_profiles("# A page\n", "of new\n")


def test_what_was_measured_without_sampling_stands_first_as_medians_and_sums() -> None:
    turns = [
        {"engine": {"rate": rate, "worker": ms, "web": 0.25}} for rate, ms in ((900, 1.0), (1100, 0.5), (1000, 9.0))
    ]
    middle = paired.medians(turns)
    assert middle == {"engine": {"rate": 1000, "worker": 1.0, "web": 0.25}}
    assert profile.whole({"before": middle, "after": {"engine": {"rate": 2000.4, "worker": 0.5, "web": 0.25}}})[2:] == [
        "| engine: how many a second | 1,000 | 2,000 |",
        "| engine: CPU of each, all but the vendors, ms | 1.25 | 0.75 |",
    ]
