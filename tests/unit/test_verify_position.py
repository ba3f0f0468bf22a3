"""Where a verify run is: it survives being stored, and stays small."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from sync_worker.reconcile.position import Bits, Position, Range


@given(st.sets(st.integers(0, 50_000)), st.sets(st.integers(0, 50_000)))
def test_bits_hold_what_was_added_and_not_taken_out_again(added: set[int], taken: set[int]) -> None:
    bits = Bits()
    for number in added:
        bits.add(number)
    for number in taken:
        bits.discard(number)
    again = Bits.load(bits.dump())
    assert {n for n in added | taken | {0, 7, 8, 60_000} if n in again} == added - taken


def test_a_position_is_the_same_after_it_was_stored() -> None:
    position = Position(totals={"erp": 3, "crm": None}, walked={"erp": True}, calls={"erp": 4}, seconds=1.5)
    position.ranges["erp"] += [Range("10", 2, 0), Range("11", 1, 1)]
    position.links["erp"].add(5)
    again = Position.load(json.loads(json.dumps(position.dump())))
    assert (again.seen("erp"), again.seen("crm"), again.left_out("erp")) == (3, 0, 1)
    assert (again.totals, again.walked, again.calls, again.seconds) == (
        position.totals,
        position.walked,
        position.calls,
        position.seconds,
    )
    assert 5 in again.links["erp"] and 5 not in again.links["crm"]
    assert Position.load(None).dump() == Position().dump()


def test_a_million_links_in_a_thousand_ranges_are_a_small_text() -> None:
    position = Position()
    for number in range(0, 1_000_000, 3):
        position.links["crm"].add(number)
    position.ranges["crm"] = [Range(str(n), 100, 0) for n in range(1000)]
    assert len(json.dumps(position.dump())) < 100_000
