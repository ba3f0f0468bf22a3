"""The Sage CRM connector reads what is there: only the asked tables, each once, and nothing that is not known."""

from __future__ import annotations

import threading

import pytest

from support.sage_crm_connector import (
    ADDRESS,
    COLUMNS,
    COMPANY,
    EMAIL,
    NORTHWIND,
    NOW,
    PERSON,
    PHONE,
    Connect,
    counted,
    create,
    read,
)
from sync_worker.connectors.base import Ask, Connector, Criteria
from sync_worker.connectors.context import guard
from sync_worker.connectors.sage_crm import finding
from sync_worker.connectors.sage_crm.client import SageCrmConnector
from sync_worker.connectors.sage_crm.emulator import SageCrmEmulator
from sync_worker.errors import (
    AuthFailed,
    RateLimited,
    SystemUnavailable,
)

pytest_plugins = ("support.sage_crm_fixtures", "support.sage_crm_connected")


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


def test_gumu_12_ticks_cost_a_company_column_nothing_and_an_address_one_read_more(
    connected: Connect, crm: SageCrmEmulator
) -> None:
    sage = connected(address_type="Sage Intacct")
    known = read(sage, create(sage))
    crm.reset_stats()
    read(sage, known.key, COMPANY, known.children)
    assert counted(crm) == {"query company": 1}
    crm.reset_stats()
    assert read(sage, known.key, ADDRESS, known.children).native["Addr_City"] == NORTHWIND["Addr_City"]
    assert counted(crm) == {"query address_link": 1, "query address": 1}


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


def test_e8_a_type_known_to_have_no_phone_is_left_out_of_a_first_look_and_found_by_any_other(
    sage: SageCrmConnector, crm: SageCrmEmulator
) -> None:
    known = read(sage, create(sage))
    assert known.children["phone@Mobile"] == ""
    phone = crm.person("phone", None, {"Phon_Number": "07700 900123"}, "create")
    link = {"PLink_EntityID": 5, "PLink_RecordID": int(known.key), "PLink_PhoneId": int(phone), "PLink_Type": "Mobile"}
    crm.person("phonelink", None, link, "create")
    crm.reset_stats()
    first = read(sage, known.key, PHONE, known.children)
    assert counted(crm) == {"query phone": 1}
    assert "Phon_Number@Mobile" not in first.native  # unknown, not empty
    assert first.children == {name: key for name, key in known.children.items() if name.startswith("phone")}
    held = {name: key for name, key in known.children.items() if key}
    for other in (read(sage, known.key, PHONE, held), read(sage, known.key, -1, known.children)):
        assert other.native["Phon_Number@Mobile"] == "07700 900123"
        assert other.children["phone@Mobile"] == phone


def test_a_customer_known_to_have_no_phone_at_all_is_looked_up(sage: SageCrmConnector) -> None:
    known = read(sage, create(sage))
    nothing = {name: "" for name in known.children if name.startswith("phone")}
    assert read(sage, known.key, PHONE, nothing).children["phone@Business"] == known.children["phone@Business"]


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


# --- searching -------------------------------------------------------------------------------------------------------


def test_names_that_begin_alike_hold_the_very_name_so_it_is_not_asked_for_again(
    sage: SageCrmConnector, crm: SageCrmEmulator
) -> None:
    key = create(sage, Comp_Name="Orchard & Foods Ltd")
    crm.reset_stats()
    ((found,),) = sage.find_many("customer", [Criteria(name="Orchard & Foods Ltd")])
    assert found.key == key
    assert counted(crm) == {"query company": 1}


def test_the_very_name_is_found_however_many_names_begin_alike(
    sage: SageCrmConnector, crm: SageCrmEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "_SIMILAR", 2)
    crm.faults.page_cap = 1
    names = ("Orchard North", "Orchard South", "Orchard East", "Orchard")
    keys = [crm.person("company", None, {"Comp_Name": name}, "create") for name in names]
    ((found,),) = sage.find_many("customer", [Criteria(name="Orchard")])
    assert found.key == keys[-1]


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
    assert "systems.crm.webhook_secret" in failed(connected(webhook_secret="", invoices=True))["webhook_secret"]
    assert "systems.crm.webhook_secret" in failed(connected(webhook_secret="whsec_x"))["webhook_secret"]
    wrong = failed(connected(columns={**COLUMNS, "erp_ref": "comp_nosuch"}))
    assert "systems.crm.columns.erp_ref" in wrong["column comp_nosuch"]


def test_doctor_finds_nothing_wrong_with_an_installation_that_only_polls(connected: Connect) -> None:
    (secret,) = [check for check in connected(webhook_secret="").check() if check.name == "webhook_secret"]
    assert secret.ok
    assert secret.detail == "not set: notices of this system are refused, changes are found by polling"


def test_doctor_sees_hidden_columns_and_closed_entities(connected: Connect, crm: SageCrmEmulator) -> None:
    crm.seed({"customers": 1})
    crm.faults.hidden_columns, crm.faults.unexposed = ["comp_vatnumber"], ["EmailLink"]
    assert set(failed(connected())) == {"column comp_vatnumber", "read EmailLink"}
