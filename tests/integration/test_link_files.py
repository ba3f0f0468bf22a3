"""LAY-6 to LAY-13: the link table as a file in the Customers template, out and in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from support.rules import FLOW, Make, api_writes, entries, in_the_past, rest, row_of, when
from support.world import World
from sync_worker import sheets
from sync_worker.connectors.emulation import Emulator
from sync_worker.desk import link_lists, link_sheet, link_upload
from sync_worker.errors import PermanentError
from sync_worker.sheets import SheetError
from sync_worker.store import runs
from sync_worker.store.tables import link

HEADER = "CustomerId,SageCompanyName,SageSiteId,SageAccountNumber,SageCustomerId,Synced\n"
SHUT = 'create_in_crm = "never"\ncreate_in_erp = "manual"'


@pytest.fixture
def world(make: Make) -> World:
    return make(flow=SHUT)


def new_customer(world: World, name: str, ref: str | None = None) -> str:
    return world.new_erp(name, id=ref or f"K-{name.replace(' ', '-')}")


def strangers(world: World, name: str, ref: str | None = None) -> tuple[str, str]:
    """A customer and a company that nobody was told of: keys in the ERP and the CRM."""
    with in_the_past(world):
        erp = new_customer(world, name, ref)
        crm = world.new_crm(f"{name} of the CRM")
    return erp, crm


def ref_of(world: World, erp: str) -> str:
    return str(world.erp_record(erp)["id"])


def file(tmp_path: Path, rows: str, header: str = HEADER, name: str = "in.csv", encoding: str = "utf-8") -> Path:
    path = tmp_path / name
    path.write_bytes((header + rows).encode(encoding))
    return path


def uploaded(world: World, path: Path, **options: Any) -> dict[str, Any]:
    """Upload; the verdicts that occurred, which add up to the rows."""
    found = link_upload.upload(world.app, path, **options)
    assert sum(found.counts.values()) == found.rows
    run = runs.get(world.db, found.run)
    assert run.state == "done"
    assert run.counts == {"rows": found.rows, **found.counts}
    return {"errors": found.errors, **{k: v for k, v in found.counts.items() if v}}


def errors(world: World, path: Path, **options: Any) -> list[tuple[int, list[str]]]:
    return list(uploaded(world, path, **options)["errors"])


def vendor_calls(*emulators: Emulator) -> int:
    return sum(sum(n for name, n in e.stats()["calls"].items() if name != "token") for e in emulators)


def linked(world: World) -> dict[str, str]:
    """CRM key -> ERP key of what is linked."""
    return {r["crm_key"]: r["erp_key"] for r in world.links() if r["crm_key"] and r["erp_key"]}


def test_lay_8_two_existing_records_are_linked_compared_and_nothing_is_created(world: World, tmp_path: Path) -> None:
    erp, crm = strangers(world, "Northwind")
    before = len(world.erp.list_records("customer")), len(world.crm.list_records("Company"))
    found = uploaded(world, file(tmp_path, f"{crm},Acme UK,ACME,,{erp},\n"))
    assert found == {"errors": [], "linked": 1}
    assert api_writes(world) == {"erp": 0, "crm": 0}
    row = row_of(world, crm=crm)
    assert (row.erp_key, row.state, row.cause, row.klass) == (erp, "pending", "linking", "bulk")
    (entry,) = entries(world, "linked")
    assert (entry["actor"], entry["link_id"]) == ("cli", row.id)
    assert runs.get(world.db, entry["run_id"]).kind == "links_upload"
    rest(world)
    row = row_of(world, crm=crm)
    assert (row.state, row.cause) == ("conflict", "first_link_up")  # the names differ, and `initial` says review
    assert (len(world.erp.list_records("customer")), len(world.crm.list_records("Company"))) == before


def test_lay_8_half_rows_of_both_sides_become_one_link_and_keep_their_journal(world: World, tmp_path: Path) -> None:
    erp = new_customer(world, "Northwind")
    crm = world.new_crm("Southwind")
    rest(world)
    halves = {row["id"] for row in world.links()}
    assert len(halves) == 2
    assert uploaded(world, file(tmp_path, f"{crm},Acme UK,ACME,,{erp},\n"))["linked"] == 1
    (row,) = world.links()
    assert row["id"] in halves and (row["erp_key"], row["crm_key"]) == (erp, crm)
    rest(world)
    assert row_of(world, crm=crm).cause == "first_link_up"


def test_lay_6_an_export_shows_all_records_and_synced_means_ever(world: World, tmp_path: Path) -> None:
    erp, crm = strangers(world, "Northwind")
    uploaded(world, file(tmp_path, f"{crm},Acme UK,ACME,,{erp},\n"))
    rest(world)
    lonely = world.new_crm("Lonely")
    stray = new_customer(world, "Stray")
    rest(world)
    path = tmp_path / "out.xlsx"
    assert link_lists.export(world.app, path) == 3
    lines = [dict(line.cells) for line in sheets.read(path).lines]
    assert list(lines[0])[:6] == HEADER.strip().split(",")
    by_crm = {line["CustomerId"]: line for line in lines}
    assert by_crm[crm]["Synced"] == "Yes"  # in conflict now, but it was synced
    assert (by_crm[lonely]["Synced"], by_crm[lonely]["State"], by_crm[lonely]["Name"]) == ("No", "not_synced", "Lonely")
    assert by_crm[""]["SageCustomerId"] == stray
    assert link_lists.export(world.app, path, FLOW, unsynced=True) == 2
    with pytest.raises(PermanentError, match="no flow x"):
        link_lists.export(world.app, path, "x")


def test_lay_7_the_company_of_every_row_is_named_and_what_is_not_synced_has_no_ids(
    world: World, tmp_path: Path
) -> None:
    lonely = world.new_crm("Lonely")
    rest(world)
    path = tmp_path / "out.csv"
    link_lists.export(world.app, path)
    (line,) = sheets.read(path).lines
    names = ("CustomerId", "SageCompanyName", "SageSiteId", "SageAccountNumber", "SageCustomerId")
    assert [line.cells[name] for name in names] == [lonely, "Acme UK", "ACME", "", ""]


@pytest.mark.parametrize("column", ["CustomerId", "SageCompanyName", "SageSiteId"])
def test_lay_9_a_file_without_a_mandatory_column_is_refused_as_a_whole(
    world: World, tmp_path: Path, column: str
) -> None:
    header = HEADER.replace(f"{column},", "")
    with pytest.raises(SheetError, match=f"lacks the column {column}"):
        link_upload.upload(world.app, file(tmp_path, "1,2,3,4,5\n", header))


def test_lay_9_a_row_without_a_mandatory_cell_is_wrong_and_all_its_errors_come_at_once(
    world: World, tmp_path: Path
) -> None:
    erp, crm = strangers(world, "Northwind")
    rows = f"   ,Acme UK,ACME,,{erp},\n{crm},,ACME,,{erp},\n{crm},Acme UK,  ,,{erp},\n,,Elsewhere,,,\n"
    found = errors(world, file(tmp_path, rows + "99999,Acme,ACME,C-9,,\n98765,Acme UK,Other,NO-1,98765,\n"))
    assert [line for line, _ in found] == [2, 3, 4, 5, 6, 7]
    assert found[0][1] == ["CustomerId is missing"]
    assert found[1][1] == ["SageCompanyName is missing"]
    assert found[2][1] == ["SageSiteId is missing"]
    assert len(found[3][1]) == 3 and "neither" in found[3][1][2]
    assert found[4][1] == ["SageCompanyName Acme: there is Acme UK", "CustomerId 99999: crm has no such record"]
    assert [text.split(":")[0] for text in found[5][1]] == [
        "SageSiteId Other",
        "CustomerId 98765",
        "SageCustomerId 98765",
    ]
    assert linked(world) == {}


def test_lay_10_one_sage_id_is_enough_and_none_or_two_of_different_customers_are_wrong(
    world: World, tmp_path: Path
) -> None:
    (_, crm1), (erp2, crm2), (erp3, crm3) = (strangers(world, name) for name in ("One", "Two", "Three"))
    ref2, ref3 = ref_of(world, erp2), ref_of(world, erp3)
    rows = f"{crm1},Acme UK,ACME,,,\n{crm2},acme  uk,acme,{ref2.lower()},,\n{crm3},Acme UK,ACME,{ref2},{erp3},\n"
    found = errors(world, file(tmp_path, rows))
    assert [line for line, _ in found] == [2, 4]
    assert "neither SageAccountNumber nor SageCustomerId" in found[0][1][0]
    assert f"SageCustomerId {erp3} is {ref3}, not SageAccountNumber {ref2}" in found[1][1][0]
    assert linked(world) == {crm2: erp2}
    assert uploaded(world, file(tmp_path, f"{crm3},Acme UK,ACME,{ref3},{erp3},\n"))["linked"] == 1
    with pytest.raises(SheetError, match="neither the column"):
        link_upload.upload(world.app, file(tmp_path, "1,2,3\n", "CustomerId,SageCompanyName,SageSiteId\n"))


@pytest.mark.parametrize("synced", ["Yes", "banana", "", None])
def test_lay_11_what_stands_in_synced_changes_nothing(world: World, tmp_path: Path, synced: str | None) -> None:
    erp, crm = strangers(world, "Northwind")
    header = HEADER if synced is not None else HEADER.replace(",Synced", "")
    end = f",{synced}" if synced is not None else ""
    assert uploaded(world, file(tmp_path, f"{crm},Acme UK,ACME,,{erp}{end}\n", header)) == {"errors": [], "linked": 1}


@pytest.mark.parametrize("name", ["links.xlsx", "links.csv"])
def test_lay_12_an_export_is_taken_back_and_changes_nothing(world: World, tmp_path: Path, name: str) -> None:
    _, crm = strangers(world, "Northwind", "000123")
    uploaded(world, file(tmp_path, f"{crm},Acme UK,ACME,000123,,\n"))
    rest(world)
    world.new_crm("Lonely")
    new_customer(world, "Stray")
    rest(world)
    path = tmp_path / name
    link_lists.export(world.app, path)
    before = world.links()
    for emulator in world.vendors.values():
        emulator.reset_stats()
    assert uploaded(world, path) == {"errors": [], "unchanged": 1, "skipped": 2}
    assert world.links() == before
    assert vendor_calls(world.erp, world.crm) == 0  # our own links say it all
    assert next(sheets.read(path).lines).cells["SageAccountNumber"] == "000123"


def test_lay_12_grid_captions_leading_zeros_and_numbers_that_a_spreadsheet_made(world: World, tmp_path: Path) -> None:
    (erp1, crm1), (erp2, crm2) = strangers(world, "One", "00123"), strangers(world, "Two", "1001")
    header = "Synced;Customer Id;Sage Company;Sage Site Id;Sage Account Number;Sage Customer ID;Remark\n"
    rows = f'No;{crm1}.0;Acme UK;ACME;00123;;"=cmd()"\nNo;{crm2};Acme UK;ACME;1001.0;{erp2}.0;caf\xe9\n'
    path = file(tmp_path, rows, header, encoding="cp1252")
    assert uploaded(world, path) == {"errors": [], "linked": 2}
    assert linked(world) == {crm1: erp1, crm2: erp2}


def test_lay_12_a_row_of_a_foreign_export_that_links_nobody_is_skipped(world: World, tmp_path: Path) -> None:
    _, crm = strangers(world, "Northwind")
    assert uploaded(world, file(tmp_path, f"{crm},,,,,No\n")) == {"errors": [], "skipped": 1}


def test_lay_13_linked_otherwise_is_refused_and_relink_unlinks_first(world: World, tmp_path: Path) -> None:
    (erp1, crm1), (erp2, crm2) = strangers(world, "One"), strangers(world, "Two")
    uploaded(world, file(tmp_path, f"{crm1},Acme UK,ACME,,{erp1},\n{crm2},Acme UK,ACME,,{erp2},\n"))
    rest(world)
    crossed = file(tmp_path, f"{crm1},Acme UK,ACME,,{erp2},\n")
    found = uploaded(world, crossed)
    assert found["refused"] == 1 and "--relink" in found["errors"][0][1][0]
    assert linked(world) == {crm1: erp1, crm2: erp2}
    assert uploaded(world, crossed, relink=True, dry_run=True)["relinked"] == 1
    assert linked(world) == {crm1: erp1, crm2: erp2} and entries(world, "unlinked") == []
    assert uploaded(world, crossed, relink=True) == {"errors": [], "relinked": 1}
    assert linked(world) == {crm1: erp2}
    assert {entry["actor"] for entry in entries(world, "unlinked")} == {"cli"}
    assert len(entries(world, "unlinked")) == 2
    rest(world)
    assert linked(world) == {crm1: erp2}
    assert row_of(world, crm=crm2).state == row_of(world, erp=erp1).state == "unlinked"
    assert uploaded(world, crossed, relink=True) == {"errors": [], "unchanged": 1}


def test_lay_13_two_links_change_partners_in_one_file(world: World, tmp_path: Path) -> None:
    (erp1, crm1), (erp2, crm2) = strangers(world, "One"), strangers(world, "Two")
    uploaded(world, file(tmp_path, f"{crm1},Acme UK,ACME,,{erp1},\n{crm2},Acme UK,ACME,,{erp2},\n"))
    swapped = file(tmp_path, f"{crm1},Acme UK,ACME,,{erp2},\n{crm2},Acme UK,ACME,,{erp1},\n")
    found = uploaded(world, swapped, relink=True)
    assert found["errors"] == []
    assert linked(world) == {crm1: erp2, crm2: erp1}
    assert len(world.links()) == 2


def test_lay_13_claims_of_several_rows_are_all_wrong_and_a_row_twice_counts_once(world: World, tmp_path: Path) -> None:
    (erp1, crm1), (_, crm2), (erp3, crm3) = (strangers(world, name) for name in ("One", "Two", "Three"))
    rows = (
        f"{crm1},Acme UK,ACME,,{erp1},\n"
        f"{crm2},Acme UK,ACME,{ref_of(world, erp1)},,\n"  # the same customer, by its number
        f"{crm3},Acme UK,ACME,,{erp3},\n"
        f"{crm3}.0,Acme UK,ACME,,{erp3},Yes\n"
    )
    found = uploaded(world, file(tmp_path, rows))
    assert (found["linked"], found["wrong"]) == (1, 3)
    assert found["errors"][0] == (2, ["line 3 claims the same Sage customer: only one of them can be right"])
    assert found["errors"][2] == (5, ["stands in line 4 already"])
    assert linked(world) == {crm3: erp3}


def test_the_file_of_errors_can_be_corrected_and_uploaded_as_it_is(world: World, tmp_path: Path) -> None:
    (erp1, crm1), (erp2, crm2) = strangers(world, "One"), strangers(world, "Two")
    header = HEADER.replace("Synced", "Note")
    path = file(tmp_path, f"{crm1},Acme UK,ACME,,{erp1},good\n{crm2},Acme UK,Wrong,,{erp2},bad\n", header)
    found = link_upload.upload(world.app, path)
    assert (found.counts["linked"], found.wrong) == (1, 1)
    back = tmp_path / "errors.csv"
    assert link_sheet.write_errors(world.app, path, back, found.run) == 1
    (line,) = sheets.read(back).lines
    assert (line.cells["Note"], line.cells["_line"]) == ("bad", "3")
    assert "SageSiteId Wrong: Acme UK has ACME" in line.cells["_errors"]
    back.write_text(back.read_text(encoding="utf-8-sig").replace("Wrong,", "ACME,", 1), encoding="utf-8")
    assert uploaded(world, back) == {"errors": [], "linked": 1}


def test_an_upload_that_was_interrupted_goes_on_and_does_nothing_twice(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_upload, "CHUNK", 2)
    monkeypatch.setattr(runs.rows, "__defaults__", (2,))
    pairs = [strangers(world, f"Customer {n}") for n in range(6)]
    path = file(tmp_path, "".join(f"{crm},Acme UK,ACME,,{erp},\n" for erp, crm in pairs))

    def stop_at(phase: str, count: int) -> Any:
        def tell(what: str, done: int, _total: int) -> None:
            if (what, done) == (phase, count):
                raise KeyboardInterrupt

        return tell

    for phase, count in (("checked", 4), ("decided", 2)):
        resume = phase == "decided"
        with pytest.raises(KeyboardInterrupt):
            link_upload.upload(world.app, path, progress=stop_at(phase, count), resume=resume)
        run = runs.unfinished(world.db, "links_upload", "")
        assert run is not None and run.state == "stopped"
        assert run.counts == {"rows": 6, **({"good": 4, "linked": 2} if resume else {"good": 4})}
        assert len(linked(world)) == (2 if resume else 0)
    with pytest.raises(PermanentError, match="another file"):
        link_upload.upload(world.app, file(tmp_path, "1,Acme UK,ACME,,1,\n", name="b.csv"), resume=True)
    for emulator in world.vendors.values():
        emulator.reset_stats()
    assert uploaded(world, path, resume=True) == {"errors": [], "linked": 6}
    assert vendor_calls(world.erp, world.crm) == 0  # all rows had been checked
    assert linked(world) == {crm: erp for erp, crm in pairs}
    assert len(entries(world, "linked")) == 6
    with pytest.raises(PermanentError, match="no interrupted upload"):
        link_upload.upload(world.app, path, resume=True)


def test_a_record_whose_partner_is_just_being_made_is_left_alone(world: World, tmp_path: Path) -> None:
    erp, _ = strangers(world, "Northwind")
    crm = world.new_crm("Southwind")
    rest(world)
    with world.db.write() as conn:
        conn.execute(update(link).where(link.c.crm_key == crm).values(intent={"opened_at": 1.0}, intent_side="erp"))
    found = uploaded(world, file(tmp_path, f"{crm},Acme UK,ACME,,{erp},\n"))
    assert "just being made" in found["errors"][0][1][0]
    assert linked(world) == {}


def test_a_worker_that_holds_the_link_meanwhile_saves_nothing_over_it(world: World, tmp_path: Path) -> None:
    erp, _ = strangers(world, "Northwind")
    crm = world.new_crm("Southwind")
    world.deliver()
    path = file(tmp_path, f"{crm},Acme UK,ACME,,{erp},\n")
    done: list[object] = []
    when(world.erp, "query customer", lambda: done.append(uploaded(world, path)))
    rest(world)
    assert done == [{"errors": [], "linked": 1}]
    assert linked(world) == {crm: erp}


def test_files_that_cannot_be_used_are_refused_in_one_line(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text, said in (("", "is empty"), ("a,b\n1,2\n", "lacks the column")):
        with pytest.raises(SheetError, match=said):
            link_upload.upload(world.app, file(tmp_path, text, ""))
    monkeypatch.setattr("sync_worker.sheets.reading.LARGEST", 20)
    with pytest.raises(SheetError, match="split it"):
        link_upload.upload(world.app, file(tmp_path, "x" * 50))
    assert runs.unfinished(world.db, "links_upload", "") is None


def test_cells_that_are_no_keys_are_wrong_and_harm_nobody(world: World, tmp_path: Path) -> None:
    odd = ["=cmd()", "' or 1=1 --", "x" * 3000, "\u202e😀", "1e9", "-1", "43 or true"]
    rows = "".join(f'"{value}",Acme UK,ACME,,"{value}",\n' for value in odd)
    found = uploaded(world, file(tmp_path, rows, encoding="utf-8-sig"))
    assert found["wrong"] == len(odd)
    assert all(len(text) < 200 for _, texts in found["errors"] for text in texts)


def test_linked_pairs_of_a_busy_flow_are_listed_page_by_page(world: World) -> None:
    keys = [world.new_crm(f"Lonely {n}") for n in range(5)]
    rest(world)
    seen: list[str] = []
    after = 0
    while True:
        page = link_lists.listed(world.app, state="not_synced", cause="needs_manual", limit=2, after=after)
        seen += [one["crm"]["key"] for one in page["links"]]
        if page["next"] is None:
            break
        after = page["next"]
    assert seen == keys
    (one,) = link_lists.listed(world.app, system="crm", key=f"key:{keys[1]}")["links"]
    assert (one["crm"]["key"], one["synced"], one["default"]) == (keys[1], False, None)
    assert link_lists.listed(world.app, flow=FLOW, unsynced=True)["links"] != []
    assert link_lists.listed(world.app, state="failing")["links"] == []
    for wrong in ({"state": "x"}, {"flow": "x"}, {"system": "x", "key": "1"}, {"key": "1"}, {"limit": 0}):
        with pytest.raises(PermanentError):
            link_lists.listed(world.app, **wrong)  # type: ignore[arg-type]  # one at a time


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"cause": "first_linkup"}, "no cause first_linkup; did you mean 'first_link_up'?; there are: new, differs,"),
        ({"cause": "nonsense"}, "no cause nonsense; there are: new, differs, retrying,"),
        ({"state": "insync"}, "no state insync; did you mean 'in_sync'?; there are: in_sync, pending,"),
    ],
)
def test_a_list_by_an_unknown_cause_or_state_is_refused_in_one_line_that_names_the_known_ones(
    world: World, asked: dict[str, str], said: str
) -> None:
    with pytest.raises(PermanentError) as refused:
        link_lists.listed(world.app, **asked)  # type: ignore[arg-type]  # one at a time
    assert str(refused.value).startswith(said) and "\n" not in str(refused.value)
