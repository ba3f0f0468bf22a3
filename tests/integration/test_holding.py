"""A run whose process was killed keeps its lease for a while: whoever goes on with it waits, and says so once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import insert

from support.rules import FLOW, Make, in_the_past, pair, rest
from support.world import World
from sync_worker.desk import holding, importing, link_upload, rewriting
from sync_worker.errors import PermanentError
from sync_worker.imports import Selection
from sync_worker.store import runs, schedules
from sync_worker.store.runs import Run
from sync_worker.store.tables import journal


@pytest.fixture
def world(make_light: Make) -> World:
    return make_light()


def sleeping(world: World, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object] = lambda: None) -> None:
    def sleep(seconds: float) -> None:
        world.clock.advance(seconds)
        meanwhile()

    monkeypatch.setattr(holding.time, "sleep", sleep)


def link_file(world: World, tmp_path: Path) -> Path:
    """A customer and a company that are to be linked."""
    with in_the_past(world):
        erp, crm = world.new_erp("Northwind", id="K-1"), world.new_crm("Southwind")
    path = tmp_path / "links.csv"
    path.write_text(f"CustomerId,SageCompanyName,SageSiteId,SageCustomerId\n{crm},Acme UK,ACME,{erp}\n")
    return path


def killed(world: World, kind: str) -> None:
    assert schedules.claim(world.db, f"{kind}:{FLOW}", lease=holding.LEASE) is not None
    world.clock.advance(3)


def test_an_import_that_was_killed_is_gone_on_with_when_its_lease_ends_and_one_line_says_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs.begin(world.db, "import", FLOW, "a person", Selection().as_params())
    killed(world, "import")
    sleeping(world, monkeypatch)
    said: list[str] = []
    began = world.clock()
    ended = importing.run_import(world.app, FLOW, Selection(), resume=run, say=said.append)
    assert ended.run == run.id and said == [
        "an import of customers is running, or was killed just now: waiting, at most 27 s"
    ]
    assert 26 <= world.clock() - began <= 28


def test_an_undo_that_was_killed_is_gone_on_with_when_its_lease_ends(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = pair(world)
    world.edit_erp(one.erp, name="Northwind Works")
    world.settle()
    rest(world)
    killed(world, "undo")
    sleeping(world, monkeypatch)
    said: list[str] = []
    plan = rewriting.plan_undo(world.app, link=one.id)
    ended = rewriting.carry_out(world.app, plan, threads=1, say=said.append)
    assert len(said) == 1 and sum(ended.counts.values()) == 1
    assert world.erp_record(one.erp)["name"] == "Northwind Works" and world.crm_record(one.crm)["Comp_Name"] != (
        "Northwind Works"
    )


def test_a_run_whose_holder_lives_is_refused_as_soon_as_the_lease_is_prolonged(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = schedules.claim(world.db, f"import:{FLOW}", lease=holding.LEASE)
    assert token is not None
    began = world.clock()

    def alive() -> None:
        if world.clock() - began >= holding.RENEW_SECONDS:
            schedules.renew(world.db, f"import:{FLOW}", token, lease=holding.LEASE)

    sleeping(world, monkeypatch, alive)
    with pytest.raises(PermanentError, match="an import of customers is running"):
        importing.run_import(world.app, FLOW, Selection(), say=lambda _text: None)
    assert world.clock() - began < holding.RENEW_SECONDS + 1


def running_import(world: World) -> tuple[Run, int]:
    """Another process's, which holds the flow's lease: run and token."""
    run = runs.begin(world.db, "import", FLOW, "a person", Selection().as_params())
    token = schedules.claim(world.db, f"import:{FLOW}", lease=holding.LEASE)
    assert token is not None
    return run, token


def test_an_import_that_came_to_its_end_while_it_was_waited_for_is_not_gone_on_with(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, token = running_import(world)

    def ends() -> None:
        runs.end(world.db, run.id, "done")
        schedules.finish(world.db, f"import:{FLOW}", token, world.clock())

    sleeping(world, monkeypatch, ends)
    with pytest.raises(PermanentError, match="has come to its end meanwhile"):
        importing.run_import(world.app, FLOW, Selection(), resume=run, say=lambda _text: None)


def test_an_import_says_that_another_one_was_stopped_only_once_that_has_stopped(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, token = running_import(world)
    said: list[str] = []

    def stops() -> None:
        assert said == ["an import of customers is running, or was killed just now: waiting, at most 30 s"]
        runs.stop(world.db, run.id)
        schedules.finish(world.db, f"import:{FLOW}", token, world.clock())

    sleeping(world, monkeypatch, stops)
    importing.run_import(world.app, FLOW, Selection(), say=said.append)
    assert said[1:] == [f"an import was stopped (run {run.id}); beginning anew (--resume would go on with it)"]


@pytest.mark.parametrize("flow", [None, FLOW])
def test_a_second_upload_of_links_of_a_flow_is_refused_in_one_line_and_a_dry_run_is_not(
    world: World, tmp_path: Path, flow: str | None
) -> None:
    path = link_file(world, tmp_path)
    refused: list[str] = []

    def meanwhile(what: str, _done: int, _total: int) -> None:
        if what == "checked":
            for second in (None, FLOW):
                with pytest.raises(PermanentError) as error:
                    link_upload.upload(world.app, path, second)
                refused.append(str(error.value))
            assert link_upload.upload(world.app, path, dry_run=True).counts["linked"] == 1

    found = link_upload.upload(world.app, path, flow, progress=meanwhile)
    assert found.counts["linked"] == 1 and runs.get(world.db, found.run).state == "done"
    assert set(refused) == {"an upload of links of customers is running; wait until it has ended"}
    assert link_upload.upload(world.app, path).counts["unchanged"] == 1


def test_an_upload_of_links_that_was_killed_is_gone_on_with_when_its_lease_ends(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(world, link_upload.KIND)
    sleeping(world, monkeypatch)
    said: list[str] = []
    assert link_upload.upload(world.app, link_file(world, tmp_path), say=said.append).counts["linked"] == 1
    assert said == ["an upload of links of customers is running, or was killed just now: waiting, at most 27 s"]


def test_an_upload_of_links_whose_lease_another_one_took_over_leaves_the_run_to_it(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "RENEW_SECONDS", -1.0)

    def stalls(what: str, _done: int, _total: int) -> None:
        if what == "checked":
            world.clock.advance(holding.LEASE + 1)
            assert schedules.claim(world.db, f"{link_upload.KIND}:{FLOW}", lease=holding.LEASE) is not None

    with pytest.raises(holding.TakenOver, match="taken over by another process"):
        link_upload.upload(world.app, link_file(world, tmp_path), progress=stalls)
    run = runs.unfinished(world.db, link_upload.KIND, "")
    assert run is not None and run.state == "running", "it is not this process's to stop"


@pytest.mark.parametrize(
    ("kind", "flow", "lease"),
    [
        ("import", FLOW, f"import:{FLOW}"),
        ("links_upload", "", f"links_upload:{FLOW}"),  # of all flows: one lease each
        ("undo", "", "undo:"),  # of such an upload
    ],
)
def test_a_run_that_is_still_under_way_is_not_undone_also_while_none_of_its_records_is_due(
    world: World, kind: str, flow: str, lease: str
) -> None:
    one = pair(world)
    begun = runs.begin(world.db, kind, flow, "a person", {})
    with world.db.write() as conn:
        entry = {"link_id": one.id, "flow": FLOW, "at": world.clock(), "side": "crm", "key": one.crm, "what": "update"}
        conn.execute(insert(journal).values(**entry, why="", actor="worker", run_id=begun.id))
    assert schedules.claim(world.db, lease, lease=holding.LEASE) is not None
    with pytest.raises(PermanentError, match=f"run {begun.id} is under way: .* stop it by Ctrl-C"):
        rewriting.plan_undo(world.app, run=begun.id)
    world.clock.advance(holding.LEASE)  # whoever held it is dead
    assert rewriting.plan_undo(world.app, run=begun.id).params == {"run": begun.id}
