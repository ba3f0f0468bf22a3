"""Files that people edit: what they save is read, what they open never runs, and what is unusable says why."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import xlsxwriter
from hypothesis import given
from hypothesis import strategies as st

from sync_worker import sheets
from sync_worker.sheets import SheetError, reading, writing
from sync_worker.sheets.reading import LARGEST

COLUMNS = ("CustomerId", "SageCompanyName")


def saved(tmp_path: Path, content: bytes, name: str = "in.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def cells(path: Path) -> list[dict[str, str]]:
    return [dict(line.cells) for line in sheets.read(path, required=COLUMNS).lines]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_every_usual_encoding_and_delimiter_is_read(tmp_path: Path, encoding: str, mark: str) -> None:
    text = f'Customer Id{mark}SAGE_COMPANY NAME{mark}"Note; a, b"\n007{mark} Brüder Weiß {mark}x\n\n\n8{mark}é\n'
    found = cells(saved(tmp_path, text.encode(encoding)))
    assert found == [
        {"CustomerId": "007", "SageCompanyName": "Brüder Weiß", "Note; a, b": "x"},
        {"CustomerId": "8", "SageCompanyName": "é", "Note; a, b": ""},
    ]


def test_lines_are_numbered_as_people_count_them(tmp_path: Path) -> None:
    path = saved(tmp_path, b"CustomerId,SageCompanyName\n1,a\n\n3,b\n")
    assert [line.number for line in sheets.read(path).lines] == [2, 4]


def test_numbers_dates_and_zeros_in_a_workbook_are_what_people_see(tmp_path: Path) -> None:
    path = tmp_path / "in.xlsx"
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet()
        for row, given_cells in enumerate([COLUMNS, (1001.0, "0042"), ("0007", 1.5), (True, "")]):
            for column, cell in enumerate(given_cells):
                sheet.write(row, column, cell)
    assert [tuple(row.values()) for row in cells(path)] == [("1001", "0042"), ("0007", "1.5"), ("TRUE", "")]


@pytest.mark.parametrize("name", ["out.xlsx", "out.csv"])
def test_formulas_come_out_as_text_and_are_read_back_as_they_were(tmp_path: Path, name: str) -> None:
    rows = [("=cmd|' /C calc'!A0", "+1"), ("-2", "@SUM(A1)"), ("007", "'quoted"), ("Ümläut 🙂", 'a "b", c;\nd')]
    path = tmp_path / name
    assert sheets.write(path, COLUMNS, rows) == 4
    assert [tuple(row.values()) for row in cells(path)] == rows
    if name.endswith(".csv"):
        assert "'=cmd|" in path.read_text("utf-8-sig") and "\n=cmd" not in path.read_text("utf-8-sig")
    else:
        with zipfile.ZipFile(path) as packed:
            assert all(b"<f>" not in packed.read(part) for part in packed.namelist())
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"", "in.csv", "is empty"),
        (b"\n \n", "in.csv", "is empty"),
        (b"CustomerId\n1\n", "in.csv", "lacks the column SageCompanyName; it has: CustomerId"),
        (b"CustomerId,customer id,SageCompanyName\n", "in.csv", "the column CustomerId stands there twice"),
        (b"\x00\x01\x02", "in.csv", "is no text in UTF-8"),
        (b"plain text", "in.xlsx", "is no XLSX workbook"),
        (b"PK\x03\x04 broken", "in.xlsx", "is no readable XLSX workbook"),
    ],
)
def test_an_unusable_file_is_refused_in_one_line(tmp_path: Path, content: bytes, name: str, message: str) -> None:
    with pytest.raises(SheetError, match=message) as refused:
        cells(saved(tmp_path, content, name))
    assert "\n" not in str(refused.value)


def test_a_file_that_is_too_large_or_not_there_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large.csv"
    with path.open("wb") as file:
        file.truncate(LARGEST + 1)
    with pytest.raises(SheetError, match="has 50 MB; at most 50 MB: split it"):
        sheets.read(path)
    with pytest.raises(SheetError, match="cannot be read: No such file"):
        sheets.read(tmp_path / "nowhere.csv")


@pytest.mark.parametrize(
    "name", ["no/out.csv", "no/out.xlsx", "folder.csv", "folder.xlsx", "a" * 300 + ".csv", "out.txt"]
)
def test_where_no_file_can_be_written_is_said_before_the_work_that_fills_it_and_in_the_same_words(
    tmp_path: Path, name: str
) -> None:
    for folder in ("folder.csv", "folder.xlsx"):
        (tmp_path / folder).mkdir()
    path = tmp_path / name
    with pytest.raises(SheetError) as before:
        sheets.check_target(path)
    with pytest.raises(SheetError) as after:
        sheets.write(path, COLUMNS, [])
    assert str(before.value) == str(after.value)
    assert str(path) in str(before.value) and f".{path.name}" not in str(before.value), "its name, not the half file's"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["folder.csv", "folder.xlsx"]


def test_a_target_that_can_be_written_is_left_as_it_is(tmp_path: Path) -> None:
    path = saved(tmp_path, b"before", "out.csv")
    sheets.check_target(path)
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]


def test_more_rows_than_a_workbook_holds_are_refused_and_none_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MOST_ROWS", 3)  # the header is one of them
    assert sheets.write(tmp_path / "full.xlsx", COLUMNS, [("1", "a"), ("2", "b")]) == 2
    with pytest.raises(SheetError, match=r"at most 2 rows: give the file a name that ends in \.csv"):
        sheets.write(tmp_path / "over.xlsx", COLUMNS, [("1", "a")] * 3)
    assert sheets.write(tmp_path / "over.csv", COLUMNS, [("1", "a")] * 3) == 3
    assert not (tmp_path / "over.xlsx").exists()


def bomb(path: Path, part: str, size: int) -> Path:
    """A workbook with one part of so many zeros, of which its zip directory says that they are few."""
    with xlsxwriter.Workbook(path) as book:
        book.add_worksheet().write(0, 0, "CustomerId")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(part, b"0" * size)
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02")  # the last entry of the directory is that part's
    content[at + 24 : at + 28] = (10).to_bytes(4, "little")
    path.write_bytes(content)
    return path


def test_a_workbook_is_measured_by_what_comes_out_of_it_and_not_by_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LARGEST_UNPACKED", 3 * 1024 * 1024)
    path = bomb(tmp_path / "bomb.xlsx", "xl/media/picture.bin", 4 * 1024 * 1024)
    assert path.stat().st_size < 20_000
    with pytest.raises(SheetError, match="holds more than 3 MB unpacked: delete what is not needed"):
        sheets.read(path)


def test_a_workbook_with_a_cell_far_away_is_refused_before_memory_is_taken_for_all_between(tmp_path: Path) -> None:
    path = tmp_path / "wide.xlsx"
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet()
        sheet.write(0, 0, "CustomerId")
        sheet.write(1_048_575, 16_383, "x")
    with pytest.raises(SheetError, match="holds 1,048,576 rows by 16,384 columns"):
        sheets.read(path)


SHEET = "xl/worksheets/sheet1.xml"
FAR = '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
NEAR = '<row><c t="inlineStr"><is><t>CustomerId</t></is></c></row>'


def made(
    path: Path, rows: str, *, part: str = SHEET, target: str = "", strings: str = "", head: str = "", beside: str = ""
) -> Path:
    """A workbook by hand, whose one sheet is ``part`` and holds ``rows``."""
    office, names = "http://schemas.openxmlformats.org/officeDocument/2006/relationships", "xmlns"
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:

        def related(name: str, kind: str, to: str) -> None:
            one = f'<Relationship Id="rId1" Type="{office}/{kind}" Target="{to}"/>'
            packed.writestr(name, f'<Relationships {names}="{package}">{one}</Relationships>')

        related("_rels/.rels", "officeDocument", "xl/workbook.xml")
        related("xl/_rels/workbook.xml.rels", "worksheet", target or f"/{part}")
        sheet = '<sheets><sheet name="S" sheetId="1" r:id="rId1"/></sheets>'
        packed.writestr("xl/workbook.xml", f'<workbook {names}="{main}" {names}:r="{office}">{sheet}</workbook>')
        if strings:
            packed.writestr("xl/sharedStrings.xml", strings)
        opened = f'{head}<worksheet {names}="{main}" {names}:x="{main}">'
        packed.writestr(part, f"{opened}<sheetData>{rows}</sheetData>{beside}</worksheet>".encode())
    return path


@pytest.mark.parametrize("part", ["xl/other/sheet1.xml", "xl/Worksheets/S.XML", "xl/sheet.rels", "xl\\a.xml", "s.xml"])
def test_a_sheet_is_measured_wherever_it_lies_in_the_workbook(tmp_path: Path, part: str) -> None:
    path = made(tmp_path / "in.xlsx", NEAR + FAR, part=part, target=f"/{part}".replace("\\", "/"))
    with pytest.raises(SheetError, match="holds 1,048,576 rows by 16,384 columns"):
        sheets.read(path)


@pytest.mark.parametrize(
    "rows",
    [
        "<row r='1048576'><c r = 'XFD1048576' ><v>1</v></c></row>",
        '<x:row r="1048576"><x:c r="XFD1048576"><x:v>1</x:v></x:c></x:row>',
        f'<row r="1048576"><c {" " * 2_000_000}r="XFD1048576"><v>1</v></c></row>',
        f'<row r="1048576"><c s="{"1" * 2_000_000}" r="XFD1048576"><v>1</v></c></row>',
        '<row r="1048576"><c r="XFD5"/><c><v>1</v></c></row>',
        '<row r="1048575"/><row><c r="XFD1"/><c><v>1</v></c></row>',
        "<row/>" * 30_000 + "<row>" + "<c/>" * 1_000 + "<c><v>1</v></c></row>",
    ],
)
def test_a_cell_far_away_is_found_however_it_says_where_it_stands(tmp_path: Path, rows: str) -> None:
    with pytest.raises(SheetError, match=r"holds [0-9,]+ rows by [0-9,]+ columns"):
        sheets.read(made(tmp_path / "in.xlsx", NEAR + rows))


@pytest.mark.parametrize(
    ("rows", "head"),
    [
        ('<row r="1"><c r="AAAAAAAAAA1"><v>1</v></c></row>', ""),
        ('<row r="99999999999"><c><v>1</v></c></row>', ""),
        ('<row r="0"><c><v>1</v></c></row>', ""),
        ('<row><c><is><row r="1"/></is></c><c><v>1</v></c></row>', ""),
        ("<row><c><v>1</v></c></row></row>", ""),
        (NEAR, '<!DOCTYPE worksheet [<!ATTLIST c r CDATA "XFD1048576">]>'),
        ("<e>" * 1000 + "</e>" * 1000, ""),
        ("\ud7ff<", ""),
    ],
)
def test_a_sheet_that_counts_in_a_way_of_its_own_is_refused_in_one_line(tmp_path: Path, rows: str, head: str) -> None:
    with pytest.raises(SheetError, match="is no readable XLSX workbook") as refused:
        sheets.read(made(tmp_path / "in.xlsx", NEAR + rows, head=head))
    assert "\n" not in str(refused.value)


def test_a_sheet_that_is_a_comment_to_who_reads_it_as_utf_16_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path / "in.xlsx", "")
    with zipfile.ZipFile(path) as packed:
        parts = {name: packed.read(name) for name in packed.namelist()}
    sheet = b"\xff\xfe" + "<!--".encode("utf-16-le") + f"<worksheet><sheetData>{FAR}</sheetData></worksheet>".encode()
    sheet += b" " * (len(sheet) % 2) + "--><a/>".encode("utf-16-le")
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in {**parts, SHEET: sheet}.items():
            packed.writestr(name, content)
    with pytest.raises(SheetError, match="is no readable XLSX workbook"):
        sheets.read(path)


def test_what_holds_no_cells_may_be_written_as_it_likes(tmp_path: Path) -> None:
    path = made(tmp_path / "in.xlsx", NEAR)
    odd = {
        "xl/comments1.xml": b"<a>R & D</a>",
        "xl/theme/theme1.xml": b"",
        "xl/drawing.xml": b"<br><p>",
        "xl/s.rels": b"\0",
    }
    with zipfile.ZipFile(path, "a") as packed:
        for name, content in odd.items():
            packed.writestr(name, content)
    assert sheets.read(path).headers == ("CustomerId",)


def test_cells_and_rows_without_names_are_read_in_their_order(tmp_path: Path) -> None:
    """LibreOffice and Google Sheets may leave the names out."""
    rows = "<row><c/><c><v>7</v></c></row>" + '<row r="5"><c r="C5"><v>8</v></c><c><v>9</v></c></row>'
    sheet = sheets.read(made(tmp_path / "in.xlsx", NEAR + rows))
    assert [(line.number, list(line.cells.values())) for line in sheet.lines] == [(2, [""]), (5, [""])]
    rows = "<row><c t='str'><v>a</v></c><c t='str'><v>b</v></c></row><row><c><v>1</v></c><c><v>2</v></c></row>"
    sheet = sheets.read(made(tmp_path / "in.xlsx", rows))
    assert [(line.number, dict(line.cells)) for line in sheet.lines] == [(2, {"a": "1", "b": "2"})]


def test_lines_of_a_sheet_that_begins_further_down_are_numbered_as_people_count_them(tmp_path: Path) -> None:
    rows = '<row r="3"><c r="B3" t="str"><v>a</v></c></row><row r="4"><c r="B4"><v>1</v></c></row>'
    assert [line.number for line in sheets.read(made(tmp_path / "in.xlsx", rows)).lines] == [4]


def test_cells_that_are_only_formatted_take_no_room(tmp_path: Path) -> None:
    rows = '<row r="1048576"><c r="XFD1048576" s="1"/></row>'
    assert list(sheets.read(made(tmp_path / "in.xlsx", NEAR + rows)).lines) == []


def test_a_text_that_many_cells_share_counts_for_each_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LARGEST_UNPACKED", 3 * 1024 * 1024)
    strings = (
        f"<sst><si><t>CustomerId</t></si><si><r><t>{'x' * 500_000}</t></r><r><t>{'ü' * 250_000}</t></r></si></sst>"
    )
    head = '<row><c t="s"><v>0</v></c></row>'
    few = made(tmp_path / "few.xlsx", head + '<row><c t="s"><v>1</v></c></row>' * 2, strings=strings)
    assert len(list(sheets.read(few).lines)) == 2
    for value in ("1", "<!-- -->1", "0&#49;", "&#49;", "00000000001"):
        rows = head + f'<row><c t="s"><v>{value}</v></c></row>' * 4
        with pytest.raises(SheetError, match="holds more than 3 MB of text in its cells: delete what"):
            sheets.read(made(tmp_path / "many.xlsx", rows, strings=strings))


def test_a_workbook_that_claims_absurdly_many_texts_is_refused(tmp_path: Path) -> None:
    for count in ("99999999999", "999999999"):
        path = made(tmp_path / "in.xlsx", NEAR, strings=f'<sst uniqueCount="{count}"/>')
        with pytest.raises(SheetError, match="holds more than 20,000,000 texts"):
            sheets.read(path)


@pytest.mark.parametrize("name", ["in.ods", "in.xlsb", "in.xls", "in.xlsx", "in"])
def test_a_workbook_of_another_kind_inside_of_one_is_not_what_is_read(tmp_path: Path, name: str) -> None:
    path = made(tmp_path / name, NEAR)
    with zipfile.ZipFile(path, "a") as packed:
        packed.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        packed.writestr("content.xml", "<x/>")
        packed.writestr("xl/workbook.bin", b"\x00")
    assert sheets.read(path).headers == ("CustomerId",)


def test_only_the_part_that_was_measured_is_read_where_two_have_one_name(tmp_path: Path) -> None:
    path = made(tmp_path / "in.xlsx", NEAR)
    with zipfile.ZipFile(path, "a") as packed:
        packed.writestr(SHEET.upper(), "<worksheet><sheetData/></worksheet>")
    with pytest.raises(SheetError, match="is no readable XLSX workbook"):
        sheets.read(path)


def test_a_zip_file_that_is_no_xlsx_workbook_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "book.ods"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("content.xml", "<x/>")
    with pytest.raises(SheetError, match="is no readable XLSX workbook"):
        sheets.read(path)


def test_a_csv_of_absurdly_many_columns_or_a_cell_of_absurd_length_is_refused(tmp_path: Path) -> None:
    wide = saved(tmp_path, b"CustomerId\n" + b"," * 5000)
    with pytest.raises(SheetError, match="line 2: more than 1000 columns"):
        list(sheets.read(wide).lines)
    long = saved(tmp_path, b'CustomerId\n"' + b"x" * 200_000 + b'"')
    with pytest.raises(SheetError, match="line 2: field larger than field limit"):
        list(sheets.read(long).lines)


@pytest.mark.parametrize(("rows", "line"), [('1,"a\n2,b\n3,c\n', 2), ('1,a\n2,"b" c\n3,d\n', 3), ('1,a\n2,"b\n', 3)])
def test_a_csv_whose_quotes_do_not_close_is_refused_as_a_whole_for_it_would_lose_the_rows_behind(
    tmp_path: Path, rows: str, line: int
) -> None:
    path = saved(tmp_path, f"CustomerId,SageCompanyName\n{rows}".encode())
    with pytest.raises(SheetError, match=f"line {line}: .*are its quotes closed"):
        cells(path)


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda b: b"CustomerId,b\n" + b))
def test_no_bytes_make_reading_crash(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "in.csv"
    path.write_bytes(content)
    try:
        list(sheets.read(path).lines)
    except SheetError as error:
        assert "\n" not in str(error)
