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


def test_what_a_write_of_ours_replaced_and_somebody_put_back_may_be_missed_where_the_row_was_edited_elsewhere() -> None:
    story = told(("crm", "B", "person"), ("erp", "B", "api"))
    story.row_edited("erp", put_back=False)
    story.happened("erp", "A", "person", 4.0)
    story.happened("erp", "B", "api", 5.0)
    assert (story.lost, story.undone, story.clouded) == ([], [("erp", 4.0, 5.0)], set())
    plain = told(("crm", "B", "person"), ("erp", "B", "api"), ("erp", "A", "person"), ("erp", "B", "api"))
    assert (plain.lost, plain.undone) == ([("erp", 4.0, 5.0)], [])
    another = told(("crm", "B", "person"), ("erp", "B", "api"))
    another.row_edited("erp", put_back=True)
    another.happened("erp", "C", "person", 4.0)
    assert another.blurred == {"erp"}
    another.happened("erp", "B", "api", 5.0)
    assert (another.lost, another.undone, another.blurred) == ([("erp", 4.0, 5.0)], [], set())


def test_an_edit_over_a_write_of_ours_stays_one_when_people_agree_by_themselves() -> None:
    ours = (("crm", "B", "person"), ("erp", "B", "api"), ("erp", "C", "person"), ("erp", "B", "person"))
    assert told(*ours).over_ours
    assert not told(*ours, ("erp", "D", "person"), ("crm", "D", "api")).over_ours


def test_an_edit_that_was_taken_back_while_somebody_edited_over_our_write_of_it_may_be_missed() -> None:
    carried = (("erp", "B", "person"), ("crm", "B", "api"))
    story = told(*carried, ("crm", "C", "person"), ("erp", "A", "person"), ("erp", "C", "api"))
    assert (story.lost, story.undone) == ([], [("erp", 5.0, 6.0)])
    another = told(*carried, ("crm", "C", "person"), ("erp", "D", "person"), ("erp", "C", "api"))
    assert (another.lost, another.undone) == ([("erp", 5.0, 6.0)], [])


def test_a_lost_edit_that_a_stale_read_showed_all_the_same_was_carried_over() -> None:
    lost = (("erp", "B", "person"), ("crm", "C", "person"), ("crm", "B", "api"))
    assert told(*lost).revived == set()
    carried = (*lost, ("erp", "C", "api"))
    assert told(*carried).revived == {"crm"}, "the CRM shows what we had written there, and that looks like an edit"
    assert told(*carried, ("erp", "D", "person")).revived == {"crm"}
    assert told(*carried, ("crm", "C", "api")).revived == set()
    assert told(*carried, ("erp", "B", "api")).revived == set()
