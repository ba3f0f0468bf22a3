"""Imports: the edge cases of GUMU-1 to 6 and 13, AM-8; what a selection takes, and what an import leaves as it is."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from support.rules import FLOW, Make, api_writes, in_the_past, pair, rest, row_of, there, when
from support.world import World
from sync_worker import desk
from sync_worker.connectors.intacct import query
from sync_worker.desk import importing, linking
from sync_worker.errors import PermanentError, RetryableError
from sync_worker.imports import KIND, Progress, Selection, select_by
from sync_worker.store import managers, runs

DAY = 86_400.0


def imported(world: World, selection: Selection | None = None, **options: Any) -> dict[str, int]:
    """Time passes while the import looks for who has come to an end."""

    def pass_time(_at: Progress) -> None:
        world.clock.advance(20)

    chosen = selection or Selection()
    return importing.run_import(world.app, FLOW, chosen, **{"progress": pass_time, **options}).counts


def customer(world: World, ref: str, name: str = "", **columns: Any) -> str:
    with in_the_past(world):
        return world.new_erp(name or f"Customer {ref}", id=ref, **columns)


def today(world: World) -> str:
    return datetime.datetime.fromtimestamp(world.clock(), datetime.UTC).date().isoformat()


# --- which customers -------------------------------------------------------------------------------------------------


def test_gumu_1_an_unknown_flow_is_refused_before_anything_is_read(world: World) -> None:
    with pytest.raises(PermanentError, match="no flow suppliers; there are: customers"):
        importing.selection(world.app, "suppliers", None, None, None)
    assert world.erp.stats()["reads"] == 0


def test_gumu_1_blank_criteria_are_none_and_inactive_customers_come_too(world: World) -> None:
    customer(world, "C-1"), customer(world, "C-2", status="inactive")
    assert imported(world, select_by(" ", "", "\t")) == {"created": 2}
    (crm,) = there(world, "crm", "Customer C-2")
    assert world.crm_record(crm)["Comp_Status"] == "Inactive"


def test_gumu_1_what_changes_while_pages_are_read_is_neither_lost_nor_taken_twice(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query, "PAGE", 3)
    world = make()
    keys = [customer(world, f"C-{n}") for n in range(10)]

    def edits() -> None:
        world.edit_erp(keys[0], name="Edited behind")
        world.edit_erp(keys[9], name="Edited ahead")
        world.erp.person("customer", keys[8], {}, "delete")
        world.new_erp("Made meanwhile", id="C-99")
        world.erp.take_notices()  # lost

    # the first query counts the customers, the second one is the first page
    when(world.erp, "query customer", lambda: when(world.erp, "query customer", edits, after=True), after=True)
    assert imported(world, unlimited=True) == {"created": 10}
    made = [row for row in world.written("crm") if (row.entity, row.op) == ("Company", "create")]
    assert len(made) == 10
    for name in ("Edited behind", "Edited ahead", "Made meanwhile"):
        assert len(there(world, "crm", name)) == 1, name


def test_gumu_2_an_edit_of_the_contact_that_leaves_the_customers_stamp_alone_is_not_missed(make: Make) -> None:
    world = make()
    one = pair(world)
    customer(world, "C-5")
    world.clock.advance(3 * DAY)
    contact = str(world.erp_record(one.erp)["contacts.default.key"])
    world.erp.person("contact", contact, {"phone1": "+44 20 7946 9999"})
    world.erp.take_notices()  # lost
    assert imported(world, select_by(today(world), None, None)) == {"updated": 1}
    phone = world.crm_child(one.crm, "Phone")
    assert phone is not None and "9999" in str(phone["Phon_Number"])


def test_gumu_2_created_but_never_modified_counts_and_a_future_day_takes_nobody(world: World) -> None:
    customer(world, "C-1")
    world.new_erp("New today", id="C-2")
    world.erp.take_notices()  # lost
    assert imported(world, select_by(today(world), None, None)) == {"created": 1}
    assert there(world, "crm", "New today")
    assert imported(world, select_by("2999-01-01", None, None)) == {}


@pytest.mark.parametrize(
    ("first", "last", "taken"),
    [
        ("C-10", "C-10", ["C-10"]),
        ("c-10", "C-10", ["C-10"]),
        ("C-10", None, ["C-10", "C-0011"]),
        (None, "C-9", ["0007", "C-9"]),
        ("C-8", "C-10", ["C-9", "C-10"]),
        ("C-0010", "C-12", ["C-10", "C-0011"]),
        ("7", "7", ["0007"]),
        ("X", None, []),
    ],
)
def test_gumu_3_the_ends_of_a_range_count_whatever_their_case_and_zeros(
    first: str | None, last: str | None, taken: list[str]
) -> None:
    chosen = select_by(None, first, last)
    assert [ref for ref in ("0007", "C-9", "C-10", "C-0011") if chosen.numbered(ref)] == taken


def test_gumu_3_a_customer_number_of_any_characters_has_its_place() -> None:
    chosen = select_by(None, "C-1", "C-9")
    assert chosen.numbered("C-5\u00b2") and not chosen.numbered("\u00b2")
    assert chosen.numbered("C-\u0665") and not chosen.numbered("C-\u0661\u0665")  # Arabic digits: 5 and 15


def test_gumu_3_an_end_of_any_length_is_a_number_too() -> None:
    chosen = select_by(None, "C-1", "C-" + "9" * 5000)
    assert chosen.numbered("C-77") and not chosen.numbered("D-1")


@pytest.mark.parametrize(
    ("since", "first", "count"), [(True, True, 1), (True, False, 2), (False, True, 2), (False, False, 4)]
)
def test_gumu_4_a_day_and_a_range_must_both_hold(make_light: Make, since: bool, first: bool, count: int) -> None:
    world = make_light()
    customer(world, "C-1"), customer(world, "C-2")
    world.new_erp("Today", id="C-11"), world.new_erp("Today too", id="C-3")
    world.erp.take_notices()  # lost
    chosen = select_by(today(world) if since else None, "C-2" if first else None, "C-10" if first else None)
    assert imported(world, chosen) == {"created": count}


# --- what becomes of them --------------------------------------------------------------------------------------------


def test_gumu_5_a_company_whose_answer_was_lost_is_adopted_and_made_once(make: Make) -> None:
    world = make()
    customer(world, "C-1", "Lost Answer Ltd")
    world.crm.faults.fail_next.append({"operation": "create company", "fault": "lost_after_apply"})
    assert imported(world) == {"created": 1}
    assert world.crm.faults.fail_next == [] and len(there(world, "crm", "Lost Answer Ltd")) == 1


def test_gumu_5_a_customer_renamed_during_the_run_has_one_company_of_its_new_name(make: Make) -> None:
    world = make()
    key = customer(world, "C-1", "Before Ltd")
    when(world.crm, "create company", lambda: world.edit_erp(key, name="After Ltd"))
    assert imported(world) == {"created": 1}
    rest(world)
    assert (there(world, "crm", "Before Ltd"), len(there(world, "crm", "After Ltd"))) == ([], 1)


def test_gumu_6_columns_that_nobody_maps_survive_and_a_blank_of_the_erp_erases_nothing(make: Make) -> None:
    world = make()
    with in_the_past(world):
        erp = world.new_erp("Same Ltd", id="C-78", **{"contacts.default.email1": "desk@same.example"})
        crm = world.new_crm("Same Ltd", comp_intacct_customerid="C-78", comp_intacct_company="Acme UK",
                            Comp_WebSite="http://crm.test", Comp_Territory="North")  # fmt: skip
    assert imported(world) == {"linked": 1}
    world.settle()
    record = world.crm_record(crm)
    assert (record["Comp_WebSite"], record["Comp_Territory"]) == ("http://crm.test", "North")
    assert world.erp_record(erp)["contacts.default.URL1"] == "http://crm.test", "filled where it was blank"


def test_gumu_6_an_edit_of_the_crm_since_the_last_sync_is_decided_by_the_conflict_policy(make: Make) -> None:
    world = make()
    one = pair(world)
    world.edit_erp(one.erp, **{"contacts.default.URL1": "http://erp.new"})
    world.edit_crm(one.crm, Comp_WebSite="http://crm.new")
    world.erp.take_notices(), world.crm.take_notices()  # lost
    assert imported(world) == {"waiting": 1}
    assert row_of(world, erp=one.erp).state == "conflict"
    assert world.crm_record(one.crm)["Comp_WebSite"] == "http://crm.new"


def test_gumu_6_gumu_14_a_company_removed_from_the_crm_is_neither_revived_nor_made_again(make: Make) -> None:
    world = make()
    one = pair(world)
    world.crm.person("Company", one.crm, {}, "delete")
    world.crm.take_notices()  # lost
    world.edit_erp(one.erp, name="Renamed Works")
    world.erp.take_notices()  # lost
    for turn in range(3):
        foretold = {seen.verdict for seen in importing.preview(world.app, FLOW, Selection())}
        assert turn == 0 or foretold == {"skip"}
        assert imported(world) == {"skipped": 1}, turn
        world.settle()
        row = row_of(world, erp=one.erp)
        assert (row.state, row.cause, row.crm_key) == ("unlinked", "removed", None)
    assert there(world, "crm", "Renamed Works") == []
    desk.sync_record(world.app, "erp", one.erp)
    world.settle()
    assert len(there(world, "crm", "Renamed Works")) == 1, "a person who asks for it gets a new partner"


def test_e20_what_a_person_unlinked_is_not_linked_again_by_an_import(make: Make) -> None:
    world = make()
    one = pair(world)
    linking.unlink(world.app, one.id)
    rest(world)
    before = api_writes(world)
    assert imported(world) == {"skipped": 1}
    row = row_of(world, erp=one.erp)
    assert (row.state, row.cause, row.crm_key) == ("unlinked", "unlinked", None) and api_writes(world) == before


def test_am_8_a_manager_changed_alone_is_not_missed_by_the_day_and_an_equal_one_is_not_written(make: Make) -> None:
    world = make()
    for employee, user in (("E-10", "2"), ("E-11", "3")):
        managers.map_manager(world.db, FLOW, employee, user, systems=("erp", "crm"))
    key = customer(world, "C-1", **{"salesRepresentative.id": "E-10"})
    assert imported(world) == {"created": 1}
    crm = str(row_of(world, erp=key).crm_key)
    rest(world)
    world.clock.advance(3 * DAY)
    world.edit_erp(key, **{"salesRepresentative.id": "E-11"})
    world.erp.take_notices()  # lost
    assert imported(world, select_by(today(world), None, None)) == {"updated": 1}
    assert world.crm_record(crm)["Comp_PrimaryUserId"] == 3
    before = api_writes(world)
    assert imported(world) == {"unchanged": 1} and api_writes(world) == before


# --- runs ------------------------------------------------------------------------------------------------------------


def test_gumu_13_ranges_that_overlap_do_nothing_twice_and_the_verdicts_add_up(make: Make) -> None:
    world = make()
    for n in range(1, 7):
        customer(world, f"C-{n}")
    assert imported(world, select_by(None, "C-1", "C-4")) == {"created": 4}
    assert imported(world, select_by(None, "C-3", "C-6")) == {"created": 2, "unchanged": 2}


@pytest.mark.parametrize("steps", range(2, 26, 4))
def test_gumu_13_an_import_that_dies_at_any_step_is_gone_on_with_and_makes_each_once(
    make_light: Make, steps: int
) -> None:
    world = make_light()
    for n in range(3):
        customer(world, f"C-{n}")
    run = runs.begin(world.db, KIND, FLOW, "test", Selection().as_params())
    with world.crashing_after(steps):
        taken = importing.Import(
            world.db, world.app.inbox, world.app.engine, world.app.flows[FLOW], run, Selection(), threads=0
        )
        taken.progress = lambda _at: world.work() and None
        taken.go()
    world.clock.advance(60)  # the dead worker's leases run out
    found = runs.get(world.db, run.id)
    assert found.state != "done"
    assert imported(world, resume=found) == {"created": 3}
    rest(world)
    for n in range(3):
        assert len(there(world, "crm", f"Customer C-{n}")) == 1


def test_gumu_13_a_stopped_import_is_not_gone_on_with_under_another_selection(world: World) -> None:
    customer(world, "C-1"), customer(world, "C-2")
    run = runs.begin(world.db, KIND, FLOW, "test", select_by(None, "C-2", None).as_params())
    with pytest.raises(PermanentError, match="takes other customers: leave out"):
        imported(world, select_by(None, "C-1", None), resume=run)
    assert imported(world, resume=run) == {"created": 1}


def test_an_import_of_some_customers_says_how_many_it_takes_once_it_has_read_them(world: World) -> None:
    for n in range(1, 5):
        customer(world, f"C-{n}")
    said: list[int | None] = []
    chosen = select_by(None, "C-1", "C-2")
    importing.run_import(world.app, FLOW, chosen, progress=lambda at: said.append(at.total))
    assert said[0] is None and said[-1] == 2
    importing.run_import(world.app, FLOW, Selection(), progress=lambda at: said.append(at.total))
    assert said[-1] == 4


def test_an_import_that_stands_still_says_why_once_and_goes_on_by_itself(world: World) -> None:
    customer(world, "C-1")
    world.crm.faults.merge({"p_503": 1.0})
    said: list[str] = []

    def pass_time(_at: Progress) -> None:
        world.clock.advance(20)
        if said:
            world.crm.faults.merge({"p_503": 0.0})

    ended = importing.run_import(world.app, FLOW, Selection(), progress=pass_time, say=said.append)
    assert ended.counts == {"created": 1}
    assert said == ["1 customer waits: the system cannot be reached; the import goes on by itself"]


def test_an_import_whose_erp_cannot_name_its_customers_rests_and_can_be_gone_on_with(world: World) -> None:
    customer(world, "C-1")
    world.erp.faults.merge({"p_503": 1.0})
    with pytest.raises(RetryableError):
        importing.run_import(world.app, FLOW, Selection(), unlimited=True)
    stopped = importing.unfinished(world.app, FLOW)
    assert stopped is not None and stopped.state == "stopped"
    world.erp.faults.merge({"p_503": 0.0})
    assert importing.run_import(world.app, FLOW, Selection(), resume=stopped).counts == {"created": 1}


def test_a_company_deleted_in_the_crm_before_it_was_ever_linked_is_no_partner_and_a_new_one_is_made(
    world: World,
) -> None:
    erp = customer(world, "C-1", "Northwind Ltd")
    with in_the_past(world):
        named = {"comp_intacct_customerid": "C-1", "comp_intacct_recordno": erp, "comp_intacct_company": "Acme UK"}
        gone = world.new_crm("Northwind Ltd", **named)
        world.crm.person("Company", gone, {}, "delete")
    assert imported(world) == {"created": 1}
    assert row_of(world, erp=erp).crm_key != gone
    assert world.crm_record(gone)["Comp_Deleted"], "what was deleted stays so"
