"""Undo: what a run wrote is written back through the engine; what was edited since is left out and named."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mappings.canonical import in_words
from support.rules import FLOW, Make, api_writes, entries, in_the_past, pair, rest, row_of, wakes, when
from support.world import World
from sync_worker import sheets
from sync_worker.connectors.base import Ask
from sync_worker.desk import importing, link_upload, linking, rewriting, run_lists
from sync_worker.desk.anew import Anew
from sync_worker.desk.limits import LimitReached
from sync_worker.desk.refusals import NotKnown
from sync_worker.desk.rewriting import Ended, Plan
from sync_worker.errors import PermanentError
from sync_worker.imports import Import, Selection, select_by
from sync_worker.store import runs
from sync_worker.store.tables import run


def imported(world: World) -> int:
    """An import to its end; its run."""
    importing.run_import(world.app, FLOW, Selection())
    rest(world)
    return last_run(world, "import")


def last_run(world: World, kind: str) -> int:
    with world.db.read() as conn:
        return int(
            conn.execute(run.select().where(run.c.kind == kind).order_by(run.c.id.desc())).mappings().first()["id"]
        )  # type: ignore[index]


def undone(world: World, run_id: int) -> Ended:
    ended = carried(world, rewriting.plan_undo(world.app, run=run_id))
    rest(world)
    return ended


def undone_as_previewed(world: World, run_id: int) -> Ended:
    """Undo it; what the preview said holds for every link."""
    list(rewriting.preview(world.app, rewriting.plan_undo(world.app, run=run_id)))
    ended = undone(world, run_id)
    assert ended.anew == Anew((), 0)
    return ended


def carried(world: World, plan: Plan) -> Ended:
    return rewriting.carry_out(world.app, plan, threads=1)


def two(world: World, number: int, **crm: Any) -> tuple[str, str]:
    """A customer and its company, older than the flow, found by number and name."""
    named = {"comp_intacct_customerid": f"C-{number}", "comp_intacct_company": "Acme UK"}
    erp = world.new_erp(
        f"Firm {number} Ltd",
        id=f"C-{number}",
        **{"contacts.default.URL1": f"http://erp{number}.test", "contacts.default.email1": f"erp{number}@test.example"},
    )
    return erp, world.new_crm(f"Firm {number} Ltd", Comp_WebSite=f"http://crm{number}.test", **named, **crm)


def mapped(world: World, erp: str, crm: str) -> dict[str, Any]:
    """The mapped columns of both sides, in canonical form."""
    flow = world.app.flows[FLOW]
    found: dict[str, Any] = {}
    for side, key in (("erp", erp), ("crm", crm)):
        record = flow.connectors[side].read_many("customer", [Ask(key)])[key]  # type: ignore[index]
        assert record is not None
        values = flow.maps[side].get(record.native)  # type: ignore[index]
        found |= {f"{side}.{name}": flow.maps[side].normal(name, value) for name, value in values.items()}  # type: ignore[index]
    return found


def test_an_undo_tells_its_threads_of_what_it_has_chosen(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make()
    with in_the_past(world):
        two(world, 1)
    done = imported(world)
    told = wakes(monkeypatch)
    assert undone(world, done).counts == {"changed": 1}
    assert told


def test_undo_of_an_import_writes_back_what_it_overwrote_and_the_sides_then_differ_by_choice(make: Make) -> None:
    world = make()
    with in_the_past(world):
        erp, crm = two(world, 1)
    before = mapped(world, erp, crm)
    done = imported(world)
    assert world.crm_record(crm)["Comp_WebSite"] == "http://erp1.test"
    ended = undone(world, done)
    assert mapped(world, erp, crm) == before
    assert ended.counts == {"changed": 1} and ended.linked == [row_of(world, crm=crm).id]
    row = row_of(world, crm=crm)
    assert row.linked and (row.state, row.cause) == ("in_sync", "differs")
    writes = api_writes(world)
    world.sweep()
    rest(world)
    assert api_writes(world) == writes, "what was undone is not synced again"


def test_links_edited_since_the_preview_of_their_undo_are_planned_anew_and_named(world: World) -> None:
    with in_the_past(world):
        two(world, 1)
        _, told = two(world, 2)
        _, silent = two(world, 3)
    done = imported(world)
    list(rewriting.preview(world.app, rewriting.plan_undo(world.app, run=done)))
    world.edit_crm(told, Comp_WebSite="http://person.test")
    rest(world)
    world.edit_crm(silent, Comp_WebSite="http://person.test")
    world.crm.take_notices()  # lost
    ended = undone(world, done)
    assert ended.anew == Anew((row_of(world, crm=told).id, row_of(world, crm=silent).id), 2)


def test_undo_leaves_a_field_out_that_was_edited_since_and_names_it(make: Make) -> None:
    world = make()
    with in_the_past(world):
        erp, crm = two(world, 1)
    done = imported(world)
    world.edit_crm(crm, Comp_WebSite="http://person.test")
    rest(world)
    ended = undone(world, done)
    assert world.crm_record(crm)["Comp_WebSite"] == "http://person.test"
    assert world.erp_record(erp)["contacts.default.URL1"] == "http://person.test"
    assert [one["fields"] for one in ended.left] == [{"website": "edited since"}]
    assert ended.counts == {"partly": 1}, "the e-mail address is undone all the same"


def test_undo_is_void_for_an_edit_that_no_notice_has_told_of(world: World) -> None:
    with in_the_past(world):
        erp, crm = two(world, 1)
    done = imported(world)
    world.edit_erp(erp, **{"contacts.default.URL1": "http://fresh.test"})
    world.erp.take_notices()
    ended = undone(world, done)
    assert ended.left == [{"link": row_of(world, crm=crm).id, "fields": {"website": "edited since"}}]
    assert world.crm_record(crm)["Comp_WebSite"] == "http://fresh.test", "the edit travels, nothing is lost"


def test_undo_never_deletes_a_created_record_becomes_inactive_and_its_link_ends(make: Make) -> None:
    world = make()
    with in_the_past(world):
        erp = world.new_erp("New Ltd", id="C-9")
    before = world.erp_record(erp)["status"]
    done = imported(world)
    crm = str(row_of(world, erp=erp).crm_key)
    ended = undone(world, done)
    assert ended.counts == {"unlinked": 1}
    assert world.crm_record(crm)["Comp_Status"] == "Inactive" and not world.crm_record(crm)["Comp_Deleted"]
    assert world.erp_record(erp)["status"] == before
    assert row_of(world, erp=erp).state == row_of(world, crm=crm).state == "unlinked"
    world.edit_erp(erp, name="Newer Ltd")
    rest(world)
    assert world.crm_record(crm)["Comp_Name"] == "New Ltd", "it stays unlinked"


def test_an_undo_is_a_run_and_can_be_undone(make: Make) -> None:
    world = make()
    with in_the_past(world):
        erp, crm = two(world, 1)
        alone = world.new_erp("New Ltd", id="C-9")
    done = imported(world)
    made = str(row_of(world, erp=alone).crm_key)
    after = mapped(world, erp, crm), mapped(world, alone, made)
    first = undone_as_previewed(world, done)
    assert mapped(world, erp, crm) != after[0]
    again = undone_as_previewed(world, first.run)
    assert again.counts == {"changed": 1, "linked": 1}
    assert (mapped(world, erp, crm), mapped(world, alone, made)) == after
    assert row_of(world, crm=crm).cause == "" and row_of(world, crm=made).erp_key == alone
    assert row_of(world, crm=made).state == "in_sync"


def test_a_run_that_is_undone_is_not_undone_again_and_one_line_says_by_which_run_it_was(world: World) -> None:
    with in_the_past(world):
        world.new_erp("New Ltd", id="C-9")
        _, crm = two(world, 1)
        two(world, 2)
    done = imported(world)
    world.edit_crm(crm, Comp_WebSite="http://person.test")
    rest(world)
    first = undone(world, done)
    assert first.ok and first.counts == {"unlinked": 1, "partly": 1, "changed": 1}
    with pytest.raises(PermanentError, match=f"^run {done} is undone already, by run {first.run}: sync-worker runs"):
        rewriting.plan_undo(world.app, run=done)
    assert last_run(world, "undo") == first.run, "no run was begun for it"
    assert undone(world, first.run).ok
    assert undone(world, done).ok, "what was put back can be undone again"


def test_an_undo_that_has_to_leave_everything_has_not_done_what_it_was_asked_for(world: World) -> None:
    with in_the_past(world):
        world.new_erp("New Ltd", id="C-9")
    done = imported(world)
    linking.unlink(world.app, world.links()[0]["id"])
    ended = undone(world, done)
    assert ended.counts == {"left_out": 1} and not ended.ok


def test_undo_of_one_link_takes_back_the_last_write_through_it(world: World) -> None:
    one = pair(world)
    world.edit_crm(one.crm, Comp_WebSite="http://second.test", Comp_Name="Second Name")
    rest(world)
    ended = carried(world, rewriting.plan_undo(world.app, link=one.id))
    rest(world)
    assert ended.counts == {"changed": 1}
    erp = world.erp_record(one.erp)
    assert (erp["name"], erp["contacts.default.URL1"]) == ("Northwind Tools", "http://northwind.example")
    assert world.crm_record(one.crm)["Comp_Name"] == "Second Name", "what a person typed stays"
    carried(world, rewriting.plan_undo(world.app, link=one.id))
    rest(world)
    assert world.erp_record(one.erp)["name"] == "Second Name", "the last write was the undo"


def test_a_preview_of_an_undo_writes_nothing_and_says_what_the_run_then_does(world: World) -> None:
    with in_the_past(world):
        _, crm = two(world, 1)
        alone = world.new_erp("New Ltd", id="C-9")
        _, edited = two(world, 2)
    done = imported(world)
    world.edit_crm(edited, Comp_WebSite="http://person.test")
    rest(world)
    before = api_writes(world)
    told = [rewriting.document(one) for one in rewriting.preview(world.app, rewriting.plan_undo(world.app, run=done))]
    assert api_writes(world) == before
    by_link = {one["link"]: one for one in told}
    mine = by_link[row_of(world, crm=crm).id]
    assert mine["fields"]["website"] == {"side": "crm", "before": "http://erp1.test", "after": "http://crm1.test"}
    assert by_link[row_of(world, crm=edited).id]["left"] == {"website": "edited since"}
    assert by_link[row_of(world, erp=alone).id]["verdict"] == "unlink"
    known = len(entries(world))
    undone(world, done)
    wrote = {
        (e["link_id"], e["side"], n): e["after"][n]
        for e in entries(world)[known:]
        if e["what"] == "update"
        for n in e["after"]
    }
    foretold = {(i, f["side"], n): f["after"] for i, one in by_link.items() for n, f in one["fields"].items()}
    assert wrote == foretold


def test_a_preview_of_an_undo_in_a_file_says_the_same_and_of_what_is_left_why(world: World, tmp_path: Path) -> None:
    with in_the_past(world):
        two(world, 1)
        _, edited = two(world, 2)
    done = imported(world)
    world.edit_crm(edited, Comp_WebSite="http://person.test")
    rest(world)
    plan = rewriting.plan_undo(world.app, run=done)
    told = [rewriting.document(one) for one in rewriting.preview(world.app, plan)]
    file, counts = tmp_path / "undo.xlsx", Counter[str]()
    written = sheets.write(file, rewriting.COLUMNS, rewriting.lines(rewriting.preview(world.app, plan), counts))
    found = [line.cells for line in sheets.read(file).lines]
    assert len(found) == written and counts == Counter(one["verdict"] for one in told)
    fields = {(c["Link"], c["Field"], c["Before"], c["After"]) for c in found if c["Field"] and c["Verdict"] != "left"}
    assert fields == {
        (str(one["link"]), name, in_words(f["before"]), in_words(f["after"]))
        for one in told
        for name, f in one["fields"].items()
    }
    left = [(c["CrmKey"], c["Field"], c["Why"]) for c in found if c["Verdict"] == "left"]
    assert left == [(edited, "website", "edited since")]


def test_an_undo_that_died_is_gone_on_with_and_nothing_is_written_twice(make: Make) -> None:
    world = make()
    with in_the_past(world):
        pairs = [two(world, n) for n in range(1, 5)]
        alone = world.new_erp("New Ltd", id="C-9")
    before = [mapped(world, *one) for one in pairs]
    done = imported(world)
    made = str(row_of(world, erp=alone).crm_key)
    writes = api_writes(world)["crm"]
    deaths = [2, 5, 9, 14, 20, 30]
    while runs.newest(world.db, "undo", FLOW, "done") is None:
        steps = deaths.pop(0)
        with world.crashing_after(steps):
            rewriting.carry_out(world.app, rewriting.plan_undo(world.app, run=done), threads=0, progress=working(world))
        rest(world)
    assert len(deaths) <= 4, "it died on its way"
    rest(world)
    assert [mapped(world, *one) for one in pairs] == before
    assert world.crm_record(made)["Comp_Status"] == "Inactive"
    per_record = [(w.entity, w.key, tuple(sorted(w.after))) for w in world.written("crm")[writes:]]
    assert len(per_record) == len(set(per_record))
    assert runs.unfinished(world.db, "undo", FLOW) is None


def test_an_undo_that_stands_still_says_why_once_and_goes_on_by_itself(make_light: Make) -> None:
    world = make_light()
    with in_the_past(world):
        erp, crm = two(world, 1)
    before = mapped(world, erp, crm)
    done = imported(world)
    world.crm.faults.merge({"p_503": 1.0})
    said: list[str] = []

    def work_on(_at: object) -> None:
        if said:
            world.crm.faults.merge({"p_503": 0.0})
        world.work()
        world.clock.advance(20)

    plan = rewriting.plan_undo(world.app, run=done)
    rewriting.carry_out(world.app, plan, threads=0, progress=work_on, say=said.append)
    assert said == ["1 link waits: the system cannot be reached; the undo goes on by itself"]
    assert mapped(world, erp, crm) == before


@pytest.mark.parametrize("steps", range(3, 40, 4))
def test_undo_knows_of_a_write_whose_worker_died_before_it_could_say_so(world: World, steps: int) -> None:
    with in_the_past(world):
        erp, crm = two(world, 1)
    before = mapped(world, erp, crm)
    chosen, begun = Selection(), runs.begin(world.db, "import", FLOW, "test", {})
    job = Import(world.db, world.app.inbox, world.app.engine, world.app.flows[FLOW], begun, chosen, threads=0)
    job.progress = working(world)
    with world.crashing_after(steps):
        job.go()
    rest(world)
    again = Import(world.db, world.app.inbox, world.app.engine, world.app.flows[FLOW], begun, chosen, threads=0)
    again.progress = working(world)
    again.go()
    rest(world)
    assert world.crm_record(crm)["Comp_WebSite"] == "http://erp1.test"
    undone(world, begun.id)
    assert mapped(world, erp, crm) == before


def working(world: World) -> Any:
    """Passes in this thread, so that a crash is the run's own."""
    return lambda _at: world.work()


def stopped_import(world: World, selection: Selection) -> int:
    """An import that was stopped when it had taken its customers, and before any of them was worked on; its run."""
    begun = runs.begin(world.db, "import", FLOW, "test", selection.as_params())
    job = Import(world.db, world.app.inbox, world.app.engine, world.app.flows[FLOW], begun, selection, threads=0)

    def stop(_progress: object) -> None:
        raise KeyboardInterrupt

    job.progress = stop
    with pytest.raises(KeyboardInterrupt):
        job.go()
    job.stop()
    return begun.id


def said(world: World) -> dict[int, dict[str, int]]:
    """What ``runs`` says of every import: run -> customers by verdict."""
    return {one["run"]: one["counts"] for one in run_lists.latest(world.app, FLOW, 20) if one["kind"] == "import"}


def test_of_two_imports_of_the_same_customers_each_says_what_an_undo_of_it_takes_back(make: Make) -> None:
    world = make()
    with in_the_past(world):
        for n in range(1, 6):
            world.new_erp(f"New {n} Ltd", id=f"C-{n}")
    first = stopped_import(world, select_by(None, "C-1", "C-3"))
    second: list[int] = []
    # while a worker makes those of the first one, which it claimed for that
    when(world.crm, "create company", lambda: second.append(stopped_import(world, Selection())))
    world.work()
    assert said(world)[first] == {"created": 3}, "which a worker made once it had been stopped"
    importing.run_import(world.app, FLOW, Selection(), resume=runs.get(world.db, second[0]))
    rest(world)
    assert said(world) == {first: {"created": 3}, second[0]: {"created": 2, "unchanged": 3}}
    assert undone(world, second[0]).counts == {"unlinked": 2}
    assert undone(world, first).counts == {"unlinked": 3}


def test_an_import_that_another_one_took_over_says_of_whom_it_did_not_come_to_the_end(world: World) -> None:
    with in_the_past(world):
        world.new_erp("New Ltd", id="C-1")
    first = stopped_import(world, Selection())
    second = stopped_import(world, Selection())
    rest(world)
    assert said(world) == {first: {"under_way": 1}, second: {"created": 1}}


def test_undo_refuses_what_it_cannot_know_and_what_is_still_due(world: World) -> None:
    with pytest.raises(NotKnown, match="no run 77: sync-worker runs"):
        rewriting.plan_undo(world.app, run=77)
    with pytest.raises(NotKnown, match="no link 77"):
        rewriting.plan_undo(world.app, link=77)
    with in_the_past(world):
        two(world, 1)
    begun = stopped_import(world, Selection())
    with pytest.raises(PermanentError, match="1 record is still due for run"):
        rewriting.plan_undo(world.app, run=begun)


def test_undo_leaves_a_link_alone_that_a_person_ended(world: World) -> None:
    with in_the_past(world):
        _, crm = two(world, 1)
    done = imported(world)
    linking.unlink(world.app, row_of(world, crm=crm).id)
    ended = undone(world, done)
    assert ended.counts == {"left_out": 1}
    assert ended.left[0]["fields"] == {"": "no longer linked: link it again first"}
    assert world.crm_record(crm)["Comp_WebSite"] == "http://erp1.test"


def test_undo_of_a_link_upload_takes_back_what_its_first_link_up_wrote_and_names_the_links(
    make_light: Make, tmp_path: Path
) -> None:
    world = make_light('initial = "erp"\ncreate_in_crm = "never"\ncreate_in_erp = "never"')
    with in_the_past(world):
        erp, crm = two(world, 1, comp_vatnumber="GB123456789")
    before = mapped(world, erp, crm)
    file = tmp_path / "links.csv"
    file.write_text(f"CustomerId,SageCompanyName,SageSiteId,SageCustomerId\n{crm},Acme UK,ACME,{erp}\n")
    done = link_upload.upload(world.app, file)
    rest(world)
    after = mapped(world, erp, crm)
    assert after["crm.website"] == before["erp.website"] and after["erp.tax_number"] == before["crm.tax_number"]
    ended = undone(world, done.run)
    assert mapped(world, erp, crm) == before
    assert (ended.counts, ended.linked) == ({"changed": 1}, [row_of(world, crm=crm).id])


def test_undo_of_a_run_that_wrote_nothing_says_so(world: World) -> None:
    with in_the_past(world):
        two(world, 1)
    imported(world)
    with pytest.raises(PermanentError, match=r"run \d+ \(import\) wrote nothing that could be undone"):
        rewriting.plan_undo(world.app, run=imported(world))


def test_undo_writes_nothing_where_the_flow_no_longer_leads_and_names_the_field(make_light: Make) -> None:
    world = make_light()
    with in_the_past(world):
        erp, crm = two(world, 1)
    done = imported(world)
    world.reconfigure('direction = "to_erp"')
    before = mapped(world, erp, crm)
    ended = undone(world, done)
    assert mapped(world, erp, crm) == before
    assert ended.counts == {"left_out": 1}
    assert ended.left[0]["fields"] == dict.fromkeys(("email", "website"), "the flow does not write it there")


EDITS = ("Comp_Name", "Comp_WebSite", "comp_vatnumber")
COLUMN_OF = {"Comp_Name": "name", "Comp_WebSite": "website", "comp_vatnumber": "tax_number"}


@pytest.mark.parametrize("seed", range(6))
def test_undo_on_random_data_leaves_both_sides_as_before_but_for_what_was_edited_since(make: Make, seed: int) -> None:
    world, rng = make(), random.Random(seed)
    with in_the_past(world):
        pairs = [random_pair(world, rng, n) for n in range(1, 9)]
    before = {one: mapped(world, *one) for one in pairs}
    done = imported(world)
    edited: dict[tuple[str, str], set[str]] = {one: set() for one in pairs}
    for one in rng.sample(pairs, 3):
        row = row_of(world, crm=one[1])
        column = rng.choice([c for c in EDITS if COLUMN_OF[c] not in row.opens])
        world.edit_crm(one[1], **{column: f"edited {seed}" if column != "Comp_WebSite" else f"http://e{seed}.test"})
        edited[one].add(COLUMN_OF[column])
    rest(world)
    held = {one: mapped(world, *one) for one in pairs}
    undone_as_previewed(world, done)
    for one in pairs:
        now = mapped(world, *one)
        for name, value in before[one].items():
            kept = name.partition(".")[2] in edited[one]
            assert now[name] == (held[one][name] if kept else value), (one, name)


def random_pair(world: World, rng: random.Random, number: int) -> tuple[str, str]:
    def some(*values: Any) -> Any:
        return rng.choice(values)

    given = {
        "contacts.default.URL1": some(None, f"http://erp{number}.test"),
        "contacts.default.email1": some(None, f"erp{number}@test.example"),
        "contacts.default.phone1": some(None, "+44 20 7946 0001"),
        "taxId": some(None, f"GB{number:09d}"),
    }
    erp = world.new_erp(f"Firm {number} Ltd", id=f"C-{number}", **{k: v for k, v in given.items() if v is not None})
    if some(True, False):
        given |= {"contacts.default.firstName": "Erp", "contacts.default.lastName": f"Person {number}"}
    if some(True, False):
        address = {"addressLine1": f"{number} Erp Street", "city": "Leeds", "isoCountryCode": "GB"}
        given |= {f"contacts.default.mailingAddress.{name}": value for name, value in address.items()}
    crm = {
        "Address": some(
            None,
            [{"$isDefault": True, "$type": "Business", "Addr_Address1": f"{number} Mill Row", "Addr_City": "York"}],
        ),
        "person": some(
            None, [{"$isDefault": True, "Pers_FirstName": "Crm", "Pers_LastName": f"Person {some('A', number)}"}]
        ),
        "Comp_WebSite": some(None, f"http://crm{number}.test"),
        "comp_vatnumber": some(None, f"GB9{number:08d}"),
        "email": some(None, [{"$type": "Business", "Emai_EmailAddress": f"crm{number}@test.example"}]),
        "phone": some(
            None,
            [{"$type": "Business", "Phon_CountryCode": "44", "Phon_AreaCode": "20", "Phon_Number": f"7946000{number}"}],
        ),
    }
    named = {"comp_intacct_customerid": f"C-{number}", "comp_intacct_company": "Acme UK"}
    return erp, world.new_crm(
        some(f"Firm {number} Ltd", f"FIRM {number} LTD"), **named, **{k: v for k, v in crm.items() if v is not None}
    )


def test_an_undo_beyond_the_limits_of_its_flow_is_refused_before_anything_is_done(make_light: Make) -> None:
    world = make_light("limits = { changed = 2, blanked = 1 }")
    with in_the_past(world):
        pairs = [two(world, n) for n in range(1, 4)]
    importing.run_import(world.app, FLOW, Selection(), unlimited=True)
    rest(world)
    plan = rewriting.plan_undo(world.app, run=last_run(world, "import"))
    with pytest.raises(LimitReached, match=r"limits.changed = 2; nothing was done; look with .* --dry-run, then give"):
        carried(world, plan)
    assert world.crm_record(pairs[0][1])["Comp_WebSite"] == "http://erp1.test"
    assert rewriting.carry_out(world.app, plan, unlimited=True, threads=1).counts == {"changed": 3}
