"""What the server shows: entries, feeds, prototypes and the forms its errors come in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from html import escape
from typing import Any

from sync_worker.connectors.emulation import Response, json_response
from sync_worker.connectors.sage_crm.emulator.faults import SageCrmFaults
from sync_worker.connectors.sage_crm.emulator.schema import Row, TableSpec

NAMESPACE = "http://schemas.sage.com/sdata/2008/1"


class Problem(Exception):
    """An error answer. ``column``: told as the payload path where the installation names it."""

    def __init__(self, status: int, code: str, message: str, *, column: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.column = column


def problem_response(problem: Problem, faults: SageCrmFaults, severity: str = "error") -> Response:
    """A diagnosis in the form that ``error_form`` asks for. Our assumption throughout: no real body was recorded."""
    message, column = problem.message, problem.column
    if column is not None and not faults.refusal_names_column:
        message, column = "The record could not be saved", None
    if faults.error_form == "html":
        return html_page(problem.status, message)
    facts = {"severity": severity, "sdataCode": problem.code, "message": message}
    if column is not None:
        facts["payloadPath"] = column
    if faults.error_form == "xml":
        inner = "".join(f"<sdata:{name}>{escape(text)}</sdata:{name}>" for name, text in facts.items())
        body = f'<sdata:diagnosis xmlns:sdata="{NAMESPACE}">{inner}</sdata:diagnosis>'
        return Response(problem.status, body.encode(), {"content-type": "application/xml; charset=utf-8"})
    diagnosis = {f"${name}": text for name, text in facts.items()}
    wrapped: Any = {"$diagnosis": diagnosis} if faults.error_form == "diagnosis" else {"$diagnoses": [diagnosis]}
    return json_response(problem.status, wrapped)


def html_page(status: int, message: str) -> Response:
    """The page of the web server in front, which knows nothing of SData."""
    title = f"HTTP Status {status}"
    body = f"<html><head><title>{title}</title></head><body><h1>{title}</h1>{escape(message)}</body></html>"
    return Response(status, body.encode(), {"content-type": "text/html;charset=utf-8"})


@lru_cache(maxsize=4096)
def _with_offset(text: str, minutes: int) -> str:
    moment = datetime.fromisoformat(text).astimezone(timezone(timedelta(minutes=minutes)))
    return moment.isoformat(timespec="seconds")


@dataclass(frozen=True, slots=True)
class View:
    """How rows of one table look to one request. ``columns``: shown ones, in order, as nulls to be filled.

    ``offset``: minutes from UTC for the offset form of times, None for ``Z``. ``bare``: a projection, which shows no
    linked-record objects (our assumption).
    """

    spec: TableSpec
    base: str
    columns: Mapping[str, None]
    dates: Sequence[str]
    hidden: frozenset[str]
    offset: int | None
    bare: bool

    def url(self, table: str, key: int) -> str:
        return f"{self.base}{table}('{key}')"

    def title(self, row: Row) -> str:
        return " ".join(str(row[c]) for c in self.spec.title if row.get(c) and c.lower() not in self.hidden)

    def entry(self, key: int, row: Row) -> dict[str, Any]:
        """One entry: null columns are shown as null, hidden ones not at all."""
        spec = self.spec
        out: dict[str, Any] = {"$key": key, "$title": self.title(row), "$url": self.url(spec.name, key), **self.columns}
        if self.bare or self.hidden:
            for column in self.columns:
                out[column] = row.get(column)
        else:
            out.update(row)
        if self.offset is not None:
            for column in self.dates:
                if out.get(column):
                    out[column] = _with_offset(out[column], self.offset)
        if not self.bare:
            for name, (table, column) in spec.references.items():
                linked = row.get(column)
                if linked is not None and column.lower() not in self.hidden:
                    out[name] = {"$url": self.url(table, linked), "$key": linked}
        return out


def view_of(spec: TableSpec, base: str, faults: SageCrmFaults, select: Iterable[str] | None = None) -> View:
    """The view a request gets; ``select`` holds columns in the database's spelling, None for all."""
    hidden = frozenset(column.lower() for column in faults.hidden_columns)
    names = [c for c in (spec.columns if select is None else select) if c.lower() not in hidden]
    return View(
        spec=spec,
        base=base,
        columns=dict.fromkeys(names),
        dates=[c for c in names if spec.columns[c] == "date"] if faults.datetime_form == "offset" else (),
        hidden=hidden,
        offset=faults.utc_offset_minutes if faults.datetime_form == "offset" else None,
        bare=select is not None,
    )


def feed(url: str, total: int, start: int, size: int, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """The envelope of a list."""
    return {
        "$url": url,
        "$totalResults": total,
        "$startIndex": start,
        "$itemsPerPage": size,
        "$resources": entries,
    }


def prototype(spec: TableSpec, number: int, base: str, faults: SageCrmFaults) -> dict[str, Any]:
    """One exposed entity and its properties (observed shape); neither length nor choices are told."""
    hidden = {column.lower() for column in faults.hidden_columns}
    kinds = {"int": "integer", "str": "string", "bool": "boolean", "date": "datetime"}
    return {
        "$title": spec.name,
        "$baseUrl": base,
        "$url": f"{base}$prototypes/{spec.name.lower()}",
        "$resourceId": number,
        "$resourceKind": spec.name,
        "$properties": {
            column: {
                "$title": column.partition("_")[2],
                "$type": kinds[kind],
                "$isMandatory": column in spec.required,
                "$isHidden": False,
                "$isReadOnly": column in spec.read_only or not spec.writable,
            }
            for column, kind in spec.columns.items()
            if column.lower() not in hidden
        },
    }
