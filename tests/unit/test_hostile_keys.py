"""Keys and stamps of any length, and ids that are none: what we keep of them names one record, or nothing."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import count, islice
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.hostile import VENDORS, Attacked
from sync_worker.config.profile import load as load_profile
from sync_worker.connectors import bounds, stamps
from sync_worker.connectors.base import MAX_KEY, Write
from sync_worker.connectors.intacct.query import CONTACT_KEY, MODIFIED, record_of
from sync_worker.connectors.rest.records import Records
from sync_worker.connectors.sage_crm.settings import SageCrmSettings
from sync_worker.connectors.sage_crm.tables import COMPANY, Row, shape_of
from sync_worker.errors import SystemUnavailable


def listing(page: Callable[[int], dict[str, Any]]) -> httpx.MockTransport:
    """A vendor that answers everything but a login with its next page, from 1."""
    numbers = count(1)

    def answer(request: httpx.Request) -> httpx.Response:
        token = {"access_token": "made-up", "expires_in": 3600}
        return httpx.Response(200, json=token if request.url.path.endswith("token") else page(next(numbers)))

    return httpx.MockTransport(answer)


def directory(name: str, keys: list[str]) -> list[str]:
    """The keys of the managers that a vendor's list of these makes."""
    shapes: dict[str, Callable[[list[str]], dict[str, Any]]] = {
        "intacct": lambda found: {"ia::result": [{"key": str(n), "id": key} for n, key in enumerate(found, 1)]},
        "sage_crm": lambda found: {"$resources": [{"user_userid": key, "User_Logon": "x"} for key in found]},
        "the_layer": lambda found: {"data": [{"id": key} for key in found]},
    }
    attacked = Attacked(name, listing(lambda number: shapes[name](keys if number == 1 else [])))
    try:
        return [manager.key for manager in attacked.connector.list_managers()]
    finally:
        attacked.close()


@pytest.mark.parametrize("name", VENDORS)
def test_a_manager_whose_key_cannot_be_kept_is_left_out_and_nobody_else(name: str) -> None:
    longest = "9" * MAX_KEY
    assert directory(name, ["1", longest + "1", longest + "2", "", longest, "2"]) == ["1", longest, "2"]


def test_a_contact_of_intacct_whose_key_cannot_be_kept_is_none_and_not_another() -> None:
    for length, kept in ((MAX_KEY, "9" * MAX_KEY), (MAX_KEY + 1, "")):
        assert record_of({"key": "1", CONTACT_KEY: "9" * length}, ()).children == {"contact": kept}


@pytest.mark.parametrize("length", [stamps.LONGEST, stamps.LONGEST + 1, 100_000])
def test_of_a_stamp_as_much_is_kept_as_a_date_can_have(length: int) -> None:
    stamp, kept = "2" * length, "2" * stamps.LONGEST
    profile = load_profile("the_layer", Path())
    pointer = profile.customers.updated_at.strip("/")
    assert list(record_of({"key": "1", MODIFIED: stamp}, ()).stamps.values()) == [kept]
    assert list(Records(profile, None).record({"id": "1", pointer: stamp}).stamps.values()) == [kept]
    assert Row({"Comp_UpdatedDate": stamp}).stamp(COMPANY) == kept


@pytest.mark.parametrize(
    ("shown", "known"), [(7, "7"), ("7", "7"), (0, ""), (None, ""), ("x", None), ({"a": 1}, None), ("9" * 300, None)]
)
@pytest.mark.parametrize(("address_type", "name"), [("", "address"), ("Sage Intacct", "address@primary")])
def test_a_primary_child_of_sage_crm_that_is_no_id_says_nothing(
    address_type: str, name: str, shown: Any, known: str | None
) -> None:
    shape = shape_of(SageCrmSettings("http://vendor.test", "sync", "demo-password", address_type=address_type), None)
    assert shape.primaries(Row({"Comp_PrimaryAddressId": shown})).get(name) == known


@pytest.mark.parametrize("shown", ["x", "9" * 300, {"a": 1}])
def test_a_create_of_sage_crm_that_shows_no_id_of_a_child_tells_of_none(shown: Any) -> None:
    attacked = Attacked("sage_crm")
    attacked.transport.reset(rewrite=lambda row: {**row, "Comp_PrimaryPersonId": shown} if "Comp_Name" in row else row)
    columns = {"Comp_Name": "Bare", "Pers_LastName": "Holt", "Addr_City": "Leeds"}
    (outcome,) = attacked.connector.write_many("customer", [Write(None, columns)])
    attacked.close()
    assert outcome.error is None
    assert list(outcome.children) == ["address"]


# --- walks over pages ------------------------------------------------------------------------------------------------


def pages_until_it_ends(key: Callable[[int], int], operation: str = "sweep") -> int:
    """How many pages of one row each a walk over Intacct asks for until it is given up; page ``n`` shows ``key(n)``."""
    asked = []

    def page(number: int) -> dict[str, Any]:
        asked.append(number)
        return {"ia::result": [{"key": str(key(number)), "id": "C"}], "ia::meta": {"next": 2}}

    attacked = Attacked("intacct", listing(page))
    walk = (
        attacked.connector.sweep("customer") if operation == "sweep" else attacked.connector.changes("customer", SINCE)
    )
    with pytest.raises(SystemUnavailable, match="the list does not end"):
        for _ in islice(walk, 5_000):
            pass
    attacked.close()
    return len(asked)


SINCE = "2026-11-01T00:00:00Z"


@pytest.mark.parametrize("length", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("before", [0, 1, 50])
def test_pages_of_intacct_that_lead_in_a_circle_end_the_walk(length: int, before: int) -> None:
    def key(number: int) -> int:
        return number if number <= before else 1000 + number % length

    assert pages_until_it_ends(key) <= 4 * (before + length) + 2
    assert pages_until_it_ends(key, "changes") <= 8 * (before + length) + 4


def test_pages_of_intacct_that_always_show_another_row_end_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_PAGES", 300)
    assert pages_until_it_ends(lambda number: number) == 300


def test_a_walk_that_gets_ahead_is_never_taken_for_a_circle() -> None:
    for places in (range(5_000), range(5_000, 0, -1), random.Random(7).sample(range(10**6), 5_000)):
        ahead = bounds.Ahead(None, "erp")
        for place in places:
            ahead.check(("", str(place)))


@pytest.mark.parametrize("length", [2, 3, 100])
def test_cursors_of_a_rest_api_that_lead_in_a_circle_end_the_walk(length: int) -> None:
    asked = []

    def page(number: int) -> dict[str, Any]:
        asked.append(number)
        return {"data": [{"id": f"U{number % length}"}], "next": f"c{number % length}"}

    attacked = Attacked("the_layer", listing(page))
    with pytest.raises(SystemUnavailable, match="a page leads back to an earlier one") as said:
        attacked.connector.list_managers()
    attacked.close()
    assert said.value.system == "crm"
    assert len(asked) <= 4 * length + 2


def test_companies_of_sage_crm_that_do_not_go_on_behind_an_id_end_the_sweep() -> None:
    rows = [{"comp_companyid": n, "Comp_Name": "Orchard"} for n in (1, 2)]
    attacked = Attacked("sage_crm", listing(lambda _number: {"$resources": rows, "$totalResults": 9}))
    with pytest.raises(SystemUnavailable, match="does not go on behind the id"):
        for _ in islice(attacked.connector.sweep("customer"), 20):
            pass
    attacked.close()
