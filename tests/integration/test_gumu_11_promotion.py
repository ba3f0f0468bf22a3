"""GUMU-11: a company of the CRM becomes a customer of the ERP because a person says so, one or a list."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from support.companies import SECOND, TwoErps, worlds_of_two
from support.rules import FLOW, Make, in_the_past, pair, rest, row_of, run_all, there, when, worlds
from support.world import World
from sync_worker import desk
from sync_worker.connectors.intacct.emulator import IntacctEmulator
from sync_worker.errors import PermanentError
from sync_worker.events import Change

BY_HAND = 'create_in_erp = "manual"'


@pytest.fixture
def manual(tmp_path: Path, database_url: str) -> Iterator[World]:
    makers: Iterator[Make] = worlds(tmp_path, database_url)
    yield next(makers)(BY_HAND)
    next(makers, None)


def test_gumu_11_a_promoted_company_becomes_a_customer_and_its_ids_are_written_back(manual: World) -> None:
    crm = manual.new_crm("Northwind Tools")
    manual.settle()
    assert there(manual, "erp", "Northwind Tools") == []
    (shown,) = desk.sync_record(manual.app, "crm", crm)
    (erp,) = there(manual, "erp", "Northwind Tools")
    assert (shown["state"], shown["erp"]["key"]) == ("in_sync", erp)
    company = manual.crm_record(crm)
    assert (company["comp_intacct_recordno"], company["comp_intacct_customerid"]) == (erp, f"CRM-{crm}")
    assert company["comp_intacct_company"] == "Acme UK"


def test_gumu_11_a_list_is_promoted_one_by_one_and_one_that_cannot_be_stops_none(manual: World) -> None:
    keys = [manual.new_crm(f"Company {n}") for n in range(3)]
    manual.erp.faults.merge({"refuse": {"name": ["Company 1"]}})
    ended = {key: (found, why) for key, found, why in desk.sync_records(manual.app, "crm", [*keys, "999", keys[0]])}
    assert [ended[key][0][0]["state"] for key in keys] == ["in_sync", "failing", "in_sync"]
    assert "HTTP 422" in ended[keys[1]][0][0]["cause"]["text"]
    assert ended["999"] == ([], "crm has no record 999: give its API key or its human reference")
    assert len(ended) == 4 and [len(there(manual, "erp", f"Company {n}")) for n in range(3)] == [1, 0, 1]


def test_gumu_11_a_company_that_is_linked_already_is_never_created_a_second_time(manual: World) -> None:
    crm = manual.new_crm("Northwind Tools")
    for _ in range(3):
        desk.sync_record(manual.app, "crm", crm)
        rest(manual)
    assert len(there(manual, "erp", "Northwind Tools")) == 1 and len(manual.links()) == 1


def test_gumu_11_a_double_click_of_two_users_makes_one_customer(make: Make) -> None:
    world = make(BY_HAND)
    crm, rival = world.new_crm("Northwind Tools"), world.build()

    def second() -> None:
        rival.inbox.accept([Change("crm", "customer", crm, "updated", "manual")], may_create="manual")
        run_all(rival)

    when(world.erp, "create customer", second)
    desk.sync_record(world.app, "crm", crm)
    rest(world)
    assert len(there(world, "erp", "Northwind Tools")) == 1
    assert row_of(world, crm=crm).state == "in_sync"


def test_gumu_11_a_create_whose_answer_was_lost_is_found_by_its_key_and_not_repeated(manual: World) -> None:
    crm = manual.new_crm("Northwind Tools")
    manual.erp.faults.fail_next.extend([{"operation": "create customer", "fault": "lost_after_apply"}] * 3)
    desk.sync_record(manual.app, "crm", crm)
    rest(manual)
    (erp,) = there(manual, "erp", "Northwind Tools")
    assert (row_of(manual, crm=crm).erp_key, row_of(manual, crm=crm).state) == (erp, "in_sync")


def test_gumu_11_a_customer_id_that_somebody_gave_a_stranger_is_held_and_nothing_is_overwritten(make: Make) -> None:
    world = make(f'{BY_HAND}\nnew_customer_id = "CUST-{{crm_key}}"')
    with in_the_past(world):
        stranger = world.new_erp("Somebody Else", id="CUST-1")
    crm = world.new_crm("Northwind Tools")
    world.settle()
    assert [one["key"] for one in world.explain("crm", crm)["candidates"]] == [stranger]
    (shown,) = desk.sync_record(world.app, "crm", crm)  # who insists is told that the number is taken
    rest(world)
    assert world.erp_record(stranger)["name"] == "Somebody Else" and len(world.erp.list_records("customer")) == 1
    assert row_of(world, crm=crm).erp_key is None
    assert world.explain("crm", crm)["state"] == "failing", shown


def test_gumu_11_a_contact_of_the_same_display_name_does_not_stop_the_promotion(manual: World) -> None:
    with in_the_past(manual):
        manual.new_erp("Northwind Tools (old)", id="C-1", **{"contacts.default.printAs": "Northwind Tools"})
    crm = manual.new_crm("Northwind Tools")
    (shown,) = desk.sync_record(manual.app, "crm", crm)
    assert shown["state"] == "in_sync", shown["cause"]


def test_gumu_11_a_promotion_that_failed_leaves_the_company_unlinked_and_editable(manual: World) -> None:
    crm = manual.new_crm("Northwind Tools")
    manual.erp.faults.merge({"refuse": {"name": ["Northwind Tools"]}})
    (shown,) = desk.sync_record(manual.app, "crm", crm)
    assert shown["state"] == "failing" and "HTTP 422" in shown["cause"]["text"]
    company = manual.crm_record(crm)
    assert not company["comp_intacct_recordno"] and row_of(manual, crm=crm).erp_key is None
    manual.edit_crm(crm, Comp_Name="Northwind Works")
    manual.settle()
    rest(manual)
    assert row_of(manual, crm=crm).state == "in_sync" and len(there(manual, "erp", "Northwind Works")) == 1


def test_gumu_11_a_refused_promotion_shows_the_vendors_own_text_and_no_log_holds_it(manual: World) -> None:
    crm = manual.new_crm("Northwind Tools")
    manual.erp.faults.merge({"refuse": {"name": ["Northwind Tools"]}})
    with capture_logs() as logs:
        (shown,) = desk.sync_record(manual.app, "crm", crm)
    text = shown["cause"]["text"]
    assert (
        text.startswith("the vendor refused the whole record: HTTP 422")
        and "Operation failed: value not allowed" in text
    )
    assert "not allowed" not in str(logs)
    assert any("Operation failed: value not allowed" in entry["why"] for entry in shown["timeline"])


def test_gumu_11_a_number_that_is_taken_is_held_with_the_vendors_own_text(make: Make) -> None:
    world = make(f'{BY_HAND}\nnew_customer_id = "CUST-{{crm_key}}"')
    with in_the_past(world):
        world.new_erp("Somebody Else", id="CUST-1")
    crm = world.new_crm("Northwind Tools")
    world.settle()
    desk.sync_record(world.app, "crm", crm)
    rest(world)
    text = world.explain("crm", crm)["cause"]["text"]
    assert "HTTP 409" in text and "Another record has this id" in text


def test_gumu_11_a_value_that_the_crm_refuses_is_shown_with_its_own_text_beside_the_field(manual: World) -> None:
    manual.reconfigure("")
    one = pair(manual)
    manual.crm.faults.merge({"refuse": {"Comp_Name": ["Northwind Works"]}})
    with capture_logs() as logs:
        manual.edit_erp(one.erp, name="Northwind Works")
        manual.settle()
    assert "Validation failed: " in manual.explain("crm", one.crm)["cause"]["text"]
    assert "Validation failed" not in str(logs)


def test_gumu_11_a_company_that_resembles_a_customer_is_promoted_only_by_who_insists(manual: World) -> None:
    one = pair_of_namesakes(manual)
    (shown,) = desk.sync_record(manual.app, "crm", one)
    assert (shown["state"], [c["name"] for c in shown["candidates"]]) == ("waiting", ["Northwind Tools"])
    manual.edit_crm(one, Comp_WebSite="http://northwind.example")
    manual.settle()
    assert len(there(manual, "erp", "Northwind Tools")) == 1, "an edit is no wish"
    (shown,) = desk.sync_record(manual.app, "crm", one)
    assert shown["state"] == "in_sync"
    assert len(there(manual, "erp", "Northwind Tools")) == 2


def pair_of_namesakes(world: World) -> str:
    """An unlinked customer of the name, and a company."""
    with in_the_past(world):
        world.new_erp("Northwind Tools", id="C-1")
        return world.new_crm("Northwind Tools")


# --- which Intacct company --------------------------------------------------------------------------------------------


def test_gumu_11_without_a_company_code_it_is_refused_before_anything_is_sent(tmp_path: Path, sqlite_url: str) -> None:
    for make in worlds_of_two(tmp_path, sqlite_url):
        two = make(first=BY_HAND)
        crm = two.new_crm("Northwind Tools")
        with pytest.raises(PermanentError, match=r"several flows could create its partner .*name one by --flow"):
            desk.sync_record(two.app, "crm", crm)
        assert two.written("erp") == two.written("erp2") == []
        (shown,) = desk.sync_record(two.app, "crm", crm, SECOND)
        assert shown["flow"] == SECOND and two.crm_record(crm)["comp_intacct_company"] == "Acme DE"
        break


@pytest.mark.parametrize("flow", [FLOW, SECOND])
def test_gumu_11_it_is_created_at_the_top_level_or_in_the_entity_that_was_named(
    tmp_path: Path, sqlite_url: str, flow: str
) -> None:
    intacct = IntacctEmulator(entities=("DE",))
    for make in worlds_of_two(tmp_path, sqlite_url):
        two: TwoErps = make(first=BY_HAND, more='entity = "DE"', shared_erp=intacct)
        crm = two.new_crm("Northwind Tools")
        desk.sync_record(two.app, "crm", crm, flow)
        (made,) = [row for row in intacct.list_records("customer") if row["name"] == "Northwind Tools"]
        assert (made.get("entity.id") or None) == ("DE" if flow == SECOND else None)
        break


def test_gumu_11_am_9_a_linked_pair_is_never_promoted_again_by_its_other_name(manual: World) -> None:
    manual.reconfigure("")
    one = pair(manual)
    desk.sync_record(manual.app, "erp", "ref:CRM-1")
    desk.sync_record(manual.app, "crm", one.crm)
    rest(manual)
    assert len(manual.links()) == 1 and len(manual.erp.list_records("customer")) == 1
