"""GUMU-8 with E21: several Intacct companies or entities on one CRM; ids count only inside their company."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.companies import SECOND, Make, TwoErps, shared, worlds_of_two
from support.rules import FLOW, in_the_past, rest
from sync_worker import desk, reports
from sync_worker.connectors.intacct.emulator import IntacctEmulator
from sync_worker.errors import PermanentError
from sync_worker.events import Change
from sync_worker.store import directory, managers

ITSELF = ""  # a flow's own defaults: it creates on both sides by itself
REP = "salesRepresentative.id"


@pytest.fixture
def make(tmp_path: Path, database_url: str) -> Iterator[Make]:
    yield from worlds_of_two(tmp_path, database_url)


@pytest.fixture
def make_light(tmp_path: Path, sqlite_url: str) -> Iterator[Make]:
    yield from worlds_of_two(tmp_path, sqlite_url)


@pytest.fixture
def two(make: Make) -> TwoErps:
    return make()


def writes(two: TwoErps, system: str) -> int:
    return len([row for row in two.vendors[system].ledger if row.actor == "api"])


def twins(two: TwoErps, name_a: str = "Archer Foods", name_b: str = "Baker Tools") -> tuple[str, str, str]:
    """The same CUSTOMERID and RECORDNO in both companies; the record number, and the CRM company of each."""
    key = two.new_in("erp", name_a, id="C-1")
    assert two.new_in("erp2", name_b, id="C-1") == key
    two.settle()
    rest(two)
    by_name = {row["Comp_Name"]: crm for crm, row in two.companies().items()}
    return key, by_name.get(name_a, ""), by_name.get(name_b, "")


# --- ids match only inside their company ------------------------------------------------------------------------------


def test_gumu_8_the_same_customer_id_and_record_number_in_two_companies_are_two_crm_companies(make: Make) -> None:
    two = make(second=ITSELF)
    key, a, b = twins(two)
    assert a and b and a != b
    assert two.ids_on(a) == (key, "C-1", "Acme UK")
    assert two.ids_on(b) == (key, "C-1", "Acme DE")
    assert two.link_of(FLOW, a).erp_key == two.link_of(SECOND, b).erp_key == key
    assert len(two.vendors["erp"].list_records("customer")) == len(two.vendors["erp2"].list_records("customer")) == 1


@pytest.mark.parametrize("how", ["edit", "sync", "poll"])
def test_gumu_8_a_sync_of_one_company_never_touches_the_others_records(make: Make, how: str) -> None:
    two = make(second=ITSELF)
    key, a, b = twins(two)
    before, theirs = writes(two, "erp2"), dict(two.companies()[b])
    if how == "edit":
        two.edit_in("erp", key, name="Archer Foods Ltd")
    elif how == "poll":
        two.crm.faults.merge({"notices_off": True})
        two.erp.faults.merge({"notices_off": True})
        two.poll()
        two.edit_in("erp", key, name="Archer Foods Ltd")
        two.poll()
    else:
        two.erp.faults.merge({"notices_off": True})
        two.edit_in("erp", key, name="Archer Foods Ltd")
        desk.sync_record(two.app, "erp", f"key:{key}")
    two.settle()
    rest(two)
    assert two.companies()[a]["Comp_Name"] == "Archer Foods Ltd"
    assert writes(two, "erp2") == before
    assert two.companies()[b] == theirs
    assert two.customer("erp2", key)["name"] == "Baker Tools"


def test_gumu_8_ids_that_name_another_company_link_nobody_and_the_namesake_waits_for_a_person(make: Make) -> None:
    two = make(second=ITSELF)
    with in_the_past(two):
        theirs = two.new_crm(
            "Archer Foods",
            comp_intacct_recordno="1",
            comp_intacct_customerid="C-1",
            comp_intacct_company="Acme DE",
        )
    assert two.new_in("erp", "Archer Foods", id="C-1") == "1"
    two.settle()
    (shown,) = [one for one in desk.explain(two.app, "erp", "key:1") if one["flow"] == FLOW]
    assert (shown["state"], [c["key"] for c in shown["candidates"]]) == ("waiting", [theirs])
    two.new_in("erp2", "Archer Foods", id="C-1")
    two.settle()
    assert two.link_of(SECOND, theirs).erp_key == "1"
    assert len(two.companies()) == 1


def test_gumu_8_ids_beside_no_company_are_nobodys_where_several_share_the_crm(make: Make) -> None:
    two = make(second=ITSELF)
    with in_the_past(two):
        crm = two.new_crm("Somebody Else", comp_intacct_recordno="1", comp_intacct_customerid="C-1")
    two.new_in("erp", "Archer Foods", id="C-1")
    two.settle()
    assert len(two.companies()) == 2
    assert not [row for row in two.links() if row["crm_key"] == crm and row["erp_key"]]


def test_gumu_8_a_customer_of_one_company_is_not_copied_into_the_other_through_the_crm(make: Make) -> None:
    two = make(second=ITSELF)
    two.new_in("erp", "Archer Foods", id="C-9")
    two.settle()
    rest(two)
    (crm,) = two.companies()
    assert two.vendors["erp2"].list_records("customer") == []
    row = two.link_of(SECOND, crm)
    assert (row.state, row.cause) == ("not_synced", "other_company")
    two.edit_crm(crm, Comp_Name="Archer & Co")
    two.settle()
    assert two.vendors["erp2"].list_records("customer") == []


@pytest.mark.parametrize(("named", "system"), [("Acme UK", "erp"), ("Acme DE", "erp2"), (" acme  de ", "erp2")])
def test_gumu_8_the_company_column_chooses_where_a_new_crm_company_becomes_a_customer(
    make_light: Make, named: str, system: str
) -> None:
    two = make_light(second=ITSELF)
    crm = two.new_crm("Fresh Ltd", comp_intacct_company=named)
    two.settle()
    counts = {name: len(two.vendors[name].list_records("customer")) for name in ("erp", "erp2")}
    assert counts == {"erp": 0, "erp2": 0} | {system: 1}
    other = two.link_of(SECOND if system == "erp" else FLOW, crm)
    assert (other.state, other.cause) == ("not_synced", "other_company")


def test_gumu_8_of_the_name_of_another_company_as_much_is_kept_as_people_read(make_light: Make) -> None:
    two = make_light(second=ITSELF)
    crm = two.new_crm("Fresh Ltd", comp_intacct_company="A" * 50_000)
    two.settle()
    told = reports.explain(two.db, two.app.flows[FLOW], two.link_of(FLOW, crm))["cause"]
    assert told["text"] == f"this CRM record belongs to another ERP company ({'A' * 255})"


def test_gumu_8_a_company_that_names_none_waits_until_somebody_says_which(make_light: Make) -> None:
    two = make_light(second=ITSELF)
    crm = two.new_crm("Fresh Ltd")
    two.settle()
    assert {two.link_of(flow, crm).cause for flow in (FLOW, SECOND)} == {"needs_company"}
    with pytest.raises(PermanentError, match="several flows could create its partner \\(customers, second\\)"):
        desk.sync_record(two.app, "crm", crm)
    (shown,) = desk.sync_record(two.app, "crm", crm, SECOND)
    assert (shown["flow"], shown["state"]) == (SECOND, "in_sync")
    rest(two)
    assert len(two.vendors["erp2"].list_records("customer")) == 1
    assert two.vendors["erp"].list_records("customer") == []
    assert two.link_of(FLOW, crm).cause == "other_company"
    (shown,) = desk.sync_record(two.app, "crm", crm)  # it is linked: that is the flow meant
    assert shown["flow"] == SECOND


def test_gumu_8_a_company_nobody_else_creates_for_goes_to_the_only_flow_that_does(two: TwoErps) -> None:
    crm = two.new_crm("Fresh Ltd")
    two.settle()
    assert two.link_of(FLOW, crm).state == "in_sync"
    assert two.link_of(SECOND, crm).cause == "needs_manual"


def test_gumu_8_fields_filters_defaults_and_ids_belong_to_their_flow(make_light: Make) -> None:
    first = """new_customer_id = "UK-{crm_key}"
[flows.customers.filter]
crm = { Comp_Type = ["Customer"] }
[flows.customers.defaults]
erp = { "term.id" = "Net 30" }
[flows.customers.custom.region]
erp = "nsp::REGION"
crm = "comp_region"
"""
    second = """new_customer_id = "DE-{crm_key}"
create_in_crm = "never"
create_in_erp = "manual"
[flows.second.defaults]
erp = { "term.id" = "Net 60" }
[flows.second.custom.region]
erp = "nsp::REGION"
crm = "comp_source"
"""
    two = make_light(first=first, second=second)
    one = two.new_crm("Fresh Ltd", Comp_Type="Customer", comp_region="North", Comp_Source="Fair")
    left_out = two.new_crm("Prospect Ltd", Comp_Type="Prospect")
    two.settle()
    two.ask_for(one, SECOND)
    two.ask_for(left_out, SECOND)
    rest(two)
    uk = two.customer("erp", str(two.link_of(FLOW, one).erp_key))
    de = two.customer("erp2", str(two.link_of(SECOND, one).erp_key))
    assert (uk["id"], uk["term.id"], uk["nsp::REGION"]) == (f"UK-{one}", "Net 30", "North")
    assert (de["id"], de["term.id"], de["nsp::REGION"]) == (f"DE-{one}", "Net 60", "Fair")
    assert two.link_of(FLOW, left_out).state == "excluded"
    assert two.link_of(SECOND, left_out).state == "in_sync"


def test_gumu_8_a_create_of_unknown_outcome_is_found_in_its_own_company_only(make: Make) -> None:
    two = make(second=ITSELF)
    two.new_in("erp", "Archer Foods", id="C-1")
    two.settle()
    two.crm.faults.merge({"fail_next": [{"operation": "create company", "fault": "lost_after_apply"}]})
    two.new_in("erp2", "Baker Tools", id="C-1")
    two.settle()
    rest(two)
    assert sorted(row["Comp_Name"] for row in two.companies().values()) == ["Archer Foods", "Baker Tools"]
    assert {row["state"] for row in two.links() if row["erp_key"] and row["crm_key"]} == {"in_sync"}


# --- entities of one Intacct company ----------------------------------------------------------------------------------


def test_gumu_8_two_entities_of_one_company_are_kept_apart(make: Make) -> None:
    intacct = IntacctEmulator(entities=("UK", "DE"))
    lines = 'new_customer_id = ""\n[flows.{}.filter]\nerp = {{ "entity.id" = ["{}"] }}\n'
    first, second = lines.format(FLOW, "UK"), lines.format(SECOND, "DE")
    two = make(first=first, second=second, more='entity = "DE"', shared_erp=intacct)
    two.poll()
    uk, de = two.new_private("erp", "UK", "North Mill"), two.new_private("erp2", "DE", "South Mill")
    two.clock.advance(5)
    two.poll()
    rest(two)
    by_name = {row["Comp_Name"]: crm for crm, row in two.companies().items()}
    assert sorted(by_name) == ["South Mill"] or sorted(by_name) == ["North Mill", "South Mill"]
    assert two.link_of(SECOND, by_name["South Mill"]).erp_key == de
    full = [(row["flow"], row["erp_key"]) for row in two.links() if row["erp_key"] and row["crm_key"]]
    assert (SECOND, uk) not in full and (FLOW, de) not in full


# --- one CRM company, linked in both ----------------------------------------------------------------------------------


def test_gumu_8_of_two_links_one_is_the_default_and_decides_the_shared_fields(two: TwoErps) -> None:
    first, crm, second = shared(two)
    assert [two.link_of(flow, crm).is_default for flow in (FLOW, SECOND)] == [True, False]
    assert two.ids_on(crm) == (first, f"CRM-{crm}", "Acme UK")
    two.edit_in("erp2", second, name="Name over there")
    two.settle()
    assert two.crm_record(crm)["Comp_Name"] == "Northwind Tools"
    two.edit_crm(crm, Comp_Name="Name in the CRM")
    two.settle()
    rest(two)
    assert two.customer("erp", first)["name"] == "Name in the CRM"
    assert two.customer("erp2", second)["name"] == "Name over there"


def read_directories(two: TwoErps) -> None:
    for system, connector in two.app.systems.items():
        directory.refresh(two.db, system, connector.list_managers())


def mapped(two: TwoErps) -> None:
    """One CRM user stands for a different manager in each company."""
    read_directories(two)
    managers.map_manager(two.db, FLOW, "E-10", "2", systems=("erp", "crm"))
    managers.map_manager(two.db, SECOND, "E-11", "2", systems=("erp2", "crm"))


def test_gumu_8_am_2_a_company_linked_in_both_gets_each_companys_own_manager(two: TwoErps) -> None:
    first, crm, second = shared(two)
    mapped(two)
    two.edit_crm(crm, Comp_PrimaryUserId=2)
    two.settle()
    rest(two)
    assert two.customer("erp", first)[REP] == "E-10"
    assert two.customer("erp2", second)[REP] == "E-11"
    assert {row["state"] for row in two.links()} == {"in_sync"}


def test_gumu_8_am_2_a_user_mapped_in_one_company_is_unmapped_in_the_other(two: TwoErps) -> None:
    first, crm, second = shared(two)
    read_directories(two)
    managers.map_manager(two.db, FLOW, "E-10", "2", systems=("erp", "crm"))
    two.edit_crm(crm, Comp_PrimaryUserId=2)
    two.settle()
    assert two.customer("erp", first)[REP] == "E-10"
    assert two.customer("erp2", second)[REP] is None
    assert two.link_of(FLOW, crm).state == "in_sync"
    waiting = two.link_of(SECOND, crm)
    assert (waiting.state, waiting.opens["account_manager"].waiting_on) == ("waiting", "account_manager:crm:2")


def test_gumu_8_am_4_one_code_stands_for_another_user_in_each_company(two: TwoErps) -> None:
    first, crm, second = shared(two)
    read_directories(two)
    managers.map_manager(two.db, FLOW, "E-10", "2", systems=("erp", "crm"))
    managers.map_manager(two.db, SECOND, "E-10", "3", systems=("erp2", "crm"))
    managers.map_manager(two.db, SECOND, "E-12", "2", systems=("erp2", "crm"))
    two.edit_in("erp", first, **{REP: "E-10"})
    two.settle()
    rest(two)
    assert two.crm_record(crm)["Comp_PrimaryUserId"] == 2
    assert two.customer("erp2", second)[REP] == "E-12"


def test_gumu_8_am_4_a_row_added_in_one_company_releases_nobody_in_the_other(two: TwoErps) -> None:
    _, crm, second = shared(two)
    read_directories(two)
    two.edit_crm(crm, Comp_PrimaryUserId=2)
    two.settle()
    assert {two.link_of(flow, crm).state for flow in (FLOW, SECOND)} == {"waiting"}
    released = managers.map_manager(two.db, FLOW, "E-10", "2", systems=("erp", "crm"))
    assert [one.flow for one in released] == [FLOW]
    two.settle()
    assert [two.link_of(flow, crm).state for flow in (FLOW, SECOND)] == ["in_sync", "waiting"]
    assert two.customer("erp2", second)[REP] is None


def test_gumu_8_am_9_a_company_promoted_into_another_erp_company_takes_that_ones_mapping(make: Make) -> None:
    two = make()
    mapped(two)
    managers.map_manager(two.db, FLOW, "E-12", "3", systems=("erp", "crm"))
    crm = two.new_crm("Promoted Ltd", Comp_PrimaryUserId=2)
    two.settle()
    two.ask_for(crm, SECOND)
    rest(two)
    assert two.customer("erp2", str(two.link_of(SECOND, crm).erp_key))[REP] == "E-11"
    assert two.customer("erp", str(two.link_of(FLOW, crm).erp_key))[REP] == "E-10"


def test_gumu_8_an_invoice_or_an_edit_makes_no_second_customer_for_another_companys_record(make_light: Make) -> None:
    two = make_light(second='create_in_erp = "on_first_invoice"')
    two.new_in("erp", "Archer Foods", id="C-9")
    two.settle()
    (crm,) = two.companies()
    two.app.inbox.accept([Change("crm", "customer", crm, "updated", "webhook")], may_create="invoice")
    two.settle()
    assert two.vendors["erp2"].list_records("customer") == []
    two.ask_for(crm, SECOND)
    assert len(two.vendors["erp2"].list_records("customer")) == 1
