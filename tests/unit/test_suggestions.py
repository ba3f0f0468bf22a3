"""Suggestions for the manager mapping: ranked, with reasons, exact only where nobody else could be meant (AM-5)."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from mappings.suggestions import suggest


@dataclass(frozen=True)
class Somebody:
    key: str
    ref: str = ""
    name: str = ""
    email: str | None = None


ADA = Somebody("E-1", "E-1", "Ada North", "ada@acme.example")


def test_the_same_address_is_exact_and_comes_first() -> None:
    others = [Somebody("3", "bsouth", "Ben South"), Somebody("2", "x", "A. N. Other", "ADA@acme.example ")]
    (found,) = suggest([ADA], others)
    assert (found.crm_key, found.exact, found.reasons) == ("2", True, ("same e-mail address",))


def test_an_address_that_several_share_is_not_exact() -> None:
    both = [Somebody(key, email="ada@acme.example") for key in "23"]
    assert [one.exact for one in suggest([ADA], both)] == [False, False]
    assert [one.exact for one in suggest([ADA, Somebody("E-2", email="ada@acme.example")], both[:1])] == [False, False]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ADA  NORTH", "same name"),
        ("North, Ada", "same name"),
        ("Áda North", "same name"),
        ("North Ada", "another order"),
    ],
)
def test_names_are_compared_without_case_marks_and_order(name: str, reason: str) -> None:
    (found,) = suggest([ADA], [Somebody("2", name=name)])
    assert reason in found.reasons[0] and not found.exact


@pytest.mark.parametrize("ref", ["AN", "anorth", "ada.north", "adan", "north.ada", "anorth@acme.example"])
def test_log_on_names_made_of_a_name_are_weak_hints(ref: str) -> None:
    (found,) = suggest([ADA], [Somebody("2", ref, "Somebody Else")])
    assert "initials" in found.reasons[0] and not found.exact


def test_nothing_in_common_is_no_suggestion_and_two_blanks_are_nothing_in_common() -> None:
    assert suggest([ADA], [Somebody("2", "bsouth", "Ben South", "ben@acme.example")]) == []
    assert suggest([Somebody("E-9")], [Somebody("9")]) == []


def test_the_best_few_come_first_for_each_and_ties_are_always_in_the_same_order() -> None:
    crm = [Somebody(str(n), "an", "X") for n in range(9)] + [
        Somebody("best", email="ada@acme.example", name="Ada North")
    ]
    found = suggest([ADA], crm)
    assert [one.crm_key for one in found] == ["best", "0", "1"]
    assert suggest([ADA], list(reversed(crm))) == found
