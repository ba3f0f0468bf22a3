"""AM-5: the manager mapping as a file, checked row by row, and suggestions a person accepts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.rules import FLOW, Make, pair, worlds
from support.world import World
from sync_worker import directories, sheets
from sync_worker.desk import manager_files, managers
from sync_worker.store import managers as store


@pytest.fixture
def world(tmp_path: Path, sqlite_url: str) -> Iterator[World]:
    makers: Iterator[Make] = worlds(tmp_path, sqlite_url)
    made = next(makers)()
    for connector in made.app.systems.values():
        directories.refresh(made.db, connector)
    yield made
    next(makers, None)


def rows(world: World) -> dict[str, tuple[str, bool]]:
    return {row.erp_key: (row.crm_key, row.preferred) for row in store.mappings(world.db, FLOW)}


def csv(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "in.csv"
    path.write_text(text, encoding="cp1252")
    return path


@pytest.mark.parametrize("name", ["managers.xlsx", "managers.csv"])
def test_am_5_an_export_is_a_template_and_uploading_it_unchanged_changes_nothing(
    world: World, tmp_path: Path, name: str
) -> None:
    one = pair(world)
    world.edit_erp(one.erp, **{"salesRepresentative.id": "E-12"})
    world.settle()
    managers.map_managers(world.app, [managers.propose(world.app, FLOW, "E-10", "sellers1")])
    path = tmp_path / name
    assert manager_files.export(world.app, path) == 3
    lines = {line.cells["ErpManager"]: line.cells for line in sheets.read(path).lines}
    assert (lines["E-10"]["CrmUser"], lines["E-12"]["Waiting"]) == ("2", "1")
    found = manager_files.read(world.app, path)
    assert (found.rows, found.same, found.left, found.errors) == ([], 1, 2, [])


def test_am_5_all_errors_of_a_row_come_at_once_and_the_error_file_can_be_corrected_and_uploaded(
    world: World, tmp_path: Path
) -> None:
    path = csv(
        tmp_path,
        "Flow;ERP manager;crm_user;Preferred;Note\n"
        "customers;E-10;sellers1;;keep\n"
        "customers;E-99;nobody;perhaps;two\n"
        "customers;E-10;sellers2;;again\n"
        "branch;E-11;sellers2;;\n"
        "customers;E-12;;;\n",
    )
    found = manager_files.read(world.app, path)
    assert [(number, len(errors)) for number, errors in found.errors] == [(3, 3), (4, 1), (5, 1)]
    assert "E-10 stands in line 2 already" in found.errors[1][1][0]
    assert rows(world) == {}
    back = tmp_path / "errors.csv"
    assert manager_files.write_errors(path, back, found) == 3
    told = [(one.cells["Note"], one.cells["_line"], bool(one.cells["_errors"])) for one in sheets.read(back).lines]
    assert told == [("keep", "2", False), ("two", "3", True), ("again", "4", True), ("", "5", True), ("", "6", False)]
    text = back.read_text("utf-8-sig").replace("E-99,nobody,perhaps", "E-11,sellers2,")
    text = text.replace("E-10,sellers2,,again", "E-12,sellers2,yes,again").replace(
        "branch,E-11,sellers2", "customers,E-12,"
    )
    back.write_text(text)
    again = manager_files.read(world.app, back)
    assert managers.map_by_flow(world.app, again.rows) == 0
    assert rows(world) == {"E-10": ("2", False), "E-11": ("3", False), "E-12": ("3", True)}, "the good row is not lost"


def test_am_5_two_rows_of_a_file_that_are_both_the_preferred_way_back_are_wrong(world: World, tmp_path: Path) -> None:
    path = csv(tmp_path, "ErpManager,CrmUser,Preferred\nE-10,sellers1,yes\nE-11,sellers1,yes\nE-12,sellers2,yes\n")
    found = manager_files.read(world.app, path, FLOW)
    assert found.errors == [
        (3, ["CrmUser sellers1 has its Preferred in line 2 already: only one of them is the way back"])
    ]


def test_am_5_rows_that_are_only_unambiguous_together_are_made_together_or_not_at_all(
    world: World, tmp_path: Path
) -> None:
    text = "ErpManager,CrmUser,Preferred\nE-10,sellers1,\nE-11,sellers1,{}\nE-12,sellers2,\n"
    found = manager_files.read(world.app, csv(tmp_path, text.format("")), FLOW)
    told = (
        "CrmUser sellers1 would stand for E-10, E-11, and none of them is the way back: say yes under Preferred for one"
    )
    assert found.errors == [(2, [told]), (3, [told])]
    assert [made.erp.key for made in found.rows] == ["E-12"]
    managers.map_by_flow(world.app, manager_files.read(world.app, csv(tmp_path, text.format("yes")), FLOW).rows)
    assert rows(world) == {"E-10": ("2", False), "E-11": ("2", True), "E-12": ("3", False)}


def test_am_5_a_second_manager_of_a_user_without_a_way_back_is_wrong_beside_all_other_wrong_rows(
    world: World, tmp_path: Path
) -> None:
    managers.map_managers(world.app, [managers.propose(world.app, FLOW, "E-10", "sellers1")])
    text = "ErpManager,CrmUser,Preferred\nE-99,sellers2,\nE-10,sellers1,\nE-11,sellers1,\nE-12,nobody,\n"
    found = manager_files.read(world.app, csv(tmp_path, text), FLOW)
    assert [number for number, _ in found.errors] == [2, 4, 5] and (found.rows, found.same) == ([], 1)
    (told,) = found.errors[1][1]
    assert told.startswith("CrmUser sellers1 would stand for E-10, E-11, and none of them")


def test_am_5_a_row_that_takes_a_users_way_back_away_is_wrong_and_names_that_user(world: World, tmp_path: Path) -> None:
    three = "ErpManager,CrmUser,Preferred\nE-10,sellers1,yes\nE-11,sellers1,\nE-12,sellers1,\n"
    managers.map_by_flow(world.app, manager_files.read(world.app, csv(tmp_path, three), FLOW).rows)
    found = manager_files.read(world.app, csv(tmp_path, "ErpManager,CrmUser\nE-10,sellers2\n"), FLOW)
    ((number, (told,)),) = found.errors
    assert (number, found.rows) == (2, []) and told.startswith("CrmUser sellers1 would stand for E-11, E-12, and none")


def test_suggestions_change_nothing_until_a_person_accepts_the_exact_ones(world: World) -> None:
    contact = {"id": "North, Ada", "printAs": "Ada North", "firstName": "Ada", "lastName": "North"}
    world.erp.person("contact", None, {**contact, "email1": "ADA@crm.test"}, "create")
    world.erp.person("employee", None, {"id": "E-20", "primaryContact.id": "North, Ada"}, "create")
    directories.refresh(world.db, world.app.systems["erp"])
    (best, *_) = manager_files.suggestions(world.app, FLOW)
    assert (best["erp"]["key"], best["crm"]["key"], best["exact"]) == ("E-20", "2", True)
    assert best["reasons"][0] == "same e-mail address"
    assert rows(world) == {}
    managers.map_managers(world.app, manager_files.accept_exact(world.app, FLOW))
    assert rows(world) == {"E-20": ("2", False)}
    assert all(one["erp"]["key"] != "E-20" for one in manager_files.suggestions(world.app, FLOW))
