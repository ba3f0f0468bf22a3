"""Account managers travel through mapping rows only (E16)."""

from __future__ import annotations

import pytest

from mappings.account_managers import Ambiguous, MapRow, Missing, Translated, in_step, translate

ONE = [MapRow("E-12", "4"), MapRow("E-13", "5")]
SEVERAL = [MapRow("E-12", "4"), MapRow("E-14", "4", preferred=True)]


def test_a_mapped_manager_becomes_its_counterpart_in_both_directions() -> None:
    assert translate(ONE, "erp", "E-12") == Translated("4")
    assert translate(ONE, "crm", "5") == Translated("E-13")


@pytest.mark.parametrize("nobody", [None, "", "  "])
def test_nobody_stays_nobody(nobody: str | None) -> None:
    assert translate([], "erp", nobody) == Translated(None)


def test_an_unmapped_manager_waits_on_a_key_that_names_the_system_that_was_edited() -> None:
    assert translate(ONE, "erp", "E-99") == Missing("account_manager:erp:E-99")
    assert translate(ONE, "crm", "99") == Missing("account_manager:crm:99")
    assert translate(ONE, "erp", "E-99", system="intacct_uk") == Missing("account_manager:intacct_uk:E-99")


def test_a_key_of_the_other_side_is_no_key_of_this_side() -> None:
    assert translate([MapRow("7", "8")], "crm", "7") == Missing("account_manager:crm:7")


def test_keys_are_told_apart_to_the_letter() -> None:
    assert translate([MapRow("007", "4")], "erp", "7") == Missing("account_manager:erp:7")


def test_several_erp_managers_may_stand_for_one_crm_user() -> None:
    assert translate(SEVERAL, "erp", "E-12") == Translated("4")
    assert translate(SEVERAL, "erp", "E-14") == Translated("4")


def test_the_preferred_one_is_taken_on_the_way_back() -> None:
    assert translate(SEVERAL, "crm", "4") == Translated("E-14")


@pytest.mark.parametrize("preferred", [False, True])
def test_without_exactly_one_preferred_a_person_has_to_say(preferred: bool) -> None:
    rows = [MapRow("E-12", "4", preferred), MapRow("E-14", "4", preferred)]
    assert translate(rows, "crm", "4") == Ambiguous(("E-12", "E-14"), "account_manager:crm:4")


def test_a_manager_mapped_to_the_same_counterpart_twice_is_not_ambiguous() -> None:
    assert translate([MapRow("E-1", "4"), MapRow("E-1", "4")], "erp", "E-1") == Translated("4")


def test_a_value_that_already_maps_to_the_other_side_is_in_step_though_another_row_is_preferred() -> None:
    assert in_step(SEVERAL, "E-12", "4")
    assert in_step(SEVERAL, "E-14", "4")


def test_unmapped_different_or_half_empty_managers_are_not_in_step() -> None:
    assert not in_step(ONE, "E-12", "5")
    assert not in_step(ONE, "E-99", "99")
    assert not in_step(ONE, "E-12", None)
    assert not in_step(ONE, None, "4")


def test_nobody_on_both_sides_is_in_step() -> None:
    assert in_step(ONE, None, "")
