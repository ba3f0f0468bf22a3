"""E7 and E11: what of a read is no edit, by values and by when its row was last changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from mappings.belief import Believed, Look, believe, changed_fields, stood
from mappings.fields import Field, FieldMap, Value
from mappings.memory import Memory
from support.text_fields import field_map

STALE = 30.0


def test_e7_a_value_replaced_a_moment_ago_is_not_believed_and_after_the_window_it_is() -> None:
    fmap, memory = field_map("name"), Memory()
    memory.note_replaced("erp", "name", "old", 100.0)
    early = believe("erp", Look({"name": "new"}, {"name": "old"}, 120.0, STALE), fmap, memory, {"name": "new"})
    assert early.now == {} and early.stale == {"name": 130.0}
    late = believe("erp", Look({"name": "new"}, {"name": "old"}, 131.0, STALE), fmap, memory, {"name": "new"})
    assert late.now == {"name": "old"} and not late.stale


def test_e11_the_first_read_after_our_write_that_lost_something_known_becomes_the_past() -> None:
    fmap = field_map("name")
    memory = Memory(wrote={"erp": {"name": {"old": "a", "sure": False}}})
    cut = believe("erp", Look({"name": "Acme Trading"}, {"name": "ACME TRA"}, 100.0, STALE), fmap, memory, {})
    assert cut.was["erp"] == {"name": "ACME TRA"}
    assert changed_fields(cut.was["erp"], cut.now, fmap) == set()
    later = believe("erp", Look({"name": "ACME TRA"}, {"name": "ACME"}, 200.0, STALE), fmap, memory, {})
    assert changed_fields(later.was["erp"], later.now, fmap) == {"name"}


def test_e11_any_other_difference_after_our_write_is_an_edit() -> None:
    fmap = field_map("name")
    memory = Memory(wrote={"erp": {"name": {"old": "a", "sure": False}}})
    edited = believe("erp", Look({"name": "Acme"}, {"name": "Beta"}, 100.0, STALE), fmap, memory, {})
    assert changed_fields(edited.was["erp"], edited.now, fmap) == {"name"}


def test_e11_a_write_whose_end_was_never_learned_is_recognised_by_its_value() -> None:
    fmap, memory = field_map("name"), Memory()
    memory.note_try("crm", "name", "Acme Trading", "Acme Trading", 90.0)
    seen = believe("crm", Look({"name": "Acme"}, {"name": "Acme Tra"}, 100.0, STALE), fmap, memory, {"name": "Acme"})
    assert seen.was == {"crm": {"name": "Acme Tra"}, "erp": {"name": "Acme Trading"}}


BEFORE, AFTER = "2026-03-01T09:00:00Z", "2026-03-01T09:00:07Z"


def in_rows(**rows: str) -> FieldMap:
    """Text fields and the rows they live in."""
    fields: dict[str, Field] = {}
    for name, row in rows.items():
        fields[name] = replace(field_map(name).fields[name], row=row)
    return FieldMap("customer", fields, main="company")


FMAP = in_rows(name="company", website="company", phone="phone@Business")


def stands(stamp: str, row: str = "company", **seen: Value) -> dict[str, Any]:
    return {"row": row, "stamp": stamp, "seen": seen}


def tried(**values: str) -> Memory:
    """A pass wrote these over ``old`` and never ended; the other side held the same."""
    memory = Memory()
    for name, value in values.items():
        memory.note_try("crm", name, value, value, 90.0, held="old", stood=stands(BEFORE))
    return memory


def read(memory: Memory, stamp: str | None = AFTER, was: Mapping[str, Value] | None = None, **now: str) -> Believed:
    """The next pass reads the CRM, where all fields were ``old``."""
    stamps = {} if stamp is None else dict.fromkeys(("company", "phone@Business"), stamp)
    past = was or dict.fromkeys(now, "old")
    return believe("crm", Look(past, now, 200.0, STALE, stamps), FMAP, memory, dict.fromkeys(now, "old"))


def test_what_was_put_back_over_our_write_is_an_edit_since_its_row_has_moved() -> None:
    memory = tried(name="new")
    memory.take["name"] = "erp"
    seen = read(memory, name="old")
    assert (seen.was["crm"], seen.was["erp"], seen.relearned) == ({"name": "new"}, {"name": "old"}, {"name"})
    assert not memory.tried["crm"] and not memory.stood["crm"] and not memory.take


@pytest.mark.parametrize("stamp", [BEFORE, None])
def test_a_row_that_has_not_moved_or_says_nothing_was_never_written(stamp: str | None) -> None:
    memory = tried(name="new")
    assert read(memory, stamp, name="old").was["crm"] == {"name": "old"}
    assert memory.tried["crm"]["name"] and memory.stood["crm"]["name"]["stamp"] == BEFORE


def test_another_edit_in_the_row_explains_that_it_moved_and_what_moves_it_later_tells_nothing() -> None:
    memory = tried(name="new")
    assert read(memory, name="old", website="edited").was["crm"]["name"] == "old"
    later = read(memory, "2026-03-01T10:00:00Z", {"name": "old", "website": "edited"}, name="old", website="edited")
    assert later.was["crm"]["name"] == "old"


def test_an_edit_that_was_seen_before_the_write_does_not_explain_it_and_one_made_to_it_since_does() -> None:
    memory = Memory()
    look = Look({"name": "old", "website": "w"}, {"name": "old", "website": "x"}, 80.0, STALE, {"company": BEFORE})
    stands_now = stood("name", look, FMAP, changed_fields(look.was, look.now, FMAP))
    assert stands_now == stands(BEFORE, website="x")
    memory.note_try("crm", "name", "new", "new", 90.0, held="old", stood=stands_now)
    again = Memory.load(memory.dump())
    later = replace(look, stamps={"company": AFTER})
    assert believe("crm", later, FMAP, memory, {"name": "old"}).was["crm"] == {"name": "new", "website": "w"}
    since = replace(later, now={"name": "old", "website": "y"})
    assert believe("crm", since, FMAP, again, {"name": "old"}).was["crm"] == {"name": "old", "website": "w"}


def test_of_a_row_that_says_nothing_of_when_it_was_changed_nothing_is_noted() -> None:
    assert stood("name", Look({"name": "old"}, {"name": "old"}, 80.0, STALE), FMAP, ()) is None


def test_an_edit_in_another_row_explains_nothing() -> None:
    assert read(tried(name="new"), name="old", phone="edited").was["crm"] == {"name": "new", "phone": "old"}


def test_another_field_of_the_same_write_that_landed_proves_it_and_of_another_write_it_explains() -> None:
    both = read(tried(name="new", website="new"), name="old", website="new")
    assert both.was["crm"] == {"name": "new", "website": "new"} and set(both.landed) == {"website"}
    memory = tried(name="new")
    memory.note_try("crm", "website", "new", "new", 95.0, held="old", stood=stands(BEFORE))
    assert read(memory, name="old", website="new").was["crm"] == {"name": "old", "website": "new"}


def test_a_field_that_landed_proves_nothing_where_it_may_have_been_an_earlier_write_of_the_same_value() -> None:
    memory = tried(website="new")
    for name in ("name", "website"):
        memory.note_try("crm", name, "new", "new", 95.0, held="old", stood=stands(BEFORE))
    assert read(memory, name="old", website="new").was["crm"] == {"name": "old", "website": "new"}
    both = tried(name="new", website="new")
    for name in ("name", "website"):
        both.note_try("crm", name, "new", "new", 95.0, held="old", stood=stands(BEFORE))
    assert read(both, name="old", website="new").was["crm"] == {"name": "new", "website": "new"}


def test_a_row_that_was_not_looked_at_by_itself_then_or_now_tells_nothing() -> None:
    memory = Memory()
    memory.note_try("crm", "name", "new", "new", 90.0, held="old", stood=stands("", "contact"))
    assert read(memory, name="old").was["crm"] == {"name": "old"}


def test_a_write_of_ours_that_ended_well_moves_the_row_itself() -> None:
    memory = tried(name="new")
    memory.stood.pop("crm")
    assert read(memory, name="old").was["crm"] == {"name": "old"}


def test_a_value_that_is_neither_ours_nor_what_it_replaced_is_an_edit_as_ever() -> None:
    assert read(tried(name="new"), name="third").was["crm"] == {"name": "old"}
    unlike = Memory()
    unlike.note_try("crm", "name", "new", "new", 90.0, held="other", stood=stands(BEFORE))
    assert read(unlike, name="old").was["crm"] == {"name": "old"}


def test_what_a_row_said_is_kept_for_a_pass_that_never_ends_and_forgotten_with_the_try() -> None:
    claimed = tried(name="new")
    mine = Memory.load(claimed.dump())
    mine.stood["crm"].pop("name")  # judged by this pass, whose end nobody knows
    mine.note_try("crm", "website", "new", "new", 300.0, held="old", stood=stands(AFTER))
    mine.note_try("crm", "phone", "new", "new", 300.0, held=None)
    kept = mine.unended(claimed)
    assert kept.stood["crm"] == {"name": stands(BEFORE), "website": stands(AFTER)}
    again = Memory.load(kept.dump())
    again.forget(1_000.0, {"erp": STALE, "crm": STALE}, {"crm": 1_000.0}, {"erp": (), "crm": ("name", "website")})
    assert again.stood == {"crm": {}}
