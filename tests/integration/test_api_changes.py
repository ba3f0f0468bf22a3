"""What scripts change through the API: retry, settle, sync, map managers; each signed in the journal by the token."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import delete, insert, update

from support.api import Api
from support.rules import pair, rest, row_of
from support.valkey import QueueServer
from support.waiting import until
from sync_worker import broker
from sync_worker.broker import NAMESPACE
from sync_worker.store.tables import event, link, manager, open_field

pytest_plugins = ("support.queues", "support.api_fixtures")


@pytest.fixture
def api(web_api: Api) -> Api:
    return web_api


def signed(api: Api, what: str) -> list[dict[str, Any]]:
    """Journal entries of this kind that the token signed, the latest first."""
    return [one for one in api.get("/journal", actor="ops")["items"] if one["what"] == what]


def rung(server: QueueServer) -> int:
    """Messages that wait on all queues."""
    with broker.connect(server.url) as client:
        return sum(int(client.hlen(name)) for name in client.scan_iter(f"{NAMESPACE}:*.msgs"))


def test_replay_makes_a_link_due_rings_and_tries_refused_values_again(api: Api, server: QueueServer) -> None:
    one = pair(api.world)
    refused = {"link_id": one.id, "field": "email", "why": "refused", "side": "erp", "at": 0.0}
    with api.world.db.write() as conn:
        conn.execute(insert(open_field).values(refused))
    before = rung(server)
    answer = api.ask("POST", f"/links/{one.id}/replay")
    assert (answer.status, answer.json) == (202, {"links": [one.id]})
    due = api.get(f"/links/{one.id}")
    assert (due["state"], due["cause"]["code"]) == ("pending", "new")
    assert due["cause"]["text"].startswith("something may be new about this record"), "it is known for long"
    assert row_of(api.world, crm=one.crm).opens == {}
    until(lambda: rung(server) > before)
    (entry,) = signed(api, "replayed")
    assert (entry["link"], entry["flow"], entry["why"]) == (one.id, "customers", "a person's choice")
    rest(api.world)
    assert api.get(f"/links/{one.id}")["state"] == "in_sync"


def test_resolve_settles_a_conflict_once_and_says_what_is_open_otherwise(api: Api) -> None:
    one = pair(api.world)
    api.world.edit_erp(one.erp, name="Northwind Tooling")
    api.world.edit_crm(one.crm, Comp_Name="Northwind & Sons")
    api.world.settle()
    assert api.get(f"/links/{one.id}")["state"] == "conflict"
    path = f"/links/{one.id}/resolve"
    at_rest = api.ask("POST", path, {"field": "email", "take": "erp"})
    assert (at_rest.status, at_rest.json["type"]) == (409, "/api/docs#not-open")
    assert "open fields: name" in at_rest.json["detail"]
    for take in ("neither", "", "ERP"):
        wrong = api.ask("POST", path, {"field": "name", "take": take})
        assert wrong.status == 422 and "erp, crm, or =VALUE" in wrong.json["detail"]
    assert api.ask("POST", path, {"field": "name", "take": "crm"}).status == 202
    rest(api.world)
    assert api.get(f"/links/{one.id}")["state"] == "in_sync"
    assert api.world.erp_record(one.erp)["name"] == "Northwind & Sons"
    (entry,) = signed(api, "resolved")
    assert entry["after"] == {"name": "crm"}
    assert api.ask("POST", path, {"field": "name", "take": "crm"}).status == 409


def test_a_value_of_ones_own_is_not_in_the_journal_of_who_chose_it(api: Api) -> None:
    one = pair(api.world)
    api.world.edit_erp(one.erp, name="A")
    api.world.edit_crm(one.crm, Comp_Name="B")
    api.world.settle()
    own = "Ünï <b>'\" 👩‍👩‍👧"
    assert api.ask("POST", f"/links/{one.id}/resolve", {"field": "name", "take": f"={own}"}).status == 202
    rest(api.world)
    assert api.world.erp_record(one.erp)["name"] == api.world.crm_record(one.crm)["Comp_Name"] == own
    assert signed(api, "resolved")[0]["after"] == {"name": "="}


def test_sync_is_left_to_the_workers_and_may_create(api: Api) -> None:
    """GUMU-15, LAY-2: a person may always sync; the API stores the wish, and calls no vendor."""
    api.world.crm.person("Company", None, {"Comp_Name": "Older Ltd", "Comp_Status": "Active"}, "create")
    api.world.crm.take_notices()
    key = max((row["Comp_CompanyId"] for row in api.world.crm.list_records("Company")), key=int)
    before = api.world.crm.stats()["reads"] + api.world.erp.stats()["reads"]
    answer = api.ask("POST", "/sync", {"system": "crm", "key": str(key)})
    assert answer.status == 202
    (made,) = answer.json["links"]
    assert api.world.crm.stats()["reads"] + api.world.erp.stats()["reads"] == before
    shown = api.get(f"/links/{made}")
    assert shown["state"] == "pending" and shown["erp"]["key"] is None
    (heard,) = api.get("/events", key=str(key))["items"]
    assert heard["via"] == "manual"
    assert signed(api, "sync_asked")[0]["link"] == made
    rest(api.world)
    shown = api.get("/links", key=str(key), system="crm")["items"][0]
    assert shown["state"] == "in_sync" and shown["erp"]["key"] is not None


def test_sync_takes_the_reference_of_a_known_record_and_refuses_an_ambiguous_one(api: Api) -> None:
    base = {"flow": "customers", "entity": "customer", "created_at": 0.0, "state": "in_sync"}
    with api.world.db.write() as conn:
        conn.execute(insert(link).values({**base, "erp_key": "77", "erp_ref": "C-1"}))
        conn.execute(insert(link).values({**base, "erp_key": "C-1", "erp_ref": "C-2"}))
    ambiguous = api.ask("POST", "/sync", {"system": "erp", "key": "C-1"})
    assert (ambiguous.status, ambiguous.json["type"]) == (409, "/api/docs#ambiguous")
    assert "key:77" in ambiguous.json["detail"] and "key:C-1" in ambiguous.json["detail"]
    assert api.get("/events")["items"] == []
    assert api.ask("POST", "/sync", {"system": "erp", "key": "ref:C-1"}).status == 202
    assert api.get("/events")["items"][0]["key"] == "77"
    assert api.ask("POST", "/sync", {"system": "erp", "key": "key:C-1"}).status == 202
    assert api.get("/events")["items"][0]["key"] == "C-1"
    unknown = api.ask("POST", "/sync", {"system": "erp", "key": "ref:C-9"})
    assert unknown.status == 404 and "API key" in unknown.json["detail"]
    other = api.ask("POST", "/sync", {"system": "erp", "key": "77", "flow": "suppliers"})
    assert other.status == 404 and "there are: customers" in other.json["detail"]
    nowhere = api.ask("POST", "/sync", {"system": "shop", "key": "1"})
    assert nowhere.status == 404 and "there are: crm, erp" in nowhere.json["detail"]


def test_mapping_a_manager_releases_exactly_the_links_that_waited_and_is_signed(api: Api) -> None:
    """AM-1, E16."""
    base = {"flow": "customers", "entity": "customer", "created_at": 0.0, "state": "waiting"}
    with api.world.db.write() as conn:
        people = [("erp", "E/1"), ("erp", "E 2"), ("crm", "4")]
        for system, key in people:
            conn.execute(insert(manager).values(system=system, key=key, ref=key, name=key, seen_at=0.0))
        for n, key in ((1, "E/1"), (2, "E/1"), (3, "E 2")):
            conn.execute(insert(link).values({**base, "id": n, "erp_key": str(n)}))
            wait = {"why": "waiting", "waiting_on": f"account_manager:erp:{key}", "at": 0.0}
            conn.execute(insert(open_field).values(link_id=n, field="account_manager", **wait))
    foreseen = api.ask("PUT", "/managers/map/customers/E%2F1", {"crm": "4"}, dry_run="true")
    assert (foreseen.status, foreseen.json) == (200, {"row": None, "waiting": 2, "replaces": None, "released": 0})
    with api.world.db.read() as conn:
        assert conn.execute(link.select().where(link.c.due_at.is_not(None))).first() is None
    assert (api.get("/managers/map")["items"], signed(api, "manager_mapped")) == ([], [])
    assert api.ask("PUT", "/managers/map/customers/E%2F1", {"crm": "4"}, token=api.reader, dry_run="1").status == 403
    made = api.ask("PUT", "/managers/map/customers/E%2F1", {"crm": "4"})
    assert made.status == 200, made
    assert (made.json["waiting"], made.json["released"]) == (2, 2)
    row = {"flow": "customers", "erp_key": "E/1", "crm_key": "4", "preferred": False, "actor": "ops"}
    assert made.json["row"] == {**row, "at": made.json["row"]["at"]}
    assert api.get("/managers/map")["items"] == [made.json["row"]]
    with api.world.db.read() as conn:
        due = {i for (i,) in conn.execute(link.select().with_only_columns(link.c.id).where(link.c.due_at.is_not(None)))}
    assert due == {1, 2}
    for dry in ("false", "true"):
        ambiguous = api.ask("PUT", "/managers/map/customers/E%202", {"crm": "4"}, dry_run=dry)
        assert (ambiguous.status, ambiguous.json["type"]) == (409, "/api/docs#ambiguous")
    assert api.ask("PUT", "/managers/map/customers/E%2F1", {"crm": "4", "preferred": True}).json["row"]["preferred"]
    assert api.ask("PUT", "/managers/map/customers/E%202", {"crm": "4"}).json["released"] == 1
    assert len(api.get("/managers/map", flow="customers")["items"]) == 2
    gone = api.ask("DELETE", "/managers/map/customers/E%202")
    assert (gone.status, gone.body) == (204, b"")
    assert api.ask("DELETE", "/managers/map/customers/E%202").status == 404
    assert api.ask("DELETE", "/managers/map/nobody/E1").status == 404
    assert api.ask("PUT", "/managers/map/nobody/E1", {"crm": "4"}).status == 404
    for erp, crm in (("E-9", "4"), ("E%202", "9")):
        unknown = api.ask("PUT", f"/managers/map/customers/{erp}", {"crm": crm})
        assert unknown.status == 404 and "no account manager" in unknown.json["detail"]
    assert [one["key"] for one in signed(api, "manager_mapped")] == ["E 2", "E/1", "E/1"]
    assert [one["key"] for one in signed(api, "manager_unmapped")] == ["E 2"]


def test_what_many_ask_at_once_is_all_answered_and_loses_nothing(api: Api) -> None:
    def ask(n: int) -> tuple[int, list[int]]:
        if n % 2:
            return api.ask("GET", "/links", limit=5).status, []
        answer = api.ask("POST", "/sync", {"system": "crm", "key": f"k{n}"})
        return answer.status, answer.json["links"]

    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(ask, range(120)))
    assert {status for status, _ in answers} == {200, 202}
    assert len({i for _, made in answers for i in made}) == 60
    assert len(signed(api, "sync_asked")) == 60
    assert len(api.get("/events", limit=500)["items"]) == 60


def test_a_link_that_was_joined_to_another_meanwhile_is_not_found(api: Api) -> None:
    one = pair(api.world)
    with api.world.db.write() as conn:
        conn.execute(delete(event))
        conn.execute(update(link).where(link.c.id == one.id).values(flow="dropped from sync.toml"))
    for method, path in (("GET", ""), ("POST", "/replay")):
        assert api.ask(method, f"/links/{one.id}{path}").status == 404
