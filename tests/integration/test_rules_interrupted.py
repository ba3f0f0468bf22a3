"""E6 and E11 after a pass that ended between a write and its save: what was written is found, whatever came since."""

from __future__ import annotations

import pytest

from support.judge import in_step, read_current
from support.judged import COLUMNS
from support.rules import Make, Pair, pair, rest, row_of, run_once, stale_reads, when
from support.world import Crash, World

NAME = "Comp_Name"
NEW = {"website": "http://nordwind.example", "email": "nord@wind.example", "city": "York"}


def written_and_never_saved(world: World, erp: str, name: str) -> None:
    """The customer is renamed; the worker dies after the CRM has taken the new name, and its lease runs out."""
    world.edit_erp(erp, name=name)
    dies_when_written(world, "crm", "update company")


def dies_when_written(world: World, side: str, operation: str = "write", *, applied: bool = True) -> None:
    """What is known is carried to one side, whose first write is (or is not) applied; then the worker dies."""
    world.deliver()
    when(world.vendors[side], operation, die, after=applied)
    with world.crashing_after(10_000):
        world.work()


def die() -> None:
    raise Crash


@pytest.mark.parametrize("echo", ["before", "after", "never"])
def test_e6_a_name_put_back_before_anybody_saw_our_write_is_put_back_on_the_other_side_too(
    make_light: Make, echo: str
) -> None:
    world = make_light()
    one = pair(world, "Northwind Tools")
    written_and_never_saved(world, one.erp, "Nordwind Tools")
    assert world.crm_record(one.crm)[NAME] == "Nordwind Tools"
    if echo == "never":
        world.crm.take_notices()
    if echo == "after":
        late = world.crm.take_notices()
    world.edit_erp(one.erp, name="Northwind Tools")
    rest(world)
    if echo == "after":
        world.crm.post_notice(late)
        rest(world)
    assert (world.erp_record(one.erp)["name"], world.crm_record(one.crm)[NAME]) == ("Northwind Tools",) * 2
    assert row_of(world, crm=one.crm).state == "in_sync"


def test_e11_an_edit_made_after_an_interrupted_write_travels(make_light: Make) -> None:
    world = make_light()
    one = pair(world, "Northwind Tools")
    written_and_never_saved(world, one.erp, "Nordwind Tools")
    world.edit_erp(one.erp, name="Westwind Tools")
    rest(world)
    assert world.crm_record(one.crm)[NAME] == "Westwind Tools"
    assert [w.after[NAME] for w in world.written("crm") if NAME in w.after] == ["Nordwind Tools", "Westwind Tools"]


def types(world: World, side: str, one: Pair, **values: str) -> None:
    """A person fills in fields of one side."""
    for name, value in values.items():
        column, table, crm_column = COLUMNS[name]
        if side == "erp":
            world.edit_erp(one.erp, **{column: value})
        else:
            key = one.crm if table == "Company" else world.crm_child_key(one.crm, table)
            world.crm.person(table, key, {crm_column: value})


def shown(world: World, one: Pair, name: str) -> dict[str, str]:
    erp, crm = read_current(world, one.erp, one.crm)[name]
    return {"erp": erp, "crm": crm}


def edited_and_written(world: World, source: str, target: str, one: Pair, **values: str) -> None:
    """Fields are edited at ``source``, and the worker dies as soon as ``target`` has taken them; nobody is told."""
    world.clock.advance(60)
    types(world, source, one, **values)
    dies_when_written(world, target)
    for vendor in world.vendors.values():
        vendor.take_notices()
    world.clock.advance(5)


def put_back_is_asked_about(
    world: World, one: Pair, source: str, target: str, name: str = "website", **also: str
) -> None:
    """A field, and ``also`` others, are edited and written, and the worker dies; a person puts that field back."""
    before = shown(world, one, name)
    edited_and_written(world, source, target, one, **{name: NEW[name], **also})
    assert in_step(*shown(world, one, name).values()), "our write was applied"
    types(world, target, one, **{name: before[target]})
    rest(world)
    assert shown(world, one, name) == {source: NEW[name], target: before[target]}
    parked = row_of(world, crm=one.crm).opens["address" if name == "city" else name]
    assert (parked.why, parked.cause) == ("conflict", "both_changed")


@pytest.mark.parametrize(("source", "target"), [("crm", "erp"), ("erp", "crm")])
@pytest.mark.parametrize("name", ["website", "email", "city"])
def test_e11_what_an_interrupted_write_replaced_and_a_person_put_back_is_a_conflict_and_not_written_over(
    make_light: Make, source: str, target: str, name: str
) -> None:
    world = make_light()
    one = pair(world)
    put_back_is_asked_about(world, one, source, target, name)
    assert row_of(world, crm=one.crm).state == "conflict"


@pytest.mark.parametrize(("source", "target"), [("crm", "erp"), ("erp", "crm")])
def test_e11_a_second_field_of_the_same_write_that_was_left_alone_tells_that_the_first_was_put_back(
    make_light: Make, source: str, target: str
) -> None:
    world = make_light()
    one = pair(world)
    put_back_is_asked_about(world, one, source, target, tax_number="GB987654321")
    assert set(row_of(world, crm=one.crm).opens) == {"website"}
    assert in_step(*shown(world, one, "tax_number").values())


@pytest.mark.parametrize("target", ["erp", "crm"])
def test_e11_a_write_that_was_never_applied_is_made_again_also_where_another_field_was_edited(
    make_light: Make, target: str
) -> None:
    world = make_light()
    one = pair(world)
    source = "crm" if target == "erp" else "erp"
    world.clock.advance(60)
    types(world, source, one, website=NEW["website"])
    dies_when_written(world, target, applied=False)
    assert not in_step(*shown(world, one, "website").values())
    world.clock.advance(5)
    types(world, target, one, tax_number="GB987654321")
    rest(world)
    assert in_step(*shown(world, one, "website").values()) and in_step(*shown(world, one, "tax_number").values())
    assert row_of(world, crm=one.crm).state == "in_sync"


@pytest.mark.parametrize(("source", "target"), [("crm", "erp"), ("erp", "crm")])
def test_e7_the_stamp_of_an_older_version_makes_no_conflict_of_a_write_that_was_never_applied(
    make_light: Make, source: str, target: str
) -> None:
    world = make_light()
    one = pair(world)
    types(world, source, one, website=NEW["website"])
    world.deliver()
    world.work()
    assert in_step(*shown(world, one, "website").values())
    world.clock.advance(5)
    stale_reads(world, target)
    types(world, source, one, tax_number="GB987654321")
    world.vendors[target].faults.merge({"fail_next": [{"operation": "write", "fault": "503"}]})
    world.deliver()
    world.work()
    assert row_of(world, crm=one.crm).opens["website"].why == "stale", "it was an older version that was read"
    assert not in_step(*shown(world, one, "tax_number").values())
    world.vendors[target].faults.merge({"p_stale_read": 0.0})
    rest(world)
    assert row_of(world, crm=one.crm).state == "in_sync" and in_step(*shown(world, one, "tax_number").values())


@pytest.mark.parametrize(("source", "target"), [("crm", "erp"), ("erp", "crm")])
def test_e11_a_write_found_applied_that_was_sent_twice_does_not_say_that_what_went_with_the_second_was_put_back(
    make_light: Make, source: str, target: str
) -> None:
    world = make_light()
    one = pair(world)
    vendor = world.vendors[target]
    vendor.faults.merge({"fail_next": [{"operation": "write", "fault": "lost_after_apply"}]})
    when(vendor, "write", lambda: world.clock.advance(1), after=True)
    types(world, source, one, website=NEW["website"])
    world.deliver()
    run_once(world.app)
    assert in_step(*shown(world, one, "website").values()), "our write was applied"
    stale_reads(world, target)
    types(world, source, one, tax_number="GB987654321")
    vendor.faults.merge({"fail_next": [{"operation": "write", "fault": "503"}]})
    world.deliver()
    world.work()
    assert not in_step(*shown(world, one, "tax_number").values())
    vendor.faults.merge({"p_stale_read": 0.0})
    rest(world)
    assert row_of(world, crm=one.crm).state == "in_sync" and in_step(*shown(world, one, "tax_number").values())


@pytest.mark.parametrize(("source", "target"), [("crm", "erp"), ("erp", "crm")])
@pytest.mark.parametrize("parked", ["conflict", "waiting"])
def test_e11_a_parked_field_of_the_row_explains_nothing_for_as_long_as_it_stays_as_it_was_seen(
    make_light: Make, source: str, target: str, parked: str
) -> None:
    world = make_light()
    one = pair(world)
    if parked == "conflict":
        types(world, "erp", one, tax_number="GB111111111")
        types(world, "crm", one, tax_number="GB222222222")
    else:
        world.edit_crm(one.crm, Comp_PrimaryUserId=5)
    rest(world)
    assert [parked] == [one.why for one in row_of(world, crm=one.crm).opens.values()]
    put_back_is_asked_about(world, one, source, target)


@pytest.mark.parametrize(("source", "target"), [("crm", "erp"), ("erp", "crm")])
def test_e11_a_field_that_only_one_side_has_explains_nothing(make_light: Make, source: str, target: str) -> None:
    world = make_light(crm='  [systems.crm.phone_types]\n  fax = ""')
    put_back_is_asked_about(world, pair(world), source, target)


@pytest.mark.parametrize("end", ["dies", "lost_after_apply"])
def test_e11_another_row_of_the_same_record_that_was_written_explains_nothing(make_light: Make, end: str) -> None:
    world = make_light()
    one = pair(world)
    before = shown(world, one, "city")
    types(world, "erp", one, website=NEW["website"], city=NEW["city"])
    if end == "dies":
        dies_when_written(world, "crm", "update address")
    else:
        world.crm.faults.merge({"fail_next": [{"operation": "update address", "fault": end}]})
        world.deliver()
        run_once(world.app)
    assert shown(world, one, "city")["crm"] == NEW["city"], "our write was applied"
    for vendor in world.vendors.values():
        vendor.take_notices()
    world.clock.advance(1)
    types(world, "crm", one, city=before["crm"])
    rest(world)
    assert shown(world, one, "city") == {"erp": NEW["city"], "crm": before["crm"]}
    assert set(row_of(world, crm=one.crm).opens) == {"address"}
    assert in_step(*shown(world, one, "website").values())


@pytest.mark.parametrize("end", ["503", "dies"])
def test_e11_a_contact_that_is_written_apart_from_its_customer_is_written_again_where_only_the_customer_was(
    make_light: Make, end: str
) -> None:
    world = make_light()
    world.erp.faults.merge({"writable_default_contact": False})
    one = pair(world)
    types(world, "crm", one, website="http://learnt.example")
    rest(world)  # the writer has learnt it
    types(world, "crm", one, email=NEW["email"], tax_number="GB987654321")
    if end == "dies":
        dies_when_written(world, "erp", "patch contact", applied=False)
    else:
        world.erp.faults.merge({"fail_next": [{"operation": "patch contact", "fault": end}]})
        world.deliver()
        run_once(world.app)
    assert in_step(*shown(world, one, "tax_number").values()) and not in_step(*shown(world, one, "email").values())
    rest(world)
    assert row_of(world, crm=one.crm).state == "in_sync"
    assert in_step(*shown(world, one, "email").values())
