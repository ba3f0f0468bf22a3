"""Imports: GUMU-1 to 6, 13 and AM-8, over both emulators."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from support.rules import FLOW, Make, api_writes, in_the_past, row_of, wakes, worlds
from support.world import World
from sync_worker.connectors.base import Record
from sync_worker.desk import importing, run_lists
from sync_worker.engine import core
from sync_worker.engine.core import Lanes
from sync_worker.errors import PermanentError
from sync_worker.imports import KIND, Import, Progress, Selection, select_by
from sync_worker.imports import run as imports_run
from sync_worker.imports.selection import BadSelection
from sync_worker.store import managers, runs


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> Iterator[World]:
    makers: Iterator[Make] = worlds(tmp_path, database_url)
    yield next(makers)()
    next(makers, None)


def imported(world: World, selection: Selection | None = None, run: runs.Run | None = None) -> dict[str, int]:
    chosen = selection or Selection()
    begun = run or runs.begin(world.db, KIND, FLOW, "test", chosen.as_params())
    app = world.app
    job = Import(world.db, app.inbox, app.engine, app.flows[FLOW], begun, chosen, threads=1)
    return job.go()


def customers(world: World, count: int) -> list[str]:
    """Customers older than the flow, which no notice would bring."""
    with in_the_past(world):
        return [world.new_erp(f"Customer {n} Ltd", id=f"C-{n}") for n in range(1, count + 1)]


def names(world: World) -> set[str]:
    return {str(row["Comp_Name"]) for row in world.crm.list_records("Company")}


def test_gumu_1_without_criteria_every_customer_comes_and_a_second_import_writes_nothing(world: World) -> None:
    customers(world, 7)
    assert imported(world) == {"created": 7}
    assert {f"Customer {n} Ltd" for n in range(1, 8)} <= names(world)
    world.settle()
    before = api_writes(world)
    world.crm.reset_stats()
    assert imported(world) == {"unchanged": 7}
    assert api_writes(world) == before and world.crm.stats()["reads"] == 0


def test_an_imports_own_process_works_on_three_batches_at_a_time_and_a_worker_on_two() -> None:
    for most, lanes in ((2, Lanes()), (3, importing.lanes())):
        assert [lanes.enter((FLOW, "bulk"), lambda: True) for _ in range(4)] == [n < most for n in range(4)]


def test_the_last_few_customers_of_an_import_wait_for_the_batches_before_them(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(core, "time", SimpleNamespace(monotonic=lambda: now[0]))
    found = []
    for lanes in (Lanes(), importing.lanes()):
        assert lanes.enter((FLOW, "bulk"), lambda: False)
        now[0] += 2 * core.DRAGS["bulk"]
        found.append(lanes.enter((FLOW, "bulk"), lambda: False))
    assert found == [True, False]
    now[0] += core.BULK_SECONDS
    assert lanes.enter((FLOW, "bulk"), lambda: False)


def test_gumu_1_no_customers_is_an_import_of_nothing(world: World) -> None:
    assert imported(world) == {}


def test_gumu_3_numbers_are_a_range_with_both_ends(world: World) -> None:
    customers(world, 12)
    assert imported(world, select_by(None, "c-9", "C-11")) == {"created": 3}
    assert {"Customer 9 Ltd", "Customer 10 Ltd", "Customer 11 Ltd"} <= names(world)
    assert imported(world, select_by(None, "C-12", " ")) == {"created": 1}


def test_gumu_6_a_matching_company_is_updated_with_the_erps_values_and_nothing_is_inserted(world: World) -> None:
    with in_the_past(world):
        erp = world.new_erp("Same Ltd", id="C-78", **{"contacts.default.URL1": "http://erp.test"})
        crm = world.new_crm("Same Ltd", Comp_WebSite="http://crm.test", comp_intacct_customerid="C-78",
                            comp_intacct_company="Acme UK")  # fmt: skip
    assert imported(world) == {"linked": 1}
    world.settle()
    row = row_of(world, erp=erp)
    assert (row.crm_key, row.state) == (crm, "in_sync")
    assert world.crm_record(crm)["Comp_WebSite"] == "http://erp.test"


def test_gumu_5_one_bad_customer_fails_with_its_cause_and_the_others_come(world: World) -> None:
    keys = customers(world, 3)
    world.crm.faults.merge({"refuse": {"Comp_Name": ["Customer 2 Ltd"]}})
    counts = imported(world)
    assert counts == {"created": 2, "failed": 1}
    assert row_of(world, erp=keys[1]).state == "failing"
    (run,) = run_lists.latest(world.app, FLOW, 9)
    (bad,) = run_lists.records(world.app, run["run"], "failed", None, 10)["records"]
    assert (bad["key"], bad["erp"]["ref"], bad["state"]) == (keys[1], "C-2", "failing") and bad["cause"]["text"]
    page = run_lists.records(world.app, run["run"], None, None, 2)
    rest = run_lists.records(world.app, run["run"], None, page["next"], 2)
    assert [one["verdict"] for one in page["records"] + rest["records"]] == ["created", "failed", "created"]
    with pytest.raises(PermanentError, match="there is no run 99"):
        run_lists.records(world.app, 99, None, None, 1)


def test_am_8_an_unmapped_manager_waits_while_its_customer_is_created(world: World) -> None:
    with in_the_past(world):
        key = world.new_erp("Managed Ltd", id="C-5", **{"salesRepresentative.id": "E-10"})
    assert imported(world) == {"created": 1}
    assert row_of(world, erp=key).state == "waiting"
    managers.map_manager(world.db, FLOW, "E-10", "2", systems=("erp", "crm"))
    world.settle()
    assert world.crm_record(str(row_of(world, erp=key).crm_key))["Comp_PrimaryUserId"] == 2
    assert imported(world) == {"unchanged": 1}


def test_gumu_13_an_import_that_was_stopped_goes_on_where_it_was_and_repeats_nothing(world: World) -> None:
    customers(world, 5)
    run = runs.begin(world.db, KIND, FLOW, "test", {})
    job = Import(world.db, world.app.inbox, world.app.engine, world.app.flows[FLOW], run, Selection(), threads=0)
    stopped = threading.Event()

    def stop(_progress: object) -> None:
        stopped.set()
        raise KeyboardInterrupt

    job.progress = stop
    with pytest.raises(KeyboardInterrupt):
        job.go()
    assert stopped.is_set() and runs.tally(world.db, run.id) == {"under_way": 5}
    again = runs.unfinished(world.db, KIND, FLOW)
    assert again is not None and again.id == run.id
    assert imported(world, run=again) == {"created": 5}
    created = [row for row in world.written("crm") if row.entity == "Company" and row.op == "create"]
    assert len(created) == 5


def test_gumu_13_an_import_that_was_killed_within_a_page_takes_the_rest_of_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    customers(world, 5)
    monkeypatch.setattr(imports_run, "PORTION", 2)
    run = runs.begin(world.db, KIND, FLOW, "test", {})
    job = Import(world.db, world.app.inbox, world.app.engine, world.app.flows[FLOW], run, Selection(), threads=0)
    accept, taken = job.inbox.accept_in, []

    def killed(conn: Any, changes: Any, **more: Any) -> Any:
        if taken:
            raise KeyboardInterrupt
        taken.extend(changes)
        return accept(conn, changes, **more)

    with monkeypatch.context() as patched:
        patched.setattr(job.inbox, "accept_in", killed)
        with pytest.raises(KeyboardInterrupt):
            job.go()
    assert runs.tally(world.db, run.id) == {"under_way": 2}
    again = runs.unfinished(world.db, KIND, FLOW)
    assert again is not None and again.id == run.id
    assert imported(world, run=again) == {"created": 5}


def test_an_import_tells_its_threads_of_every_portion_it_has_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports_run, "PORTION", 2)
    told = wakes(monkeypatch)
    customers(world, 3)
    assert imported(world) == {"created": 3}
    assert len(told) == 2


def test_an_import_runs_its_batches_as_its_own_process_may(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    go = Import.go

    def look(job: Import) -> dict[str, int]:
        seen.append(job.engine.lanes.most["bulk"])
        return go(job)

    monkeypatch.setattr(Import, "go", look)
    customers(world, 1)
    importing.run_import(world.app, FLOW, Selection())
    assert seen == [importing.BATCHES]


def test_e2_where_more_is_due_than_one_batch_takes_the_first_of_those_that_run_side_by_side_is_smaller(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "BATCH", 6)
    customers(world, 13)
    run = runs.begin(world.db, KIND, FLOW, "test", {})
    job = Import(world.db, world.app.inbox, world.app.engine, world.app.flows[FLOW], run, Selection(), threads=0)
    sizes: list[int] = []

    def work(_progress: object) -> None:
        sizes.append(world.app.engine.run_due(FLOW, "bulk").claimed)

    job.progress = work
    assert job.go() == {"created": 13}
    assert sizes[:3] == [3, 6, 4]


def test_gumu_13_an_import_that_was_stopped_shows_what_it_has_done_by_then(world: World) -> None:
    customers(world, 3)

    def stop(at: Progress) -> None:
        if at.under_way < at.seen:
            raise KeyboardInterrupt

    importing.run_import(world.app, FLOW, select_by(None, "C-1", "C-1"))
    with pytest.raises(KeyboardInterrupt):
        importing.run_import(world.app, FLOW, Selection(), progress=stop)
    (shown, *_) = run_lists.latest(world.app, FLOW, 1)
    assert shown["state"] == "stopped" and shown["counts"]["unchanged"] == 1
    assert sum(shown["counts"].values()) == 3, "those that were begun are created, or still under way"
    stopped = importing.unfinished(world.app, FLOW)
    again = importing.run_import(world.app, FLOW, Selection(), resume=stopped)
    assert again.counts == {"created": 2, "unchanged": 1}
    assert run_lists.latest(world.app, FLOW, 1)[0]["counts"] == again.counts


@pytest.mark.parametrize(
    ("since", "first", "last"),
    [("yesterday", None, None), ("2026-13-01", None, None), (None, "C-10", "C-9"), ("2026-02-30", "C-1", "C-2")],
)
def test_gumu_4_a_criterion_that_cannot_be_used_refuses_the_whole_run(
    since: str | None, first: str | None, last: str | None
) -> None:
    with pytest.raises(BadSelection):
        select_by(since, first, last)


def test_gumu_2_a_day_counts_whole_in_the_persons_zone_and_both_criteria_mean_both() -> None:
    chosen = select_by("2026-07-01", "C-1", "C-20", "Europe/London")
    midnight = 1_782_860_400.0  # 2026-06-30 23:00 UTC

    def recent(updated_at: float | None) -> bool:
        return chosen.recent(Record("1", "C-9", {}, updated_at=updated_at))

    assert recent(midnight) and recent(None) and not recent(midnight - 1)
    assert chosen.numbered("C-9") and not chosen.numbered("C-21")


def test_an_import_does_what_its_preview_said(world: World) -> None:
    customers(world, 3)
    with in_the_past(world):
        world.new_erp("Same Ltd", id="C-78")
        world.new_crm("Same Ltd", comp_intacct_customerid="C-78", comp_intacct_company="Acme UK")
        world.new_erp("Namesake Ltd", id="C-79")
        world.new_crm("Namesake Ltd")
    before = api_writes(world)
    said = Counter(one.verdict for one in importing.preview(world.app, FLOW, Selection()))
    assert said == {"create": 3, "link": 1, "ambiguous": 1} and api_writes(world) == before
    assert importing.run_import(world.app, FLOW, Selection()).counts == {"created": 3, "linked": 1, "waiting": 1}
    world.settle()
    again = Counter(one.verdict for one in importing.preview(world.app, FLOW, Selection()))
    assert again == {"unchanged": 4, "ambiguous": 1}


def test_gumu_13_a_second_import_of_the_flow_is_refused_while_one_runs(world: World) -> None:
    customers(world, 2)
    refused: list[str] = []

    def another(_progress: object) -> None:
        with pytest.raises(PermanentError) as error:
            importing.run_import(world.app, FLOW, Selection())
        refused.append(str(error.value))

    importing.run_import(world.app, FLOW, Selection(), progress=another)
    assert refused and all("an import of customers is running" in one for one in refused)
    assert importing.run_import(world.app, FLOW, Selection()).counts == {"unchanged": 2}


def test_gumu_15_an_import_against_the_direction_is_refused_before_anything_is_read(world: World) -> None:
    customers(world, 1)
    world.reconfigure('direction = "to_erp"')
    world.erp.reset_stats()
    with pytest.raises(PermanentError, match="direction to_erp"):
        importing.run_import(world.app, FLOW, Selection())
    assert world.erp.stats()["reads"] == 0
