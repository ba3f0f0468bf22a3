"""What is Intacct's own: tokens, envelopes, batches, the default contact, keyset pages, the event queue."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from suite import Case, intacct
from test_connectors import fault, lowered

from support.tokens import MemoryTokens
from sync_worker.connectors.base import Ask, Write
from sync_worker.connectors.emulation import EmulatorServer
from sync_worker.connectors.http import Answer
from sync_worker.connectors.intacct import query
from sync_worker.connectors.intacct.client import IntacctConnector
from sync_worker.connectors.intacct.emulator import IntacctEmulator
from sync_worker.connectors.intacct.errors import TokenRejected, classify, column_of, item_error
from sync_worker.errors import (
    AlreadyExists,
    AuthFailed,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    RecordBusy,
    Rejected,
    SyncError,
    SystemUnavailable,
)

CUSTOMERS = "accounts-receivable/customer"


@pytest.fixture
def case() -> Iterator[Case]:
    with intacct() as made:
        yield made


def calls(case: Case, name: str) -> int:
    return int(case.emulator.stats()["calls"].get(name, 0))


# --- tokens ----------------------------------------------------------------------------------------------------------


def test_many_threads_share_one_token(case: Case) -> None:
    key = case.make()
    fresh = case.connect()
    case.emulator.reset_stats()
    threads = [threading.Thread(target=fresh.read_many, args=("customer", [Ask(key)])) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (calls(case, "token"), calls(case, "query customer")) == (1, 6)


@pytest.mark.parametrize("form", ["401", "400"])
def test_a_rejected_token_is_renewed_once_and_the_call_repeated(case: Case, form: str) -> None:
    key = case.make()
    case.emulator.reset_stats()
    with fault(case, token_error_form=form, fail_next=[{"operation": "read", "fault": "401"}]):
        assert case.read(key).key == key
    assert calls(case, "token") == 1


def test_a_rejected_token_does_not_lose_or_double_a_write(case: Case) -> None:
    key = case.make()
    write, since = case.update_of(key, name="Once"), len(case.emulator.ledger)
    with fault(case, fail_next=[{"operation": "write", "fault": "401"}]):
        (outcome,) = case.connector.write_many("customer", [write])
    assert outcome.error is None
    assert len(case.written(since)) == 1


def test_a_token_that_is_rejected_again_is_an_auth_error(case: Case) -> None:
    key = case.make()
    twice = [{"operation": "read", "fault": "401"}, {"operation": "read", "fault": "401"}]
    with fault(case, fail_next=twice), pytest.raises(AuthFailed):
        case.read(key)


def test_a_token_is_renewed_a_minute_before_it_ends(case: Case) -> None:
    key = case.make()
    case.emulator.reset_stats()
    case.clock.advance(43_200 - 70)
    case.read(key)
    assert calls(case, "token") == 0
    case.clock.advance(20)
    case.read(key)
    assert calls(case, "token") == 1


def test_a_worker_whose_token_was_replaced_takes_the_new_one_instead_of_minting(case: Case) -> None:
    tokens = MemoryTokens(case.clock)
    minted: list[str] = []

    def mint() -> tuple[str, float]:
        minted.append("t")
        return f"t{len(minted)}", 3600.0

    first = tokens.refresh("x", mint)
    second = tokens.refresh("x", mint, rejected_version=first.version)
    assert tokens.refresh("x", mint, rejected_version=first.version) == second
    assert len(minted) == 2


def test_a_wrong_client_is_told_from_a_username_without_a_company(case: Case) -> None:
    with pytest.raises(AuthFailed, match="username"):
        case.connect(username="sync").list_managers()
    with pytest.raises(AuthFailed):
        case.connect(client_id="nobody").list_managers()


def test_doctor_names_an_entity_that_cannot_be_used(case: Case) -> None:
    bad = [check for check in case.connect(entity="NOWHERE").check() if not check.ok]
    assert bad


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["normal", "result", "error", "bare"])
@pytest.mark.parametrize("details_object", [False, True])
def test_all_four_envelopes_and_both_forms_of_details_name_the_column(
    case: Case, shape: str, details_object: bool
) -> None:
    key = case.make()
    email = "contacts.default.email1"
    switches: dict[str, Any] = {"error_shape": shape, "details_object": details_object}
    with fault(case, refuse={email: ["no@no.example"]}, **switches):
        outcome = case.update(key, email="no@no.example")
    assert isinstance(outcome.error, Rejected)
    assert outcome.error.column == email


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b"", TokenRejected),
        (400, b'{"ia::error": {"code": "x", "message": "Invalid token"}}', TokenRejected),
        (400, b'{"ia::error": {"code": "GW-0031"}}', TokenRejected),
        (403, b'{"error": {"code": "tokenInvalid", "errorId": "REST-2102"}}', TokenRejected),
        (403, b'{"ia::error": {"code": "unauthorizedUser"}}', AuthFailed),
        (400, b'{"ia::error": {"code": "GW-0011", "details": {"requestId": "r"}}}', AuthFailed),
        (404, b'{"ia::error": {"code": "notFound"}}', NotFound),
        (400, b'{"ia::error": {"code": "GW-0010"}}', RateLimited),
        (408, b"", SystemUnavailable),
        (500, b"<html>", SystemUnavailable),
        (409, b'{"ia::error": {"code": "operationFailed", "message": "Record is locked"}}', RecordBusy),
        (409, b'{"ia::error": {"code": "x", "message": "Idempotency key used with another body"}}', OutcomeUnknown),
        (409, b'{"ia::error": {"code": "x", "message": "another record has this id"}}', AlreadyExists),
        (422, b'{"code": "x"}', Rejected),
        (405, b"", Rejected),
        (302, b"", SystemUnavailable),
        (400, b"[" * 100_000, Rejected),
        (400, b'{"ia::error": {"details": [null, 5, {"additionalInfo": "x", "target": 7}]}}', Rejected),
    ],
)
def test_an_answer_is_classified_by_status_and_body(status: int, body: bytes, kind: type[SyncError]) -> None:
    assert type(classify(Answer(status, {}, body))) is kind


@pytest.mark.parametrize(
    ("headers", "after"),
    [
        ({"retry-after": "3", "x-ia-throttle-limit-retry-after": "9"}, 3.0),
        ({"x-ia-throttle-limit-retry-after": "9", "x-ia-hour-rate-limit-retry-after": "100"}, 9.0),
        ({"x-ia-throttle-limit-retryafter": "8"}, 8.0),
        ({"x-ia-minute-rate-limit-retry-after": "5", "x-ia-hour-rate-limit-retry-after": "100"}, 100.0),
        ({"x-ia-tenant-throttle-limit-retry-after": "4"}, 4.0),
        ({"x-ia-throttle-limit-remaining": "4"}, None),
    ],
)
def test_the_retry_hints_are_read_in_the_vendors_order_and_both_spellings(
    headers: dict[str, str], after: float | None
) -> None:
    error = classify(Answer(429, headers, b""))
    assert isinstance(error, RateLimited)
    assert error.after == after


def test_the_item_of_a_mixed_answer_is_classified_like_an_answer() -> None:
    assert item_error({"key": "1", "id": "C-1", "ia::status": 200}) is None
    assert isinstance(item_error({"ia::error": {"code": "notFound"}}), NotFound)
    assert isinstance(item_error({"ia::error": {"code": "x"}, "ia::status": "409"}), AlreadyExists)
    assert isinstance(item_error({"ia::error": {"code": "x"}}), Rejected)


def test_a_target_is_a_column_with_or_without_the_place_in_the_batch() -> None:
    assert column_of("/contacts/default/email1") == "contacts.default.email1"
    assert column_of("/3/taxId") == "taxId"
    assert column_of("nsp::REGION") == "nsp::REGION"


def test_a_base_url_that_leads_nowhere_pauses_instead_of_declaring_records_gone(case: Case) -> None:
    key = case.make()
    connector = case.connector
    assert isinstance(connector, IntacctConnector)
    wrong = case.connect(base_url=connector.settings.base_url.replace("v1", "v9"))
    with pytest.raises(AuthFailed):
        wrong.read_many("customer", [Ask(key)])


# --- batches ---------------------------------------------------------------------------------------------------------


def test_two_hundred_reads_are_one_call_and_a_hundred_updates_are_one_call(case: Case) -> None:
    keys = case.emulator.seed({"customers": 200})["keys"]
    case.emulator.reset_stats()
    found = case.connector.read_many("customer", [Ask(key) for key in keys])
    assert all(found.values())
    writes = [Write(key, {"name": f"New {key}"}, found[key]) for key in keys]
    outcomes = case.connector.write_many("customer", writes)
    assert [outcome.error for outcome in outcomes] == [None] * 200
    assert (case.emulator.reads, case.emulator.writes) == (1, 2)
    assert case.read(keys[150]).native["name"] == f"New {keys[150]}"


@pytest.mark.parametrize("uniform", [False, True])
def test_a_batch_whose_items_all_fail_says_so_for_each(case: Case, uniform: bool) -> None:
    writes = [Write(f"9999999{n}", {"name": "X"}) for n in range(3)]
    with fault(case, batch_uniform_status=uniform):
        outcomes = case.connector.write_many("customer", writes)
    assert [type(outcome.error) for outcome in outcomes] == [NotFound] * 3


def test_a_batch_refused_as_a_whole_is_halved_until_the_culprit_stands_alone(case: Case) -> None:
    keys = case.emulator.seed({"customers": 5})["keys"]
    with fault(case, max_batch=1):
        outcomes = case.connector.write_many("customer", [Write(key, {"name": f"N{key}"}) for key in keys])
    assert [outcome.error for outcome in outcomes] == [None] * 5
    assert [case.read(key).native["name"] for key in keys] == [f"N{key}" for key in keys]


def test_after_a_batch_without_an_answer_later_batches_are_not_sent(case: Case) -> None:
    keys = case.emulator.seed({"customers": 150})["keys"]
    case.emulator.reset_stats()
    with fault(case, fail_next=[{"operation": "write", "fault": "lost_after_apply"}]):
        outcomes = case.connector.write_many("customer", [Write(key, {"name": "N"}) for key in keys])
    kinds = [type(outcome.error) for outcome in outcomes]
    assert kinds == [OutcomeUnknown] * 100 + [SystemUnavailable] * 50
    assert [outcome.key for outcome in outcomes] == keys
    assert case.emulator.writes == 1


def test_a_locked_record_is_busy(case: Case) -> None:
    key = case.make()
    write = case.update_of(key, name="Later")
    with fault(case, fail_next=[{"operation": "write", "fault": "locked"}]):
        (outcome,) = case.connector.write_many("customer", [write])
    assert isinstance(outcome.error, RecordBusy)


def test_an_idempotency_key_used_for_another_body_leaves_the_outcome_unknown(case: Case) -> None:
    case.make("1", "same key")
    (outcome,) = case.connector.write_many("customer", [case.write_of("2", "same key")])
    assert isinstance(outcome.error, OutcomeUnknown)


# --- the default contact ---------------------------------------------------------------------------------------------


def test_a_refused_default_contact_is_written_by_itself_and_that_is_remembered(case: Case) -> None:
    key, other = case.make(), case.make(name="Other")
    with fault(case, writable_default_contact=False):
        outcome = case.update(key, name="Renamed", email="new@orchard.example", address={"city": "York"})
        assert outcome.error is None
        values = case.values(key)
        assert (values["name"], values["email"]) == ("Renamed", "new@orchard.example")
        case.emulator.reset_stats()
        assert case.update(other, email="other@orchard.example").error is None
        assert (calls(case, "patch customer"), calls(case, "patch contact")) == (0, 1)


def test_in_a_batch_each_contact_is_written_and_one_refusal_stops_no_other(case: Case) -> None:
    keys = [case.make(name=f"Batch {n}") for n in range(3)]
    emails = ["a@a.example", "no@no.example", "c@c.example"]
    with fault(case, writable_default_contact=False, refuse={"contacts.default.email1": ["no@no.example"]}):
        writes = [case.update_of(k, email=e, name=f"New {e}") for k, e in zip(keys, emails, strict=True)]
        outcomes = case.connector.write_many("customer", writes)
    assert [outcome.error is None for outcome in outcomes] == [True, False, True]
    assert isinstance(outcomes[1].error, Rejected)
    assert outcomes[1].error.column == "contacts.default.email1"
    assert outcomes[1].stored == {"name": "New no@no.example"}
    assert [case.values(key)["email"] for key in keys] == ["a@a.example", "ivy@orchard.example", "c@c.example"]


def test_once_contacts_are_apart_a_create_fills_its_contact_afterwards(case: Case) -> None:
    with fault(case, writable_default_contact=False):
        case.update(case.make(), email="new@orchard.example")
        key = case.make(name="Fresh")
        assert case.values(key)["email"] == "ivy@orchard.example"
    assert calls(case, "patch contact") == 2


def test_a_create_whose_contact_is_refused_has_its_key_the_error_and_what_is_stored(case: Case) -> None:
    switches = {"refuse": {"contacts.default.email1": ["no@no.example"]}, "cut": {"name": 5}}
    with fault(case, writable_default_contact=False):
        case.update(case.make(), email="new@orchard.example")
        with fault(case, **switches):
            write = case.write_of("55", "k55", name="Long Name", email="no@no.example")
            (outcome,) = case.connector.write_many("customer", [write])
    assert outcome.key is not None
    assert isinstance(outcome.error, Rejected)
    assert outcome.error.column == "contacts.default.email1"
    assert (outcome.stored["name"], outcome.stored["contacts.default.email1"]) == ("Long ", None)


def test_a_refused_value_of_the_contact_teaches_nothing_about_the_contact(case: Case) -> None:
    key = case.make()
    with fault(case, refuse={"contacts.default.email1": ["no@no.example"]}):
        assert isinstance(case.update(key, email="no@no.example").error, Rejected)
    case.emulator.reset_stats()
    assert case.update(key, email="yes@yes.example").error is None
    assert (calls(case, "patch customer"), calls(case, "patch contact")) == (1, 0)


def test_a_contact_that_two_customers_show_belongs_to_both(case: Case) -> None:
    one = case.make()
    contact = case.read(one).children["contact"]
    two = case.emulator.person(
        "customer", None, {"id": "C-2", "name": "Two", "contacts.default.key": contact}, "create"
    )
    assert case.connector.resolve_parts("contact", [contact]) == {contact: [one, two]}


# --- columns ---------------------------------------------------------------------------------------------------------


def test_a_column_that_is_not_there_is_left_out_of_creates_and_refused_in_updates(case: Case) -> None:
    key = case.make()
    broken = case.connect(custom={"region": "nsp::NOWHERE"})
    broken.read_many("customer", [Ask(key)])
    made, updated = broken.write_many(
        "customer",
        [
            Write(None, {"id": "C-9", "name": "New", "nsp::NOWHERE": "x"}, idempotency_key="k"),
            Write(key, {"name": "New", "nsp::NOWHERE": "x"}),
        ],
    )
    assert made.error is None
    assert isinstance(updated.error, Rejected)
    assert updated.error.column == "nsp::NOWHERE"


def test_a_custom_column_is_read_and_written(case: Case) -> None:
    key = case.make()
    assert case.update(key, region="North").error is None
    assert case.values(key)["region"] == "North"


# --- feeds -----------------------------------------------------------------------------------------------------------


def test_a_feed_of_many_rows_of_one_second_brings_each_once_per_scan(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query, "PAGE", 10)
    watermark = list(case.connector.changes("customer", None))[-1].watermark
    keys = case.emulator.seed({"customers": 35})["keys"]
    pages = list(case.connector.changes("customer", watermark))
    assert [row.change.key for page in pages for row in page.rows] == keys
    assert max(len(page.rows) for page in pages) == 10


def test_rows_that_move_while_the_feed_is_paged_are_not_missed(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query, "PAGE", 10)
    watermark = list(case.connector.changes("customer", None))[-1].watermark
    keys = case.emulator.seed({"customers": 25})["keys"]
    seen: list[str] = []
    for page in case.connector.changes("customer", watermark):
        seen += [row.change.key for row in page.rows]
        case.clock.advance(1)
        if len(seen) == 10:
            case.person_renames(keys[3], "Moved")
            case.person_renames(keys[24], "Moved")
    assert set(seen) == set(keys)


def test_a_record_without_a_modified_time_is_judged_by_when_it_was_created(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    watermark = list(case.connector.changes("customer", None))[-1].watermark
    key, old = case.make(), case.make(name="Old")
    rows = case.emulator._company.tables[CUSTOMERS].rows
    rows[key] = {**rows[key], "audit.modifiedDateTime": None}
    rows[old] = {**rows[old], "audit.modifiedDateTime": None, "audit.createdDateTime": "2020-01-01T00:00:00Z"}
    for page_size in (1000, 1):
        monkeypatch.setattr(query, "PAGE", page_size)
        found = [row.change for page in case.connector.changes("customer", watermark) for row in page.rows]
        assert [change.key for change in found] == [key]
        assert found[0].at == pytest.approx(case.clock(), abs=2)


def test_a_bulk_load_is_not_read_for_ever(case: Case) -> None:
    watermark = list(case.connector.changes("customer", None))[-1].watermark
    case.emulator.seed({"customers": 30})
    seen = []
    for _ in range(10):
        case.clock.advance(60)
        (page,) = case.connector.changes("customer", watermark)
        watermark = page.watermark
        seen.append(len(page.rows))
    assert (seen[0], seen[-1]) == (30, 0)


def test_frequent_polls_look_at_the_whole_overlap_only_now_and_then(case: Case) -> None:
    watermark = list(case.connector.changes("customer", None))[-1].watermark
    case.emulator.seed({"customers": 30})
    case.clock.advance(10)
    late = case.make(name="Late")
    seen = []
    for _ in range(40):
        (page,) = case.connector.changes("customer", watermark)
        watermark = page.watermark
        seen.append(len(page.rows))
        assert late in [row.change.key for row in page.rows]
        case.clock.advance(1)
    assert (seen[0], seen[1], seen[29], seen[30]) == (31, 1, 1, 31)


def test_a_quiet_poll_is_one_call(case: Case) -> None:
    case.make()
    watermark = list(case.connector.changes("customer", None))[-1].watermark
    case.emulator.reset_stats()
    list(case.connector.changes("customer", watermark))
    assert case.emulator.stats()["calls"] == {"query customer": 1}


def test_records_private_to_an_entity_are_read_and_fed(case: Case) -> None:
    emulator = IntacctEmulator(seed=1, clock=case.clock, entities=("UK",))
    with EmulatorServer(emulator) as base:
        inside = case.connect(base_url=f"{base}/ia/api/v1", entity="UK")
        top = case.connect(base_url=f"{base}/ia/api/v1")
        (made,) = inside.write_many("customer", [Write(None, {"id": "P-1", "name": "Private"}, idempotency_key="p")])
        assert made.key is not None
        assert top.read_many("customer", [Ask(made.key)])[made.key] is not None
        assert made.key in [row.change.key for page in top.sweep("customer") for row in page.rows]


def test_a_sweep_goes_through_all_pages(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query, "PAGE", 4)
    keys = case.emulator.seed({"customers": 13})["keys"]
    pages = list(case.connector.sweep("customer"))
    assert [row.change.key for page in pages for row in page.rows] == keys
    assert [page.watermark for page in pages][:3] == [keys[3], keys[7], keys[11]]


# --- triggers --------------------------------------------------------------------------------------------------------


def test_the_queue_is_emptied_batch_by_batch(case: Case) -> None:
    keys = [case.make(name=f"Q {n}") for n in range(7)]
    seen: list[str] = []
    with fault(case, queue_batch=3):
        for page in case.connector.queue_events():
            seen += [row.change.key for row in page.rows if row.change.entity == "customer"]
            case.connector.acknowledge(page.ack or "")
    assert seen == keys


def test_a_broken_context_does_not_spoil_the_queue(case: Case) -> None:
    key = case.make()
    with fault(case, hook_context="broken"):
        (page,) = list(case.connector.queue_events())
    assert [row.change.key for row in page.rows if row.change.entity == "customer"] == [key]


def test_without_the_event_queue_it_is_not_asked(case: Case) -> None:
    case.make()
    silent = case.connect(event_queue=False)
    case.emulator.reset_stats()
    assert list(silent.queue_events()) == []
    assert case.emulator.stats()["calls"] == {}
    assert not silent.capabilities.feed_needs_ack


@pytest.mark.parametrize(
    "switches",
    [
        {"hook_form": "envelope"},
        {"hook_exp_in_ms": False},
        {"hook_context": "broken"},
        {"trigger_template": ["key", "id"]},
    ],
)
def test_every_form_of_the_vendors_webhook_is_read(case: Case, switches: dict[str, Any]) -> None:
    key = case.make()
    with fault(case, **switches):
        (notice,) = case.notices(lambda: case.person_renames(key, "Said"))
        (change,) = case.connector.verify_hook(lowered(notice.headers), notice.body, case.clock())
    assert (change.entity, change.key, change.op) == ("customer", key, "updated")
    assert change.notice_id == notice.headers["Idempotency-Key"]


# --- ids -------------------------------------------------------------------------------------------------------------


def test_ids_that_we_did_not_give_name_nobody(case: Case) -> None:
    key = case.emulator.person("customer", None, {"id": "C-00003", "name": "By hand"}, "create")
    assert case.connector.correlated_key(case.read(key)) is None
    assert case.connector.correlation_columns("43", "43") == {"id": "CRM-43"}


def test_without_an_id_template_nothing_is_correlated_and_doctor_advises_one(case: Case) -> None:
    plain = case.connect(new_customer_id="")
    assert not plain.capabilities.correlation
    assert plain.correlation_columns("43", "43") == {}
    assert any("new_customer_id" in check.fix and check.ok for check in plain.check())
