"""E20 by hand: link, unlink, candidates, and what the command line says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from support.companies import SECOND, shared, worlds_of_two
from support.companies import Make as MakeTwo
from support.rules import FLOW, Make, entries, in_the_past, pair, rest, row_of
from support.world import CONFIG, HOOK_SECRET, KEY_COLUMNS, World
from sync_worker.cli import app as cli
from sync_worker.desk import linking
from sync_worker.errors import PermanentError
from sync_worker.events import Change
from sync_worker.store import counters

SHUT = 'create_in_crm = "never"\ncreate_in_erp = "manual"'


def by_state(world: World) -> dict[str, int]:
    """What is counted equals what is there."""
    counted = {state: n for (_, state), n in counters.by_state(world.db).items()}
    there: dict[str, int] = {}
    for row in world.links():
        there[row["state"]] = there.get(row["state"], 0) + 1
    assert counted == there
    return there


def test_e20_unlinking_makes_two_halves_that_stay_apart_until_a_person_links_them(make: Make) -> None:
    world = make()
    one = pair(world)
    assert "stands alone as link" in linking.unlink(world.app, one.id)
    halves = {side: row_of(world, **{side: key}) for side, key in (("erp", one.erp), ("crm", one.crm))}
    assert halves["crm"].id == one.id and halves["crm"].state == halves["erp"].state == "unlinked"
    assert (halves["crm"].was_linked_to or {})["key"] == one.erp
    assert (halves["erp"].was_linked_to or {})["key"] == one.crm
    world.edit_crm(one.crm, Comp_WebSite="http://other.example")
    world.edit_erp(one.erp, name="Northwind Reborn")
    rest(world)
    assert row_of(world, crm=one.crm).state == row_of(world, erp=one.erp).state == "unlinked"
    assert by_state(world) == {"unlinked": 2}
    assert "are linked" in linking.link_two(world.app, FLOW, one.erp, f"key:{one.crm}")
    rest(world)
    row = row_of(world, crm=one.crm)
    assert (row.id, row.erp_key, row.cause) == (one.id, one.erp, "first_link_up")
    assert sum(by_state(world).values()) == 1
    assert [e["actor"] for e in entries(world, "unlinked")] == ["cli"]


def test_e20_a_person_unlinking_many_does_not_pause_the_flow_for_vanished_records(make: Make) -> None:
    world = make("limits = { unlinked = 1 }")
    links = [pair(world, f"Customer {name}") for name in ("Alpha", "Beta", "Gamma")]
    for one in links[:2]:
        linking.unlink(world.app, one.id)
    world.crm.person("Company", links[2].crm, {}, "delete")
    rest(world)
    rest(world)
    assert row_of(world, erp=links[2].erp).cause == "removed"


def test_linking_refuses_what_is_linked_otherwise_in_one_line_and_relink_allows_it(make: Make) -> None:
    world = make(SHUT)
    with in_the_past(world):
        erps = [world.new_erp(f"Erp {n}", id=f"K-{n}") for n in (1, 2)]
        crms = [world.new_crm(f"Crm {n}") for n in (1, 2)]
    linking.link_two(world.app, FLOW, "K-1", crms[0])
    assert "are linked already" in linking.link_two(world.app, FLOW, erps[0], crms[0])
    with pytest.raises(PermanentError, match=r"--relink unlinks that first") as refused:
        linking.link_two(world.app, FLOW, erps[0], crms[1])
    assert "\n" not in str(refused.value)
    said = linking.link_two(world.app, FLOW, erps[0], crms[1], relink=True)
    assert f"crm {crms[0]} is not linked with erp {erps[0]} any more; " in said
    assert row_of(world, erp=erps[0]).crm_key == crms[1]
    for bad in (("nobody", crms[0]), (erps[1], "99999")):
        with pytest.raises(PermanentError, match="has no record"):
            linking.link_two(world.app, FLOW, *bad)
    with pytest.raises(PermanentError, match="no flow x"):
        linking.link_two(world.app, "x", erps[0], crms[0])
    with pytest.raises(PermanentError, match="there is no link 999"):
        linking.unlink(world.app, 999)
    with pytest.raises(PermanentError, match="nothing to unlink"):
        linking.unlink(world.app, row_of(world, crm=crms[0]).id)
    by_state(world)


def test_candidates_are_those_that_wait_for_a_person_or_what_the_ladder_says_now(make: Make) -> None:
    world = make()
    with in_the_past(world):
        erp = world.new_erp("Northwind Tools Ltd", id="K-1")
        crm = world.new_crm("Northwind Tools")
    (fresh,) = linking.candidates(world.app, "crm", crm)  # nobody told us of it yet
    assert fresh["link"] is None
    name = "Northwind Tools Ltd"
    assert fresh["candidates"] == [{"system": "erp", "key": erp, "ref": "K-1", "name": name, "why": "name"}]
    assert world.links() == []
    world.app.inbox.accept([Change("crm", "customer", crm)])
    rest(world)
    (stored,) = linking.candidates(world.app, "crm", crm)
    assert (stored["state"], stored["candidates"]) == ("waiting", fresh["candidates"])
    assert world.explain("crm", crm)["candidates"] == fresh["candidates"]
    linking.link_two(world.app, FLOW, erp, crm)
    rest(world)
    (full,) = linking.candidates(world.app, "erp", "K-1")
    assert full["linked_with"]["key"] == crm and full["candidates"] == []
    linking.unlink(world.app, row_of(world, crm=crm).id)
    (again,) = linking.candidates(world.app, "crm", crm)
    assert [(c["key"], c["why"]) for c in again["candidates"]] == [(erp, "its key column names it")]
    with pytest.raises(PermanentError, match="has no record"):
        linking.candidates(world.app, "crm", "99999")
    with pytest.raises(PermanentError, match="no system x"):
        linking.candidates(world.app, "x", "1")


def test_e21_unlinking_the_default_passes_it_on_and_a_new_link_comes_second(tmp_path: Path, database_url: str) -> None:
    worlds = worlds_of_two(tmp_path, database_url)
    make: MakeTwo = next(worlds)
    two = make()
    first, crm, _ = shared(two)
    assert two.link_of(FLOW, crm).is_default
    linking.unlink(two.app, two.link_of(FLOW, crm).id)
    assert two.link_of(SECOND, crm).is_default
    linking.link_two(two.app, FLOW, first, crm)
    rest(two)
    assert (two.link_of(FLOW, crm).is_default, two.link_of(SECOND, crm).is_default) == (False, True)
    next(worlds, None)


def test_the_command_line_lists_unlinks_and_refuses_in_one_line(
    make_light: Make, tmp_path: Path, sqlite_url: str
) -> None:
    world = make_light()
    one = pair(world)
    config = tmp_path / "sync.toml"
    text = CONFIG.format(crm="", stale=30, secret=HOOK_SECRET, flow="", columns=KEY_COLUMNS)
    config.write_text(f'[database]\nurl = "{sqlite_url}"\n{text}')
    run = CliRunner(env={"SYNC_DATA_DIR": str(tmp_path)})

    def said(*args: str) -> tuple[int, str]:
        ended = run.invoke(cli, ["links", *args, "--config", str(config)])
        assert ended.exception is None or isinstance(ended.exception, SystemExit), repr(ended.exception)
        return ended.exit_code, ended.stdout

    code, out = said("list", "--json")
    (shown,) = json.loads(out)["links"]
    assert (code, shown["link"], shown["synced"], shown["crm"]["key"]) == (0, one.id, True, one.crm)
    assert said("list", "--state", "failing") == (0, "")
    path = tmp_path / "links.csv"
    assert said("export", str(path)) == (0, f"{path}: 1 row\n")
    code, out = said("upload", str(path), "--json")
    assert (code, json.loads(out)["unchanged"], json.loads(out)["rows"]) == (0, 1, 1)
    path.write_text(path.read_text(encoding="utf-8-sig").replace("Acme UK", "Elsewhere"), encoding="utf-8")
    code, out = said("upload", str(path), "--errors", str(tmp_path / "wrong.csv"))
    assert code == 1 and out.startswith("line 2: SageCompanyName Elsewhere: there is Acme UK\nrun ")
    assert (tmp_path / "wrong.csv").exists()
    assert said("unlink", "--link", str(one.id))[0] == 0
    assert row_of(world, crm=one.crm).state == "unlinked"
