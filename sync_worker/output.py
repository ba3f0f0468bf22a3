"""How the command line shows things: rich tables on a terminal, plain lines in a pipe, one JSON document on request."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from mappings.canonical import in_words
from sync_worker.connectors.base import Check

STYLE = {
    "in_sync": "green",
    "pending": "cyan",
    "waiting": "yellow",
    "conflict": "magenta",
    "failing": "red",
    "in_step": "green",
    "differs": "yellow",
    "refused": "red",
    "stale": "cyan",
}


class Printer:
    """``as_json``: one document and nothing else on stdout."""

    def __init__(self, as_json: bool) -> None:
        self._json = as_json
        self._rich = sys.stdout.isatty()
        self._console = Console(highlight=False)

    def status(self, found: Mapping[str, Any]) -> None:
        """``status``: links by state, due, flows, systems."""
        if self._document(found):
            return
        self._table("links", ("state", "links"), [(s, str(n)) for s, n in found["links"].items()])
        oldest = found["oldest_due_seconds"]
        print(f"due now: {found['due']}" + (f", the oldest for {oldest} s" if oldest is not None else ""))
        for name, flow in found["flows"].items():
            paused = f", paused: {flow['paused']}" if flow["paused"] else ""
            p50, p95 = (_seconds(flow[f"lag_seconds_{p}"]) for p in ("p50", "p95"))
            print(f"flow {name}: lag p50 {p50}, p95 {p95}{paused}")
        for name, system in found["systems"].items():
            print(f"system {name}: " + ("up" if system["up"] else f"down: {system['reason']}"))

    def explanations(self, found: Sequence[Mapping[str, Any]]) -> None:
        """``explain``: one object, or a list when the record takes part in several flows."""
        if self._document(found[0] if len(found) == 1 else list(found)):
            return
        for one in found:
            self._explanation(one)

    def _explanation(self, one: Mapping[str, Any]) -> None:
        sides = [f"{one[s]['system']} {one[s]['key'] or '(none)'} {one[s]['ref']}".strip() for s in ("erp", "crm")]
        print(f"{one['entity']} in flow {one['flow']} (link {one['link']}): {sides[0]} <-> {sides[1]}")
        self._line("state", one["state"])
        print(f"because: {one['cause']['text']}")
        at = one["next_step"]["at"]
        print(f"next: {one['next_step']['what']}" + (f" at {at}" if at else ""))
        if one["waiting_on"]:
            print(f"waits on: {one['waiting_on']}")
        for candidate in one["candidates"]:
            print(
                f"candidate: {candidate['system']} {candidate['key']} {candidate.get('ref') or ''} ({candidate['why']})"
            )
        rows = [(f["name"], in_words(f["erp"]), in_words(f["crm"]), f["status"]) for f in one["fields"]]
        self._table("fields", ("field", "erp", "crm", "status"), rows)
        self._table("timeline", ("at", "what", "why"), [(t["at"], t["what"], t["why"]) for t in one["timeline"]])

    def managers(self, found: Mapping[str, Any]) -> None:
        """``managers list``: per flow the rows, then who has none on either side."""
        if self._document(found):
            return
        rows = [
            (name, _person(row["erp"]), _person(row["crm"]), "preferred" if row["preferred"] else "", _waiting(row))
            for name, flow in found["flows"].items()
            for row in flow["map"]
        ]
        self._table("mapped", ("flow", "erp", "crm", "way back", "waiting"), rows)
        missing = [
            (name, flow[f"{side}_system"], _person(one), str(one["waiting"] or ""))
            for name, flow in found["flows"].items()
            for side in ("erp", "crm")
            for one in flow["unmapped"][side]
        ]
        self._table("without a row", ("flow", "system", "account manager", "waiting"), missing)

    def suggestions(self, found: Sequence[Mapping[str, Any]]) -> None:
        """``managers suggest``: best first."""
        if self._document(list(found)):
            return
        rows = [
            (
                *(f"{one[side]['ref']} {one[side]['name']}".strip() for side in ("erp", "crm")),
                "exact" if one["exact"] else "",
                ", ".join(one["reasons"]),
            )
            for one in found
        ]
        self._table("suggestions", ("erp", "crm", "", "because"), rows)

    def imported(self, found: Mapping[str, Any]) -> None:
        """``import``: customers by verdict, which add up to those seen, and who was planned anew since a preview."""
        if self._document(found):
            return
        apart = ("flow", "run", "seen", "planned_anew", "planned_anew_keys")
        counts = ", ".join(f"{n} {verdict}" for verdict, n in found.items() if verdict not in apart)
        print(f"{found['seen']} customers: {counts or 'none'}")
        if found.get("planned_anew"):
            keys = found["planned_anew_keys"]
            more = ", …" if found["planned_anew"] > len(keys) else ""
            print(f"{found['planned_anew']} not as the preview said, edited since: {', '.join(keys)}{more}")

    def foreseen(self, found: Sequence[Mapping[str, Any]]) -> None:
        """A preview: a line per field that would be written, and the verdicts counted."""
        if self._document(list(found)):
            return
        rows = [
            (
                one["verdict"], *(one[side]["ref"] or one[side]["key"] or "" for side in ("erp", "crm")),
                name, in_words(field.get("before")), in_words(field.get("after")), one["cause"]["text"],
            )
            for one in found
            for name, field in (one["fields"] or {"": {}}).items()
        ]  # fmt: skip
        self._table("preview", ("verdict", "erp", "crm", "field", "before", "after", "why"), rows)
        counts = {
            verdict: sum(one["verdict"] == verdict for one in found)
            for verdict in sorted({o["verdict"] for o in found})
        }
        print(f"{len(found)} records: " + (", ".join(f"{n} {v}" for v, n in counts.items()) or "none"))

    def rewrite_foreseen(self, found: Sequence[Mapping[str, Any]]) -> None:
        """The preview of an undo, a re-apply or a leaver: what would be written, then what would be left and why."""
        self.foreseen(found)
        if not self._json:
            self._left(found)

    def rewritten(self, found: Mapping[str, Any], verdicts: Sequence[str]) -> None:
        """``undo``, ``managers reapply``, ``managers leaver``: links by verdict, and the fields that were left."""
        if self._document(found):
            return
        self._left([{"link": one["link"], "left": one["fields"]} for one in found["left"]])
        for link_id in found["linked_by_it"]:
            print(f"link {link_id} was made by it and goes on; to end it: sync-worker links unlink --link {link_id}")
        counts = ", ".join(f"{found[name]} {name.replace('_', ' ')}" for name in verdicts if found.get(name))
        print(f"run {found['run']}: {found['seen']} links: {counts or 'nothing to do'}")

    def _left(self, found: Sequence[Mapping[str, Any]]) -> None:
        for one in found:
            for name, why in one["left"].items():
                print(f"link {one['link']}: left as it is: {name + ': ' if name else ''}{why}")

    def runs(self, found: Sequence[Mapping[str, Any]]) -> None:
        """``runs``: the latest first."""
        if self._document({"runs": list(found)}):
            return
        rows = [
            (
                str(one["run"]),
                one["kind"],
                one["flow"],
                one["started_at"],
                one["actor"],
                _counted(one["counts"]),
                one["state"],
            )
            for one in found
        ]
        self._table("runs", ("run", "kind", "flow", "started", "by", "records", "state"), rows)

    def links(self, found: Mapping[str, Any]) -> None:
        """``links list``: a page."""
        if self._document(found):
            return
        rows = [
            (
                str(one["link"]),
                one["flow"],
                *(f"{one[s]['key'] or '-'} {one[s]['ref'] or ''}".strip() for s in ("erp", "crm")),
                "synced" if one["synced"] else "never synced",
                one["cause"]["text"],
                one["state"],
            )
            for one in found["links"]
        ]
        self._table("links", ("link", "flow", "erp", "crm", "", "because", "state"), rows)
        if found["next"] is not None:
            print(f"more: --after {found['next']}")

    def candidates(self, found: Sequence[Mapping[str, Any]]) -> None:
        """``links candidates``: per flow, best first."""
        if self._document(list(found)):
            return
        for one in found:
            partner = one["linked_with"]
            if partner is not None:
                print(f"{one['flow']}: linked with {partner['system']} {partner['key']} (link {one['link']})")
            elif not one["candidates"]:
                print(f"{one['flow']}: nothing matches {one['record']['system']} {one['record']['key']}")
            for c in one["candidates"]:
                print(f"{one['flow']}: {c['system']} {c['key']} {c['ref'] or ''} ({c['why']})")

    def uploaded(self, found: Mapping[str, Any]) -> None:
        """``links upload``: the first wrong rows, then the counts."""
        if self._document(found):
            return
        for one in found["errors"]:
            print(f"line {one['line']}: {'; '.join(one['errors'])}")
        left = found["wrong"] + found["refused"] - len(found["errors"])
        if left > 0:
            print(f"and {left} more rows: --errors FILE has all of them")
        said = {"skipped": "skipped: not linked", "refused": "refused: linked otherwise"}
        names = ("linked", "relinked", "unchanged", "skipped", "refused", "wrong")
        counts = ", ".join(f"{found[name]} {said.get(name, name)}" for name in names if found[name])
        would = " (dry run: nothing was changed)" if found["dry_run"] else ""
        print(f"run {found['run']}: {found['rows']} rows: {counts or 'nothing to do'}{would}")

    def checks(self, found: Sequence[Check]) -> None:
        """``doctor``: one line each, with the fix."""
        if self._document([{"name": c.name, "ok": c.ok, "detail": c.detail, "fix": c.fix} for c in found]):
            return
        for check in found:
            mark = "ok   " if check.ok else "WRONG"
            detail = f": {check.detail}" if check.detail else ""
            fix = f" -> {check.fix}" if check.fix else ""
            self._styled(f"{mark} {check.name}{detail}{fix}", "green" if check.ok else "red")

    def verified(self, found: Mapping[str, Any]) -> None:
        """``verify``: what agrees, what does not, and what to do next."""
        if self._document(found):
            return
        for side in ("erp", "crm"):
            print(f"{side}: {found['seen'][side]} of {_known(found['totals'][side])} records seen")
        names = ("matched", "differing", "only_erp", "only_crm", "gone", "in_flight", "waiting", "left_out", "unlinked")
        self._table("verify", ("what", "records"), [(name, str(found[name])) for name in names])
        settled = sum(found["by_settings"].values())
        if settled:
            print(f"{settled} of those on one side only stay so by the flow's settings")
        self._table(
            "examples",
            ("verdict", "system", "key", "fields"),
            [(e["verdict"], e["system"], e["key"], ", ".join(e.get("fields", ()))) for e in found["examples"]],
        )
        calls = ", ".join(f"{system} {count}" for system, count in found["calls"].items())
        print(f"calls: {calls}; {found['seconds']} s")
        for line in _next_steps(found):
            self._styled(line, "green" if found["ok"] else "yellow")

    def token(self, name: str, role: str, token: str) -> None:
        """``tokens add``: the one time that it can be seen."""
        if not self._document({"name": name, "role": role, "token": token}):
            print(token)
            print(f"{name} may {role}. The token is shown once and not stored: keep it now.", file=sys.stderr)

    def tokens(self, found: Sequence[Mapping[str, Any]]) -> None:
        """``tokens list``: whose there are."""
        if not self._document({"tokens": list(found)}):
            self._table("tokens", ("name", "role", "since"), [(t["name"], t["role"], t["since"]) for t in found])

    def _document(self, value: Any) -> bool:
        if self._json:
            print(json.dumps(value, ensure_ascii=False, indent=2))
        return self._json

    def _line(self, name: str, value: str) -> None:
        self._styled(f"{name}: {value}", STYLE.get(value, ""))

    def _styled(self, text: str, style: str) -> None:
        if self._rich:
            self._console.print(text, style=style, markup=False)
        else:
            print(text)

    def _table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        if not self._rich:
            for row in rows:
                print("\t".join(row))
            return
        table = Table(title=title, title_justify="left")
        for column in columns:
            table.add_column(column)
        for row in rows:
            table.add_row(*row, style=STYLE.get(row[-1]) or STYLE.get(row[0]))
        self._console.print(table, markup=False)


def _person(one: Mapping[str, Any]) -> str:
    """An account manager in one line: reference, name, and whether they are still there."""
    known = " ".join(dict.fromkeys(x for x in (one["ref"] or one["key"], one["name"]) if x))
    return known + {True: "", False: " (disabled)", None: " (not in the directory)"}[one["active"]]


def _waiting(row: Mapping[str, Any]) -> str:
    count = row["erp"]["waiting"] + row["crm"]["waiting"]
    return str(count or "")


def _next_steps(found: Mapping[str, Any]) -> list[str]:
    """What to do about a verify report."""
    flow, lines = found["flow"], []
    if not found["complete"]:
        lines.append("incomplete: the vendor counts other numbers of records than it showed; run it again")
    if found["held_back"]:
        lines.append(f"nothing was made due: {found['held_back']}; if that is right: sync-worker verify {flow} --yes")
    elif found["handed_over"]:
        lines.append(f"{found['handed_over']} records are due now; when the workers are through, run it again")
    if found["in_flight"]:
        lines.append("in flight: an edit is just being synced there; run it again")
    if found["waiting"]:
        lines.append("waiting: a person has to settle these; sync-worker status, then explain SYSTEM KEY")
    if found["only_erp"] or found["only_crm"]:
        lines.append("on one side only: sync-worker explain SYSTEM KEY says what would create the partner")
    return lines or [f"both sides of {flow} agree"]


def _counted(counts: Mapping[str, Any]) -> str:
    return ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in counts.items() if isinstance(value, int))


def _known(total: int | None) -> str:
    return "?" if total is None else str(total)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value} s"
