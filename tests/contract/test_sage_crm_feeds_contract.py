"""The Sage CRM connector notices and finds: feeds, sweep, children, notices, candidates."""

from __future__ import annotations

import json

import pytest

from support.clock import FakeClock
from support.sage_crm import Receiver
from support.sage_crm_connector import (
    COLUMNS,
    COMPANY,
    NOW,
    SECRET,
    Connect,
    counted,
    create,
    read,
    settings,
)
from sync_worker.connectors.base import Criteria
from sync_worker.connectors.emulation import Hook
from sync_worker.connectors.http import VendorHttp
from sync_worker.connectors.sage_crm.auth import BasicLogin
from sync_worker.connectors.sage_crm.client import SageCrmConnector
from sync_worker.connectors.sage_crm.emulator import SageCrmEmulator
from sync_worker.errors import (
    Rejected,
)

pytest_plugins = ("support.sage_crm_fixtures", "support.sage_crm_connected")


# --- finding ---------------------------------------------------------------------------------------------------------


def keys(sage: SageCrmConnector, *criteria: Criteria) -> list[list[str]]:
    return [[record.key for record in found] for found in sage.find_many("customer", criteria)]


def test_a_company_is_found_by_every_kind_of_evidence(sage: SageCrmConnector) -> None:
    own = {"comp_vatnumber": "GB123456789", "comp_intacct_customerid": "C-77"}
    key = create(sage, **own)
    create(
        sage,
        Comp_Name="Somebody else",
        comp_intacct_recordno="9",
        **{"Emai_EmailAddress@Business": "x@y.test"},
    )
    criteria = [
        Criteria(correlation="501"),
        Criteria(ref="c-77"),
        Criteria(tax_number="GB 123 4567 89"),
        Criteria(email="AP@Northwind.test"),
        Criteria(name="Northwind Tools"),
        Criteria(name="NORTHWIND TOOLS Ltd."),
        Criteria(name="Nobody", correlation="501"),
        Criteria(name="Northwind"),
        Criteria(),
    ]
    assert keys(sage, *criteria) == [[key]] * 7 + [[], []]


def test_a_candidate_carries_what_the_ladder_needs(sage: SageCrmConnector) -> None:
    create(sage)
    ((record,),) = sage.find_many("customer", [Criteria(email="ap@northwind.test")])
    values = sage.maps["customer"].get(record.native)
    assert values["email"] == "ap@northwind.test"
    assert sage.correlated_key(record) == "501"
    assert record.created_at == NOW


def test_the_key_of_another_erp_company_is_not_ours(sage: SageCrmConnector) -> None:
    other = create(sage, comp_intacct_company="Other Ltd")
    assert keys(sage, Criteria(correlation="501")) == [[]]
    assert sage.correlated_key(read(sage, other)) is None
    unnamed = create(sage, comp_intacct_company=None)
    assert keys(sage, Criteria(correlation="501")) == [[unnamed]]


def test_a_record_names_its_partner_in_the_configured_columns_only(connected: Connect, sage: SageCrmConnector) -> None:
    assert sage.correlation_columns("501", "C-77") == {
        "comp_intacct_recordno": "501",
        "comp_intacct_customerid": "C-77",
        "comp_intacct_company": "Acme UK",
    }
    bare = connected(columns={})
    assert bare.correlation_columns("501", "C-77") == {}
    assert not bare.capabilities.correlation


@pytest.mark.parametrize(
    "name", ["O'Hara & Sons", "100% Wool_[x]", "'; drop--", "<script>", "مثال", "🙂" * 60, "a" * 200]
)
def test_awkward_names_are_written_found_and_read_back(sage: SageCrmConnector, name: str) -> None:
    create(sage, Comp_Name="Decoy", comp_intacct_recordno="1")
    key = create(sage, Comp_Name=name, comp_intacct_recordno="0001")
    ((record,),) = sage.find_many("customer", [Criteria(name=name)])
    assert (record.key, record.native["Comp_Name"], record.native["comp_intacct_recordno"]) == (key, name, "0001")


def test_candidates_are_narrowed_by_their_creation_and_limited(
    sage: SageCrmConnector, crm: SageCrmEmulator, clock: FakeClock
) -> None:
    for _ in range(25):
        crm.person("company", None, {"Comp_Name": "Acme"}, "create")
    clock.advance(1000)
    late = crm.person("company", None, {"Comp_Name": "Acme"}, "create")
    assert len(keys(sage, Criteria(name="Acme"))[0]) == 20
    assert keys(sage, Criteria(name="Acme", created_since=NOW + 1000.4)) == [[late]]


def test_a_missing_hint_column_matches_nobody_but_a_missing_key_column_is_an_error(connected: Connect) -> None:
    hint = connected(columns={**COLUMNS, "tax_number": "comp_nosuch"})
    assert keys(hint, Criteria(tax_number="GB123456789")) == [[]]
    key = connected(columns={**COLUMNS, "erp_key": "comp_nosuch"})
    with pytest.raises(Rejected):
        key.find_many("customer", [Criteria(correlation="501")])


# --- feeds -----------------------------------------------------------------------------------------------------------


def told(sage: SageCrmConnector, watermark: str | None) -> tuple[list[tuple[str, str, str]], str]:
    """What a poll tells, and the watermark it leaves."""
    pages = list(sage.changes("customer", watermark))
    rows = [(row.change.entity, row.change.key, row.change.op) for page in pages for row in page.rows]
    last = pages[-1].watermark
    assert last is not None
    return rows, last


def begun(sage: SageCrmConnector) -> str:
    """The watermark of a feed that has begun and told its first overlap."""
    return told(sage, told(sage, None)[1])[1]


def test_a_feed_begins_now_and_tells_nothing_of_what_was_before(sage: SageCrmConnector, crm: SageCrmEmulator) -> None:
    crm.seed({"customers": 30})
    rows, mark = told(sage, None)
    assert rows == []
    assert set(json.loads(mark)) == {"Company", "Person", "Address", "Phone", "PhoneLink", "Email", "EmailLink"}


def test_every_table_has_its_feed(sage: SageCrmConnector, crm: SageCrmEmulator, clock: FakeClock) -> None:
    known = read(sage, create(sage))
    mark = begun(sage)
    clock.advance(3600)
    crm.person("company", known.key, {"Comp_Name": "New name"})
    for part, columns in {
        "person": {"Pers_LastName": "Berg"},
        "address": {"Addr_City": "York"},
        "phone@Fax": {"Phon_Number": "1"},
        "email@Business": {"Emai_EmailAddress": "x@y.test"},
    }.items():
        crm.person(part.partition("@")[0], known.children[part], columns)
    rows, after = told(sage, mark)
    assert sorted(rows) == sorted(
        [
            ("customer", known.key, "updated"),
            ("person", known.children["person"], "updated"),
            ("address", known.children["address"], "updated"),
            ("phone", known.children["phone@Fax"], "updated"),
            ("email", known.children["email@Business"], "updated"),
        ]
    )
    assert after != mark


def test_company_rows_carry_their_own_part_and_say_who_is_primary(
    sage: SageCrmConnector, crm: SageCrmEmulator, clock: FakeClock
) -> None:
    _, mark = told(sage, None)
    clock.advance(100)
    key = create(sage)
    rows = [row for page in sage.changes("customer", mark) for row in page.rows if row.change.entity == "customer"]
    (row,) = rows
    assert row.record is not None
    assert (row.change.op, row.change.at, row.record.parts) == ("created", NOW + 100, COMPANY)
    assert row.record.native["Comp_Name"] == "Northwind Tools"
    assert row.record.children == {part: read(sage, key).children[part] for part in ("person", "address")}


def test_the_overlap_is_told_again_only_to_a_caller_with_an_older_watermark(
    sage: SageCrmConnector, crm: SageCrmEmulator, clock: FakeClock
) -> None:
    crm.seed({"customers": 3})
    begin = begun(sage)
    clock.advance(3600)
    crm.person("company", "2", {"Comp_Name": "A"})
    first, mark = told(sage, begin)
    assert first == [("customer", "2", "updated")]
    assert told(sage, mark)[0] == []
    crm.person("company", "2", {"Comp_Name": "B"})  # within the same second: its stamp does not move
    assert told(sage, mark)[0] == [("customer", "2", "updated")]
    assert ("customer", "2", "updated") in told(sage, begin)[0]


def test_a_poll_that_was_not_finished_tells_everything_again(
    sage: SageCrmConnector, crm: SageCrmEmulator, clock: FakeClock
) -> None:
    crm.seed({"customers": 3})
    begin = begun(sage)
    clock.advance(3600)
    crm.person("company", "1", {"Comp_Name": "A"})
    for _ in sage.changes("customer", begin):
        break  # stored nothing: the process ends here
    assert told(sage, begin)[0] == [("customer", "1", "updated")]


@pytest.mark.parametrize("order_allowed", [True, False])
@pytest.mark.parametrize("day_is_whole", [True, False])
def test_a_long_feed_is_complete_with_and_without_order_whatever_a_day_means(
    connected: Connect, crm: SageCrmEmulator, clock: FakeClock, order_allowed: bool, day_is_whole: bool
) -> None:
    crm.seed({"customers": 500, "age_seconds": 60})
    crm.faults.day_is_whole, crm.faults.order_allowed = day_is_whole, order_allowed
    sage = connected()
    mark = begun(sage)
    clock.advance(3600)
    for key in range(1, 251):
        crm.person("company", str(key), {"Comp_Name": f"N{key}"})
    crm.reset_stats()
    rows, mark = told(sage, mark)
    assert sorted(int(key) for entity, key, _ in rows if entity == "customer") == list(range(1, 251))
    assert told(sage, mark)[0] == []


def test_a_bulk_load_is_not_read_again_at_every_poll(root: str, crm: SageCrmEmulator, clock: FakeClock) -> None:
    crm.seed({"customers": 500, "age_seconds": 60})
    ours, chosen = FakeClock(), settings(root)
    login = BasicLogin(chosen.username, chosen.password)
    http = VendorHttp("crm", chosen.base_url, classify=login.classify, prepare=login.prepare)
    sage = SageCrmConnector("crm", chosen, maps={}, http=http, clock=ours)
    mark = begun(sage)
    ours.advance(61)
    _, mark = told(sage, mark)
    crm.reset_stats()
    assert told(sage, mark)[0] == []
    assert max(counted(crm).values()) <= 2  # newest first: the first page of either predicate tells that nothing came
    clock.advance(1)
    crm.person("person", "7", {"Pers_LastName": "Berg"})
    assert told(sage, mark)[0] == [("person", "7", "updated")]
    sage.close()


def test_links_of_persons_and_of_types_nobody_maps_are_no_news(
    sage: SageCrmConnector, crm: SageCrmEmulator, clock: FakeClock
) -> None:
    known = read(sage, create(sage))
    mark = begun(sage)
    clock.advance(3600)
    phone, person = int(known.children["phone@Fax"]), int(known.children["person"])
    links = [(13, person, "Business"), (5, int(known.key), "Home"), (5, int(known.key), "mobile")]
    for entity, record, kind in links:
        columns = {"PLink_EntityID": entity, "PLink_RecordID": record, "PLink_PhoneId": phone, "PLink_Type": kind}
        crm.person("phonelink", None, columns, "create")
    assert told(sage, mark)[0] == [("phone", str(phone), "updated")]


def test_a_sweep_shows_every_company_with_all_parts_and_goes_on_after_a_key(
    sage: SageCrmConnector, crm: SageCrmEmulator
) -> None:
    crm.seed({"customers": 120})
    crm.person("company", "7", {}, "delete")
    pages = list(sage.sweep("customer"))
    swept = [row.change.key for page in pages for row in page.rows]
    assert swept == [str(key) for key in range(1, 121) if key != 7]
    assert all(row.record and row.record.parts == sage.capabilities.all_parts for page in pages for row in page.rows)
    rest = [row.change.key for page in sage.sweep("customer", pages[0].watermark) for row in page.rows]
    assert rest == swept[100:]


def test_children_resolve_to_the_companies_that_show_them(sage: SageCrmConnector, crm: SageCrmEmulator) -> None:
    first, second = read(sage, create(sage)), read(sage, create(sage, comp_intacct_recordno="2"))
    hidden = crm.person("person", None, {"Pers_LastName": "Not primary", "Pers_CompanyId": int(first.key)}, "create")
    for part, name in (
        ("person", "person"),
        ("address", "address"),
        ("phone", "phone@Fax"),
        ("email", "email@Business"),
    ):
        asked = [first.children[name], second.children[name], "999", "x'"]
        assert sage.resolve_parts(part, asked) == {
            first.children[name]: [first.key],
            second.children[name]: [second.key],
            "999": [],
            "x'": [],
        }
    assert sage.resolve_parts("person", [hidden]) == {hidden: []}
    assert sage.resolve_parts("spaceship", ["1"]) == {"1": []}


def test_there_is_no_event_queue(sage: SageCrmConnector) -> None:
    assert list(sage.queue_events()) == []


def test_a_ping_of_the_emulated_script_verifies(sage: SageCrmConnector, crm: SageCrmEmulator) -> None:
    receiver = Receiver()
    crm.hooks.append(Hook(receiver.url, SECRET))
    known = read(sage, create(sage))
    notices = [receiver.got.get(timeout=10) for _ in range(9)]  # six rows, and each link announces its own
    changes = [change for headers, body in notices for change in sage.verify_hook(headers, body, NOW)]
    assert ("customer", known.key) in [(change.entity, change.key) for change in changes]
    assert {change.entity for change in changes} == {"customer", "person", "address", "phone", "email"}
    assert len({change.notice_id for change in changes}) == len(changes)
