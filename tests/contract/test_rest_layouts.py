"""The connector ``rest`` over the same API laid out otherwise: one by one, PUT of the whole, no order, small pages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import pytest
from emulated import the_layer
from suite import Case, changed_keys, fault

from sync_worker.config.profile import Profile, load
from sync_worker.connectors.base import Ask
from sync_worker.errors import RecordBusy, SystemUnavailable

ONLY = ["the_layer"]


def plain() -> Profile:
    """Neither batches, order nor counts; the whole record is sent."""
    shipped = load("the_layer", Path()).model_dump()
    shipped["customers"] |= {"update_method": "PUT", "total": ""}
    shipped["paging"] |= {"size": 2}
    shipped["find"] |= {"keys": "", "after_key": ""}
    shipped["sort"] = {}
    return Profile.model_validate(shipped)


@pytest.fixture
def case() -> Iterator[Case]:
    with the_layer(plain()) as made:
        made.emulator.faults.merge({"patch_allowed": False, "ids_allowed": False})
        yield made


def test_records_are_read_one_by_one_and_absent_ones_are_none(case: Case) -> None:
    keys = [case.make(name=f"One {n}") for n in range(3)]
    found = case.connector.read_many("customer", [Ask(key) for key in [*keys, "99999"]])
    assert [key for key, record in found.items() if record is None] == ["99999"]
    assert case.emulator.stats()["calls"]["read customer"] == 4


def test_the_page_of_a_proxy_is_no_absence(case: Case) -> None:
    with fault(case, page_404=True), pytest.raises(SystemUnavailable):
        case.connector.read_many("customer", [Ask("99999")])


def test_the_whole_record_is_sent_and_only_the_asked_member_changes(case: Case) -> None:
    key = case.make()
    case.emulator.person("customer", key, {"/address/city": "Leeds"})
    since = len(case.emulator.ledger)
    assert case.update(key, name="Renamed").error is None
    assert [dict(row.after) for row in case.written(since)] == [{"/companyName": "Renamed"}]
    assert case.emulator.get_record("customer", key)["/address/city"] == "Leeds"


def test_an_edit_made_between_the_read_and_the_write_is_not_overwritten(case: Case) -> None:
    key = case.make()
    write = case.update_of(key, name="Renamed")
    plain_handle = case.emulator.handle

    def handle(request):  # type: ignore[no-untyped-def]  # the emulator's own signature
        if request.method == "PUT":
            case.emulator.handle = plain_handle
            case.emulator.person("customer", key, {"/email": "by@hand.example"})
        return plain_handle(request)

    case.emulator.handle = handle
    (outcome,) = case.connector.write_many("customer", [write])
    assert isinstance(outcome.error, RecordBusy)
    assert case.values(key)["email"] == "by@hand.example"


def test_a_sweep_without_an_order_shows_every_record_by_key_and_goes_on_from_one(case: Case) -> None:
    keys = [case.make(name=f"Sweep {n}") for n in range(5)]
    assert changed_keys(case.connector.sweep("customer")) == keys
    assert changed_keys(case.connector.sweep("customer", keys[2])) == keys[3:]
    assert case.connector.count("customer") is None


def test_the_feed_begins_at_our_clock_where_the_newest_cannot_be_asked(case: Case) -> None:
    old = case.make(name="Old")
    case.clock.advance(86_400)
    watermark = list(case.connector.changes("customer", None))[-1].watermark
    case.clock.advance(60)
    new = [case.make(name=f"New {n}") for n in range(3)]
    assert changed_keys(case.connector.changes("customer", watermark)) == new
    assert old not in new


def test_a_bulk_load_is_not_read_again_at_every_poll(case: Case) -> None:
    watermark = list(case.connector.changes("customer", None))[-1].watermark
    case.clock.advance(30)
    for n in range(3):
        case.make(name=f"Bulk {n}")
    case.clock.advance(10)
    case.make(name="Last")
    shown = []
    for _ in range(3):
        pages = list(case.connector.changes("customer", watermark))
        watermark = pages[-1].watermark
        shown.append(len(changed_keys(iter(pages))))
        case.clock.advance(90)
    assert shown == [4, 4, 1]  # the second look is the one that a late transaction may still show up in


def by_key(**customers: str) -> Profile:
    """Swept by key, in small pages."""
    shipped = load("the_layer", Path()).model_dump()
    shipped["customers"] |= customers
    shipped["paging"] |= {"size": 2}
    return Profile.model_validate(shipped)


def test_a_page_of_removed_records_does_not_end_a_sweep() -> None:
    with the_layer(by_key(deleted="/address/line2")) as case:
        keys = [case.make(name=f"Sweep {n}") for n in range(7)]
        for key in keys[2:5]:
            case.emulator.person("customer", key, {"/address/line2": "removed"})
        assert changed_keys(case.connector.sweep("customer")) == [*keys[:2], *keys[5:]]


def test_a_list_that_pays_no_heed_to_the_key_it_is_to_begin_behind_ends_a_sweep_in_one_line() -> None:
    with the_layer(by_key()) as case:
        for n in range(5):
            case.make(name=f"Sweep {n}")
        plain_handle = case.emulator.handle

        def handle(request):  # type: ignore[no-untyped-def]  # the emulator's own signature
            kept = [one for one in request.query.split("&") if not one.startswith("after_id=")]
            return plain_handle(replace(request, query="&".join(kept)))

        case.emulator.handle = handle
        with pytest.raises(SystemUnavailable, match=r"`find\.after_key`"):
            [page for page, _ in zip(case.connector.sweep("customer"), range(20), strict=False)]


@contextmanager
def numbered_pages(cap: int) -> Iterator[Case]:
    """The API with pages by number, of which none holds more than ``cap``, asked for five at a time."""
    shipped = load("the_layer", Path()).model_dump()
    shipped["paging"] |= {"kind": "page", "parameter": "page", "next": "", "size": 5}
    with the_layer(Profile.model_validate(shipped)) as case:
        plain_handle = case.emulator.handle

        def handle(request):  # type: ignore[no-untyped-def]  # the emulator's own signature
            options = dict(parse_qsl(request.query))
            if (page := options.pop("page", None)) is None:
                return plain_handle(request)
            size = min(cap, int(options["limit"]))
            answer = plain_handle(replace(request, query=urlencode(options | {"limit": "200"})))
            rows = json.loads(answer.body)["data"][(int(page) - 1) * size : int(page) * size]
            return replace(answer, body=json.dumps({"data": rows}).encode())

        case.emulator.handle = handle
        yield case


@pytest.mark.parametrize(("cap", "customers", "fine"), [(5, 12, True), (3, 3, True), (3, 7, False)])
def test_doctor_finds_pages_that_are_smaller_than_the_profile_says(cap: int, customers: int, fine: bool) -> None:
    with numbered_pages(cap) as case:
        for n in range(customers):
            case.make(name=f"Paged {n}")
        wrong = [(check.name, check.fix) for check in case.connector.check() if not check.ok]
        assert wrong == ([] if fine else [("pages", "set paging.size = 3 in the profile")])
