"""The judge of random lives tells one field's story as it may have looked to us."""

from __future__ import annotations

from support.judge import FieldStory


def told(*events: tuple[str, str, str], seen: int | None = None) -> FieldStory:
    """Both sides agree on A, then this happens: side, value, by whom."""
    story = FieldStory(seen=seen)
    for at, (side, value, actor) in enumerate([("erp", "A", "api"), ("crm", "A", "api"), *events]):
        story.happened(side, value, actor, float(at))
    return story


BY_THEMSELVES = (("erp", "B", "person"), ("crm", "B", "person"))


def test_edits_on_both_sides_are_a_conflict_and_on_one_are_none() -> None:
    assert told(("erp", "B", "person"), ("crm", "C", "person")).conflict
    assert not told(("erp", "B", "person")).conflict
    assert not told(("erp", "B", "person"), ("crm", "C", "person"), ("erp", "A", "person")).conflict, "undone"


def test_a_write_of_ours_over_an_edit_is_a_lost_one() -> None:
    assert told(("erp", "B", "person"), ("erp", "C", "api")).lost == [("erp", 2.0, 3.0)]
    assert told(("erp", "B", "person"), ("crm", "B", "api")).lost == []


def test_people_who_agree_by_themselves_may_or_may_not_have_been_seen_to() -> None:
    once_more = (*BY_THEMSELVES, ("erp", "C", "person"))
    assert (told(*once_more).conflict, told(*once_more).met) == (False, 1)
    assert told(*once_more, seen=0).conflict, "to whoever did not look, both sides have changed"
    put_back = (*BY_THEMSELVES, ("erp", "A", "person"), ("erp", "B", "api"))
    assert told(*put_back).lost == [("erp", 4.0, 5.0)]
    assert told(*put_back, seen=0).lost == [], "to whoever did not look, only the CRM has changed"


def test_putting_back_what_both_had_is_no_new_agreement() -> None:
    assert told(("erp", "B", "person"), ("erp", "A", "person")).met == 0
    assert told(("erp", "B", "person"), ("crm", "B", "api")).met == 0
