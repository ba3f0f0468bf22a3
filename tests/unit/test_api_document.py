"""The API's own description is complete and true: the OpenAPI document, the page made of it, and the reference."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest

from sync_worker.web.api import page, problems, site

ROOT = Path(__file__).parents[2]
DOCUMENT: dict[str, Any] = site.describe(site.make())
OPERATIONS = [(m, path, one) for path, methods in DOCUMENT["paths"].items() for m, one in methods.items()]
NAMES = [f"{method} {path}" for method, path, _ in OPERATIONS]


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=NAMES)
def test_every_route_has_a_summary_a_description_security_and_shapes_for_every_answer(
    method: str, path: str, operation: dict[str, Any]
) -> None:
    assert operation["summary"] and operation["description"] and operation["tags"]
    assert operation["security"] == [{"HTTPBearer": []}]
    assert all(one.get("description") for one in operation.get("parameters", []))
    wanted = {"401", "422", "503"} | ({"403", "404", "413"} if method != "get" else set())
    assert wanted <= operation["responses"].keys()
    for status, answer in operation["responses"].items():
        assert answer["description"] not in ("", "Successful Response")
        if status == "204":
            assert "content" not in answer
            continue
        (media,) = answer["content"]
        assert media == ("application/json" if status < "400" else problems.MEDIA_TYPE)
        assert answer["content"][media]["schema"]["$ref"].startswith("#/components/schemas/")
    assert path.startswith("/api/v1/")


def test_every_shape_is_described_and_none_is_missing_or_left_over() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert [name for name, one in schemas.items() if not one.get("description")] == []
    named = set(re.findall(r"#/components/schemas/(\w+)", str(DOCUMENT)))
    assert named == set(schemas)


def test_names_of_operations_are_unique_and_every_kind_of_problem_is_on_the_page() -> None:
    names = [one["operationId"] for _, _, one in OPERATIONS]
    assert len(set(names)) == len(names)
    shown = page.render(DOCUMENT)
    assert [name for name in names if f'id="{name}"' not in shown] == []
    assert [kind.name for kind in problems.KINDS if f'id="{kind.name}"' not in shown] == []


class Checked(HTMLParser):
    """Ids, links within the page, and whatever a strict policy would refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.refused: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids += [given["id"] or ""] if "id" in given else []
        self.links += [given["href"] or ""] if "href" in given else []
        bad = [name for name in given if name.startswith("on") or name in ("style", "src")]
        self.refused += [tag] if bad or tag in ("script", "iframe", "object", "img", "form") else []


def test_the_page_has_no_scripts_and_every_link_in_it_leads_somewhere() -> None:
    checked = Checked()
    checked.feed(page.render(DOCUMENT))
    assert checked.refused == []
    assert len(set(checked.ids)) == len(checked.ids)
    inside = {link.removeprefix("#") for link in checked.links if link.startswith("#")}
    assert inside - set(checked.ids) == set()
    assert {link for link in checked.links if not link.startswith("#")} == {"/api/openapi.json"}


def test_what_stands_in_the_document_cannot_become_markup_of_the_page() -> None:
    evil = "<script>alert(1)</script>"
    info = {**DOCUMENT["info"], "title": evil, "description": f"`{evil}`\n\n{evil}"}
    shown = page.render({**DOCUMENT, "info": info})
    assert "<script" not in shown


def test_page_and_document_are_served_with_a_strict_policy() -> None:
    async def ask(*paths: str) -> list[httpx.Response]:
        transport = httpx.ASGITransport(site.make())
        async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
            return [await client.get(path) for path in paths]

    shown, document = asyncio.run(ask("/api/docs", "/api/openapi.json"))
    assert shown.text == page.render(DOCUMENT)
    policy = shown.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "script-src" not in policy
    assert document.json() == DOCUMENT


def test_the_reference_names_every_route_and_every_problem() -> None:
    text = (ROOT / "docs/reference/api.md").read_text(encoding="utf-8")
    role = {"get": "read"}
    rows = [
        f"| {method.upper()} | `{path}` | {one['summary']} | `{role.get(method, 'operate')}` |"
        for method, path, one in OPERATIONS
    ]
    assert re.findall(r"^\| (?:GET|POST|PUT|DELETE|PATCH) \|.*$", text, re.MULTILINE) == rows
    kinds = [f"| `{kind.type}` | {kind.status} | {kind.title}. {kind.meaning} |" for kind in problems.KINDS]
    assert re.findall(r"^\| `/api/docs#.*$", text, re.MULTILINE) == kinds


def test_only_the_web_process_carries_the_framework() -> None:
    parts = "sync_worker.cli, sync_worker.worker, sync_worker.scheduler, sync_worker.supervisor, sync_worker.desk"
    code = f"import sys, {parts}; sys.exit('fastapi' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
