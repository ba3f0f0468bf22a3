"""The written side stays true to the code: links lead somewhere, and no cause, command or figure is left out."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from sync_worker import metrics, reports
from sync_worker.causes import CAUSES
from sync_worker.cli import app
from sync_worker.config.values import Section

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "docs/benchmarks.md"  # made by `make bench`, so it may be absent
PAGES = sorted({ROOT / "README.md", *(ROOT / "docs").rglob("*.md")} - {BENCHMARKS})
RULES = ROOT / "docs/explanation/engine-rules.md"
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub makes anchors of them."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def dead_links(page: Path) -> Iterator[str]:
    for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        if not found.exists() or (anchor and anchor not in anchors(found)):
            yield target


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_relative_link_of_a_page_leads_somewhere(page: Path) -> None:
    assert list(dead_links(page)) == []


def test_every_page_is_reached_from_the_index() -> None:
    index = ROOT / "docs/README.md"
    shown = {(index.parent / target).resolve() for target in LINK.findall(index.read_text(encoding="utf-8"))}
    assert [named(page) for page in PAGES if page != index and page not in shown] == []


def sections(of: type[Section]) -> Iterator[type[Section]]:
    for one in of.__subclasses__():
        yield one
        yield from sections(one)


def test_every_setting_stands_in_the_reference() -> None:
    text = FENCE.sub("", (ROOT / "docs/reference/configuration.md").read_text(encoding="utf-8"))
    words = {word for code in re.findall(r"`([^`]+)`", text) for word in re.findall(r"\w+", code)}
    known = {
        (one.__name__, field.alias or name) for one in sections(Section) for name, field in one.model_fields.items()
    }
    assert len(known) > 80
    assert [f"{section}.{name}" for section, name in sorted(known) if name not in words] == []


def test_every_cause_stands_in_the_reference_word_for_word() -> None:
    text = (ROOT / "docs/reference/states-and-causes.md").read_text(encoding="utf-8")

    def cell(words: str) -> str:
        return re.sub(r"\{(\w+)\}", lambda m: m[1].upper(), words).replace("|", "\\|")

    rows = [
        f"| {f'`{code}`' if code else '(none)'} | {cell(meaning)} | {cell(step)} |"
        for code, (meaning, step) in CAUSES.items()
    ]
    assert [row for row in rows if row not in text] == []
    documented = re.findall(r"^\| (`\w+`|\(none\)) \| .* \| .* \|$", text, re.MULTILINE)
    known = {f"`{code}`" if code else "(none)" for code in CAUSES}
    pauses_and_statuses = {"`in_step`", "`differs`", "`unavailable`", "`auth_failed`", "`many_unlinked`"}
    assert set(documented) - known - pauses_and_statuses == set()


def test_every_state_is_explained_in_the_readme_and_in_the_reference() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [state for state in reports.STATES if f"| `{state}` |" not in readme] == []
    assert set(reports.STATES) <= anchors(ROOT / "docs/reference/states-and-causes.md")


def flat(commands: dict[str, Any]) -> dict[str, Any]:
    """Commands by what is typed; those of a group as ``group command``."""
    groups = {name: getattr(one, "commands", None) for name, one in commands.items()}
    inner = {f"{g} {name}": one for g, of in groups.items() for name, one in (of or {}).items()}
    return {**{name: one for name, one in commands.items() if not groups[name]}, **inner}


def test_every_command_and_every_option_is_documented() -> None:
    text = (ROOT / "docs/reference/commands.md").read_text(encoding="utf-8")
    sections = {part.partition("`")[0]: part for part in text.split("### `sync-worker ")[1:]}
    commands = flat(get_command(app).commands)  # type: ignore[attr-defined]  # typer's group
    assert sorted(sections) == sorted(commands)
    missing = [
        f"{name} {option}"
        for name, command in commands.items()
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("--") and option not in ("--help", "--config") and option not in sections[name]
    ]
    assert missing == []


def test_every_claim_about_security_names_code_and_tests_that_are_there() -> None:
    text = (ROOT / "docs/explanation/security.md").read_text(encoding="utf-8")
    places = re.findall(r"`((?:sync_worker|tests)/[\w/.]+\.py)(?:::(\w+))?`", text)
    assert len(places) > 30
    missing = [
        f"{file}::{name}"
        for file, name in places
        if not (ROOT / file).exists() or (name and f"def {name}(" not in (ROOT / file).read_text(encoding="utf-8"))
    ]
    assert missing == []


def test_every_layer_of_the_code_stands_among_the_layers_that_are_explained() -> None:
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    layers = re.findall(r"[\w.]+", contracts["importlinter:contract:layers"]["layers"])
    text = (ROOT / "docs/explanation/how-an-edit-travels.md").read_text(encoding="utf-8")
    drawn = re.findall(r"\w+", "".join(line[:44] for line in FENCE.findall(text)[-1].splitlines(keepends=True)))
    assert sorted(drawn) == sorted(layer.removeprefix("sync_worker.") for layer in layers)


def test_every_figure_is_documented() -> None:
    text = (ROOT / "docs/reference/metrics.md").read_text(encoding="utf-8")
    scraped = metrics.render(lambda: metrics.SqlFigures({("customers", "in_sync"): 1}))[0].decode()
    made = set(re.findall(r'"(sync_[a-z_]+)"', Path(metrics.__file__).read_text(encoding="utf-8")))
    assert made
    assert [name for name in made if f"`{name}`" not in text and f"`{name}_total`" not in text] == []
    assert "sync_links" in scraped


def test_every_rule_of_the_engine_says_where_its_code_is_and_is_right() -> None:
    text = RULES.read_text(encoding="utf-8")
    assert re.findall(r"^### (E\d+) ", text, re.MULTILINE) == [f"E{n}" for n in range(1, 23)]
    wrong = []
    for section in text.split("\n### ")[1:]:
        source = None
        for word in re.findall(r"`([^`]+)`", section.partition("*Code:*")[2]):
            if word.endswith(".py"):
                source = ROOT / (word if word.startswith(("mappings/", "handlers/")) else f"sync_worker/{word}")
                wrong += [] if source.exists() else [word]
            elif source is not None and source.exists():
                code = source.read_text(encoding="utf-8")
                wrong += [f"{word} in {source.name}" for name in word.split(".") if not re.search(rf"\b{name}\b", code)]
        assert source is not None, section.splitlines()[0]
    assert wrong == []
