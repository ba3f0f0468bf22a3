"""Whatever a vendor answers, it ends in a value or a SyncError, soon, and at the vendor's own address."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.damage import Damage, damages
from support.hostile import OPERATIONS, VENDORS, Attacked
from sync_worker.connectors import bounds, documents, stamps
from sync_worker.connectors.answers import LONGEST_AFTER, Answer, retry_after
from sync_worker.connectors.sage_crm.errors import read_diagnosis
from sync_worker.errors import OutcomeUnknown, SyncError, SystemUnavailable

SECONDS = 10.0  # for one operation over damaged answers; it takes milliseconds, on a busy machine a little more


@pytest.fixture(params=VENDORS)
def attacked(request: pytest.FixtureRequest) -> Iterator[Attacked]:
    made = Attacked(request.param)
    yield made
    made.close()


def test_the_operations_answer_where_nothing_is_damaged(attacked: Attacked) -> None:
    asked = set()
    for name in OPERATIONS:
        attacked.transport.reset()
        attacked.operation(name)
        asked |= {name} if attacked.transport.asked else set()
    assert {"check", "read", "find", "changes", "sweep", "managers", "update", "create"} <= asked


@settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(name=st.sampled_from(OPERATIONS), damage=damages())
def test_any_answer_ends_in_a_value_or_a_sync_error(attacked: Attacked, name: str, damage: list[Damage]) -> None:
    ends_well(attacked, name, damage)


def ends_well(attacked: Attacked, name: str, damage: list[Damage]) -> None:
    """One operation over damaged answers; everything but a value or a SyncError is raised."""
    attacked.transport.reset(damage)
    began = time.perf_counter()
    try:
        attacked.operation(name)
    except SyncError as error:
        assert "\n" not in str(error)
    assert time.perf_counter() - began < SECONDS
    assert {url.host for url in attacked.transport.asked} <= {"vendor.test"}


# --- found by it, or by thinking of it -------------------------------------------------------------------------------


@pytest.mark.parametrize(("place", "value"), [("comp_companyid", "x"), ("Comp_PrimaryPersonId", "1 or 1"), ("", 1)])
def test_a_row_of_sage_crm_with_ids_that_are_none_is_unreadable_or_unknown(place: str, value: Any) -> None:
    attacked = Attacked("sage_crm")
    attacked.transport.reset(rewrite=lambda row: {**row, place: value} if "Comp_Name" in row else row)
    for name in ("read", "find", "changes", "update", "create"):
        try:
            attacked.operation(name)
        except SyncError:
            continue
    if place == "comp_companyid":
        with pytest.raises(SystemUnavailable, match="a row without an id"):
            attacked.operation("sweep")
    attacked.close()


@pytest.mark.parametrize(
    "body", [b"[" * 200_000, b'{"a":' * 200_000, b"[" * 150 + b"]" * 150, b'{"a":' * 150 + b"1" + b"}" * 150]
)
def test_json_that_is_nested_too_deeply_is_an_unreadable_answer(body: bytes) -> None:
    with pytest.raises(SystemUnavailable, match="the answer is"):
        Answer(200, {}, body).json()
    with pytest.raises(OutcomeUnknown, match="the answer is"):
        Answer(200, {}, body, write=True).json()


def test_json_as_deep_as_any_vendors_and_brackets_in_texts_are_read() -> None:
    flat = json.dumps([{"name": "]" * 500}, {"name": "{" * 500}]).encode()
    assert Answer(200, {}, flat).json() == json.loads(flat)
    level: Any = 1
    for _ in range(documents.DEEPEST):
        level = [level]
    assert Answer(200, {}, json.dumps(level).encode()).json() == level


def test_text_that_no_database_holds_is_read_as_far_as_it_can_be_held() -> None:
    body = json.dumps({"a\x00": ["b\ud800c", "\U0001f642", "\\u0000"], "n": 1}).encode()
    assert Answer(200, {}, body).json() == {"a": ["b\ufffdc", "\U0001f642", "\\u0000"], "n": 1}
    with pytest.raises(SystemUnavailable):
        Answer(200, {}, b'"\xed\xa0\x80"').json()


@pytest.mark.parametrize(
    "text",
    [
        "99999999999999999999999 Jan 2020 00:00 GMT",
        "Mon, 01 Jan 99999999999999 00:00:00 GMT",
        "1e999",
        "nan",
        "Tue",
        "",
    ],
)
def test_a_retry_after_that_is_no_time_is_none(text: str) -> None:
    assert retry_after({"retry-after": text}) is None


@pytest.mark.parametrize("text", ["1e300", "9" * 300, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_retry_after_of_more_than_a_day_is_a_day(text: str) -> None:
    assert retry_after({"retry-after": text}) == LONGEST_AFTER == 86_400


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "+999999-01-01", "²", 1])
def test_a_stamp_that_no_calendar_can_write_is_none(text: object) -> None:
    assert stamps.utc(text) is None


@given(st.datetimes())
@settings(max_examples=50, derandomize=True)
def test_a_stamp_that_is_read_can_be_written_and_looked_back_from(moment: Any) -> None:
    found = stamps.utc(moment.isoformat())
    if found is not None:
        assert math.isclose(stamps.utc(stamps.iso(found)) or math.nan, found, abs_tol=0.001)
        stamps.iso(found - 86_400)


@pytest.mark.parametrize("piece", [b"<severity", b"<severity ", b"<a:", b"<", b"<severity>", b"comp_"])
def test_an_error_page_made_to_be_slow_is_read_in_no_time(piece: bytes) -> None:
    began = time.perf_counter()
    read_diagnosis(b"diagnosis" + piece * (64 * 1024 // len(piece)))
    assert time.perf_counter() - began < SECONDS


class Endless(httpx.BaseTransport):
    """A vendor whose lists go on for ever, every row a new one."""

    def __init__(self, page: Callable[[int], dict[str, Any]]) -> None:
        self._page = page
        self._number = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("token"):
            return httpx.Response(200, json={"access_token": "made-up", "expires_in": 3600})
        self._number += 1
        return httpx.Response(200, json=self._page(self._number))


ONE_ROW = [
    ("intacct", lambda n: {"ia::result": [{"key": str(n), "id": f"E{n}"}], "ia::meta": {"next": 2}}),
    ("sage_crm", lambda n: {"$resources": [{"user_userid": n, "User_Logon": "x"}]}),
    ("the_layer", lambda n: {"data": [{"id": f"U{n}"}], "next": str(n)}),
]


@pytest.mark.parametrize(("name", "page"), ONE_ROW)
def test_a_list_that_never_ends_is_given_up(
    name: str, page: Callable[[int], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "MOST_ROWS", 300)
    attacked = Attacked(name, Endless(page))
    with pytest.raises(SystemUnavailable, match="the list does not end: more than 300 rows"):
        attacked.operation("managers")
    attacked.close()


def test_lists_that_end_are_given_up_where_one_call_collects_too_many_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """More keys than an address holds are asked for in several lists."""
    monkeypatch.setattr(bounds, "MOST_ROWS", 300)
    for rows in (50, 200):
        asked = []

        def page(number: int, rows: int = rows, asked: list[int] = asked) -> dict[str, Any]:
            asked.append(number)
            found = [{"comp_companyid": number * 1000 + i, "Comp_PrimaryPersonId": i} for i in range(1, rows + 1)]
            return {"$resources": found, "$totalResults": rows}

        attacked = Attacked("sage_crm", Endless(page))
        keys = [str(key) for key in range(100_000, 101_000)]
        if rows == 50:
            attacked.connector.resolve_parts("person", keys)
            assert 2 < len(asked) <= 6
        else:
            with pytest.raises(SystemUnavailable, match="the list does not end: more than 300 rows"):
                attacked.connector.resolve_parts("person", keys)
        attacked.close()


@pytest.mark.parametrize(("name", "page"), ONE_ROW)
def test_a_page_of_more_rows_than_any_has_is_refused(
    name: str, page: Callable[[int], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "MOST_OF_PAGE", 300)
    for rows in (300, 301):

        def answer(number: int, rows: int = rows) -> dict[str, Any]:
            if number > 1:
                return {name: [] if isinstance(value, list) else "" for name, value in page(1).items()}
            many = [page(n) for n in range(1, rows + 1)]
            return {
                name: [one[name][0] for one in many] if isinstance(value, list) else value
                for name, value in many[0].items()
            }

        attacked = Attacked(name, Endless(answer))
        if rows == 300:
            attacked.operation("managers")
        else:
            with pytest.raises(SystemUnavailable, match="the page is too long: more than 300 rows"):
                attacked.operation("managers")
        attacked.close()


@pytest.mark.parametrize("value", [b"1,", b"[],", b"{},", b'{"a":[{"a":1}]},'])
def test_json_of_so_many_values_that_it_would_fill_the_memory_is_an_unreadable_answer(value: bytes) -> None:
    body = b"[" + value * (documents.MOST_VALUES // 2 + 1) + value * (documents.MOST_VALUES // 2) + b"0]"
    with pytest.raises(SystemUnavailable, match="JSON of too many values"):
        Answer(200, {}, body).json()
    with pytest.raises(OutcomeUnknown, match="JSON of too many values"):
        Answer(200, {}, body, write=True).json()


def test_json_of_as_many_values_as_are_allowed_is_read() -> None:
    body = b"[" + b"1," * (documents.MOST_VALUES - 1) + b"0]"
    assert len(Answer(200, {}, body).json()) == documents.MOST_VALUES


TEXTS = ("," * documents.MOST_VALUES, "[{" * documents.MOST_VALUES, '",\\",' * documents.MOST_VALUES, "\\" * 99 + ",")


@pytest.mark.parametrize("text", TEXTS, ids=("commas", "brackets", "quotes", "backslashes"))
def test_the_commas_and_brackets_of_a_long_text_are_no_values(text: str) -> None:
    document = [{"note": text, "name": "Orchard"}, {"note": "," * documents.MOST_VALUES, text[:99]: 1}]
    assert Answer(200, {}, json.dumps(document).encode()).json() == document


@pytest.mark.parametrize("text", [b'"x,",', b'"",', b'"\\\\","\\"",'])
def test_values_beside_texts_are_counted_wherever_they_stand(text: bytes) -> None:
    body = b"[" + text * (documents.MOST_VALUES + 1) + b"0]"
    with pytest.raises(SystemUnavailable, match="JSON of too many values"):
        Answer(200, {}, body).json()


@pytest.mark.parametrize("piece", [b'"', b'\\"', b'",', b'"\\",', b"\\,"])
def test_a_body_made_to_be_counted_slowly_is_refused_in_no_time(piece: bytes) -> None:
    body = b"[" + b"," * (documents.MOST_VALUES + 1) + piece * (16 * 1024 * 1024 // len(piece))
    began = time.perf_counter()
    with pytest.raises(SystemUnavailable, match="JSON"):
        Answer(200, {}, body).json()
    assert time.perf_counter() - began < SECONDS


# --- the address -----------------------------------------------------------------------------------------------------

ELSEWHERE = (
    "https://evil.example/x",
    "http://vendor.test.evil.example/x",
    "//evil.example/x",
    "/../../admin",
    "/%2e%2E/admin",
    "\\\\e",
    "/x\n",
    "/" + "x" * 70_000,
)
LEADING = ("next", "href", "$next", "$url", "nextCursor", "ia::next", "url", "link", "previous", "$key")


@pytest.mark.parametrize("address", ELSEWHERE, ids=lambda address: repr(address)[:30])
def test_no_next_no_href_and_no_redirect_of_an_answer_leads_to_another_host(attacked: Attacked, address: str) -> None:
    """Every link-like member of every object says so, and then a redirect too."""

    def rewrite(row: dict[str, Any]) -> dict[str, Any]:
        return {**row, **{name: address for name in LEADING if name in row or not name.endswith("key")}}

    for damage in ([], [Damage(None, "header", 0, ("location", address)), Damage(None, "status", 0, 302)]):
        attacked.transport.reset(damage, rewrite=rewrite)
        for name in OPERATIONS:
            try:
                attacked.operation(name)
            except SyncError:
                continue
        assert attacked.transport.asked
        assert {url.host for url in attacked.transport.asked} == {"vendor.test"}
        assert all(url.path.startswith(attacked.base) for url in attacked.transport.asked)
