"""What people and scripts meet from outside: the real command line and the real hook over one running installation."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from support.installation import HOOK_SECRET, Installation, signed
from support.waiting import until
from sync_worker.store import pauses


@pytest.fixture(scope="module")
def it() -> Iterator[Installation]:
    made = Installation(poll=60)
    try:
        # Older than the flow, and unknown to the other side: what only a person's sync may create.
        made.crm.post("seed", {"customers": 1})
        made.start()
        yield made
    finally:
        made.close()


def new_customer(it: Installation, name: str, ref: str, **columns: Any) -> tuple[str, str]:
    """A customer made in the ERP that has reached the CRM; both keys."""
    erp = it.erp.create({"id": ref, "name": name, **columns})
    until(lambda: name in it.crm.companies_by_name() and it.at_rest())
    return erp, it.crm.companies_by_name()[name]


def state_of(it: Installation, erp_key: str) -> str:
    return dict(it.rows("select erp_key, state from link where erp_key is not null"))[erp_key]


def wait_for_silence(it: Installation) -> None:
    """Nothing is due, and nobody asks the vendors anything: the first looks at the feeds are over."""
    seen = [it.calls()]

    def have_looked() -> bool:
        """A scheduler that takes long to start has not asked anything either."""
        feeds = it.rows("select last_at from schedule where name like '%:%'")  # poll:erp, managers:crm and so on
        return bool(feeds) and all(last_at is not None for (last_at,) in feeds)

    def silent() -> bool:
        seen.append(it.calls())
        return have_looked() and it.at_rest() and len(seen) > 10 and len(set(seen[-10:])) == 1

    until(silent)


# --- the hook --------------------------------------------------------------------------------------------------------


def test_bad_notices_are_refused_and_neither_stored_nor_followed_by_a_vendor_call(it: Installation) -> None:
    event = {"entity": "customer", "key": "1", "op": "updated"}
    good, headers = signed([event])
    other = HOOK_SECRET[:10] + ("A" if HOOK_SECRET[10] != "A" else "B") + HOOK_SECRET[11:]
    wait_for_silence(it)
    before = it.rows("select count(*) from event"), it.calls()
    answers = {
        "unknown system": it.ask("POST", "/hooks/nobody", good, headers),
        "oversized": it.ask("POST", "/hooks/crm", b" " * (1024 * 1024 + 1), headers),
        "unsigned": it.ask("POST", "/hooks/crm", good),
        "forged": it.ask("POST", "/hooks/crm", *signed([event], secret=other)),
        "changed on the way": it.ask("POST", "/hooks/crm", good.replace(b'"1"', b'"2"'), headers),
        "stale": it.ask("POST", "/hooks/crm", *signed([event], at=time.time() - 301)),
        "from the future": it.ask("POST", "/hooks/crm", *signed([event], at=time.time() + 301)),
        "unreadable": it.ask("POST", "/hooks/crm", *signed(b"{not json")),
        "of another shape": it.ask("POST", "/hooks/crm", *signed(b'{"events": "all of them"}')),
        "unsigned at the other vendor's hook": it.ask("POST", "/hooks/erp", good),
    }
    assert {name: status for name, (status, _) in answers.items()} == {
        "unknown system": 404,
        "oversized": 413,
        "unsigned": 401,
        "forged": 401,
        "changed on the way": 401,
        "stale": 401,
        "from the future": 401,
        "unreadable": 400,
        "of another shape": 400,
        "unsigned at the other vendor's hook": 401,
    }
    assert (it.rows("select count(*) from event"), it.calls()) == before
    assert it.ask("POST", "/hooks/crm", good, headers)[0] == 200
    assert it.rows("select count(*) from event") == [(before[0][0][0] + 1,)]
    assert it.ask("POST", "/hooks/crm", good, headers)[0] == 200
    assert it.rows("select count(*) from event") == [(before[0][0][0] + 1,)], "the same notice twice is one event"
    until(it.at_rest)


def test_awkward_names_and_ids_travel_unchanged_in_both_directions(it: Installation) -> None:
    names = [
        'O\'Brien & "Sons" (UK); -- ',
        "<script>alert('x')</script>",
        "Caf\u00e9 \U0001f680\U0001f469\u200d\U0001f4bb \u6771\u4eac",
        "\u05e9\u05dc\u05d5\u05dd \u05d1\u05e2\u05f4\u05de \u0634\u0631\u0643\u0629",
        "N" * 200,
        "100% _like_ [x] \\ / {0}",
    ]
    names = [name.strip() for name in names]
    for n, name in enumerate(names):
        it.erp.create({"id": f"000{n}", "name": f"{name[:-1]}E"})
        it.crm.create({"Comp_Name": f"{name[:-1]}C", "Comp_Status": "Active"})
    from_erp, from_crm = {f"{name[:-1]}E" for name in names}, {f"{name[:-1]}C" for name in names}
    until(
        lambda: from_erp <= it.crm.companies_by_name().keys() and from_crm <= it.erp.customers_by_name().keys(),
        why=lambda: it.rows("select state, cause, cause_params from link where state <> 'in_sync'"),
    )
    until(it.at_rest)
    refs = {row["Comp_Name"]: row["comp_intacct_customerid"] for row in it.crm.records("Company")}
    assert [refs[f"{name[:-1]}E"] for name in names] == [f"000{n}" for n in range(len(names))]
    found = it.cli_json("explain", "erp", "0001")
    assert (found["state"], found["erp"]["ref"]) == ("in_sync", "0001")
    shown = next(field for field in found["fields"] if field["name"] == "name")
    assert shown["erp"] == shown["crm"] == "<script>alert('x')</scriptE"


# --- the command line ------------------------------------------------------------------------------------------------


def test_status_and_explain_give_one_json_document_with_the_fixed_keys(it: Installation) -> None:
    erp, crm = new_customer(it, "Status Ltd", "ST-1", **{"contacts.default.email1": "office@status.test"})
    status = it.cli_json("status")
    assert status["ok"] is True
    assert status["links"]["in_sync"] >= 1
    assert set(status["links"]) == {
        "in_sync", "pending", "waiting", "conflict", "failing", "not_synced", "excluded", "unlinked",
    }  # fmt: skip
    assert (status["due"], status["oldest_due_seconds"]) == (0, None)
    assert 0 < status["flows"]["customers"]["lag_seconds_p50"] <= status["flows"]["customers"]["lag_seconds_p95"]
    assert status["systems"] == {"crm": {"up": True, "reason": None}, "erp": {"up": True, "reason": None}}
    one = it.cli_json("explain", "crm", crm)
    assert (one["flow"], one["entity"], one["state"], one["waiting_on"]) == ("customers", "customer", "in_sync", None)
    assert one["next_step"] == {"what": "nothing until something changes", "at": None}
    assert one["erp"] == {"system": "erp", "key": erp, "ref": "ST-1"}
    assert {field["status"] for field in one["fields"]} == {"in_step"}
    assert {"at", "what", "why"} == one["timeline"][0].keys()
    assert {"code", "text"} == one["cause"].keys()


def test_a_conflict_rests_until_resolve_settles_it_on_both_sides(it: Installation) -> None:
    erp, crm = new_customer(it, "Quarrel Ltd", "QU-1")
    pauses.pause(it.db, "flow", "customers", pauses.BY_PERSON, "so that nobody looks between the two edits")
    it.crm.edit(crm, {"Comp_Name": "Quarrel of the CRM"})
    it.erp.edit(erp, {"name": "Quarrel of the ERP", "taxId": "GB123"})
    assert it.cli("resume", "customers").returncode == 0
    until(lambda: state_of(it, erp) == "conflict")
    until(lambda: it.crm.company(crm)["comp_vatnumber"] == "GB123")
    assert it.crm.company(crm)["Comp_Name"] == "Quarrel of the CRM"
    wrong = it.cli("resolve", "crm", crm, "--field", "email", "--take", "erp")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1)
    assert "email" in wrong.stderr and "name" in wrong.stderr, "the message says which field is open"
    assert it.cli("resolve", "crm", crm, "--field", "name", "--take", "=Quarrel at Peace").returncode == 0
    until(lambda: it.crm.company(crm)["Comp_Name"] == it.erp.customer(erp)["name"] == "Quarrel at Peace")
    until(lambda: it.at_rest() and state_of(it, erp) == "in_sync")


def test_sync_creates_what_is_older_than_the_flow_and_replay_makes_links_due(it: Installation) -> None:
    it.crm.edit("1", {"Comp_Name": "Seeded Customer"})
    until(lambda: it.rows("select state from link where crm_key = '1'") == [("not_synced",)])
    synced = it.cli("sync", "crm", "1")
    assert synced.returncode == 0, synced.stderr
    assert "state: in_sync" in synced.stdout
    assert "Seeded Customer" in it.erp.customers_by_name()
    [(link,)] = it.rows("select id from link where crm_key = '1'")
    replayed = it.cli("replay", "--link", str(link))
    assert (replayed.returncode, replayed.stdout) == (0, "1 link is due again\n")


def test_gumu_11_a_list_at_the_command_line_gets_a_line_each_and_exit_code_1_for_one_that_cannot(
    it: Installation,
) -> None:
    it.crm.post("seed", {"customers": 2})
    found = it.cli("sync", "crm", "1", "2", "999")
    assert found.returncode == 1, found.stdout + found.stderr
    ended = [line.split("\t")[:2] for line in found.stdout.splitlines()]
    assert ended == [["1", "in_sync"], ["2", "in_sync"], ["999", "refused"]]
    assert "3 records, 1 of them to look at" in found.stderr
    assert it.cli("sync", "crm").returncode == it.cli("sync").returncode == 2


def test_am_6_mapping_a_manager_says_beforehand_who_waits_and_releases_them(it: Installation) -> None:
    customers = [new_customer(it, f"Managed {n} Ltd", f"C-88{n}") for n in range(3)]
    for erp, _ in customers:
        it.erp.edit(erp, {"salesRepresentative.id": "E-10"})
    until(lambda: {state_of(it, erp) for erp, _ in customers} == {"waiting"} and it.at_rest())
    pair = ("--flow", "customers", "--erp", "E-10", "--crm", "sellers1")
    asked = it.cli("managers", "map", *pair, "--dry-run")
    said = asked.stdout.splitlines()
    assert (asked.returncode, said[0]) == (0, "erp E-10 <-> crm sellers1: 3 links wait for it")
    assert [line.split("\t")[3:7] for line in said[1:4]] == [["crm", "account_manager", "", "2"]] * 3
    assert said[4] == "3 records: 3 update" and json.loads(
        it.cli("managers", "map", *pair, "--dry-run", "--json").stdout
    )
    listed = json.loads(it.cli("managers", "list", "--json").stdout)["flows"]["customers"]
    waiting = {one["key"]: one["waiting"] for one in listed["unmapped"]["erp"]}
    assert (listed["map"], waiting["E-10"]) == ([], 3)
    mapped = it.cli("managers", "map", *pair)
    assert mapped.stdout.splitlines()[-1] == "mapped; 3 links released"
    until(lambda: all(str(it.crm.company(crm)["Comp_PrimaryUserId"]) == "2" for _, crm in customers))
    refused = it.cli("managers", "map", "--flow", "customers", "--erp", "E-11", "--crm", "sellers1")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1) and "--preferred" in refused.stderr
    assert refused.stdout == "", "what is refused is not said to be about to happen"
    gone = it.cli("managers", "unmap", "--flow", "customers", "--erp", "E-10")
    assert (gone.returncode, it.cli("managers", "unmap", "--flow", "customers", "--erp", "E-10").returncode) == (0, 1)


def test_a_token_lets_a_script_in_until_it_is_removed(it: Installation) -> None:
    erp, _ = new_customer(it, "Scripted Ltd", "API-1")
    added = it.cli("tokens", "add", "helpdesk", "--role", "operate")
    token = added.stdout.strip()
    assert (added.returncode, added.stderr.count("\n")) == (0, 1), added.stderr
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    status, body = it.ask("GET", "/api/v1/links?system=erp&key=API-1", headers=headers)
    (found,) = json.loads(body)["items"]
    assert (status, found["erp"]["key"], found["state"]) == (200, erp, "in_sync")
    assert it.ask("POST", f"/api/v1/links/{found['link']}/replay", b"", headers)[0] == 202
    until(it.at_rest)
    told = it.rows("select what, actor from journal where actor = 'helpdesk'")
    assert told == [("replayed", "helpdesk")]
    listed = it.cli("tokens", "list", "--json")
    assert [(one["name"], one["role"]) for one in json.loads(listed.stdout)["tokens"]] == [("helpdesk", "operate")]
    assert token not in listed.stdout + (it.folder / "run.log").read_text()
    again = it.cli("tokens", "add", "helpdesk")
    assert (again.returncode, again.stdout, again.stderr.count("\n")) == (1, "", 1)
    assert it.cli("tokens", "remove", "helpdesk").returncode == 0
    assert it.ask("GET", "/api/v1/status", headers=headers)[0] == 401
    assert it.cli("tokens", "remove", "helpdesk").returncode == 1


def test_gumu_1_an_import_at_the_command_line_gives_every_customer_one_verdict(it: Installation) -> None:
    new_customer(it, "Imported Before Ltd", "C-770")
    looked = it.cli("import", "customers", "--from", "C-770", "--to", "C-779", "--dry-run", "--json")
    assert looked.returncode == 0, looked.stderr
    assert [one["verdict"] for one in json.loads(looked.stdout)] == ["unchanged"]
    done = it.cli("import", "customers", "--from", "C-770", "--to", "C-779", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["flow"], told["seen"], told["unchanged"]) == (0, "customers", 1, 1)
    assert told["planned_anew"] == 0, "as the preview said"
    wrong = it.cli("import", "customers", "--from", "C-9", "--to", "C-1")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1) and "exchange them" in wrong.stderr


def test_an_undo_at_the_command_line_is_previewed_and_done_as_a_run_that_can_be_undone(it: Installation) -> None:
    erp, crm = new_customer(it, "Undone Ltd", "C-771")
    it.erp.edit(erp, {"name": "Done Ltd"})
    until(lambda: "Done Ltd" in it.crm.companies_by_name() and it.at_rest())
    link = str(dict(it.rows("select erp_key, id from link where erp_key is not null"))[erp])
    looked = it.cli("undo", "--link", link, "--dry-run", "--json")
    assert looked.returncode == 0, looked.stderr
    (one,) = json.loads(looked.stdout)
    assert one["fields"] == {"name": {"side": "crm", "before": "Done Ltd", "after": "Undone Ltd"}}
    file = it.config_path.with_name("undo.csv")
    filed = it.cli("undo", "--link", link, "--dry-run", "--out", str(file), "--json")
    assert json.loads(filed.stdout) == {"flow": "customers", "seen": 1, "update": 1}
    assert "Undone Ltd" in file.read_text()
    assert it.cli("undo", "--link", link, "--out", str(file)).returncode == 2, "a run writes no file"
    assert "Done Ltd" in it.crm.companies_by_name(), "a preview writes nothing"
    done = it.cli("undo", "--link", link, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["changed"], found["left"]) == (1, []) and it.crm.companies_by_name()["Undone Ltd"] == crm
    listed = json.loads(it.cli("runs", "--flow", "customers", "--limit", "1", "--json").stdout)["runs"]
    assert [(run["run"], run["kind"], run["state"]) for run in listed] == [(found["run"], "undo", "done")]
    assert it.cli("undo", "--run", str(found["run"])).stdout.endswith("1 link: 1 changed\n")
    assert "Done Ltd" in it.crm.companies_by_name()
    unknown = it.cli("undo", "--run", "9999")
    assert (unknown.returncode, unknown.stdout, unknown.stderr.count("\n")) == (1, "", 1)
    assert it.cli("undo").returncode == 2, "wrong usage"


def test_what_cannot_be_done_is_one_line_with_exit_code_1(it: Installation) -> None:
    nothing = it.cli("replay", "--state", "excluded")
    assert (nothing.returncode, nothing.stdout, nothing.stderr.count("\n")) == (1, "", 1)
    nowhere = it.cli("replay", "--state", "in_sync", "--flow", "elsewhere")
    assert (nowhere.returncode, nowhere.stderr) == (1, "sync-worker: no flow elsewhere; there are: customers\n")
    unknown = it.cli("explain", "crm", "99999")
    assert (unknown.returncode, unknown.stdout, unknown.stderr.count("\n")) == (1, "", 1)
    assert "crm 99999" in unknown.stderr
    away = it.cli("status", DATABASE_URL="postgresql://127.0.0.1:1/nowhere")
    assert (away.returncode, away.stdout, away.stderr.count("\n")) == (1, "", 1)
    assert "the database cannot be used" in away.stderr


def test_an_unusable_configuration_is_one_line_with_exit_code_2(it: Installation) -> None:
    misspelt = it.cli("status", config=it.config_with("misspelt.toml", ("stale_seconds", "stale_secnds")))
    assert (misspelt.returncode, misspelt.stdout, misspelt.stderr.count("\n")) == (2, "", 1)
    line = it.config_path.read_text().splitlines().index("stale_seconds = 2") + 1
    assert f"line {line}: systems.erp.stale_secnds" in misspelt.stderr
    assert "'stale_seconds'" in misspelt.stderr, "the nearest known key is named"
    usage = it.cli("replay")
    assert (usage.returncode, usage.stdout, usage.stderr.count("\n")) == (2, "", 1), "so is wrong usage"


def test_doctor_is_content_with_a_working_installation_and_names_the_setting_of_wrong_credentials(
    it: Installation,
) -> None:
    fine = it.cli("doctor")
    assert fine.returncode == 0, fine.stdout
    assert "WRONG" not in fine.stdout
    config = it.config_with("wrong.toml", ("demo-secret", "wrong-secret"), ("demo-password", "wrong-password"))
    wrong = it.cli("doctor", config=config)
    assert wrong.returncode == 1
    lines = [line for line in wrong.stdout.splitlines() if line.startswith("WRONG")]
    assert any("systems.erp.client_secret" in line for line in lines), lines
    assert any("systems.crm.password" in line for line in lines), lines
    assert "wrong-" not in wrong.stdout + wrong.stderr, "no secret is shown"


def test_the_stored_data_is_nobody_elses_to_read(it: Installation) -> None:
    for name in ("sync.db", "queue"):
        assert (it.folder / name).stat().st_mode & 0o077 == 0, name
