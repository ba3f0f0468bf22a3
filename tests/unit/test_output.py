"""What commands print for people."""

from __future__ import annotations

import io
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sync_worker.cli.previews import write
from sync_worker.errors import SystemUnavailable
from sync_worker.output import Printer, records, runs, shown
from sync_worker.output.printer import PAGE
from sync_worker.rewrites import VERDICTS
from sync_worker.wording import counted


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_company_is_called_on_a_terminal_what_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    printer = Printer(False)
    printer.styled(":cat: [bold]Cats[/bold]", "")
    printer.table("", ["name"], [[":cat: [bold]Cats[/bold]"]])
    assert str(sys.stdout.getvalue()).count(":cat: [bold]Cats[/bold]") == 2  # type: ignore[attr-defined]


def test_what_people_typed_steers_no_terminal_and_breaks_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    Printer(False).table("", ["name", "state"], [["Tab\tNew\nLine\x1b[31mred\u202eturned", "in_sync"]])
    assert capsys.readouterr().out == "Tab\\tNew\\nLine\\x1b[31mred\\u202eturned\tin_sync\n"


def test_names_of_every_writing_are_shown_as_they_are() -> None:
    for name in ("Café 🦊 👩\u200d👧", "שלום עולם", "می\u200cخواهم", "Söhne\xa0GmbH"):
        assert shown(name) == name


def test_a_run_shows_what_it_counted_and_nothing_else_of_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    said = {"ok": False, "run": 7, "complete": True, "matched": 12, "only_erp": 1, "seen": {"erp": 13}, "seconds": 0.4}
    about = {
        "run": 7,
        "kind": "verify",
        "flow": "customers",
        "started_at": "2026-11-22T16:51:37.953+00:00",
        "actor": "cli",
        "state": "done",
    }
    runs.listed(Printer(False), [{**about, "counts": said}])
    assert capsys.readouterr().out == "7\tverify\tcustomers\t2026-11-22 16:51:37Z\tcli\t12 matched, 1 only erp\tdone\n"


def test_an_undo_names_what_was_left_and_says_where_the_rest_is(capsys: pytest.CaptureFixture[str]) -> None:
    named = [{"link": n, "fields": {"name": "edited since"}} for n in range(1, 101)]
    said = {"run": 9, "seen": 473, "left_out": 470, "partly": 3, "left": named, "linked_by_it": []}
    runs.rewritten(Printer(False), said, VERDICTS)
    out = capsys.readouterr().out.splitlines()
    assert out[99:] == [
        "link 100: left as it is: name: edited since",
        "and more: sync-worker runs --run 9 --verdict left_out (or partly)",
        "run 9: 473 links: 3 partly, 470 left out",
    ]
    runs.rewritten(Printer(False), {**said, "left_out": 97}, VERDICTS)
    assert "and more" not in capsys.readouterr().out


def test_a_record_of_a_run_says_why_a_field_was_left(capsys: pytest.CaptureFixture[str]) -> None:
    stands = {"link": 7, "state": "in_sync", "cause": {"text": "both sides agree"}, "errors": []}
    one = {"key": "7", "verdict": "left_out", **stands, "left": {"name": "edited since", "": "no longer linked"}}
    runs.records(Printer(False), {"run": 9, "records": [one], "next": None})
    assert capsys.readouterr().out == "7\tleft_out\t-\t-\tname: edited since; no longer linked\tin_sync\n"


def test_a_verify_names_the_command_that_lists_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    counts = dict.fromkeys(("matched", "differing", "gone", "in_flight", "left_out", "unlinked", "handed_over"), 0)
    about = {"flow": "customers", "ok": False, "complete": True, "held_back": "", "calls": {}, "seconds": 0.1}
    sides: dict[str, Any] = {side: {"erp": 3, "crm": 4} for side in ("seen", "totals", "by_settings")}
    found = {**about, **counts, **sides, "examples": [], "waiting": 2, "only_erp": 0, "only_crm": 1}
    runs.verified(Printer(False), found)
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "waiting: a person has to settle these: sync-worker links list --flow customers --state waiting (or conflict, "
        "or failing), then explain SYSTEM KEY",
        "on one side only: sync-worker links list --flow customers --unsynced; explain SYSTEM KEY says what would "
        "create the partner",
    ]


def test_a_verify_under_which_all_agree_says_how_many_it_did_not_compare(capsys: pytest.CaptureFixture[str]) -> None:
    counts = dict.fromkeys(("differing", "gone", "in_flight", "left_out", "handed_over", "waiting"), 0)
    about = {"flow": "customers", "ok": True, "complete": True, "held_back": "", "calls": {}, "seconds": 0.1}
    sides: dict[str, Any] = {side: {"erp": 3, "crm": 3} for side in ("seen", "totals", "by_settings")}
    found = {**about, **counts, **sides, "examples": [], "matched": 3, "only_erp": 0, "only_crm": 0}
    for unlinked in (0, 1, 5002):
        runs.verified(Printer(False), {**found, "unlinked": unlinked})
    last = [line for line in capsys.readouterr().out.splitlines() if line.startswith("both")]
    assert last == [
        "both sides of customers agree",
        "both sides of customers agree, as far as they are linked; 1 record is unlinked, and left alone",
        "both sides of customers agree, as far as they are linked; 5002 records are unlinked, and left alone",
    ]


def foreseen(
    verdict: str, text: str = "", candidates: tuple[str, ...] = (), **fields: dict[str, Any]
) -> dict[str, Any]:
    return {
        "verdict": verdict,
        "erp": {"key": "2", "ref": "C-2"},
        "crm": {"key": None, "ref": ""},
        "fields": fields,
        "cause": {"text": text},
        "candidates": [{"key": key} for key in candidates],
    }


def test_a_preview_says_which_side_is_written_and_who_may_be_the_partner(capsys: pytest.CaptureFixture[str]) -> None:
    both = {
        "account_manager": {"side": "erp", "before": "E-1", "after": "E-2"},
        "account_manager@crm": {"side": "crm", "before": "2", "after": "3"},
    }
    runs.foreseen(Printer(False), [foreseen("update", **both), foreseen("ambiguous", "may be its partner", ("7", "9"))])
    assert capsys.readouterr().out.splitlines() == [
        "update\tC-2\t\terp\taccount_manager\tE-1\tE-2\t",
        "update\tC-2\t\tcrm\taccount_manager\t2\t3\t",
        "ambiguous\tC-2\t\t\t\t\t\tmay be its partner: 7, 9",
        "2 records: 1 ambiguous, 1 update",
    ]


def test_the_verdicts_of_a_preview_stand_in_one_order_whether_it_is_shown_or_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    verdicts = ("link", "ambiguous", "create")
    runs.foreseen(Printer(False), [foreseen(verdict) for verdict in verdicts])

    def lines(counts: Counter[str]) -> Iterator[list[str]]:
        for verdict in verdicts:
            counts[verdict] += 1
            yield [verdict]

    write(tmp_path / "preview.csv", "customers", ("Verdict",), lines, json=False)
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("3 ")]
    assert told == ["3 records: 1 ambiguous, 1 create, 1 link", "3 customers: 1 ambiguous, 1 create, 1 link"]


class Kept(dict[str, Any]):
    """A record that says how many of its kind there are at once."""

    most = 0
    now = 0

    def __init__(self, *args: Any, **kw: Any) -> None:
        super().__init__(*args, **kw)
        Kept.now += 1
        Kept.most = max(Kept.most, Kept.now)

    def __del__(self) -> None:
        Kept.now -= 1


@pytest.fixture
def held() -> Iterator[type[Kept]]:
    Kept.most = Kept.now = 0
    yield Kept


@pytest.mark.parametrize("as_json", [True, False])
def test_a_long_preview_is_shown_as_it_comes_and_never_held_whole(
    capsys: pytest.CaptureFixture[str], held: type[Kept], as_json: bool
) -> None:
    runs.foreseen(Printer(as_json), (Kept(foreseen("create", str(n))) for n in range(2500)))
    assert held.most < 5
    out = capsys.readouterr().out
    if as_json:
        assert [one["cause"]["text"] for one in json.loads(out)] == [str(n) for n in range(2500)]
        assert out == json.dumps(json.loads(out), indent=2) + "\n"
    else:
        assert len(out.splitlines()) == 2501 and out.endswith("2500 records: 2500 create\n")


def test_an_empty_preview_is_an_empty_list_and_no_record(capsys: pytest.CaptureFixture[str]) -> None:
    runs.foreseen(Printer(True), iter(()))
    runs.foreseen(Printer(False), iter(()))
    assert capsys.readouterr().out == "[]\n0 records: none\n"


def test_a_preview_that_is_cut_short_leaves_no_half_of_a_document(capsys: pytest.CaptureFixture[str]) -> None:
    def found() -> Iterator[dict[str, Any]]:
        yield foreseen("create")
        raise SystemUnavailable("crm cannot be reached")

    with pytest.raises(SystemUnavailable):
        runs.foreseen(Printer(True), found())
    assert capsys.readouterr().out == ""


def test_a_long_list_is_several_tables_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    Printer(False).table("names", ["name"], ([str(n)] for n in range(PAGE + 1)))
    assert str(sys.stdout.getvalue()).count("names") == 2  # type: ignore[attr-defined]


def test_on_a_narrow_terminal_nothing_is_cut_and_empty_columns_leave_their_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("COLUMNS", "40")
    key = "CUSTOMER00003OFTHENORTHANDTHEWESTANDMORE"
    Printer(False).table("links", ["key", "crm", "after", "state"], [[key, "", "", "waiting"]] * 2, keep=["after"])
    out = re.sub(r"\x1b\[[0-9;]*m", "", sys.stdout.getvalue())  # type: ignore[attr-defined]
    assert "".join(re.findall("[A-Z0-9]+", out)) == key * 2
    assert ("crm" in out, "after" in out) == (False, True)
    assert max(map(len, out.splitlines())) <= 40


def test_a_line_with_a_command_in_it_is_one_line_however_narrow_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("COLUMNS", "40")
    line = "if that is right: sync-worker verify customers --yes"
    Printer(False).styled(line, "")
    assert str(sys.stdout.getvalue()) == f"{line}\n"  # type: ignore[attr-defined]


def test_a_list_of_nothing_is_said_so_on_a_terminal_and_is_no_line_in_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.listed(Printer(False), [])
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(sys, "stdout", Terminal())
    runs.listed(Printer(False), [])
    assert str(sys.stdout.getvalue()) == "runs: none\n"  # type: ignore[attr-defined]


def test_explain_says_a_number_once_and_of_notices_in_a_row_how_many(capsys: pytest.CaptureFixture[str]) -> None:
    notice = {"what": "notice from erp", "why": "updated in erp, by poll"}
    times = [f"2026-11-22T16:51:{second}.250+00:00" for second in (37, 38, 41, 43)]
    timeline = [
        {"at": times[0], **notice},
        {"at": times[1], **notice},
        {"at": times[2], "what": "update on crm name", "why": "changed"},
        {"at": times[3], **notice},
    ]
    sides = {"erp": {"system": "erp", "key": "1", "ref": "C-77"}, "crm": {"system": "crm", "key": "43", "ref": "43"}}
    about = {"entity": "customer", "flow": "customers", "link": 7, "state": "in_sync", "waiting_on": None}
    words = {"cause": {"text": "both agree"}, "next_step": {"what": "nothing", "at": None}}
    one = {**about, **sides, **words, "candidates": [], "fields": [], "timeline": timeline}
    records.explanations(Printer(False), [one])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "customer in flow customers (link 7): erp 1 C-77 <-> crm 43"
    assert lines[4:] == [
        "2026-11-22 16:51:37Z\tnotice from erp (2 times)\tupdated in erp, by poll",
        "2026-11-22 16:51:41Z\tupdate on crm name\tchanged",
        "2026-11-22 16:51:43Z\tnotice from erp\tupdated in erp, by poll",
    ]


def test_no_suggestion_for_an_account_manager_is_said_so_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    records.suggestions(Printer(False), [])
    out = capsys.readouterr().out
    assert out.startswith("no suggestions: ") and out.count("\n") == 1
    records.suggestions(Printer(True), [])
    assert capsys.readouterr().out == "[]\n"


def test_one_of_a_kind_is_said_in_the_singular_and_all_else_in_the_plural(capsys: pytest.CaptureFixture[str]) -> None:
    assert [counted(n, "link") for n in (0, 1, 2)] == ["0 links", "1 link", "2 links"]
    assert [counted(n, "row is", "rows are") for n in (1, 3)] == ["1 row is", "3 rows are"]
    runs.foreseen(Printer(False), [foreseen("create")])
    runs.imported(Printer(False), {"flow": "customers", "run": 7, "seen": 1, "created": 1})
    assert capsys.readouterr().out.splitlines()[1:] == ["1 record: 1 create", "1 customer: 1 created"]


def test_who_was_planned_anew_since_a_preview_is_named_in_the_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    refs = [f"C-{n}" for n in range(1, 101)]
    anew = {"planned_anew": 2500, "planned_anew_new": 2500, "planned_anew_keys": [*range(100)]}
    runs.imported(
        Printer(False), {"flow": "customers", "run": 7, "seen": 3, "created": 3, **anew, "planned_anew_refs": refs}
    )
    anew = {"planned_anew": 2, "planned_anew_new": 1, "planned_anew_refs": ["C-1", "C-2"]}
    runs.imported(Printer(False), {"flow": "customers", "run": 7, "seen": 3, "created": 3, **anew})
    left = {"left": [], "linked_by_it": [], "planned_anew": 1, "planned_anew_new": 0, "planned_anew_links": [345]}
    runs.rewritten(Printer(False), {"run": 8, "seen": 1, "changed": 1, **left}, ("changed",))
    verdicts = {"linked": 2, "relinked": 0, "unchanged": 0, "skipped": 0, "refused": 0, "wrong": 0}
    told = {"run": 9, "dry_run": False, "rows": 2, **verdicts, "errors": [], "planned_anew": 0}
    runs.uploaded(Printer(False), {**told, "planned_anew_lines": []})
    runs.uploaded(Printer(False), {**told, "planned_anew": 2, "planned_anew_new": 0, "planned_anew_lines": [2, 3]})
    assert capsys.readouterr().out.splitlines() == [
        "3 customers: 3 created",
        "2500 customers not as the preview said, new since: C-1, C-2, C-3, C-4, C-5, C-6, C-7, C-8, C-9, C-10 and 2490 "
        "more",
        "3 customers: 3 created",
        "2 customers not as the preview said, 1 new and 1 edited since: C-1, C-2",
        "run 8: 1 link: 1 changed",
        "1 link not as the preview said, edited since: 345",
        "run 9: 2 rows: 2 linked",
        "run 9: 2 rows: 2 linked",
        "2 lines not as the preview said, edited since: 2, 3",
    ]
