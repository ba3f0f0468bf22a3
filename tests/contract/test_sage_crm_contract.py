"""The Sage CRM connector over real sockets against its emulator: what the port promises, and what goes wrong."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from mappings.canonical import MapSettings
from mappings.sage_crm import customer_map
from sync_worker.connectors.base import Ask, Connector, Criteria, Record, Write
from sync_worker.connectors.emulation import EmulatorServer, Hook
from sync_worker.connectors.http import guard
from sync_worker.connectors.sage_crm.client import SageCrmConnector, SageCrmSettings, connect
from sync_worker.connectors.sage_crm.emulator import SageCrmEmulator
from sync_worker.errors import (
    AuthFailed,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    Rejected,
    SystemUnavailable,
)

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
COLUMNS = {
    "tax_number": "comp_vatnumber",
    "erp_key": "comp_intacct_recordno",
    "erp_ref": "comp_intacct_customerid",
    "erp_company": "comp_intacct_company",
}
COMPANY, PERSON, ADDRESS, PHONE, EMAIL = 1, 2, 4, 8, 16
NORTHWIND: dict[str, Any] = {
    "Comp_Name": "Northwind Tools",
    "Comp_Type": "Customer",
    "Comp_WebSite": "http://northwind.test",
    "comp_intacct_recordno": "501",
    "comp_intacct_company": "Acme UK",
    "Pers_FirstName": "Ina",
    "Pers_LastName": "Holt",
    "Addr_Address1": "1 Mill Lane",
    "Addr_City": "Leeds",
    "Addr_Country": "GB",
    "Phon_CountryCode@Business": "44",
    "Phon_AreaCode@Business": "113",
    "Phon_Number@Business": "4960000",
    "Phon_Number@Fax": "4960001",
    "Emai_EmailAddress@Business": "ap@northwind.test",
}


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def crm(clock: Clock) -> SageCrmEmulator:
    return SageCrmEmulator(seed=1, clock=clock)


@pytest.fixture
def root(crm: SageCrmEmulator) -> Iterator[str]:
    with EmulatorServer(crm) as url:
        yield url


def settings(root: str, **changes: Any) -> SageCrmSettings:
    base = SageCrmSettings(
        base_url=f"{root}/sdata/crmj/sagecrm2/-",
        username="sync",
        password="demo-password",
        webhook_secret=SECRET,
        timezone="Europe/London",
        columns=COLUMNS,
        erp_company="Acme UK",
    )
    return replace(base, **changes)


Connect = Callable[..., SageCrmConnector]


@pytest.fixture
def connected(root: str) -> Iterator[Connect]:
    made: list[SageCrmConnector] = []

    def make(**changes: Any) -> SageCrmConnector:
        chosen = settings(root, **changes)
        maps = {"customer": customer_map(MapSettings(columns=dict(chosen.columns), default_country="GB"))}
        made.append(connect("crm", chosen, maps=maps))
        return made[-1]

    yield make
    for connector in made:
        connector.close()


@pytest.fixture
def sage(connected: Connect) -> SageCrmConnector:
    return connected()


def create(sage: SageCrmConnector, **changes: Any) -> str:
    (outcome,) = sage.write_many("customer", [Write(None, {**NORTHWIND, **changes})])
    assert outcome.error is None, outcome.error
    assert outcome.key is not None
    return outcome.key


def read(sage: SageCrmConnector, key: str, parts: int = -1, children: Mapping[str, str] | None = None) -> Record:
    record = sage.read_many("customer", [Ask(key, parts, children or {})])[key]
    assert record is not None
    return record


def update(sage: SageCrmConnector, record: Record, columns: dict[str, Any], **more: Any) -> Any:
    (outcome,) = sage.write_many("customer", [Write(record.key, columns, record, **more)])
    return outcome


def counted(crm: SageCrmEmulator) -> dict[str, int]:
    return {name: count for name, count in crm.calls.items() if count}


def test_it_is_a_connector(sage: SageCrmConnector) -> None:
    port: Connector = sage
    assert port.capabilities.parts == ("company", "person", "address", "phone", "email")
    assert port.capabilities.mask("customer") == COMPANY
    assert port.capabilities.mask("email") == EMAIL
    assert port.capabilities.correlation and port.capabilities.answers_with_stored and port.capabilities.has_persons


# --- reading ---------------------------------------------------------------------------------------------------------


def test_a_created_customer_reads_back_with_all_its_tables(sage: SageCrmConnector) -> None:
    record = read(sage, create(sage))
    assert {name: record.native[name] for name in NORTHWIND} == NORTHWIND
    assert record.parts == sage.capabilities.all_parts
    assert record.native["Phon_Number@Mobile"] is None
    assert record.children["phone@Mobile"] == ""
    assert all(record.children[name] for name in ("person", "address", "phone@Business", "phone@Fax", "email@Business"))
    assert record.created_at == NOW


def test_every_column_of_the_mapping_is_there_so_that_no_field_is_unknown(sage: SageCrmConnector) -> None:
    record = read(sage, create(sage))
    assert set(sage.maps["customer"].get(record.native)) == set(sage.maps["customer"].fields)


def test_a_company_with_nothing_but_a_name_is_known_to_be_empty(sage: SageCrmConnector, crm: SageCrmEmulator) -> None:
    key = crm.person("company", None, {"Comp_Name": "Bare"}, "create")
    record = read(sage, key)
    assert record.native["Pers_LastName"] is None
    assert record.native["Addr_City"] is None
    assert set(record.children.values()) == {""}


def test_unknown_deleted_and_impossible_keys_are_nobody(sage: SageCrmConnector, crm: SageCrmEmulator) -> None:
    gone = create(sage)
    crm.person("company", gone, {}, "delete")
    keys = [gone, "999", "0", "x' or 1 eq 1", ""]
    assert sage.read_many("customer", [Ask(key) for key in keys]) == dict.fromkeys(keys)


def test_only_the_asked_tables_are_read_once_for_a_whole_batch(sage: SageCrmConnector, crm: SageCrmEmulator) -> None:
    crm.seed({"customers": 40})
    keys = [str(key) for key in range(1, 41)]
    crm.reset_stats()
    assert len(sage.read_many("customer", [Ask(key) for key in keys])) == 40
    tables = ("company", "person", "address", "phonelink", "phone", "emaillink", "email")
    assert counted(crm) == {f"query {table}": 1 for table in tables}


def test_an_echo_of_a_company_column_costs_one_read(sage: SageCrmConnector, crm: SageCrmEmulator) -> None:
    known = read(sage, create(sage))
    crm.reset_stats()
    record = read(sage, known.key, COMPANY, known.children)
    assert counted(crm) == {"query company": 1}
    assert record.parts == COMPANY
    assert "Pers_LastName" not in record.native


@pytest.mark.parametrize(
    ("part", "table"), [(PERSON, "person"), (ADDRESS, "address"), (EMAIL, "email")], ids=["person", "address", "email"]
)
def test_a_known_child_is_read_without_its_link(
    sage: SageCrmConnector, crm: SageCrmEmulator, part: int, table: str
) -> None:
    known = read(sage, create(sage))
    crm.reset_stats()
    record = read(sage, known.key, part, known.children)
    assert counted(crm) == {f"query {table}": 1}
    assert record.parts == part


def test_a_type_that_had_no_phone_is_looked_up_again(sage: SageCrmConnector, crm: SageCrmEmulator) -> None:
    known = read(sage, create(sage))
    phone = crm.person("phone", None, {"Phon_Number": "07700 900123"}, "create")
    link = {"PLink_EntityID": 5, "PLink_RecordID": int(known.key), "PLink_PhoneId": int(phone), "PLink_Type": "Mobile"}
    crm.person("phonelink", None, link, "create")
    record = read(sage, known.key, PHONE, known.children)
    assert record.native["Phon_Number@Mobile"] == "07700 900123"
    assert record.children["phone@Mobile"] == phone


def test_a_whole_look_believes_no_known_phone(sage: SageCrmConnector, crm: SageCrmEmulator) -> None:
    create(sage)
    mobile = {"Phon_Number@Mobile": "1"}
    known = read(sage, create(sage, **mobile))
    (link,) = [
        row
        for row in crm.list_records("phonelink")
        if row["PLink_RecordID"] == int(known.key) and row["PLink_Type"] == "Fax"
    ]
    crm.person("phonelink", str(link["PLink_LinkID"]), {}, "delete")
    assert read(sage, known.key, PHONE, known.children).native["Phon_Number@Fax"] == "4960001"
    assert read(sage, known.key, -1, known.children).native["Phon_Number@Fax"] is None


def test_a_switched_primary_person_is_read_even_when_only_the_company_was_asked(
    sage: SageCrmConnector, crm: SageCrmEmulator
) -> None:
    known = read(sage, create(sage))
    other = crm.person("person", None, {"Pers_FirstName": "Ola", "Pers_LastName": "Berg"}, "create")
    crm.person("company", known.key, {"Comp_PrimaryPersonId": int(other)})
    record = read(sage, known.key, COMPANY, known.children)
    assert record.native["Pers_LastName"] == "Berg"
    assert record.children["person"] == other
    assert record.parts == COMPANY | PERSON


def test_a_known_person_that_is_gone_leads_back_to_the_company(sage: SageCrmConnector, crm: SageCrmEmulator) -> None:
    known = read(sage, create(sage))
    other = crm.person("person", None, {"Pers_FirstName": "Ola", "Pers_LastName": "Berg"}, "create")
    crm.person("company", known.key, {"Comp_PrimaryPersonId": int(other)})
    crm.person("person", known.children["person"], {}, "delete")
    record = read(sage, known.key, PERSON, known.children)
    assert record.native["Pers_LastName"] == "Berg"


def test_a_phone_that_was_deleted_is_empty_but_a_deleted_company_is_nobody(
    sage: SageCrmConnector, crm: SageCrmEmulator
) -> None:
    known = read(sage, create(sage))
    crm.person("phone", known.children["phone@Business"], {}, "delete")
    assert read(sage, known.key, PHONE, known.children).native["Phon_Number@Business"] is None
    crm.person("company", known.key, {}, "delete")
    assert sage.read_many("customer", [Ask(known.key, PHONE, known.children)]) == {known.key: None}


def test_a_hidden_person_is_unknown_not_empty(sage: SageCrmConnector, crm: SageCrmEmulator) -> None:
    known = read(sage, create(sage))
    crm.person("person", known.children["person"], {}, "delete")
    record = read(sage, known.key)
    assert "Pers_LastName" not in record.native
    assert not record.parts & PERSON


def test_columns_taken_away_by_field_security_are_absent(sage: SageCrmConnector, crm: SageCrmEmulator) -> None:
    key = create(sage)
    crm.faults.hidden_columns = ["Comp_WebSite", "Phon_AreaCode", "Addr_City"]
    native = read(sage, key).native
    hidden = ("Comp_WebSite", "Phon_AreaCode@Business", "Phon_AreaCode@Fax", "Addr_City")
    assert not [name for name in hidden if name in native]
    assert native["Phon_Number@Business"] == "4960000"


def test_a_small_page_cap_loses_no_row(sage: SageCrmConnector, crm: SageCrmEmulator) -> None:
    crm.seed({"customers": 60})
    crm.faults.page_cap = 7
    found = sage.read_many("customer", [Ask(str(key)) for key in range(1, 61)])
    assert [r.native["Phon_Number@Business"] is not None for r in found.values() if r] == [True] * 60


@pytest.mark.parametrize("form", ["z", "offset"])
def test_dates_in_either_form_are_the_same_moment(sage: SageCrmConnector, crm: SageCrmEmulator, form: str) -> None:
    key = create(sage)
    crm.faults.datetime_form = form
    assert read(sage, key).updated_at == NOW


def test_helper_threads_act_in_the_callers_name(connected: Connect, crm: SageCrmEmulator) -> None:
    sage = connected(concurrency=4)
    crm.seed({"customers": 1})
    asked: list[tuple[str, float]] = []

    def note(seconds: float) -> None:
        asked.append((threading.current_thread().name, seconds))

    token = guard.set(note)
    try:
        read(sage, "1")
    finally:
        guard.reset(token)
    assert len(asked) >= 7


def test_what_a_helper_thread_raises_reaches_the_caller(connected: Connect, crm: SageCrmEmulator) -> None:
    class LeaseLost(Exception):
        pass

    def lost(seconds: float) -> None:
        raise LeaseLost

    sage = connected(concurrency=4)
    crm.seed({"customers": 1})
    token = guard.set(lost)
    try:
        with pytest.raises(LeaseLost):
            sage.read_many("customer", [Ask("1")])
    finally:
        guard.reset(token)
    assert counted(crm) == {}


# --- updating --------------------------------------------------------------------------------------------------------


def test_only_the_changed_tables_are_written_and_the_answer_shows_what_is_stored(
    sage: SageCrmConnector, crm: SageCrmEmulator
) -> None:
    known = read(sage, create(sage))
    crm.faults.upper = ["Comp_Name", "Addr_City"]
    crm.reset_stats()
    columns = {"Comp_Name": "Northwind & Sons", "Addr_City": "York", "Phon_Number@Fax": "77"}
    outcome = update(sage, known, columns)
    assert outcome.error is None
    assert outcome.stored == {"Comp_Name": "NORTHWIND & SONS", "Addr_City": "YORK", "Phon_Number@Fax": "77"}
    assert counted(crm) == {"update company": 1, "update address": 1, "update phone": 1}
    native = read(sage, known.key).native
    assert (native["Addr_City"], native["Addr_Address1"], native["Phon_Number@Fax"]) == ("YORK", "1 Mill Lane", "77")


def test_a_missing_phone_is_made_with_its_link_and_only_once(sage: SageCrmConnector, crm: SageCrmEmulator) -> None:
    known = read(sage, create(sage))
    made = update(sage, known, {"Phon_CountryCode@Mobile": "44", "Phon_Number@Mobile": "7700 900123"})
    assert made.error is None
    assert made.stored["Phon_Number@Mobile"] == "7700 900123"
    phones = len(crm.list_records("phone"))
    again = update(sage, known, {"Phon_Number@Mobile": "7700 900124"})  # the worker forgot the first: it is found
    assert again.children == made.children
    assert len(crm.list_records("phone")) == phones
    assert read(sage, known.key).native["Phon_Number@Mobile"] == "7700 900124"


def test_clearing_empties_the_columns_and_deletes_nothing(sage: SageCrmConnector, crm: SageCrmEmulator) -> None:
    known = read(sage, create(sage))
    phone = [f"Phon_{name}@Business" for name in ("CountryCode", "AreaCode", "Number")]
    outcome = update(sage, known, {**dict.fromkeys(phone), "Emai_EmailAddress@Business": None})
    assert outcome.error is None
    assert set(outcome.stored.values()) == {None}
    record = read(sage, known.key)
    assert record.native["Phon_Number@Business"] is None
    assert record.children == known.children
    assert not [row for row in crm.ledger if row.op == "delete"]


def test_clearing_what_is_not_there_calls_nobody(sage: SageCrmConnector, crm: SageCrmEmulator) -> None:
    known = read(sage, create(sage))
    crm.reset_stats()
    outcome = update(sage, known, {"Phon_Number@Mobile": None})
    assert (outcome.error, outcome.stored) == (None, {"Phon_Number@Mobile": None})
    assert crm.writes == 0


def test_a_first_address_and_person_are_made_linked_and_primary(sage: SageCrmConnector, crm: SageCrmEmulator) -> None:
    key = crm.person("company", None, {"Comp_Name": "Bare"}, "create")
    bare = read(sage, key)
    columns = {"Pers_FirstName": "Ina", "Pers_LastName": "Holt", "Addr_Address1": "1 Mill Lane", "Addr_City": None}
    outcome = update(sage, bare, columns)
    assert outcome.error is None
    record = read(sage, key)
    assert record.children["person"] == outcome.children["person"]
    assert (record.native["Pers_LastName"], record.native["Addr_Address1"]) == ("Holt", "1 Mill Lane")
    (link,) = [row for row in crm.list_records("address_link") if row["AdLi_CompanyID"] == int(key)]
    assert link["AdLi_Type"] == "Business"
    assert [row["PeLi_CompanyID"] for row in crm.list_records("person_link")] == [int(key)]


def test_an_address_made_before_a_crash_is_found_again_not_made_twice(
    sage: SageCrmConnector, crm: SageCrmEmulator
) -> None:
    key = crm.person("company", None, {"Comp_Name": "Bare"}, "create")
    bare = read(sage, key)
    columns = {"Addr_Address1": "1 Mill Lane", "Addr_City": "Leeds"}
    crm.faults.fail_next = [{"operation": "update company", "fault": "before_apply"}]
    assert isinstance(update(sage, bare, columns).error, OutcomeUnknown)
    outcome = update(sage, bare, columns)
    assert outcome.error is None
    assert len(crm.list_records("address")) == 1
    assert read(sage, key).native["Addr_City"] == "Leeds"


def test_e12_a_new_contact_is_added_and_made_primary_never_renamed(
    sage: SageCrmConnector, crm: SageCrmEmulator
) -> None:
    known = read(sage, create(sage))
    outcome = update(sage, known, {"Pers_FirstName": "Ola", "Pers_LastName": "O'Berg"}, new_person=True)
    assert outcome.error is None
    assert outcome.children["person"] != known.children["person"]
    assert read(sage, known.key).native["Pers_LastName"] == "O'Berg"
    old = crm.get_record("person", known.children["person"])
    assert old is not None
    assert old["Pers_LastName"] == "Holt"
    back = update(sage, read(sage, known.key), {"Pers_FirstName": "ina", "Pers_LastName": "HOLT"}, new_person=True)
    assert back.children["person"] == known.children["person"]
    assert back.stored == {"Pers_FirstName": "Ina", "Pers_LastName": "Holt"}
    assert len(crm.list_records("person")) == 2


def test_a_refused_column_is_named_and_the_other_tables_still_travel(
    sage: SageCrmConnector, crm: SageCrmEmulator
) -> None:
    known = read(sage, create(sage))
    crm.faults.refuse = {"Phon_Number": ["666"]}
    outcome = update(sage, known, {"Phon_Number@Fax": "666", "Emai_EmailAddress@Business": "new@northwind.test"})
    assert isinstance(outcome.error, Rejected)
    assert outcome.error.column == "Phon_Number@Fax"
    assert sage.maps["customer"].field_of_column(outcome.error.column) == "fax"
    assert outcome.stored == {"Emai_EmailAddress@Business": "new@northwind.test"}


def test_a_refusal_of_the_company_writes_nothing_else(sage: SageCrmConnector, crm: SageCrmEmulator) -> None:
    known = read(sage, create(sage))
    crm.faults.refuse_longer = {"Comp_Name": 5}
    written = len(crm.ledger)
    outcome = update(sage, known, {"Comp_Name": "Much too long", "Addr_City": "York"})
    assert isinstance(outcome.error, Rejected)
    assert outcome.error.column == "Comp_Name"
    assert len(crm.ledger) == written


@pytest.mark.parametrize("form", ["diagnoses", "diagnosis", "xml", "html"])
def test_a_refusal_in_any_form_is_understood_and_quotes_nothing(
    sage: SageCrmConnector, crm: SageCrmEmulator, form: str
) -> None:
    known = read(sage, create(sage))
    crm.faults.refuse, crm.faults.error_form = {"Comp_Name": ["Secret Name"]}, form
    error = update(sage, known, {"Comp_Name": "Secret Name"}).error
    assert isinstance(error, Rejected)
    assert error.status == 400
    assert error.column == (None if form == "html" else "Comp_Name")
    assert "Secret" not in str(error)


def test_a_write_to_a_deleted_company_is_not_found(sage: SageCrmConnector, crm: SageCrmEmulator) -> None:
    known = read(sage, create(sage))
    crm.person("company", known.key, {}, "delete")
    assert isinstance(update(sage, known, {"Comp_Name": "x"}).error, NotFound)
    assert isinstance(update(sage, replace(known, key="x"), {"Comp_Name": "x"}).error, NotFound)


def test_a_child_deleted_meanwhile_is_made_anew_with_all_it_held(sage: SageCrmConnector, crm: SageCrmEmulator) -> None:
    known = read(sage, create(sage))
    crm.person("address", known.children["address"], {}, "delete")
    outcome = update(sage, known, {"Addr_City": "York"})
    assert outcome.error is None
    native = read(sage, known.key).native
    assert (native["Addr_Address1"], native["Addr_City"]) == ("1 Mill Lane", "York")


def test_a_server_without_patch_is_written_with_put_from_then_on(sage: SageCrmConnector, crm: SageCrmEmulator) -> None:
    known = read(sage, create(sage))
    crm.faults.patch_allowed = False
    crm.reset_stats()
    assert update(sage, known, {"Comp_Name": "A"}).error is None
    assert update(sage, known, {"Comp_Name": "B"}).error is None
    assert crm.calls["update company"] == 3  # one refused PATCH, two PUTs
    assert read(sage, known.key).native["Addr_City"] == "Leeds"


def test_a_batch_of_writes_has_one_outcome_each_in_order(sage: SageCrmConnector, crm: SageCrmEmulator) -> None:
    crm.seed({"customers": 12})
    crm.faults.refuse = {"Comp_Name": ["Name 5"]}
    writes = [Write(str(key), {"Comp_Name": f"Name {key}"}) for key in range(1, 13)]
    outcomes = sage.write_many("customer", writes)
    assert [outcome.key for outcome in outcomes] == [write.key for write in writes]
    assert [outcome.key for outcome in outcomes if outcome.error] == ["5"]


# --- creating --------------------------------------------------------------------------------------------------------


def test_a_create_is_one_write_and_knows_its_children(sage: SageCrmConnector, crm: SageCrmEmulator) -> None:
    (outcome,) = sage.write_many("customer", [Write(None, NORTHWIND)])
    assert outcome.error is None
    assert crm.writes == 1
    assert outcome.stored["comp_intacct_recordno"] == "501"
    assert outcome.key is not None
    shown = read(sage, outcome.key).children
    assert {**shown, "phone@Mobile": ""} == {**outcome.children, "phone@Mobile": ""}


def test_without_nested_creates_it_goes_step_by_step_and_remembers(
    sage: SageCrmConnector, crm: SageCrmEmulator
) -> None:
    crm.faults.nested_create = False
    record = read(sage, create(sage))
    assert {name: record.native[name] for name in NORTHWIND} == NORTHWIND
    assert len(crm.list_records("company")) == 1
    person = crm.get_record("person", record.children["person"])
    assert person is not None
    assert person["Pers_PrimaryAddressId"] == int(record.children["address"])
    crm.reset_stats()
    create(sage, Comp_Name="Second", comp_intacct_recordno="502")
    assert crm.calls["create company"] == 1


def test_a_refused_value_refuses_the_whole_create_and_is_no_reason_to_go_step_by_step(
    sage: SageCrmConnector, crm: SageCrmEmulator
) -> None:
    crm.faults.refuse = {"Phon_Number": ["4960001"]}
    (outcome,) = sage.write_many("customer", [Write(None, NORTHWIND)])
    assert isinstance(outcome.error, Rejected)
    assert outcome.key is None
    assert crm.list_records("company") == []
    assert crm.calls["create company"] == 1
    crm.faults.refuse = {}
    crm.reset_stats()
    create(sage)
    assert crm.writes == 1


def test_a_child_that_fails_after_the_company_exists_leaves_key_and_error(
    sage: SageCrmConnector, crm: SageCrmEmulator
) -> None:
    crm.faults.nested_create = False
    crm.faults.refuse = {"Addr_City": ["Leeds"]}
    (outcome,) = sage.write_many("customer", [Write(None, NORTHWIND)])
    assert outcome.key is not None
    assert isinstance(outcome.error, Rejected)
    assert outcome.error.column == "Addr_City"
    assert read(sage, outcome.key).native["Pers_LastName"] == "Holt"


@pytest.mark.parametrize("fault", ["lost_after_apply", "before_apply", "reset", "500", "503"])
def test_a_create_whose_answer_is_lost_has_an_unknown_outcome_and_is_not_repeated(
    sage: SageCrmConnector, crm: SageCrmEmulator, fault: str
) -> None:
    crm.faults.fail_next = [{"operation": "create company", "fault": fault}]
    (outcome,) = sage.write_many("customer", [Write(None, NORTHWIND)])
    assert isinstance(outcome.error, OutcomeUnknown)
    assert outcome.key is None
    assert crm.calls["create company"] == 1
    applied = fault in ("lost_after_apply", "reset")
    ((*found,),) = sage.find_many("customer", [Criteria(correlation="501")])
    assert len(found) == int(applied)


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
    sage: SageCrmConnector, crm: SageCrmEmulator, clock: Clock
) -> None:
    for _ in range(25):
        crm.person("company", None, {"Comp_Name": "Acme"}, "create")
    clock.now += 1000
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


def test_every_table_has_its_feed(sage: SageCrmConnector, crm: SageCrmEmulator, clock: Clock) -> None:
    known = read(sage, create(sage))
    mark = begun(sage)
    clock.now += 3600
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
    sage: SageCrmConnector, crm: SageCrmEmulator, clock: Clock
) -> None:
    _, mark = told(sage, None)
    clock.now += 100
    key = create(sage)
    rows = [row for page in sage.changes("customer", mark) for row in page.rows if row.change.entity == "customer"]
    (row,) = rows
    assert row.record is not None
    assert (row.change.op, row.change.at, row.record.parts) == ("created", NOW + 100, COMPANY)
    assert row.record.native["Comp_Name"] == "Northwind Tools"
    assert row.record.children == {part: read(sage, key).children[part] for part in ("person", "address")}


def test_the_overlap_is_told_again_only_to_a_caller_with_an_older_watermark(
    sage: SageCrmConnector, crm: SageCrmEmulator, clock: Clock
) -> None:
    crm.seed({"customers": 3})
    begin = begun(sage)
    clock.now += 3600
    crm.person("company", "2", {"Comp_Name": "A"})
    first, mark = told(sage, begin)
    assert first == [("customer", "2", "updated")]
    assert told(sage, mark)[0] == []
    crm.person("company", "2", {"Comp_Name": "B"})  # within the same second: its stamp does not move
    assert told(sage, mark)[0] == [("customer", "2", "updated")]
    assert ("customer", "2", "updated") in told(sage, begin)[0]


def test_a_poll_that_was_not_finished_tells_everything_again(
    sage: SageCrmConnector, crm: SageCrmEmulator, clock: Clock
) -> None:
    crm.seed({"customers": 3})
    begin = begun(sage)
    clock.now += 3600
    crm.person("company", "1", {"Comp_Name": "A"})
    for _ in sage.changes("customer", begin):
        break  # stored nothing: the process ends here
    assert told(sage, begin)[0] == [("customer", "1", "updated")]


@pytest.mark.parametrize("order_allowed", [True, False])
@pytest.mark.parametrize("day_is_whole", [True, False])
def test_a_long_feed_is_complete_with_and_without_order_whatever_a_day_means(
    connected: Connect, crm: SageCrmEmulator, clock: Clock, order_allowed: bool, day_is_whole: bool
) -> None:
    crm.seed({"customers": 500, "age_seconds": 60})
    crm.faults.day_is_whole, crm.faults.order_allowed = day_is_whole, order_allowed
    sage = connected()
    mark = begun(sage)
    clock.now += 3600
    for key in range(1, 251):
        crm.person("company", str(key), {"Comp_Name": f"N{key}"})
    crm.reset_stats()
    rows, mark = told(sage, mark)
    assert sorted(int(key) for entity, key, _ in rows if entity == "customer") == list(range(1, 251))
    crm.reset_stats()
    assert told(sage, mark)[0] == []
    if order_allowed:  # newest first: a quiet poll does not read the whole day again
        assert crm.calls["query person"] <= 2


def test_links_of_persons_and_of_types_nobody_maps_are_no_news(
    sage: SageCrmConnector, crm: SageCrmEmulator, clock: Clock
) -> None:
    known = read(sage, create(sage))
    mark = begun(sage)
    clock.now += 3600
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
    assert rest == swept[50:]


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
    crm.hooks.append(Hook("http://worker.test/hooks/crm", SECRET))
    known = read(sage, create(sage))
    changes = [change for notice in crm.take_notices() for change in sage.verify_hook(notice.headers, notice.body, NOW)]
    assert ("customer", known.key) in [(change.entity, change.key) for change in changes]
    assert {change.entity for change in changes} == {"customer", "person", "address", "phone", "email"}
    assert len({change.notice_id for change in changes}) == len(changes)


# --- people, errors, doctor ------------------------------------------------------------------------------------------


def test_the_directory_tells_who_has_left(sage: SageCrmConnector) -> None:
    managers = {manager.ref: manager for manager in sage.list_managers()}
    assert managers["sellers1"].key == "2"
    assert (managers["sellers1"].name, managers["sellers1"].email) == ("Ada North", "ada@crm.test")
    assert [ref for ref, manager in managers.items() if not manager.active] == ["leaver"]


def test_a_refused_login_is_tried_once_and_then_rests(connected: Connect, crm: SageCrmEmulator) -> None:
    sage = connected(password="wrong")
    for _ in range(5):
        with pytest.raises(AuthFailed):
            sage.read_many("customer", [Ask("1")])
    assert sum(crm.calls.values()) <= 2  # calls that were under way together


@pytest.mark.parametrize(
    ("fault", "error"),
    [("503", SystemUnavailable), ("500", SystemUnavailable), ("transient", SystemUnavailable), ("429", RateLimited)],
)
def test_what_a_failing_server_says_on_reads(
    sage: SageCrmConnector, crm: SageCrmEmulator, fault: str, error: type[Exception]
) -> None:
    crm.seed({"customers": 1})
    crm.faults.fail_next = [{"operation": "*", "fault": fault}] * 3
    crm.faults.retry_after_s = 30
    with pytest.raises(error) as caught:
        read(sage, "1", COMPANY)
    assert getattr(caught.value, "after", None) == (30.0 if fault == "429" else None)


def test_a_short_failure_on_a_read_is_not_noticed(sage: SageCrmConnector, crm: SageCrmEmulator) -> None:
    crm.seed({"customers": 1})
    crm.faults.fail_next = [{"operation": "read", "fault": "503"}]
    assert read(sage, "1").key == "1"


def test_a_wrong_address_is_unavailable_not_an_empty_system(connected: Connect, root: str) -> None:
    for path in ("/elsewhere", "/sdata/crmj/sagecrm2/-/nosuch"):
        with pytest.raises(SystemUnavailable):
            connected(base_url=root + path).read_many("customer", [Ask("1")])


def test_an_entity_that_is_not_exposed_is_a_permission_error(sage: SageCrmConnector, crm: SageCrmEmulator) -> None:
    key = create(sage)
    crm.faults.unexposed = ["PhoneLink"]
    with pytest.raises(AuthFailed):
        read(sage, key, PHONE)
    assert read(sage, key, COMPANY).key == key


def failed(sage: SageCrmConnector) -> dict[str, str]:
    return {check.name: check.fix for check in sage.check() if not check.ok}


def test_doctor_finds_nothing_wrong_with_a_good_installation(sage: SageCrmConnector, crm: SageCrmEmulator) -> None:
    crm.seed({"customers": 1})
    writes = crm.writes
    checks = sage.check()
    assert failed(sage) == {}
    assert {"login", "webhook_secret", "read Phone", "column comp_vatnumber"} <= {check.name for check in checks}
    assert crm.writes == writes


def test_doctor_names_the_setting_that_is_wrong(connected: Connect, crm: SageCrmEmulator) -> None:
    crm.seed({"customers": 1})
    assert "systems.crm.password" in failed(connected(password="wrong"))["login"]
    assert "systems.crm.base_url" in failed(connected(base_url="http://127.0.0.1:9/x"))["login"]
    assert "systems.crm.webhook_secret" in failed(connected(webhook_secret=""))["webhook_secret"]
    assert "systems.crm.webhook_secret" in failed(connected(webhook_secret="whsec_x"))["webhook_secret"]
    wrong = failed(connected(columns={**COLUMNS, "erp_ref": "comp_nosuch"}))
    assert "systems.crm.columns.erp_ref" in wrong["column comp_nosuch"]


def test_doctor_sees_hidden_columns_and_closed_entities(connected: Connect, crm: SageCrmEmulator) -> None:
    crm.seed({"customers": 1})
    crm.faults.hidden_columns, crm.faults.unexposed = ["comp_vatnumber"], ["EmailLink"]
    assert set(failed(connected())) == {"column comp_vatnumber", "read EmailLink"}
