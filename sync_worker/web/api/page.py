"""``/api/docs``: the OpenAPI document as a page for people. No scripts, nothing from elsewhere; all text is escaped."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from sync_worker.events import LARGEST_ID
from sync_worker.web.api.problems import KINDS

_STYLE = """
:root { color-scheme: light dark; --line: #d9e2ec; --soft: #f5f7fa; --link: #0b5cad }
@media (prefers-color-scheme: dark) { :root { --line: #3e4c59; --soft: #1f2933; --link: #7cc4fa } }
body { font: 16px/1.55 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem }
h1, h2, h3 { line-height: 1.25 } h2 { margin-top: 3rem; border-bottom: 2px solid var(--line) } h3 { margin-top: 2.2rem }
a { color: var(--link) } code, h3 { font-family: ui-monospace, monospace } code { font-size: .92em }
table { border-collapse: collapse; width: 100%; margin: .6rem 0 1rem }
caption { text-align: left; font-weight: 600; padding: .3rem 0 }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line) }
tr > :first-child { width: 11rem; overflow-wrap: anywhere }
.method { display: inline-block; min-width: 4.2rem; background: var(--soft); border: 1px solid var(--line);
  border-radius: .3rem; padding: .05rem .4rem; margin-right: .5rem; text-align: center; font-size: .85em }
.summary { font-weight: 600; margin: .2rem 0 }
nav ul { columns: 2; padding-left: 1.2rem } @media (max-width: 40rem) { nav ul { columns: 1 } }
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS: Mapping[str, str] = {
    "content-security-policy": (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} API</title><style>{style}</style></head><body>
<h1>{title} API, version {version}</h1>
{about}<p>For programs: <a href="/api/openapi.json">the OpenAPI document</a>.</p>
{body}</body></html>
"""

Json = Mapping[str, Any]


def render(document: Json) -> str:
    """The page for an OpenAPI document."""
    operations = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    schemas = document["components"]["schemas"]
    listed = "".join(
        f'<li><a href="#{escape(one["operationId"])}">{escape(one["summary"])}</a></li>' for _, _, one in operations
    )
    body = [f"<nav><ul>{listed}</ul></nav>"]
    tags = dict.fromkeys(operation["tags"][0] for _, _, operation in operations)
    for tag in tags:
        body.append(f"<h2>{escape(tag.capitalize())}</h2>")
        body += [_operation(*one, schemas) for one in operations if one[2]["tags"][0] == tag]
    body += ["<h2>Problems</h2>", *(_problem(kind.name, kind.status, kind.title, kind.meaning) for kind in KINDS)]
    body += ["<h2>Shapes</h2>", *(_shape(name, schema) for name, schema in sorted(schemas.items()))]
    return _PAGE.format(
        title=escape(document["info"]["title"]),
        version=escape(document["info"]["version"]),
        style=_STYLE,
        about=_text(document["info"]["description"]),
        body="\n".join(body),
    )


def _operation(path: str, method: str, operation: Json, schemas: Json) -> str:
    name = escape(operation["operationId"])
    parts = [
        f'<h3 id="{name}"><span class="method">{method.upper()}</span>{escape(path)}</h3>',
        f'<p class="summary">{escape(operation["summary"])}</p>',
        _text(operation["description"]),
    ]
    if given := operation.get("parameters"):
        parts.append(_table("Parameters", map(_parameter, given)))
    if "requestBody" in operation:
        reference = operation["requestBody"]["content"]["application/json"]["schema"]
        parts.append(_fields("Body (JSON)", schemas[reference["$ref"].rpartition("/")[2]]))
    rows = [_row(escape(status), _answer(one)) for status, one in sorted(operation["responses"].items())]
    parts.append(_table("Answers", rows))
    return "".join(parts)


def _parameter(one: Json) -> str:
    place = one["in"] + (", required" if one["required"] else "")
    described = _inline(one.get("description", ""))
    asked = [kind for kind in one["schema"].get("anyOf", ()) if kind.get("type") != "null"] or [one["schema"]]
    return _row(f"<code>{escape(one['name'])}</code>", escape(place), _type(asked[0]), described)


def _answer(response: Json) -> str:
    shapes = [_type(one["schema"]) for one in response.get("content", {}).values() if one.get("schema")]
    return ": ".join([_inline(response["description"]), *shapes])


def _problem(name: str, status: int, title: str, meaning: str) -> str:
    return f'<h3 id="{escape(name)}">{status} {escape(name)}</h3><p>{escape(title)}. {escape(meaning)}</p>'


def _shape(name: str, schema: Json) -> str:
    described = _text(schema.get("description", ""))
    return f'<h3 id="{_anchor(name)}">{escape(schema.get("title", name))}</h3>{described}{_fields("", schema)}'


def _fields(title: str, schema: Json) -> str:
    required = schema.get("required", ())
    rows = [
        _row(
            f"<code>{escape(name)}</code>",
            _type(one) + (", required" if title and name in required else ""),
            _inline(one.get("description", "")),
        )
        for name, one in schema.get("properties", {}).items()
    ]
    return _table(title, rows)


def _type(schema: Json) -> str:
    """A schema in words: what may stand there."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#{_anchor(name)}">{escape(name)}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"<code>{escape(str(one))}</code>" for one in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    limits = [
        f"{word} {schema[key]}"
        for key, word in (("minimum", "from"), ("maximum", "to"))
        if schema.get(key, LARGEST_ID) < LARGEST_ID
    ]
    if "default" in schema and schema["default"] is not None:
        limits.append(f"else {str(schema['default']).lower()}")
    kind = "time" if schema.get("format") == "date-time" else schema.get("type", "anything")
    return escape(", ".join([kind, *limits]))


def _anchor(name: str) -> str:
    return "shape-" + re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")


def _text(words: str) -> str:
    return "".join(f"<p>{_inline(part)}</p>" for part in words.split("\n\n") if part)


def _inline(words: str) -> str:
    """Text with `code` in it."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(words))


def _row(*cells: str) -> str:
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _table(title: str, rows: Iterable[str]) -> str:
    caption = f"<caption>{escape(title)}</caption>" if title else ""
    return f"<table>{caption}{''.join(rows)}</table>"
