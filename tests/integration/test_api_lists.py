"""The API's lists, on both databases: pages that neither lose nor double while data changes, and filters."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

import pytest
from sqlalchemy import delete, insert, update

from support.api import Api
from support.rules import pair
from sync_worker.store.tables import event, journal, link, manager, manager_map, open_field, run, run_row

pytest_plugins = ("support.queues", "support.api_fixtures")

T0 = 1_700_000_000.0


@pytest.fixture
def api(web_api: Api) -> Api:
    return web_api


def put(api: Api, table: Any, *rows: dict[str, Any]) -> None:
    with api.world.db.write() as conn:
        for row in rows:
            conn.execute(insert(table).values(row))


def change(api: Api, stmt: Any) -> None:
    with api.world.db.write() as conn:
        conn.execute(stmt)


def links(count: int, first: int = 1, **more: Any) -> list[dict[str, Any]]:
    base = {"flow": "customers", "entity": "customer", "state": "in_sync", "created_at": T0}
    return [{**base, "id": n, "erp_key": f"E{n}", "erp_ref": f"C-{n}", **more} for n in range(first, first + count)]


def ids(page: list[dict[str, Any]], name: str = "id") -> list[int]:
    return [one[name] for one in page]


# --- pages -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2])
def test_pages_of_links_lose_and_double_nothing_while_links_come_go_and_change(api: Api, seed: int) -> None:
    rng = random.Random(seed)
    put(api, link, *links(60))
    stay = set(range(1, 61))
    seen: list[int] = []
    fresh = 100
    for page in api.pages("/links", limit=7):
        assert len(page) <= 7
        seen += ids(page, "link")
        gone = rng.sample(sorted(stay), 3)
        stay -= set(gone)
        change(api, delete(link).where(link.c.id.in_(gone)))
        change(api, update(link).where(link.c.id.in_(rng.sample(sorted(stay), 3))).values(state="failing", due_at=T0))
        if fresh < 110:
            put(api, link, *links(1, fresh))
            fresh += 1
    assert seen == sorted(set(seen))
    assert stay <= set(seen)
    assert set(range(100, fresh - 1)) <= set(seen)  # all but the one that came after the last page


@pytest.mark.parametrize("path", ["/events", "/journal"])
def test_pages_of_history_lose_and_double_nothing_while_more_comes_in(api: Api, path: str) -> None:
    # Three at every moment: the time alone does not say where a page ends.
    if path == "/events":
        base = {"system": "crm", "entity": "customer", "op": "updated", "via": "poll"}
        table, rows = event, [{**base, "id": n, "key": str(n), "received_at": T0 + n // 3} for n in range(1, 101)]
    else:
        change(api, delete(journal))  # the two tokens
        table, rows = journal, [{"id": n, "flow": "f", "what": "x", "at": T0 + n // 3} for n in range(1, 101)]
    put(api, table, *rows[:90])
    seen: list[int] = []
    for number, page in enumerate(api.pages(path, limit=8)):
        seen += ids(page)
        if number < 10:
            put(api, table, rows[90 + number])
    assert seen == list(range(90, 0, -1))
    assert ids(api.get(path, limit=500)["items"]) == list(range(100, 0, -1))


def test_every_other_list_comes_in_pages_too(api: Api) -> None:
    people = [(s, k) for s in ("crm", "erp") for k in ("", "1", "É", "Z", "a", "ß", "👤")]
    shown = [{"system": s, "key": f"k{k}", "name": "N", "seen_at": T0} for s, k in people]
    put(api, manager, *shown)
    put(api, manager_map, *({"flow": "customers", "erp_key": f"k{k}", "crm_key": "4", "at": T0} for _, k in people[:7]))
    put(
        api,
        run,
        *({"id": n, "kind": "import", "flow": "customers", "state": "done", "started_at": T0} for n in (1, 2, 3)),
    )
    put(api, run_row, *({"run_id": 2, "key": f"k{k}", "verdict": "matched"} for _, k in people[:7]))
    for path, key, total in (
        ("/managers", lambda one: (one["system"], one["key"]), 14),
        ("/managers/map", lambda one: one["erp_key"], 7),
        ("/runs", lambda one: one["id"], 3),
        ("/runs/2/rows", lambda one: one["key"], 7),
    ):
        whole = [key(one) for one in api.get(path, limit=500)["items"]]
        assert len(set(whole)) == total, path
        for limit in (1, 2, 3, total - 1, total, total + 1):
            pages = list(api.pages(path, limit=limit))
            assert [key(one) for page in pages for one in page] == whole
            assert all(pages) and len(pages) == -(-total // limit), (path, limit)
    assert [one["id"] for one in api.get("/runs")["items"]] == [3, 2, 1]


def test_an_empty_list_is_one_empty_page(api: Api) -> None:
    for path in ("/links", "/events", "/managers", "/managers/map", "/runs"):
        assert api.get(path) == {"items": [], "next": None}


def test_a_page_has_at_most_500_rows_and_100_unless_asked(api: Api) -> None:
    put(api, link, *links(501))
    assert len(api.get("/links")["items"]) == 100
    assert len(api.get("/links", limit=500)["items"]) == 500
    assert api.ask("GET", "/links", limit=501).status == 422


def test_a_cursor_of_another_list_or_of_somebodys_own_making_is_refused(api: Api) -> None:
    put(api, link, *links(3))
    good = api.get("/links", limit=1)["next"]

    def made(*parts: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()

    assert ids(api.get("/links", after=made("links", 2))["items"], "link") == [3]
    wrong = [
        "x", "%%%", "ü", "=", good[:-2], made("events", 1), made("links"), made("links", 1, 2), made("links", "1"),
        made("links", True), made("links", None), made("links", -1), made("links", 2**63), made("links", 1.5),
        made("links", [1]), made("links", {"id": 1}), base64.b64encode(b"[" * 1400).decode(),
        base64.b64encode(b'["links", ' + b"9" * 1400 + b"]").decode(),
    ]  # fmt: skip
    for after in wrong:
        answer = api.ask("GET", "/links", after=after)
        assert answer.status == 422 and "cursor" in answer.json["detail"], (after, answer)
    assert api.ask("GET", "/links", after="x" * 2001).status == 422
    assert api.ask("GET", "/events", after=good).status == 422
    for odd in ("1e400", "NaN", "Infinity", "1e300"):
        after = base64.urlsafe_b64encode(f'["events", {odd}, 1]'.encode()).decode()
        assert api.ask("GET", "/events", after=after).status == 422
    assert api.ask("GET", "/managers", after=made("managers", "crm", "a\x00b")).status == 422
    assert api.ask("GET", "/managers", after=made("managers", "crm", "\ud800")).status == 422


# --- filters ---------------------------------------------------------------------------------------------------------


def test_links_are_found_by_flow_state_cause_wait_system_and_key(api: Api) -> None:
    now = api.world.clock()
    put(
        api,
        link,
        *links(1, 1, crm_key="43", crm_ref="43"),
        *links(1, 2, crm_key="E1", state="waiting", cause="manager_unmapped"),
        *links(1, 3, due_at=now - 1, cause="differs"),
        *links(1, 4, due_at=now + 60),
        *links(1, 5, state="pending", cause="retrying", due_at=now + 60),
        *links(1, 6, flow="dropped from sync.toml"),
    )
    wait = {"why": "waiting", "at": T0}
    put(
        api,
        open_field,
        {"link_id": 2, "field": "account_manager", "waiting_on": "account_manager:erp:E-12", **wait},
        {"link_id": 5, "field": "name", "waiting_on": None, **wait},
    )

    def found(**query: Any) -> list[int]:
        return ids(api.get("/links", **query)["items"], "link")

    assert found() == found(flow="customers") == [1, 2, 3, 4, 5]
    # A notice makes a record that was at rest pending until the worker was there: as status and explain say.
    assert found(state="in_sync") == [1, 4]
    assert found(state="pending") == [3, 5]
    assert found(state="failing") == []
    assert found(cause="new") == [3]
    assert found(cause="differs") == []
    assert found(cause="manager_unmapped") == [2]
    assert found(waiting_on="account_manager:erp:E-12") == [2]
    assert found(system="erp") == [1, 2, 3, 4, 5]
    assert found(key="E1") == [1, 2]
    assert found(key="E1", system="erp") == [1]
    assert found(key="E1", system="crm") == [2]
    assert found(key="C-1") == found(key="ref:C-1") == found(key="key:E1", system="erp") == [1]
    assert found(key="key:C-1") == found(key="ref:E1") == []
    assert found(key="E1", state="in_sync") == [1]
    waiting = api.get("/links", state="waiting")["items"][0]
    assert waiting["waiting_on"] == "account_manager:erp:E-12"
    assert waiting["cause"]["code"] == "manager_unmapped" and waiting["cause"]["text"]
    assert waiting["erp"] == {"system": "erp", "key": "E2", "ref": "C-2"}
    assert waiting["created_at"] == "2023-11-14T22:13:20.000+00:00"
    counts = api.get("/status")["links"]
    assert (counts["pending"], counts["waiting"]) == (2, 1)


def test_events_are_found_by_record_and_time_and_odd_stamps_do_no_harm(api: Api) -> None:
    base = {"system": "crm", "entity": "customer", "op": "updated", "via": "webhook"}
    put(
        api,
        event,
        {**base, "id": 1, "key": "43", "received_at": T0, "at": 1e300, "notice_id": None},
        {**base, "id": 2, "key": "44", "received_at": T0 + 10, "at": None, "notice_id": None},
        {**base, "id": 3, "key": "43", "received_at": T0 + 20, "at": T0, "notice_id": "n1", "entity": "person"},
        {**base, "id": 4, "key": "43", "received_at": T0 + 30, "at": T0, "notice_id": None, "system": "erp"},
    )

    def found(**query: Any) -> list[int]:
        return ids(api.get("/events", **query)["items"])

    assert found() == [4, 3, 2, 1]
    assert found(key="43") == [4, 3, 1]
    assert found(key="43", system="crm") == [3, 1]
    assert found(entity="person") == [3]
    assert found(since="2023-11-14T22:13:40Z") == found(since="2023-11-14T23:13:40+01:00") == [4, 3]
    first = api.get("/events", key="43", system="crm")["items"][-1]
    assert first["at"] is None and first["received_at"] == "2023-11-14T22:13:20.000+00:00"


def test_what_a_run_did_is_shown_with_its_rows(api: Api) -> None:
    made = {"kind": "import", "flow": "customers", "state": "done", "actor": "cli", "params": {"dry_run": True}}
    put(api, run, {"id": 7, **made, "counts": {"matched": 1, "created": 1}, "started_at": T0, "ended_at": T0 + 60})
    put(
        api,
        run_row,
        {"run_id": 7, "key": "1", "verdict": "matched", "link_id": 4, "detail": {"step": "ref"}},
        {"run_id": 7, "key": "2", "verdict": "created", "link_id": None, "detail": ["a", 1]},
    )
    shown = api.get("/runs/7")
    assert shown["counts"] == {"matched": 1, "created": 1} and shown["params"] == {"dry_run": True}
    assert shown["ended_at"] == "2023-11-14T22:14:20.000+00:00"
    assert api.get("/runs", kind="import", flow="customers", state="done")["items"] == [shown]
    assert api.get("/runs", kind="upload")["items"] == []
    matched = {"key": "1", "verdict": "matched", "link": 4, "detail": {"step": "ref"}}
    assert api.get("/runs/7/rows")["items"][0] == matched
    assert api.get("/runs/7/rows", verdict="matched")["items"] == [matched]


def test_a_link_is_explained_as_the_command_line_does(api: Api) -> None:
    one = pair(api.world)
    shown = api.get(f"/links/{one.id}")
    told = api.world.explain("crm", one.crm)
    for name in ("link", "flow", "state", "cause", "next_step", "erp", "crm", "fields", "timeline", "waiting_on"):
        assert shown[name] == told[name], name
    (listed,) = api.get("/links", key=one.crm, system="crm")["items"]
    assert {name: listed[name] for name in ("link", "state", "erp", "crm")} == {
        name: told[name] for name in ("link", "state", "erp", "crm")
    }
    written = [e for e in api.get("/journal", link=one.id)["items"] if e["what"] == "create"]
    assert written and all(entry["actor"] == "worker" and entry["link"] == one.id for entry in written)
    assert api.get("/status")["links"]["in_sync"] == 1
