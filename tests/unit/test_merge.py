"""The merge against a reference that was written differently, and each of its rules by example."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from mappings.belief import Look
from mappings.fields import FieldMap, Value
from mappings.memory import Memory, Side
from mappings.merge import FieldPolicy, Missing, Open, Plan, Policy, Sides, merge
from mappings.settle import Results, Settled, Written, settle
from support.text_fields import field_map

STALE = 30.0
NOW = 1000.0


def same(name: str, source: Side, value: Value) -> Value | Missing:
    return value


def never_in_step(name: str, erp: Value, crm: Value) -> bool:
    return False


def sides(
    erp: tuple[Any, Any],
    crm: tuple[Any, Any],
    policy: Policy | None = None,
    *,
    opens: dict[str, Open] | None = None,
    translate: Any = same,
    maps: dict[Side, FieldMap] | None = None,
    at: float = NOW,
) -> Sides:
    """One field called ``name``: (was, now) per side; ``...`` as was = no past."""
    looks = [
        Look({} if was is ... else {"name": was}, {} if now is ... else {"name": now}, at, STALE)
        for was, now in (erp, crm)
    ]
    both: dict[Side, FieldMap] = {"erp": field_map("name"), "crm": field_map("name")}
    return Sides(*looks, maps or both, policy or Policy(), translate, never_in_step, opens or {})


def carry_out(s: Sides, memory: Memory | None = None) -> tuple[dict[str, Any], Settled]:
    """Decide and do everything the plan says: the values both sides end up with, and the new pasts."""
    memory = memory or Memory()
    plan = merge(s, memory)
    after: dict[str, Any] = {"erp": s.erp.now.get("name"), "crm": s.crm.now.get("name")}
    results = Results()
    for side in ("erp", "crm"):
        for name, value in plan.writes(side).items():  # type: ignore[arg-type]
            after[side] = s.maps[side].fit(name, value)  # type: ignore[index]
            results.done.setdefault(side, {})[name] = Written(after[side], True, NOW)  # type: ignore[arg-type]
    return after, settle(s, plan, results, memory)


def reference(was_e: Any, now_e: Any, was_c: Any, now_c: Any, policy: Policy) -> tuple[Any, Any, str | None]:
    """The table of the design, as a table: what both sides hold afterwards, and why the field is open, if it is."""
    may = {side: policy.may_write(side, "name") for side in ("erp", "crm")}  # type: ignore[arg-type]
    moved = (now_e != was_e, now_c != was_c)
    if now_e == now_c or moved == (False, False):
        return now_e, now_c, None
    if moved == (True, False):
        return (now_e, now_e, None) if may["crm"] else (now_e, now_c, None)
    if moved == (False, True):
        return (now_c, now_c, None) if may["erp"] else (now_e, now_c, None)
    verdict = {
        (True, True): policy.on_conflict,
        (True, False): "crm",
        (False, True): "erp",
        (False, False): "nobody",
    }[may["erp"], may["crm"]]
    winner = {"erp": now_e, "crm": now_c}
    if verdict in winner:
        return winner[verdict], winner[verdict], None
    return now_e, now_c, "conflict" if verdict == "review" else None


POLICIES = [
    Policy(direction=d, on_conflict=c, fields={"name": FieldPolicy(owner=o)})
    for d, c, o in product(
        ("both", "to_crm", "to_erp", "none"), ("review", "erp", "crm"), ("both", "erp", "crm", "none")
    )
]  # fmt: skip


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: f"{p.direction}-{p.on_conflict}-{p.fields['name'].owner}")
def test_the_merge_equals_a_reference_written_as_a_table(policy: Policy) -> None:
    values = (None, "a", "b", "c")
    for was_e, now_e, was_c, now_c in product(values, repeat=4):
        s = sides((was_e, now_e), (was_c, now_c), policy)
        after, settled = carry_out(s)
        expected_e, expected_c, open_why = reference(was_e, now_e, was_c, now_c, policy)
        case = (was_e, now_e, was_c, now_c)
        assert (after["erp"], after["crm"]) == (expected_e, expected_c), case
        assert (settled.opens["name"].why if settled.opens else None) == open_why, case


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: f"{p.direction}-{p.on_conflict}-{p.fields['name'].owner}")
def test_a_second_merge_of_what_the_first_one_left_writes_nothing(policy: Policy) -> None:
    values = (None, "a", "b")
    for was_e, now_e, was_c, now_c in product((..., *values), values, (..., *values), values):
        memory = Memory()
        after, settled = carry_out(sides((was_e, now_e), (was_c, now_c), policy), memory)
        past = {side: settled.was[side].get("name", ...) for side in ("erp", "crm")}  # type: ignore[index]
        again = sides((past["erp"], after["erp"]), (past["crm"], after["crm"]), policy, opens=settled.opens)
        plan = merge(again, memory)
        assert not plan.writes("erp") and not plan.writes("crm"), (was_e, now_e, was_c, now_c)


def test_e9_blanks_never_erase_at_the_first_link_up_and_a_lone_value_fills_the_blank_side() -> None:
    assert carry_out(sides((..., "a"), (..., None)))[0] == {"erp": "a", "crm": "a"}
    assert carry_out(sides((..., None), (..., "b")))[0] == {"erp": "b", "crm": "b"}


@pytest.mark.parametrize(("initial", "expected"), [("erp", "a"), ("crm", "b")])
def test_e9_initial_decides_the_first_link_up_where_both_sides_have_a_value(initial: Any, expected: str) -> None:
    after, _ = carry_out(sides((..., "a"), (..., "b"), Policy(initial=initial)))
    assert after == {"erp": expected, "crm": expected}


def test_e9_review_leaves_both_values_alone_at_the_first_link_up() -> None:
    after, settled = carry_out(sides((..., "a"), (..., "b")))
    assert after == {"erp": "a", "crm": "b"}
    assert settled.opens["name"].cause == "first_link_up"


def test_e9_clearing_travels_unless_the_field_says_otherwise() -> None:
    assert carry_out(sides(("a", None), ("a", "a")))[0]["crm"] is None
    stays = Policy(fields={"name": FieldPolicy(clear_on_empty=False)})
    after, settled = carry_out(sides(("a", None), ("a", "a"), stays))
    assert after["crm"] == "a"
    assert settled.was["erp"]["name"] is None


def test_e10_the_past_of_a_conflicting_field_stays_what_it_was() -> None:
    _, settled = carry_out(sides(("a", "b"), ("a", "c")))
    assert settled.was["erp"]["name"] == settled.was["crm"]["name"] == "a"
    assert settled.opens["name"].why == "conflict"


def test_e10_a_field_parked_at_first_link_up_takes_the_side_that_changed_since() -> None:
    parked = Open("waiting", "manager_unmapped", waiting_on="k", erp_seen="a", crm_seen="b")
    after, _ = carry_out(sides((..., "a"), (..., "c"), opens={"name": parked}))
    assert after == {"erp": "c", "crm": "c"}
    after, settled = carry_out(sides((..., "a"), (..., "b"), opens={"name": parked}))
    assert (after, settled.opens["name"].why) == ({"erp": "a", "crm": "b"}, "conflict")


def test_e13_a_change_against_the_direction_is_reported_and_its_past_advances() -> None:
    memory = Memory()
    after, settled = carry_out(sides(("a", "a"), ("a", "b"), Policy(direction="to_crm")), memory)
    assert after == {"erp": "a", "crm": "b"}
    assert settled.was["crm"]["name"] == "b"
    assert memory.blocked == {"name": "not_to_erp"}


def test_e13_overwrite_puts_the_value_of_the_owner_back_and_journals_it() -> None:
    after, _ = carry_out(sides(("a", "a"), ("a", "b"), Policy(direction="to_crm", overwrite=True)))
    assert after == {"erp": "a", "crm": "a"}


def test_e15_a_refused_value_rests_until_either_side_changes() -> None:
    parked = Open("refused", "refused", erp_seen="bad", crm_seen="a", side="crm")
    s = sides(("a", "bad"), ("a", "a"), opens={"name": parked})
    assert not merge(s, Memory()).writes("crm")
    s = sides(("a", "good"), ("a", "a"), opens={"name": parked})
    assert merge(s, Memory()).writes("crm") == {"name": "good"}


def test_e16_a_value_without_a_mapping_opens_only_its_own_field() -> None:
    def unmapped(name: str, source: Side, value: Value) -> Value | Missing:
        return Missing("account_manager:erp:E-12", "manager_unmapped") if value == "E-12" else value

    after, settled = carry_out(sides(("E-1", "E-12"), ("u1", "u1"), translate=unmapped))
    assert after["crm"] == "u1"
    assert settled.opens["name"].waiting_on == "account_manager:erp:E-12"
    assert settled.was["erp"]["name"] == "E-1"


def bounce(memory: Memory, side: Side, value: str, was: str, at: float) -> Plan:
    """``side`` changes from ``was`` back to ``value``; the other side still holds ``was``."""
    pair = {"erp": (was, was), "crm": (was, was), side: (was, value)}
    s = sides(pair["erp"], pair["crm"], at=at)
    plan = merge(s, memory)
    results = Results()
    for target in ("erp", "crm"):
        for name, v in plan.writes(target).items():  # type: ignore[arg-type]
            results.done[target] = {name: Written(v, True, at)}  # type: ignore[index]
    settle(s, plan, results, memory)
    return plan


def test_e14_the_third_alternating_bounce_stops_as_a_conflict() -> None:
    memory = Memory()
    assert bounce(memory, "erp", "on", "off", 100).writes("crm") == {"name": "on"}
    assert bounce(memory, "crm", "off", "on", 200).writes("erp") == {"name": "off"}
    assert bounce(memory, "erp", "on", "off", 300).writes("crm") == {"name": "on"}
    stopped = bounce(memory, "crm", "off", "on", 400)
    assert not stopped.writes("erp")
    assert stopped.steps[0].open is not None and stopped.steps[0].open.cause == "rewritten"


def test_e14_a_person_who_toggles_one_side_is_no_bounce() -> None:
    memory = Memory()
    for at in range(100, 1000, 100):
        old, new = ("on", "off") if (at // 100) % 2 else ("off", "on")
        assert bounce(memory, "erp", new, old, at).writes("crm") == {"name": new}


def test_e14_a_script_that_insists_against_overwrite_is_stopped_at_the_third_return() -> None:
    memory, policy = Memory(), Policy(direction="to_crm", overwrite=True)
    opens: dict[str, Open] = {}
    codes = []
    for at in (100.0, 200.0, 300.0, 400.0, 500.0):
        s = sides(("a", "a"), ("a", "script"), policy, opens=opens, at=at)
        plan = merge(s, memory)
        results = Results(done={"crm": {n: Written(v, True, at) for n, v in plan.writes("crm").items()}})
        opens = settle(s, plan, results, memory).opens
        codes.append(plan.steps[0].code)
    assert codes == ["put_back", "put_back", "put_back", "conflict", "conflict"]
    assert opens["name"].cause == "rewritten"


def test_a_value_is_in_step_when_the_target_holds_what_it_would_store_of_it() -> None:
    maps: dict[Side, FieldMap] = {"erp": field_map("name"), "crm": field_map("name", limit=4)}
    after, settled = carry_out(sides(("a", "abcdef"), ("a", "a"), maps=maps))
    assert (after["crm"], settled.was["crm"]["name"], settled.was["erp"]["name"]) == ("abcd", "abcd", "abcdef")
    plan = merge(sides(("abcdef", "abcdefg"), ("abcd", "abcd"), maps=maps), Memory())
    assert not plan.writes("crm")


def test_a_person_may_settle_a_conflict_with_a_side_or_a_value_of_their_own() -> None:
    conflict = Open("conflict", "both_changed", erp_seen="b", crm_seen="c")
    s = sides(("a", "b"), ("a", "c"), opens={"name": conflict})
    assert carry_out(s, Memory(take={"name": "crm"}))[0] == {"erp": "c", "crm": "c"}
    after, settled = carry_out(s, Memory(take={"name": {"value": "d"}}))
    assert after == {"erp": "d", "crm": "d"} and not settled.opens


def test_a_choice_for_each_side_is_written_in_each_sides_terms_and_may_leave_them_different() -> None:
    s = sides(("a", "a"), ("b", "b"))
    memory = Memory(take={"name": {"values": {"erp": "x", "crm": "y"}, "blocked": "undone"}})
    after, settled = carry_out(s, memory)
    assert (after, settled.was["erp"], settled.was["crm"]) == ({"erp": "x", "crm": "y"}, {"name": "x"}, {"name": "y"})
    assert memory.blocked == {"name": "undone"} and memory.take == {}


def test_a_choice_made_for_a_value_that_was_edited_since_is_void() -> None:
    choice = {"values": {"erp": "a", "crm": "old"}, "if": {"crm": "new"}}
    memory = Memory(take={"name": choice})
    assert carry_out(sides(("a", "a"), ("new", "new")), Memory(take={"name": choice}))[0] == {"erp": "a", "crm": "old"}
    after, _ = carry_out(sides(("a", "a"), ("new", "edited")), memory)
    assert after == {"erp": "edited", "crm": "edited"} and memory.take == {}
