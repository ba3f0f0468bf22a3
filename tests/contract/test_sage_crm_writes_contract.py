"""The Sage CRM connector writes what it was told, once, and says what became of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support.sage_crm_connector import NORTHWIND, counted, create, read, update
from sync_worker.connectors.base import Criteria, Write
from sync_worker.connectors.sage_crm.client import SageCrmConnector
from sync_worker.connectors.sage_crm.emulator import SageCrmEmulator
from sync_worker.errors import (
    NotFound,
    OutcomeUnknown,
    Rejected,
)

pytest_plugins = ("support.sage_crm_fixtures", "support.sage_crm_connected")


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


def test_a_create_is_one_call_whose_answer_shows_its_primary_children(
    sage: SageCrmConnector, crm: SageCrmEmulator
) -> None:
    (outcome,) = sage.write_many("customer", [Write(None, NORTHWIND)])
    assert outcome.error is None
    assert crm.writes == 1
    assert outcome.stored["comp_intacct_recordno"] == "501"
    assert outcome.key is not None
    shown = read(sage, outcome.key).children
    assert outcome.children == {part: shown[part] for part in ("person", "address")}
    assert all(shown[name] for name in ("phone@Business", "phone@Fax", "email@Business")), "the next read shows them"


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
