"""The judge of the fault runs sees what it must: violations are planted in ledgers that nothing else has touched."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations, pairwise
from typing import Any

import pytest

from faults import plan as plans
from faults import schedule
from faults.controls import BASELINE, CONTROLS
from faults.judge import RECOVERY, Observed, judge
from faults.plan import FIELDS, Change, Fault, Plan, Side
from faults.recovery import stalls
from faults.report import Run, figures, from_dict, merged, table
from faults.story import Customer
from support.judged import COLUMNS

MEASURED = "worker kills beside which nothing else was hurt"
NOON = 1_000_000.0
ONE = Customer("7", "8", "9", "10")
TINY = plans.Size(customers=1, edits=0, creates=0, conflicts=0, rate=1.0, drain=1.0)


def row(
    at: float, side: Side, name: str, value: str, *, actor: str = "person", answered: bool = True
) -> dict[str, Any]:
    """A ledger row about one field of the one customer."""
    erp_column, table, crm_column = COLUMNS[name]
    key = {"Company": ONE.crm, "Email": ONE.email, "Address": ONE.address}[table]
    where = ("customer", ONE.erp, erp_column) if side == "erp" else (table, key, crm_column)
    return {
        "at": NOON + at, "actor": actor, "entity": where[0], "key": where[1], "op": "update",
        "after": {where[2]: value}, "answered": answered, "side": side,
    }  # fmt: skip


def created(at: float, side: Side, name: str, *, actor: str = "api") -> dict[str, Any]:
    entity, column = ("customer", "name") if side == "erp" else ("Company", "Comp_Name")
    made = {"at": NOON + at, "actor": actor, "entity": entity, "key": f"new{at}", "op": "create"}
    return made | {"after": {column: name}, "answered": True, "side": side}


def seen(
    *rows: dict[str, Any], done: tuple[Fault, ...] = (), calls: tuple[tuple[Side, Any], ...] = (), **more: Any
) -> Observed:
    """A run with these ledger rows, at rest, whose plan is what people did in them."""
    changes = [
        Change(r["at"] - NOON, r["side"], next(iter(r["after"].values())), None if r["op"] == "create" else 0)
        for r in rows
        if r["actor"] == "person"
    ]
    states = {"in_sync": 1 + sum(change.customer is None for change in changes)}
    told: dict[str, Any] = {"status": states, "due": 0, "rested": True, "in_conflict": []} | more
    return Observed(
        plan=Plan(1, TINY, tuple(changes)),
        customers=[ONE],
        start={(0, name): f"old {name}" for name in FIELDS},
        ledgers={side: [r for r in rows if r["side"] == side] for side in ("erp", "crm")},
        calls={side: [one for of, one in calls if of == side] for side in ("erp", "crm")},
        done=[replace(fault, at=NOON + fault.at) for fault in done],
        **told,
    )


def broken(observed: Observed) -> dict[str, float | None]:
    """Invariants that do not hold, with their counts."""
    return {one.name: one.count for one in judge(observed).verdicts if not one.ok}


GOOD = (row(1, "erp", "name", "A"), row(2, "crm", "name", "A", actor="api"))


def test_an_edit_that_travelled_once_breaks_nothing() -> None:
    assert broken(seen(*GOOD)) == {}


def test_an_edit_that_never_travelled_is_a_field_that_differs() -> None:
    assert broken(seen(row(1, "erp", "email", "a@b.test"))) == {"fields that differ without a conflict": 1}


def test_an_edit_replaced_long_after_it_was_made_is_lost() -> None:
    rows = (*GOOD, row(10, "crm", "name", "B"), row(11, "erp", "name", "C"), row(20, "crm", "name", "C", actor="api"))
    assert broken(seen(*rows)) == {"lost edits": 1}


@pytest.mark.parametrize(
    ("age", "done", "counted"),
    [
        (1.0, (), "edits in the window of E22"),
        (9.0, (Fault(12, "stop worker", 7),), "edits in that window during a standstill"),
    ],
)
def test_e22_an_edit_between_our_read_and_our_write_is_counted_apart(
    age: float, done: tuple[Fault, ...], counted: str
) -> None:
    rows = (
        *GOOD,
        row(10, "erp", "name", "B"),
        row(11, "crm", "name", "C"),
        row(11 + age, "crm", "name", "B", actor="api"),
    )
    observed = seen(*rows, done=done)
    assert broken(observed) == {}
    assert judge(observed).facts[counted] == 1


def test_an_older_value_written_over_a_newer_one_is_found() -> None:
    rows = (
        *GOOD, row(5, "erp", "name", "B"), row(6, "crm", "name", "B", actor="api"),
        row(7, "crm", "name", "A", actor="api"), row(8, "crm", "name", "B", actor="api"),
    )  # fmt: skip
    assert broken(seen(*rows)) == {"an older value over a newer one": 1, "writes beyond one per side and change": 2}


def test_a_value_that_nobody_typed_is_found() -> None:
    rows = (row(1, "erp", "name", "X", actor="api"), row(2, "crm", "name", "X", actor="api"))
    assert broken(seen(*rows)) == {"values that nobody typed": 2}


def test_the_same_write_twice_is_found() -> None:
    assert broken(seen(*GOOD, row(3, "crm", "name", "A", actor="api"))) == {"writes beyond one per side and change": 1}


def test_a_field_edited_on_both_sides_is_a_conflict_and_must_be_told_as_one() -> None:
    rows = (row(1, "erp", "city", "A"), row(1.1, "crm", "city", "B"))
    assert broken(seen(*rows, in_conflict=["7"])) == {}
    assert broken(seen(*rows)) == {"customers in conflict, told and found apart": 1}


def test_a_conflict_that_is_told_without_two_edits_is_found() -> None:
    assert broken(seen(*GOOD, in_conflict=["7"])) == {"customers in conflict, told and found apart": 1}


@pytest.mark.parametrize(
    ("answered", "done", "name"),
    [
        (False, (), None),
        (True, (Fault(2.5, "kill worker"),), None),
        (True, (), "fields that differ without a conflict"),
    ],
)
def test_an_edit_over_a_write_whose_end_nobody_learnt_is_a_conflict_and_only_that(
    answered: bool, done: tuple[Fault, ...], name: str | None
) -> None:
    rows = (
        row(1, "erp", "name", "A"),
        row(2, "crm", "name", "A", actor="api", answered=answered),
        row(5, "crm", "name", "B"),
    )
    found = broken(seen(*rows, done=done, in_conflict=["7"]))
    found.pop(RECOVERY, None)
    assert found.pop("customers in conflict, told and found apart", 0) == (1 if name else 0)
    assert found == ({name: 1} if name else {})


def test_newcomers_are_made_exactly_once_on_the_other_side() -> None:
    person = created(1, "erp", "Newcomer 1", actor="person")
    assert broken(seen(person, created(2, "crm", "Newcomer 1"))) == {}
    assert broken(seen(person)) == {"customers not created": 1}
    twice = (person, created(2, "crm", "Newcomer 1"), created(3, "crm", "Newcomer 1"))
    assert broken(seen(*twice)) == {"customers created twice": 1}
    assert broken(seen(created(2, "crm", "Nobody"))) == {"customers created twice": 1}


def test_a_planned_edit_that_is_in_no_ledger_is_a_defect_of_the_harness() -> None:
    observed = seen(*GOOD)
    observed.plan = replace(observed.plan, changes=(*observed.plan.changes, Change(2, "erp", "Z", 0)))
    assert broken(observed) == {"edits that are in no ledger": 1}


ALL_EDITS = "slowest edit after such a kill, begun or not (s)"
NEW_RECORDS = "slowest new record after such a kill (s)"
KILL = Fault(10, "kill worker")


def call(
    at: float, fault: str | None = None, *, side: Side = "erp", of: str = ONE.erp, write: bool = False, names: int = 1
) -> tuple[Side, Any]:
    """A call log's row: a call that names one record, the customer's in the ERP unless said, or it and others."""
    entity = "customer" if side == "erp" else "Company"
    named = [[entity, of], *([entity, f"other {n}"] for n in range(1, names))]
    return side, [NOON + at, f"{'update' if write else 'query'} {entity.lower()}", names, fault, named]


BEGUN = call(9.8)
LAST = call(44.9)


def travelled(made: float, arrived: float) -> tuple[dict[str, Any], dict[str, Any]]:
    return row(made, "erp", "name", "A"), row(arrived, "crm", "name", "A", actor="api")


def recovery(*calls: tuple[Side, Any], done: tuple[Fault, ...] = (KILL,), arrived: float = 45) -> float | None:
    """What is told of an edit made a second before the kill, and begun then; None: no kill was measured."""
    observed = seen(*travelled(9, arrived), done=done, calls=(BEGUN, *calls))
    assert broken(observed).keys() <= {RECOVERY}
    return next(one.count for one in judge(observed).verdicts if one.name == RECOVERY)


@pytest.mark.parametrize(("arrived", "ok"), [(41.0, True), (45.0, False)])
def test_a_recovery_is_counted_from_the_kill_to_the_last_edit_that_was_begun_then(arrived: float, ok: bool) -> None:
    observed = seen(*travelled(9, arrived), done=(KILL,), calls=(BEGUN,))
    assert broken(observed) == ({} if ok else {RECOVERY: arrived - 10})
    assert judge(observed).facts[MEASURED] == 1


def test_work_is_recovered_when_a_worker_calls_for_its_record_whether_the_vendor_answers_or_fails() -> None:
    assert recovery(call(40.5, "503"), LAST) == 30.5
    assert recovery(call(40.5), LAST) == 30.5
    assert recovery(call(40.5, "429", side="crm", of=ONE.crm)) == 30.5
    assert recovery(call(40.5, side="crm", of=ONE.crm, write=True)) == 30.5
    assert recovery(call(40.5, side="crm", of=ONE.crm, names=99)) == 30.5, "fewer than a sweep reads at a time"
    assert recovery(call(40.5, "503", side="crm", of=ONE.crm, names=100)) == 30.5


def test_what_may_be_a_sweeps_look_and_a_call_for_another_record_are_no_recovery() -> None:
    assert recovery(call(40.5, side="crm", of=ONE.crm, names=100)) == 35.0
    assert recovery(call(40.5, "503", of="another")) == 35.0


def test_what_the_killed_worker_had_still_sent_is_no_recovery() -> None:
    assert recovery(call(9.9, "503"), call(10.4, "503")) == 35.0


def test_a_kill_beside_another_outage_is_not_measured() -> None:
    assert recovery(done=(KILL, Fault(20, "queue outage", 45)), arrived=80) is None


def test_errors_of_the_vendors_and_kills_of_the_web_are_no_outage() -> None:
    assert recovery(done=(KILL, Fault(0, "vendor errors", 90), Fault(12, "kill web"))) == 35.0


def test_every_kill_is_measured_by_itself_however_many_follow() -> None:
    again = Fault(20, "kill worker")
    assert recovery(done=(KILL, again)) == 35.0
    assert recovery(call(15), done=(KILL, again)) == 25.0  # the second one's, who had it by then


def test_an_edit_that_nobody_had_begun_with_is_told_apart() -> None:
    facts = judge(seen(*travelled(9, 45), done=(KILL,))).facts
    assert (facts[MEASURED], facts[ALL_EDITS]) == (0, "35.0")


def test_a_new_record_is_told_apart() -> None:
    rows = (created(9, "erp", "Newcomer 1", actor="person"), created(60, "crm", "Newcomer 1"))
    begun = call(9.8, of="new9")
    assert judge(seen(*rows, done=(KILL,), calls=(begun,))).facts[NEW_RECORDS] == "50.0"
    assert judge(seen(*rows, done=(KILL,), calls=(begun, call(40, of="new9")))).facts[NEW_RECORDS] == "30.0"


def test_a_planned_fault_that_did_not_happen_is_a_defect_of_the_harness() -> None:
    observed = seen(*GOOD, done=(Fault(30, "flush"),))
    observed.plan = replace(observed.plan, faults=(Fault(20, "flush"), Fault(30, "flush"), Fault(31, "kill web")))
    assert broken(observed) == {"planned faults that did not happen": 2}


def test_a_recovery_that_was_promised_and_not_measured_is_told_as_such() -> None:
    observed = seen(*GOOD, done=(KILL,))
    observed.plan = replace(observed.plan, faults=(KILL,), clean=(0.0, 20.0))
    assert broken(observed) == {RECOVERY: None}
    assert f"{RECOVERY}: not measured" in table(Run("SQLite", 1, "", 1.0, judge(observed)))


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"rested": False}, "not at rest: links due or pending"),
        ({"status": {"in_sync": 2}}, "links beyond or short of one per customer"),
        ({"status": {"waiting": 1}}, "waiting"),
        ({"status": {"failing": 1}}, "failing"),
        ({"status": {"not_synced": 1}}, "other states"),
        ({"forged": 1, "forged_stored": 1}, "forged notices taken or stored"),
        ({"acknowledged": 1, "unstored": 1}, "notices acknowledged, but not stored"),
        ({"writes_after_rest": 1}, "writes after everything was at rest"),
        ({"grown": ["web files 20 to 900"]}, "resources that grew"),
    ],
)
def test_what_is_not_at_rest_is_found(more: dict[str, Any], name: str) -> None:
    assert broken(seen(*GOOD, **more)) == {name: 1}


def test_a_plan_is_the_same_for_the_same_seed_and_gives_every_edit_a_value_of_its_own() -> None:
    plan = schedule.make(7, plans.SHORT)
    assert plan == schedule.make(7, plans.SHORT) != schedule.make(8, plans.SHORT)
    values = [change.value for change in plan.changes]
    assert len(values) == len(set(values)) == plans.SHORT.edits + plans.SHORT.creates
    assert [change.at for change in plan.changes] == sorted(change.at for change in plan.changes)


def test_the_full_plan_holds_every_fault_as_often_as_promised() -> None:
    faults = schedule.make(3, plans.FULL).faults
    count = {name: [f for f in faults if f.name == name] for name in {f.name for f in faults}}
    wanted = {
        "kill worker": 40, "kill web": 10, "kill scheduler": 5, "kill queue": 8, "queue outage": 1, "stop queue": 6,
        "stop worker": 3, "flush": 2, "queue memory": 1, "database": 6, "blackout erp": 1, "blackout crm": 1,
    }  # fmt: skip
    assert {name: len(count[name]) for name in wanted} == wanted
    assert sum(f.seconds for f in count["queue outage"]) == 45 and sum(f.seconds for f in count["queue memory"]) == 60
    assert [(f.at, f.seconds) for f in count["vendor errors"]] == [(0, plans.FULL.seconds)]
    assert [f.at for f in count["token expiry"]] == [30.0 * i for i in range(1, 10)]
    stops = count["stop worker"]
    assert not [
        k for k in count["kill worker"] for s in stops if k.target == s.target and s.at <= k.at <= s.at + s.seconds
    ]


def test_the_full_plan_kills_workers_all_along_and_measures_those_with_no_outage_near() -> None:
    plan = schedule.make(3, plans.FULL)
    kills = [f.at for f in plan.faults if f.name == "kill worker"]
    first_outage = min(begin for begin, _ in stalls(plan.faults))
    measured = [at for at in kills if at + plans.RECOVER <= first_outage]
    assert len(measured) == 7 and max(b - a for a, b in pairwise(kills)) < 20
    assert not [(a, b) for a, b in combinations(measured, 2) if plans.LEASE - 3 < b - a < plans.LEASE + 3]


def control(name: str, observed: Observed) -> Run:
    out = CONTROLS.get(name)
    breaks, holds = (out.breaks, out.holds) if out else (frozenset[str](), frozenset[str]())
    return Run("SQLite", 1, name, 60.0, judge(observed), breaks, holds, "on a day")


def test_a_negative_control_is_as_it_should_be_only_when_it_breaks_what_it_is_there_for() -> None:
    assert control("ringer off", seen(*GOOD, due=3)).as_it_should_be
    assert not control("ringer off", seen(*GOOD)).as_it_should_be
    assert not control("ringer off", seen(*GOOD, status={"failing": 1})).as_it_should_be
    calm, behind = "ringer off, nothing hurt", seen(row(1, "erp", "name", "A"), due=3)
    assert control(calm, seen(*GOOD, due=3)).as_it_should_be
    assert not control(calm, seen(*GOOD)).as_it_should_be
    assert not control(calm, behind).as_it_should_be
    assert f"| {calm} | SQLite, 1 | 60 | **broken, too: " in figures([], [control(calm, behind)])
    assert control("ring before commit, ringer off", behind).as_it_should_be
    assert not control("ring before commit, ringer off", seen(*GOOD, due=3)).as_it_should_be
    assert control(BASELINE, seen(*GOOD)).as_it_should_be
    assert not control(BASELINE, seen(*GOOD, due=3)).as_it_should_be


def test_the_report_says_first_how_many_records_are_doubled_and_edits_lost_of_ten_thousand() -> None:
    once = (*GOOD, created(1, "erp", "New", actor="person"), created(2, "crm", "New"))
    runs = [once, (*once, created(3, "crm", "New"))]
    told = figures([], [Run("SQLite", i, "", 1.0, judge(seen(*rows))) for i, rows in enumerate(runs)])
    assert "**Duplicates per 10,000 creates: 5000** (1 of 2)" in told
    assert "**Lost edits per 10,000: 0** (0 of 2;" in told


def test_the_calm_plan_is_single_edits_in_the_erp_that_nothing_else_is_rung_for() -> None:
    plan = schedule.make(3, plans.CALM)
    assert plan.faults == () and {one.side for one in plan.changes} == {"erp"}
    assert [one.at for one in plan.changes] == [0, 1, 2, 3, 4, 5, 6, 7]
    assert len({one.customer for one in plan.changes}) == 8


def test_a_report_keeps_its_earlier_runs_and_replaces_those_that_were_played_again() -> None:
    earlier = [Run("SQLite", 1, "", 1.0, judge(seen(*GOOD, due=3))), control("ringer off", seen(*GOOD))]
    again = [from_dict(json.loads(json.dumps(one.as_dict()))) for one in earlier]
    assert again == earlier
    runs = merged(again, [Run("PostgreSQL", 1, "", 1.0, judge(seen(*GOOD))), Run("SQLite", 1, "", 2.0, judge(seen()))])
    assert [(run.database, run.control, run.seconds) for run in runs] == [
        ("SQLite", "", 2.0), ("PostgreSQL", "", 1.0), ("SQLite", "ringer off", 60.0)
    ]  # fmt: skip
    assert "| ringer off | SQLite, 1 | 60 | **nothing: a defect of the harness** |" in figures([], runs)


def test_a_report_leaves_out_earlier_runs_that_were_judged_by_other_invariants() -> None:
    earlier = Run("SQLite", 1, "", 1.0, judge(seen(*GOOD)))
    del earlier.judgement.verdicts[0]
    new = Run("SQLite", 2, "", 1.0, judge(seen(*GOOD)))
    assert merged([earlier], [new]) == [new]
