"""A run whose process was killed keeps its lease for a while: whoever goes on with it waits, and says so once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.rules import FLOW, Make, pair, rest
from support.world import World
from sync_worker.desk import holding, importing, rewriting
from sync_worker.errors import PermanentError
from sync_worker.imports import Selection
from sync_worker.store import runs, schedules


@pytest.fixture
def world(make_light: Make) -> World:
    return make_light()


def sleeping(world: World, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object] = lambda: None) -> None:
    def sleep(seconds: float) -> None:
        world.clock.advance(seconds)
        meanwhile()

    monkeypatch.setattr(holding.time, "sleep", sleep)


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


def test_an_import_that_came_to_its_end_while_it_was_waited_for_is_not_gone_on_with(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs.begin(world.db, "import", FLOW, "a person", Selection().as_params())
    token = schedules.claim(world.db, f"import:{FLOW}", lease=holding.LEASE)
    assert token is not None

    def ends() -> None:
        runs.end(world.db, run.id, "done")
        schedules.finish(world.db, f"import:{FLOW}", token, world.clock())

    sleeping(world, monkeypatch, ends)
    with pytest.raises(PermanentError, match="has come to its end meanwhile"):
        importing.run_import(world.app, FLOW, Selection(), resume=run, say=lambda _text: None)
