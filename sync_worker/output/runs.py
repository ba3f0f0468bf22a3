"""What a long job would do, and what it did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mappings.canonical import in_words
from sync_worker.output.printer import Printer, moment, shown
from sync_worker.wording import counted

NAMED = 10  # records that one line names; ``--json`` has more of them


def imported(out: Printer, found: Mapping[str, Any]) -> None:
    """``import``: customers by verdict, which add up to those seen, and who was planned anew since a preview."""
    if out.document(found):
        return
    apart = ("flow", "run", "seen")
    told = {name: n for name, n in found.items() if name not in apart and not name.startswith("planned_anew")}
    counts = ", ".join(f"{n} {verdict}" for verdict, n in told.items())
    print(f"{counted(found['seen'], 'customer')}: {counts or 'none'}")
    _anew(found, "customer", "refs")


def _anew(found: Mapping[str, Any], what: str, named: str) -> None:
    """Who was planned anew since a preview, of what kind, by names of this kind."""
    count = found.get("planned_anew", 0)
    if count:
        new = found["planned_anew_new"]
        since = "new since" if new == count else f"{new} new and {count - new} edited since" if new else "edited since"
        names = [str(name) for name in found[f"planned_anew_{named}"][:NAMED]]
        more = f" and {count - len(names)} more" if count > len(names) else ""
        print(shown(f"{counted(count, what)} not as the preview said, {since}: {', '.join(names)}{more}"))


def foreseen(out: Printer, found: Iterable[Mapping[str, Any]]) -> None:
    """A preview, as it comes: a line per field that would be written, and the verdicts counted."""
    if out.documents(found):
        return
    counts: Counter[str] = Counter()

    def rows() -> Iterator[tuple[str, ...]]:
        for one in found:
            counts[one["verdict"]] += 1
            keys = [one[side]["ref"] or one[side]["key"] or "" for side in ("erp", "crm")]
            for name, field in (one["fields"] or {"": {}}).items():
                values = in_words(field.get("before")), in_words(field.get("after"))
                yield (one["verdict"], *keys, field.get("side", ""), name.partition("@")[0], *values, _why(one))

    columns = ("verdict", "erp", "crm", "side", "field", "before", "after", "why")
    out.table("preview", columns, rows(), keep=("before", "after"))
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in sorted(counts))
    print(f"{counted(counts.total(), 'record')}: {told or 'none'}")


def rewrite_foreseen(out: Printer, found: Iterable[Mapping[str, Any]]) -> None:
    """The preview of an undo, a re-apply or a leaver: what would be written, then what would be left and why."""
    left: list[dict[str, Any]] = []

    def passing() -> Iterator[Mapping[str, Any]]:
        for one in found:
            if one["left"]:
                left.append({"link": one["link"], "left": one["left"]})
            yield one

    foreseen(out, passing())
    if not out.as_json:
        _left(left)


def rewritten(out: Printer, found: Mapping[str, Any], verdicts: Sequence[str]) -> None:
    """``undo``, ``managers reapply``, ``managers leaver``: links by verdict, the fields that were left, and the links
    that were planned anew since a preview."""
    if out.document(found):
        return
    _left([{"link": one["link"], "left": one["fields"]} for one in found["left"]])
    if found.get("left_out", 0) + found.get("partly", 0) > len(found["left"]):
        print(f"and more: sync-worker runs --run {found['run']} --verdict left_out (or partly)")
    for link_id in found["linked_by_it"]:
        print(f"link {link_id} was made by it and goes on; to end it: sync-worker links unlink --link {link_id}")
    counts = ", ".join(f"{found[name]} {name.replace('_', ' ')}" for name in verdicts if found.get(name))
    print(f"run {found['run']}: {counted(found['seen'], 'link')}: {counts or 'nothing to do'}")
    _anew(found, "link", "links")


def _left(found: Sequence[Mapping[str, Any]]) -> None:
    for one in found:
        for said in _reasons(one["left"]):
            print(f"link {one['link']}: left as it is: {said}")


def _reasons(left: Mapping[str, str]) -> list[str]:
    """Why each field was left; one without a name stands for the whole link."""
    return [f"{name}: {why}" if name else why for name, why in left.items()]


def uploaded(out: Printer, found: Mapping[str, Any]) -> None:
    """``links upload``: the first wrong rows, the counts, and the lines that were planned anew since a preview."""
    if out.document(found):
        return
    for one in found["errors"]:
        print(shown(f"line {one['line']}: {'; '.join(one['errors'])}"))
    left = found["wrong"] + found["refused"] - len(found["errors"])
    if left > 0:
        print(f"and {counted(left, 'more row')}: --errors FILE has all of them")
    said = {"skipped": "skipped: not linked", "refused": "refused: linked otherwise"}
    names = ("linked", "relinked", "unchanged", "skipped", "refused", "wrong")
    counts = ", ".join(f"{found[name]} {said.get(name, name)}" for name in names if found[name])
    would = " (dry run: nothing was changed)" if found["dry_run"] else ""
    print(f"run {found['run']}: {counted(found['rows'], 'row')}: {counts or 'nothing to do'}{would}")
    _anew(found, "line", "lines")


def verified(out: Printer, found: Mapping[str, Any]) -> None:
    """``verify``: what agrees, what does not, and what to do next."""
    if out.document(found):
        return
    for side in ("erp", "crm"):
        print(f"{side}: {found['seen'][side]} of {_known(found['totals'][side])} records seen")
    names = ("matched", "differing", "only_erp", "only_crm", "gone", "in_flight", "waiting", "left_out", "unlinked")
    out.table("verify", ("what", "records"), [(name, str(found[name])) for name in names])
    settled = sum(found["by_settings"].values())
    if settled:
        print(f"{settled} of those on one side only stay so by the flow's settings")
    out.table(
        "examples",
        ("verdict", "system", "key", "fields"),
        [(e["verdict"], e["system"], e["key"], ", ".join(e.get("fields", ()))) for e in found["examples"]],
    )
    calls = ", ".join(f"{system} {count}" for system, count in found["calls"].items())
    print(f"calls: {calls}; {found['seconds']} s")
    for line in _next_steps(found):
        out.styled(line, "green" if found["ok"] else "yellow")


def listed(out: Printer, found: Sequence[Mapping[str, Any]]) -> None:
    """``runs``: the latest first."""
    if out.document({"runs": list(found)}):
        return
    rows = [
        (
            str(one["run"]),
            one["kind"],
            one["flow"],
            moment(one["started_at"]),
            one["actor"],
            _verdicts(one["counts"]),
            one["state"],
        )
        for one in found
    ]
    out.table("runs", ("run", "kind", "flow", "started", "by", "records", "state"), rows)


def records(out: Printer, found: Mapping[str, Any]) -> None:
    """``runs --run``: what a run says about each record, and how it stands now."""
    if out.document(found):
        return
    rows = [
        (
            one["key"], one["verdict"], *(_shown(one.get(side)) for side in ("erp", "crm")),
            "; ".join([*one["errors"], *_reasons(one["left"])]) or (one["cause"]["text"] if one["state"] else ""),
            one["state"] or "",
        )
        for one in found["records"]
    ]  # fmt: skip
    out.table("records", ("key", "verdict", "erp", "crm", "because", "now"), rows)
    if found["next"] is not None:
        print(f"more: --after {found['next']}")


def _shown(partner: Mapping[str, Any] | None) -> str:
    return str((partner or {}).get("ref") or (partner or {}).get("key") or "-")


def _next_steps(found: Mapping[str, Any]) -> list[str]:
    """What to do about a verify report."""
    flow, lines = found["flow"], []
    if not found["complete"]:
        lines.append("incomplete: the vendor counts other numbers of records than it showed; run it again")
    if found["held_back"]:
        lines.append(f"nothing was made due: {found['held_back']}; if that is right: sync-worker verify {flow} --yes")
    elif found["handed_over"]:
        due = counted(found["handed_over"], "record is", "records are")
        lines.append(f"{due} due now; when the workers are through, run it again")
    if found["in_flight"]:
        lines.append("in flight: an edit is just being synced there; run it again")
    if found["waiting"]:
        listed = f"sync-worker links list --flow {flow} --state waiting (or conflict, or failing)"
        lines.append(f"waiting: a person has to settle these: {listed}, then explain SYSTEM KEY")
    if found["only_erp"] or found["only_crm"]:
        listed = f"sync-worker links list --flow {flow} --unsynced"
        lines.append(f"on one side only: {listed}; explain SYSTEM KEY says what would create the partner")
    return lines or [f"both sides of {flow} agree{_but_unlinked(found['unlinked'])}"]


def _but_unlinked(count: int) -> str:
    """Two systems with nothing linked in them agree, too."""
    told = counted(count, "record is", "records are")
    return f", as far as they are linked; {told} unlinked, and left alone" if count else ""


def _why(one: Mapping[str, Any]) -> str:
    """A preview's cause in words, and who may be the partner."""
    offered = ", ".join(str(candidate["key"]) for candidate in one["candidates"])
    return f"{one['cause']['text']}: {offered}" if offered else str(one["cause"]["text"])


def _verdicts(counts: Mapping[str, Any]) -> str:
    """What a run counted of records; what else it says of itself is no count."""
    counted = {name: n for name, n in counts.items() if type(n) is int and name != "run"}
    return ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in counted.items())


def _known(total: int | None) -> str:
    return "?" if total is None else str(total)
