"""E21: of several links on one CRM record one is the default; how that is passed on, and chosen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from support.companies import SECOND, TwoErps, shared, worlds_of_two
from support.rules import FLOW, entries, rest
from sync_worker import reports
from sync_worker.cli import app as cli
from sync_worker.desk import linking
from sync_worker.errors import PermanentError
from sync_worker.store import leases, links
from sync_worker.store.saves import Gone, Save


@pytest.fixture
def two(tmp_path: Path, database_url: str) -> Iterator[TwoErps]:
    for make in worlds_of_two(tmp_path, database_url):
        yield make()


def unlink(two: TwoErps, flow: str, crm: str) -> int:
    """A person unlinks it, as the store does it; the link's id."""
    two.notice("crm", crm)
    scope = two.app.flows[flow].scope
    (row,) = leases.claim(two.db, scope, ids=[two.link_of(flow, crm).id])
    saved = links.save(two.db, [Save(row, gone=Gone("erp", "unlinked", {}), sharing=two.app.flows[flow].shared_crm)])
    assert not saved.lost
    return row.id


def test_e21_gumu_8_another_link_takes_over_when_the_default_is_unlinked(two: TwoErps) -> None:
    _, crm, second = shared(two)
    heir = two.link_of(SECOND, crm)
    gone = unlink(two, FLOW, crm)
    promoted = two.link_of(SECOND, crm)
    assert promoted.is_default and promoted.due_at is not None
    (entry,) = entries(two, "default")
    assert (entry["link_id"], entry["why"]) == (heir.id, f"link {gone} ended: unlinked")
    two.settle()
    rest(two)
    assert two.ids_on(crm) == (second, f"CRM-{crm}", "Acme DE")
    two.edit_in("erp2", second, name="Decided over there")
    two.settle()
    rest(two)
    assert two.crm_record(crm)["Comp_Name"] == "Decided over there"
    assert two.link_of(SECOND, crm).state == "in_sync"
    assert two.link_of(FLOW, crm).state == "unlinked"


def test_e21_gumu_8_another_link_takes_over_when_the_defaults_customer_is_removed(two: TwoErps) -> None:
    first, crm, second = shared(two)
    two.vendors["erp"].person("customer", first, {}, "delete")
    two.settle()
    rest(two)
    assert two.link_of(SECOND, crm).is_default
    assert two.ids_on(crm) == (second, f"CRM-{crm}", "Acme DE")
    assert two.crm_record(crm)["Comp_Name"] == "Northwind Tools"


def test_e21_fields_that_differ_when_a_link_takes_over_are_decided_as_at_a_first_link_up(two: TwoErps) -> None:
    _, crm, second = shared(two)
    two.edit_in("erp2", second, name="Another name")
    two.settle()
    rest(two)
    unlink(two, FLOW, crm)
    two.settle()
    row = two.link_of(SECOND, crm)
    assert (row.state, row.cause, list(row.opens)) == ("conflict", "first_link_up", ["name"])
    assert two.crm_record(crm)["Comp_Name"] == "Northwind Tools"
    assert two.customer("erp2", second)["name"] == "Another name"


def test_e21_a_company_removed_from_the_crm_leaves_both_customers_and_makes_none(two: TwoErps) -> None:
    first, crm, second = shared(two)
    two.crm.person("Company", crm, {}, "delete")
    two.settle()
    rest(two)
    for system, key in (("erp", first), ("erp2", second)):
        two.edit_in(system, key, name="Edited later")
    two.settle()
    assert {row["state"] for row in two.links()} == {"unlinked"}
    assert two.companies() == {}
    assert two.customer("erp", first)["name"] == two.customer("erp2", second)["name"] == "Edited later"


def test_e21_a_person_chooses_the_default_and_it_is_journalled_with_their_name(two: TwoErps) -> None:
    first, crm, second = shared(two)
    chosen = two.link_of(SECOND, crm)
    said = linking.make_default(two.app, chosen.id)
    assert f"link {chosen.id}" in said
    assert [(e["what"], e["link_id"], e["actor"]) for e in entries(two)[-2:]] == [
        ("not_default", two.link_of(FLOW, crm).id, "cli"),
        ("default", chosen.id, "cli"),
    ]
    two.settle()
    rest(two)
    assert two.ids_on(crm) == (second, f"CRM-{crm}", "Acme DE")
    two.edit_in("erp", first, name="No longer shared")
    two.settle()
    assert two.crm_record(crm)["Comp_Name"] == "Northwind Tools"
    two.edit_in("erp2", second, name="Shared now")
    two.settle()
    rest(two)
    assert two.crm_record(crm)["Comp_Name"] == "Shared now"
    assert two.customer("erp", first)["name"] == "No longer shared"
    assert "already" in linking.make_default(two.app, chosen.id)


def test_e21_links_default_by_the_command_line_makes_the_shared_fields_come_from_that_link(
    two: TwoErps, tmp_path: Path, database_url: str
) -> None:
    first, crm, second = shared(two)
    chosen = two.link_of(SECOND, crm).id
    config = tmp_path / "sync.toml"
    config.write_text(f'[database]\nurl = "{database_url}"\n{two.text}')
    run = CliRunner(env={"SYNC_DATA_DIR": str(tmp_path)})

    def said(*args: str) -> tuple[int, str, str]:
        ended = run.invoke(cli, ["links", "default", *args, "--config", str(config)])
        return ended.exit_code, ended.stdout, str(ended.exception)

    code, out, _ = said("--link", str(chosen))
    assert (code, out) == (
        0,
        f"link {chosen} (flow {SECOND}) is now the default of its CRM record; its shared fields are compared anew\n",
    )
    assert [two.link_of(flow, crm).is_default for flow in (FLOW, SECOND)] == [False, True]
    two.settle()
    rest(two)
    two.edit_in("erp", first, name="No longer shared")
    two.edit_in("erp2", second, name="Shared now")
    two.settle()
    rest(two)
    assert two.crm_record(crm)["Comp_Name"] == "Shared now"
    assert said("--link", str(chosen))[:2] == (0, f"link {chosen} is its record's default already\n")
    code, out, refused = said("--link", "9999")
    assert (code, out) == (1, "") and "there is no link 9999" in refused


def test_e21_what_was_open_on_the_former_default_is_closed_and_no_old_edit_comes_back(two: TwoErps) -> None:
    first, crm, _ = shared(two)
    two.edit_in("erp", first, name="Theirs")
    two.edit_crm(crm, Comp_Name="Ours")
    two.settle()
    assert two.link_of(FLOW, crm).state == "conflict"
    linking.make_default(two.app, two.link_of(SECOND, crm).id)
    two.settle()
    rest(two)
    assert (two.link_of(FLOW, crm).state, two.link_of(FLOW, crm).opens) == ("in_sync", {})
    assert two.crm_record(crm)["Comp_Name"] == "Ours"
    assert two.customer("erp", first)["name"] == "Theirs"
    linking.make_default(two.app, two.link_of(FLOW, crm).id)
    two.settle()
    row = two.link_of(FLOW, crm)
    assert (row.cause, list(row.opens)) == ("first_link_up", ["name"])


def test_e21_a_link_that_cannot_be_a_default_is_refused_in_one_line(two: TwoErps) -> None:
    crm = two.new_crm("Fresh Ltd")
    two.settle()
    with pytest.raises(PermanentError, match="there is no link 999"):
        linking.make_default(two.app, 999)
    with pytest.raises(PermanentError, match="has no partner"):
        linking.make_default(two.app, two.link_of(SECOND, crm).id)


def test_e21_the_worker_that_holds_a_link_loses_it_when_a_person_chooses_another_default(two: TwoErps) -> None:
    _, crm, _ = shared(two)
    two.notice("crm", crm)
    (held,) = leases.claim(two.db, two.app.flows[FLOW].scope, ids=[two.link_of(FLOW, crm).id])
    linking.make_default(two.app, two.link_of(SECOND, crm).id)
    assert links.save(two.db, [Save(held)]).lost == {held.id}
    two.settle()
    assert [two.link_of(flow, crm).is_default for flow in (FLOW, SECOND)] == [False, True]


def test_e21_links_take_over_when_their_records_default_flow_is_taken_out_of_the_configuration(two: TwoErps) -> None:
    _, crm, second = shared(two)
    two.restart(second="")  # still two flows: nothing changes hands
    assert two.link_of(FLOW, crm).is_default
    text = two.config.flows
    assert set(text) == {FLOW, SECOND}
    two.config = two.config.model_copy(update={"flows": {SECOND: text[SECOND]}})
    two.app = two.build()
    assert two.link_of(SECOND, crm).is_default
    two.settle()
    rest(two)
    assert two.ids_on(crm) == (second, f"CRM-{crm}", "Acme DE")


def test_e21_sweeps_and_polls_find_nothing_to_do_on_a_link_that_is_no_default(two: TwoErps) -> None:
    _, _, second = shared(two)
    two.edit_in("erp2", second, name="Another name")
    two.settle()
    two.poll()
    rest(two)
    two.clock.advance(600)
    two.poll()
    two.sweep()
    assert [row["id"] for row in two.links() if row["due_at"] is not None] == []


def test_explain_shows_every_flows_view_of_a_shared_record(two: TwoErps) -> None:
    _, crm, _ = shared(two)
    shown = [
        reports.explain(two.db, two.app.flows[row.flow], row)
        for row in reports.find_links(two.db, two.app.flows, "crm", crm)
    ]
    assert {one["flow"]: one["default"] for one in shown} == {FLOW: True, SECOND: False}


def test_e21_a_record_of_two_flows_is_found_with_both_of_its_links_and_each_by_its_id_in_its_flow(
    two: TwoErps,
) -> None:
    _, crm, _ = shared(two)
    flows = two.app.flows
    found = reports.find_links(two.db, flows, "crm", crm)
    assert sorted(row.flow for row in found) == sorted([FLOW, SECOND])
    one = two.link_of(FLOW, crm)
    again = reports.find_link(two.db, flows, one.id)
    assert again is not None and (again.id, again.crm_key) == (one.id, crm)
    assert reports.find_link(two.db, {SECOND: flows[SECOND]}, one.id) is None, "its flow is not configured any more"
    assert reports.find_link(two.db, flows, 10_000) is None
