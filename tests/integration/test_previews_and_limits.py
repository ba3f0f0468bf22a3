"""A run does what its preview said; who was edited in between is planned anew and named; limits stop and ask."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.rules import FLOW, Make, api_writes, in_the_past, pair, rest, row_of, worlds
from support.world import World
from sync_worker.desk import importing, previewing, verifying
from sync_worker.desk.anew import Anew
from sync_worker.desk.limits import LimitReached
from sync_worker.engine.preview import Foreseen
from sync_worker.imports import Selection, select_by
from sync_worker.store import managers, runs

SEED = 20261122


@pytest.fixture
def make(tmp_path: Path, database_url: str) -> Iterator[Make]:
    yield from worlds(tmp_path, database_url)


@pytest.fixture
def small(tmp_path: Path, sqlite_url: str) -> Iterator[Make]:
    """On SQLite only."""
    yield from worlds(tmp_path, sqlite_url)


def customers(world: World, count: int) -> list[str]:
    """Customers older than the flow, which no notice would bring."""
    with in_the_past(world):
        return [world.new_erp(f"Customer {n} Ltd", id=f"C-{n}") for n in range(1, count + 1)]


def said(world: World) -> dict[str, Foreseen]:
    """The preview of a whole import, by ERP key."""
    return {str(one.row.erp_key): one for one in importing.preview(world.app, FLOW, Selection())}


# --- limits ----------------------------------------------------------------------------------------------------------


def test_gumu_1_an_import_beyond_its_limits_does_nothing_and_says_what_to_do(make: Make) -> None:
    world = make("limits = { changed = 2 }")
    customers(world, 3)
    before = api_writes(world)
    with pytest.raises(LimitReached) as error:
        importing.run_import(world.app, FLOW, Selection())
    assert "up to 3 records would be created or changed, more than limits.changed = 2" in str(error.value)
    assert "--dry-run" in str(error.value) and "--yes" in str(error.value)
    assert api_writes(world) == before and runs.unfinished(world.db, "import", FLOW) is None
    assert world.crm.stats()["reads"] == 0, "told from the ERP's pages and our own table alone"
    assert importing.run_import(world.app, FLOW, select_by(None, "C-1", "C-2")).counts == {"created": 2}
    assert importing.run_import(world.app, FLOW, Selection()).counts == {"created": 1, "unchanged": 2}


def test_a_person_who_says_yes_lets_an_import_pass_its_limits(small: Make) -> None:
    world = small("limits = { changed = 2 }")
    customers(world, 3)
    assert importing.run_import(world.app, FLOW, Selection(), unlimited=True).counts == {"created": 3}


def test_an_import_that_would_empty_more_fields_than_allowed_stops(small: Make) -> None:
    world = small("limits = { blanked = 1 }")
    one = pair(world)
    world.edit_erp(one.erp, **{"contacts.default.URL1": "", "taxId": ""})
    world.erp.take_notices()  # lost
    assert importing.extent(world.app, FLOW, Selection()).blanked == 2
    with pytest.raises(LimitReached, match=r"2 fields would be emptied, more than limits\.blanked = 1"):
        importing.run_import(world.app, FLOW, Selection())
    assert world.crm_record(one.crm)["Comp_WebSite"] == "http://northwind.example"


def test_a_filtered_customer_does_not_count_towards_the_limits(small: Make) -> None:
    world = small('limits = { changed = 0 }\n[flows.customers.filter]\nerp = { status = ["inactive"] }')
    customers(world, 2)
    assert importing.run_import(world.app, FLOW, Selection()).counts == {"skipped": 2}


# --- edited in between -----------------------------------------------------------------------------------------------


def test_records_edited_since_the_preview_are_planned_anew_and_named(make: Make) -> None:
    world = make()
    keys = customers(world, 4)
    assert {one.verdict for one in said(world).values()} == {"create"}
    world.edit_erp(keys[1], name="Renamed Ltd")
    with in_the_past(world):
        late = world.new_erp("Late Ltd", id="C-9")
    ended = importing.run_import(world.app, FLOW, Selection())
    assert ended.counts == {"created": 5}
    assert ended.anew is not None and set(ended.anew.named) == {keys[1], late} and ended.anew.count == 2
    assert ended.anew.new == 1 and set(ended.document()["planned_anew_refs"]) == {"C-2", "C-9"}
    assert world.crm_record(str(row_of(world, erp=keys[1]).crm_key))["Comp_Name"] == "Renamed Ltd"
    assert importing.run_import(world.app, FLOW, Selection()).anew is None, "that preview was used"


def test_a_preview_of_another_selection_is_nobodys_expectation(small: Make) -> None:
    world = small()
    customers(world, 2)
    list(importing.preview(world.app, FLOW, select_by(None, "C-1", "C-1")))
    assert importing.run_import(world.app, FLOW, Selection()).anew is None


# --- preview = journal -----------------------------------------------------------------------------------------------

WORDS = ("Acorn", "Birch", "Cedar", "Daisy", "Elm")
MAYBE = {
    "contacts.default.email1": lambda n: f"desk{n}@customers.test",
    "contacts.default.URL1": lambda n: f"http://c{n}.test",
    "contacts.default.phone1": lambda n: f"+44 20 7946 {n:04d}",
    "contacts.default.lastName": lambda n: f"Archer {n}",
    "contacts.default.mailingAddress.city": lambda n: f"Leeds {n}",
    "taxId": lambda n: f"GB{n:09d}",
    "salesRepresentative.id": lambda n: ("E-10", "E-11")[n % 2],
    "status": lambda n: ("inactive", "active")[n % 2],
}


def some_columns(rng: random.Random, n: int, share: float = 0.4) -> dict[str, str]:
    return {column: value(n) for column, value in MAYBE.items() if rng.random() < share}


def fill(world: World, rng: random.Random, count: int) -> list[str]:
    """Both systems filled before the flow: new customers, matching companies, namesakes, contradictions; ERP keys."""
    keys = []
    with in_the_past(world):
        for n in range(count):
            name = f"{rng.choice(WORDS)} {n if rng.random() < 0.8 else n // 2} Ltd"
            keys.append(world.new_erp(name, id=f"C-{n}", **some_columns(rng, n)))
            kind = rng.random()
            own = {"comp_intacct_customerid": f"C-{n}", "comp_intacct_company": "Acme UK"}
            if kind < 0.3:
                other = rng.choice(({}, {"Comp_WebSite": "http://crm.test"}, {"comp_vatnumber": "GB999999999"}))
                world.new_crm(name.upper() if kind < 0.1 else name, **own, **other)
            elif kind < 0.4:
                world.new_crm(name)
            elif kind < 0.45:
                world.new_crm(f"Somebody else {n}", **own)
    return keys


@pytest.mark.parametrize("seed", range(SEED, SEED + 4))
def test_gumu_1_preview_equals_journal_on_random_data(small: Make, seed: int) -> None:
    """The seed stands in the test's name. First a link-up, then an import after edits: what is written was foretold."""
    rng = random.Random(seed)
    world = small()
    managers.map_manager(world.db, FLOW, "E-10", "2", systems=("erp", "crm"))
    keys = fill(world, rng, 24)
    for turn in range(2):
        foretold = Counter(one.verdict for one in said(world).values())
        ended = importing.run_import(world.app, FLOW, Selection(), unlimited=True)
        assert ended.anew == Anew((), 0), (turn, foretold, ended.counts)
        assert sum(foretold.values()) == sum(ended.counts.values()) == len(keys)
        world.settle()
        rest(world)
        for n, key in enumerate(keys):
            if rng.random() < 0.5:
                world.edit_erp(key, **{"name": f"Renamed {n} Ltd", **some_columns(rng, 1000 + n, 0.2)})
        world.erp.take_notices()  # lost, so that the import is what finds them
    assert {"create", "unchanged"} & set(foretold), "the second turn knows those of the first"


# --- preview FLOW ----------------------------------------------------------------------------------------------------


def foreseen(world: World) -> list[Foreseen]:
    before = api_writes(world)
    found = list(previewing.preview(world.app, FLOW))
    assert api_writes(world) == before
    return found


def test_a_flow_at_rest_has_nothing_to_preview(make: Make) -> None:
    world = make()
    pair(world)
    assert foreseen(world) == []


def test_what_is_due_and_what_no_notice_told_of_is_previewed_once_each(make: Make) -> None:
    world = make()
    told, silent = pair(world, "Told Ltd"), pair(world, "Silent Ltd", comp_vatnumber="GB1", email=[])
    world.edit_erp(told.erp, name="Told Anew Ltd")
    world.deliver()
    world.edit_crm(silent.crm, Comp_Name="Silent Anew Ltd")
    world.crm.take_notices()  # lost
    found = {str(one.row.erp_key): one for one in foreseen(world)}
    assert {one.verdict for one in found.values()} == {"update"}
    assert found[told.erp].fields["name"] == {"side": "crm", "before": "Told Ltd", "after": "Told Anew Ltd"}
    assert found[silent.erp].fields["name"] == {"side": "erp", "before": "Silent Ltd", "after": "Silent Anew Ltd"}
    assert len(found) == 2


def test_a_flow_does_what_its_preview_said_with_what_verify_hands_over(small: Make) -> None:
    world = small()
    one = pair(world)
    world.edit_crm(one.crm, Comp_WebSite="http://new.example")
    world.crm.take_notices()
    with in_the_past(world):
        erp = world.new_erp("Same Ltd", id="C-78")
        crm = world.new_crm("Same Ltd", comp_intacct_customerid="C-78", comp_intacct_company="Acme UK")
        world.new_erp("Alone Ltd", id="C-79")
    world.erp.take_notices(), world.crm.take_notices()
    found = [(o.verdict, o.cause) for o in foreseen(world)]
    assert sorted(verdict for verdict, _ in found) == ["link", "skip", "update"], found
    verifying.verify(world.app, FLOW)
    world.settle()
    assert world.erp_record(one.erp)["contacts.default.URL1"] == "http://new.example"
    assert row_of(world, erp=erp).crm_key == crm
    assert foreseen(world) == []
