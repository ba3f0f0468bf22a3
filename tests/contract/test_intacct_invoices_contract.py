"""Intacct's invoices through the connector: states, the feed that begins with drafts, notices, what doctor asks."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from emulated import intacct
from suite import Case, fault, lowered

from mappings.canonical import Invoice
from support.rules import answering
from sync_worker.connectors.base import Page
from sync_worker.connectors.emulation import Request
from sync_worker.connectors.intacct import query
from sync_worker.errors import SystemUnavailable


@pytest.fixture
def case() -> Iterator[Case]:
    with intacct() as made:
        yield made


def invoice(case: Case, customer: str, state: str = "posted") -> str:
    columns = {"customer.key": customer, "invoiceDate": "2026-11-18", "state": state}
    return str(case.emulator.person("invoice", None, columns, "create"))


def shown(pages: Iterator[Page]) -> list[Invoice]:
    return [row.invoice for page in pages for row in page.rows if row.invoice is not None]


def start(case: Case) -> str:
    """The watermark with which the feed of invoices begins."""
    return [page.watermark for page in case.connector.changes("invoice", None) if page.watermark][-1]


@pytest.mark.parametrize(
    ("state", "meant"),
    [
        ("draft", "draft"),
        ("posted", "final"),
        ("partiallyPaid", "final"),
        ("paid", "final"),
        ("reversed", "void"),
        ("reversal", "void"),
        ("selected", "other"),
        ("noValue", "other"),
    ],
)
def test_lay_2_every_state_of_an_invoice_is_understood(case: Case, state: str, meant: str) -> None:
    customer = case.make()
    key = invoice(case, customer, state)
    (found,) = case.connector.read_invoices([key]).values()
    assert found is not None
    assert (found.key, found.customer, found.state) == (key, customer, meant)
    assert found.created_at == found.changed_at == int(case.clock())


def test_invoices_that_are_not_there_are_none_and_what_is_no_key_is_not_asked(case: Case) -> None:
    case.emulator.reset_stats()
    assert case.connector.read_invoices(["INV-9", "x' or 1"]) == {"INV-9": None, "x' or 1": None}
    assert case.emulator.stats()["calls"] == {}
    assert case.connector.read_invoices(["4711"]) == {"4711": None}


def test_many_invoices_are_one_question(case: Case) -> None:
    customer = case.make()
    keys = [invoice(case, customer) for _ in range(30)]
    case.emulator.reset_stats()
    assert all(case.connector.read_invoices(keys).values())
    assert case.emulator.stats()["calls"]["query invoice"] == 1


def test_lay_2_the_feed_begins_with_the_drafts_that_stand_and_no_other_invoice(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query, "PAGE", 2)
    customer = case.make()
    drafts = [invoice(case, customer, "draft") for _ in range(5)]
    invoice(case, customer)
    assert [one.key for one in shown(case.connector.changes("invoice", None))] == drafts


def test_lay_2_posting_a_draft_comes_by_the_feed_even_in_the_second_of_the_watermark(case: Case) -> None:
    customer = case.make()
    key = invoice(case, customer, "draft")
    case.clock.advance(86_400)
    mark = start(case)
    assert shown(case.connector.changes("invoice", mark)) == []
    case.clock.advance(60)
    case.emulator.person("invoice", key, {"state": "posted"})
    found = [one for one in shown(case.connector.changes("invoice", mark)) if one.key == key]
    assert [(one.state, one.changed_at) for one in found] == [("final", case.clock())]
    assert found[0].created_at == case.clock() - 86_460


def test_the_feed_of_invoices_pages_through_a_burst_and_never_steps_over_one(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query, "PAGE", 3)
    customer = case.make()
    mark = start(case)
    keys = {invoice(case, customer) for _ in range(11)}
    assert {one.key for one in shown(case.connector.changes("invoice", mark))} == keys


def test_a_feed_of_invoices_that_is_cut_off_raises_and_resumes(case: Case) -> None:
    mark = start(case)
    key = invoice(case, case.make())
    with fault(case, blackout=True), pytest.raises(SystemUnavailable):
        list(case.connector.changes("invoice", mark))
    assert [one.key for one in shown(case.connector.changes("invoice", mark))] == [key]


def test_looking_at_invoices_leaves_the_look_back_of_customers_alone(case: Case) -> None:
    customer = case.make()
    mark = list(case.connector.changes("customer", None))[-1].watermark
    case.clock.advance(100)
    list(case.connector.changes("invoice", start(case)))
    rows = [row.change.key for page in case.connector.changes("customer", mark) for row in page.rows]
    assert customer in rows


def test_lay_2_a_trigger_announces_an_invoice_by_its_key(case: Case) -> None:
    customer = case.make()
    (notice,) = case.notices(lambda: invoice(case, customer, "draft"))
    (change,) = case.connector.verify_hook(lowered(notice.headers), notice.body, case.clock())
    assert json.loads(notice.body)["entity"] == "invoice"
    assert (change.entity, change.op, change.customer) == ("invoice", "created", None)
    (found,) = case.connector.read_invoices([change.key]).values()
    assert found is not None and found.customer == customer


def test_doctor_asks_for_invoices_only_where_a_flow_waits_for_them(case: Case) -> None:
    def invoices_asked(request: Request) -> bool:
        return b"accounts-receivable/invoice" in request.body

    with answering(case.emulator, invoices_asked, "403"):
        assert all(check.ok for check in case.connector.check())
        (bad,) = [check for check in case.connect(invoices=True).check() if not check.ok]
    assert bad.name == "invoices readable"
    assert "permission to list and view AR invoices" in bad.fix
    assert all(check.ok for check in case.connect(invoices=True).check())
