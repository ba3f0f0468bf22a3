"""What there is: the state of everything, a record, links, account managers, checks, tokens."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from mappings.canonical import in_words
from sync_worker.connectors.base import Check
from sync_worker.output.printer import Printer, moment, shown


def status(out: Printer, found: Mapping[str, Any]) -> None:
    """``status``: links by state, due, flows, systems."""
    if out.document(found):
        return
    out.table("links", ("state", "links"), [(s, str(n)) for s, n in found["links"].items()])
    oldest = found["oldest_due_seconds"]
    print(f"due now: {found['due']}" + (f", the oldest for {oldest} s" if oldest is not None else ""))
    for name, flow in found["flows"].items():
        paused = f", paused: {flow['paused']}" if flow["paused"] else ""
        p50, p95 = (_seconds(flow[f"lag_seconds_{p}"]) for p in ("p50", "p95"))
        print(f"flow {name}: lag p50 {p50}, p95 {p95}{paused}")
    for name, system in found["systems"].items():
        print(f"system {name}: " + (system["reason"] or "up" if system["up"] else f"down: {system['reason']}"))


def explanations(out: Printer, found: Sequence[Mapping[str, Any]]) -> None:
    """``explain``: one object, or a list when the record takes part in several flows."""
    if out.document(found[0] if len(found) == 1 else list(found)):
        return
    for one in found:
        _explanation(out, one)


def _explanation(out: Printer, one: Mapping[str, Any]) -> None:
    sides = [f"{one[s]['system']} {_number(one[s], '(none)')}" for s in ("erp", "crm")]
    print(shown(f"{one['entity']} in flow {one['flow']} (link {one['link']}): {sides[0]} <-> {sides[1]}"))
    out.line("state", one["state"])
    print(shown(f"because: {one['cause']['text']}"))
    at = one["next_step"]["at"]
    print(shown(f"next: {one['next_step']['what']}" + (f" at {moment(at)}" if at else "")))
    if one["waiting_on"]:
        print(shown(f"waits on: {one['waiting_on']}"))
    for candidate in one["candidates"]:
        print(shown(f"candidate: {_candidate(candidate)}"))
    rows = [(f["name"], in_words(f["erp"]), in_words(f["crm"]), f["status"]) for f in one["fields"]]
    out.table("fields", ("field", "erp", "crm", "status"), rows, keep=("erp", "crm"))
    out.table("timeline", ("at", "what", "why"), _timeline(one["timeline"]))


def links(out: Printer, found: Mapping[str, Any]) -> None:
    """``links list``: a page."""
    if out.document(found):
        return
    rows = [
        (
            str(one["link"]),
            one["flow"],
            *(_number(one[s], "-") for s in ("erp", "crm")),
            "synced" if one["synced"] else "never synced",
            one["cause"]["text"],
            one["state"],
        )
        for one in found["links"]
    ]
    out.table("links", ("link", "flow", "erp", "crm", "synced", "because", "state"), rows)
    if found["next"] is not None:
        print(f"more: --after {found['next']}")


def candidates(out: Printer, found: Sequence[Mapping[str, Any]]) -> None:
    """``links candidates``: per flow, best first."""
    if out.document(list(found)):
        return
    for one in found:
        partner = one["linked_with"]
        if partner is not None:
            print(shown(f"{one['flow']}: linked with {partner['system']} {partner['key']} (link {one['link']})"))
        elif not one["candidates"]:
            print(shown(f"{one['flow']}: nothing matches {one['record']['system']} {one['record']['key']}"))
        for c in one["candidates"]:
            print(shown(f"{one['flow']}: {_candidate(c)}"))


def managers(out: Printer, found: Mapping[str, Any]) -> None:
    """``managers list``: per flow the rows, then who has none on either side."""
    if out.document(found):
        return
    rows = [
        (name, _person(row["erp"]), _person(row["crm"]), "preferred" if row["preferred"] else "", _waiting(row))
        for name, flow in found["flows"].items()
        for row in flow["map"]
    ]
    out.table("mapped", ("flow", "erp", "crm", "way back", "waiting"), rows)
    missing = [
        (name, flow[f"{side}_system"], _person(one), str(one["waiting"] or ""))
        for name, flow in found["flows"].items()
        for side in ("erp", "crm")
        for one in flow["unmapped"][side]
    ]
    out.table("without a row", ("flow", "system", "account manager", "waiting"), missing)


def suggestions(out: Printer, found: Sequence[Mapping[str, Any]]) -> None:
    """``managers suggest``: best first."""
    if out.document(list(found)):
        return
    rows = [
        (
            *(f"{one[side]['ref']} {one[side]['name']}".strip() for side in ("erp", "crm")),
            "exact" if one["exact"] else "",
            ", ".join(one["reasons"]),
        )
        for one in found
    ]
    if rows:
        out.table("suggestions", ("erp", "crm", "exact", "because"), rows)
    else:
        print("no suggestions: nobody who is active and has no row has a likely counterpart on the other side")


def checks(out: Printer, found: Sequence[Check]) -> None:
    """``doctor``: one line each, with the fix."""
    if out.document([{"name": c.name, "ok": c.ok, "detail": c.detail, "fix": c.fix} for c in found]):
        return
    for check in found:
        mark = "ok   " if check.ok else "WRONG"
        detail = f": {check.detail}" if check.detail else ""
        fix = f" -> {check.fix}" if check.fix else ""
        out.styled(f"{mark} {check.name}{detail}{fix}", "green" if check.ok else "red")


def token(out: Printer, name: str, role: str, token: str) -> None:
    """``tokens add``: the one time that it can be seen."""
    if not out.document({"name": name, "role": role, "token": token}):
        print(token)
        print(f"{name} may {role}. The token is shown once and not stored: keep it now.", file=sys.stderr)


def tokens(out: Printer, found: Sequence[Mapping[str, Any]]) -> None:
    """``tokens list``: whose there are."""
    if not out.document({"tokens": list(found)}):
        out.table("tokens", ("name", "role", "since"), [(t["name"], t["role"], moment(t["since"])) for t in found])


def _person(one: Mapping[str, Any]) -> str:
    """An account manager in one line: reference, name, and whether they are still there."""
    known = " ".join(dict.fromkeys(x for x in (one["ref"] or one["key"], one["name"]) if x))
    return known + {True: "", False: " (disabled)", None: " (not in the directory)"}[one["active"]]


def _candidate(one: Mapping[str, Any]) -> str:
    """A record that may be the partner in one line: keys, name, and what speaks for it."""
    known = (one["system"], _number(one, ""), one["name"])
    return f"{' '.join(str(x) for x in known if x)} ({one['why']})"


def _number(one: Mapping[str, Any], none: str) -> str:
    """A record's key and the number people see, which some systems have as one."""
    return " ".join(dict.fromkeys(str(x) for x in (one["key"] or none, one["ref"]) if x))


def _timeline(entries: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Oldest first; what was said several times in a row, as a burst of notices is, stands once, when it was first."""
    rows = []
    for (what, why), same in groupby(entries, lambda entry: (entry["what"], entry["why"])):
        times = [moment(entry["at"]) for entry in same]
        rows.append((times[0], what + (f" ({len(times)} times)" if len(times) > 1 else ""), why))
    return rows


def _waiting(row: Mapping[str, Any]) -> str:
    count = row["erp"]["waiting"] + row["crm"]["waiting"]
    return str(count or "")


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value} s"
