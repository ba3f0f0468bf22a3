"""``links upload --dry-run``: what the links would write, field by field; and the files that people upload."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.rules import FLOW, Make, api_writes, entries, in_the_past, rest, row_of
from support.world import World
from sync_worker import sheets
from sync_worker.desk import foreseen, link_preview, link_sheet, link_upload, run_lists
from sync_worker.desk.anew import Anew
from sync_worker.desk.limits import LimitReached
from sync_worker.sheets import SheetError
from sync_worker.store import runs

HEADER = ("CustomerId", "SageCompanyName", "SageSiteId", "SageAccountNumber", "SageCustomerId", "Synced")
URL = "contacts.default.URL1"


@pytest.fixture
def world(make: Make) -> World:
    return make('create_in_crm = "never"\ncreate_in_erp = "manual"\ninitial = "erp"')


def strangers(world: World, name: str, **columns: Any) -> tuple[str, str]:
    with in_the_past(world):
        erp = world.new_erp(name, id=f"K-{name}", **{URL: f"http://{name.lower()}.example"})
        return erp, world.new_crm(f"{name} of the CRM", Comp_WebSite=None, comp_vatnumber="GB123456789", **columns)


def saved(tmp_path: Path, *rows: tuple[str, ...], header: tuple[str, ...] = HEADER, mark: str = ",",
          encoding: str = "utf-8") -> Path:  # fmt: skip
    path = tmp_path / "in.csv"
    path.write_bytes("".join(f"{mark.join(row)}\n" for row in (header, *rows)).encode(encoding))
    return path


def dry(world: World, path: Path) -> list[dict[str, Any]]:
    found = link_upload.upload(world.app, path, dry_run=True)
    return [foreseen.document(one) for one in link_preview.preview(world.app, found.run)]


def test_lay_8_a_dry_upload_says_what_each_link_would_write_and_the_upload_writes_just_that(
    world: World, tmp_path: Path
) -> None:
    pairs = [strangers(world, name) for name in ("Northwind", "Southwind")]
    path = saved(tmp_path, *((crm, "Acme UK", "ACME", "", erp, "") for erp, crm in pairs))
    before, links = api_writes(world), world.links()
    said = dry(world, path)
    assert api_writes(world) == before and world.links() == links
    assert [one["verdict"] for one in said] == ["link", "link"]
    assert said[0]["fields"]["name"] == {"side": "crm", "before": "Northwind of the CRM", "after": "Northwind"}
    assert said[0]["fields"]["website"] == {"side": "crm", "before": None, "after": "http://northwind.example"}
    assert said[0]["fields"]["tax_number"] == {"side": "erp", "before": None, "after": "GB123456789"}

    assert link_upload.upload(world.app, path).counts["linked"] == 2
    world.settle()
    rest(world)
    for one, (_, crm) in zip(said, pairs, strict=True):
        link = row_of(world, crm=crm).id
        written: dict[str, Any] = {}
        for entry in entries(world, "update"):
            if entry["link_id"] == link:
                for name, value in (entry["after"] or {}).items():
                    past = (entry["before"] or {}).get(name)
                    written[name] = {"side": entry["side"], "before": past, "after": value}
        assert {name: value for name, value in written.items() if name in one["fields"]} == one["fields"]


def test_lay_13_a_dry_relink_shows_the_new_partners_values(world: World, tmp_path: Path) -> None:
    (first, crm), (second, _) = strangers(world, "Northwind"), strangers(world, "Southwind")
    link_upload.upload(world.app, saved(tmp_path, (crm, "Acme UK", "ACME", "", first, "")))
    world.settle()
    rest(world)
    path = saved(tmp_path, (crm, "Acme UK", "ACME", "", second, ""))
    found = link_upload.upload(world.app, path, dry_run=True, relink=True)
    (one,) = link_preview.preview(world.app, found.run)
    assert one.fields["name"] == {"side": "crm", "before": "Northwind", "after": "Southwind"}
    assert row_of(world, crm=crm).erp_key == first


@pytest.mark.parametrize("portion", [1, 2, 500])
def test_lay_13_a_dry_relink_says_what_the_upload_does_wherever_a_portion_of_rows_ends(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, portion: int
) -> None:
    erp, crm = zip(*(strangers(world, name) for name in ("One", "Two", "Three")), strict=True)
    link_upload.upload(
        world.app, saved(tmp_path, *((c, "Acme UK", "ACME", "", e, "") for e, c in zip(erp, crm, strict=True)))
    )
    rest(world)
    turned = saved(tmp_path, *((c, "Acme UK", "ACME", "", e, "") for e, c in zip((*erp[1:], erp[0]), crm, strict=True)))
    monkeypatch.setattr(runs.rows, "__defaults__", (portion,))
    told = link_upload.upload(world.app, turned, dry_run=True, relink=True)
    done = link_upload.upload(world.app, turned, relink=True)
    assert told.counts["relinked"] == 3 and done.counts == told.counts and done.anew == Anew((), 0)


def test_a_dry_upload_under_review_names_the_conflicts_it_would_make(make_light: Make, tmp_path: Path) -> None:
    world = make_light('create_in_crm = "never"\ncreate_in_erp = "manual"')
    erp, crm = strangers(world, "Northwind")
    (one,) = dry(world, saved(tmp_path, (crm, "Acme UK", "ACME", "", erp, "")))
    assert (one["verdict"], one["open"]) == ("link", ["name"]) and "name" not in one["fields"]
    assert json.dumps(one)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_lay_12_files_as_excel_saves_them_are_uploaded(
    make_light: Make, tmp_path: Path, encoding: str, mark: str
) -> None:
    world = make_light('create_in_crm = "never"\ncreate_in_erp = "manual"')
    erp, crm = strangers(world, "Northwind")
    header = (*HEADER, "Bemerkung für später")
    path = saved(tmp_path, (crm, "Acme UK", "ACME", "", erp, "", "Müller"), header=header, mark=mark, encoding=encoding)
    assert link_upload.upload(world.app, path).counts["linked"] == 1


@pytest.mark.parametrize("name", ["wrong.csv", "wrong.xlsx"])
def test_the_error_file_keeps_formulas_as_text_and_is_uploaded_as_it_is_once_corrected(
    world: World, tmp_path: Path, name: str
) -> None:
    erp, crm = strangers(world, "Northwind")
    header, evil = (*HEADER, "Note"), "=cmd()"
    path = saved(tmp_path, (crm, "Nobody Ltd", "ACME", "", erp, "", evil), header=header)
    found = link_upload.upload(world.app, path)
    wrong = tmp_path / name
    assert link_sheet.write_errors(world.app, path, wrong, found.run) == 1
    sheet = sheets.read(wrong)
    (line,) = list(sheet.lines)
    assert line.cells["Note"] == evil and "Nobody Ltd" in line.cells["_errors"]
    if name.endswith(".csv"):
        assert "'=cmd()" in wrong.read_text("utf-8-sig")
    corrected = tmp_path / f"corrected-{name}"
    cells = {**line.cells, "SageCompanyName": "Acme UK"}
    sheets.write(corrected, sheet.headers, [[cells[column] for column in sheet.headers]])
    assert link_upload.upload(world.app, corrected).counts["linked"] == 1


@pytest.mark.parametrize("name", ["large.csv", "large.xlsx"])
def test_a_file_of_100_mb_is_refused_in_one_line_before_it_is_read(world: World, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with path.open("wb") as large:
        large.truncate(100 * 1024 * 1024)
    with pytest.raises(SheetError, match=r"has 100 MB; at most 50 MB: split it into several files") as refused:
        link_upload.upload(world.app, path)
    assert "\n" not in str(refused.value)
    assert runs.unfinished(world.db, "links_upload", FLOW) is None


@pytest.mark.parametrize(("content", "why"), [(b"", "is empty"), (b"Name,Town\na,b\n", "lacks the column CustomerId")])
def test_an_empty_file_and_one_with_wrong_columns_are_refused_in_one_line(
    world: World, tmp_path: Path, content: bytes, why: str
) -> None:
    path = tmp_path / "in.csv"
    path.write_bytes(content)
    with pytest.raises(SheetError, match=why) as refused:
        link_upload.upload(world.app, path)
    assert "\n" not in str(refused.value)


def test_an_upload_beyond_its_limits_links_nothing_and_goes_on_unchecked_once_a_person_says_so(
    make: Make, tmp_path: Path
) -> None:
    world = make('create_in_crm = "never"\ncreate_in_erp = "manual"\nlimits = { changed = 2 }')
    pairs = [strangers(world, name) for name in ("One", "Two", "Three")]
    rows = [(crm, "Acme UK", "ACME", "", erp, "") for erp, crm in pairs]
    assert link_upload.upload(world.app, saved(tmp_path, *rows), dry_run=True).counts["linked"] == 3
    with pytest.raises(LimitReached) as error:
        link_upload.upload(world.app, saved(tmp_path, *rows))
    assert "up to 3 records would be created or changed, more than limits.changed = 2" in str(error.value)
    assert "in.csv --dry-run" in str(error.value) and "--yes" in str(error.value)
    assert entries(world, "linked") == []
    stopped = runs.unfinished(world.db, link_upload.KIND, "")
    assert stopped is not None and stopped.state == "stopped"
    with pytest.raises(LimitReached):
        link_upload.upload(world.app, saved(tmp_path, *rows), resume=True)
    for emulator in world.vendors.values():
        emulator.reset_stats()
    done = link_upload.upload(world.app, saved(tmp_path, *rows), resume=True, unlimited=True)
    assert (done.run, done.counts["linked"]) == (stopped.id, 3)
    assert sum(emulator.stats()["reads"] for emulator in world.vendors.values()) == 0, "every row was checked before"
    assert run_lists.latest(world.app, FLOW, 1)[0]["run"] == done.run, "a file of several flows is a run of each"
    rest(world)
    assert link_upload.upload(world.app, saved(tmp_path, *rows)).counts["unchanged"] == 3


def test_lay_8_rows_whose_records_were_edited_since_the_dry_upload_are_planned_anew_and_named(
    world: World, tmp_path: Path
) -> None:
    names = ("Northwind", "Eastwind", "Westwind", "Southwind")
    (_, first), (second, _), *others = pairs = [strangers(world, name) for name in names]
    path = saved(tmp_path, *((crm, "Acme UK", "ACME", "", erp, "") for erp, crm in pairs))
    dry(world, path)
    with in_the_past(world):
        world.edit_crm(first, Comp_Name="Edited over there")  # the same is written, but over something else
        world.edit_erp(second, name="Edited")
        world.edit_crm(others[0][1], Comp_Source="A fair")  # nothing that travels
    copy = path.rename(tmp_path / "the-same-file.csv")
    found = link_upload.upload(world.app, copy)
    assert found.counts["linked"] == 4 and found.anew == Anew((2, 3), 2)
    assert found.document()["planned_anew_lines"] == [2, 3]
    assert link_upload.upload(world.app, copy).anew is None, "that preview was used"


def test_lay_8_a_row_that_ends_otherwise_than_the_dry_upload_said_is_named_also_after_an_interruption(
    world: World, tmp_path: Path
) -> None:
    pairs = [strangers(world, name) for name in ("Northwind", "Southwind", "Eastwind")]
    path = saved(tmp_path, *((crm, "Acme UK", "ACME", "", erp, "") for erp, crm in pairs))
    dry(world, path)
    world.crm.person("Company", pairs[2][1], {}, "delete")
    with in_the_past(world):
        world.edit_erp(pairs[0][0], name="Edited")

    def stop(what: str, done: int, total: int) -> None:
        if what == "decided":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        link_upload.upload(world.app, path, progress=stop)
    found = link_upload.upload(world.app, path, resume=True)
    assert (found.counts["linked"], found.counts["wrong"]) == (2, 1)
    assert found.anew == Anew((2, 4), 2)


def test_a_dry_upload_of_another_file_or_with_other_options_is_nobodys_expectation(
    world: World, tmp_path: Path
) -> None:
    erp, crm = strangers(world, "Northwind")
    path = saved(tmp_path, (crm, "Acme UK", "ACME", "", erp, ""))
    dry(world, path)
    assert link_upload.upload(world.app, path, relink=True).anew is None
