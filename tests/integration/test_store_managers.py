"""Account manager mappings: made by people, never ambiguous, and each releases exactly who waits for it (E5, E16)."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import Connection, func, insert, select, update

from mappings.account_managers import Translated, translate, waiting_key
from support.clock import FakeClock
from sync_worker.store import directory, managers
from sync_worker.store.managers import AmbiguousMapping
from sync_worker.store.session import Database
from sync_worker.store.tables import journal, link, manager_map, open_field

FLOW = "customers"
SYSTEMS = ("erp", "crm")


@dataclass(frozen=True)
class Listed:
    """A directory entry as a connector gives it."""

    key: str
    ref: str = ""
    name: str = ""
    email: str | None = None
    active: bool = True


def link_in(conn: Connection, key: str, waiting_on: str | None = None, flow: str = FLOW) -> int:
    new = insert(link).values(flow=flow, entity="customer", erp_key=key, created_at=0.0, state="waiting", klass="bulk")
    link_id = int(conn.execute(new.returning(link.c.id)).scalar_one())
    if waiting_on is not None:
        field = {"link_id": link_id, "field": "account_manager", "why": "waiting", "waiting_on": waiting_on, "at": 0.0}
        conn.execute(insert(open_field).values(field))
    return link_id


def waiting_link(db: Database, key: str, waiting_on: str | None, flow: str = FLOW) -> int:
    with db.write() as conn:
        return link_in(conn, key, waiting_on, flow)


def state_of(db: Database, link_id: int) -> tuple[Any, ...]:
    c = link.c
    with db.read() as conn:
        row = conn.execute(select(c.erp_dirty, c.crm_dirty, c.erp_parts, c.due_at).where(c.id == link_id)).one()
    return tuple(row)


def map_one(db: Database, erp: str, crm: str, *, preferred: bool = False, flow: str = FLOW) -> list[int]:
    released = managers.map_manager(db, flow, erp, crm, systems=SYSTEMS, preferred=preferred, actor="ann")
    return [touched.link_id for touched in released]


def ways(db: Database) -> dict[str, tuple[str, bool]]:
    return {row.erp_key: (row.crm_key, row.preferred) for row in managers.mappings(db, FLOW)}


def translated(db: Database, side: Any, key: str) -> str | None:
    found = translate(managers.ways(db, FLOW), side, key)
    return found.key if isinstance(found, Translated) else None


def test_e5_a_new_row_releases_exactly_the_links_that_wait_on_it(db: Database, clock: FakeClock) -> None:
    by_erp = waiting_link(db, "1", waiting_key("erp", "E-12"))
    by_crm = waiting_link(db, "2", waiting_key("crm", "5"))
    others = [
        waiting_link(db, "3", waiting_key("erp", "E-13")),
        waiting_link(db, "4", waiting_key("crm", "E-12")),
        waiting_link(db, "5", waiting_key("erp", "E-12"), flow="branch"),
        waiting_link(db, "6", "match:erp:E-12"),
        waiting_link(db, "7", None),
    ]
    assert map_one(db, "E-12", "5") == [by_erp, by_crm]
    assert state_of(db, by_erp) == state_of(db, by_crm) == (1, 1, -1, clock.time)
    assert {state_of(db, other) for other in others} == {(0, 0, 0, None)}


def test_am_4_a_user_may_have_a_manager_in_each_company_and_what_one_prefers_is_no_matter_of_the_other(
    db: Database,
) -> None:
    map_one(db, "E-12", "5", preferred=True)
    map_one(db, "E-77", "5", flow="branch")  # not ambiguous: each company has its own way back
    map_one(db, "E-78", "5", preferred=True, flow="branch")
    assert ways(db) == {"E-12": ("5", True)}
    assert managers.unmap_manager(db, "branch", "E-12") is False
    assert managers.unmap_manager(db, "branch", "E-78") and translated(db, "crm", "5") == "E-12"


def test_a_released_link_keeps_its_class_and_an_earlier_due_time(db: Database, clock: FakeClock) -> None:
    waits = waiting_link(db, "1", waiting_key("erp", "E-12"))
    with db.write() as conn:
        conn.execute(update(link).values(due_at=clock.time - 9))
    (released,) = managers.map_manager(db, FLOW, "E-12", "5", systems=SYSTEMS)
    assert (released.link_id, released.klass) == (waits, "bulk")
    assert state_of(db, waits)[-1] == clock.time - 9


def test_e5_a_wait_saved_while_its_mapping_row_is_made_is_never_forgotten(db: Database) -> None:
    key = waiting_key("erp", "E-12")
    link_id = waiting_link(db, "1", None)
    saving, released = threading.Event(), []

    def mapper() -> None:
        saving.wait(10)
        released.extend(map_one(db, "E-12", "5"))

    thread = threading.Thread(target=mapper)
    thread.start()
    with db.write() as conn:
        found = managers.resolves_in(conn, FLOW, key)
        saving.set()
        thread.join(0.1)
        if not found:
            field = {"link_id": link_id, "field": "account_manager", "why": "waiting", "waiting_on": key, "at": 0.0}
            conn.execute(insert(open_field).values(field))
    thread.join()
    assert (found, released) == (False, [link_id])
    with db.write() as conn:
        assert managers.resolves_in(conn, FLOW, key)


def test_a_wait_is_satisfied_by_its_own_system_and_flow_only(db: Database) -> None:
    map_one(db, "12", "5")
    with db.write() as conn:
        asked = {
            key: managers.resolves_in(conn, FLOW, key)
            for key in ("account_manager:erp:12", "account_manager:crm:5", "account_manager:crm:12", "match:erp:12")
        }
        assert not managers.resolves_in(conn, "branch", "account_manager:erp:12")
    assert list(asked.values()) == [True, True, False, False]


def test_e5_the_wait_sweep_releases_what_slipped_through_and_leaves_due_links_alone(
    db: Database, clock: FakeClock
) -> None:
    map_one(db, "E-12", "5")
    slipped = [waiting_link(db, "1", waiting_key("erp", "E-12")), waiting_link(db, "2", waiting_key("crm", "5"))]
    due = waiting_link(db, "3", waiting_key("erp", "E-12"))
    unmapped = waiting_link(db, "4", waiting_key("crm", "E-12"))
    other_flow = waiting_link(db, "5", waiting_key("erp", "E-12"), flow="branch")
    with db.write() as conn:
        conn.execute(update(link).where(link.c.id == due).values(due_at=clock.time))
    assert [touched.link_id for touched in managers.wait_sweep(db)] == slipped
    assert state_of(db, unmapped) == state_of(db, other_flow) == (0, 0, 0, None)
    assert managers.wait_sweep(db) == ()


def test_a_mapping_answers_both_ways(db: Database) -> None:
    map_one(db, "E-12", "5")
    assert (translated(db, "erp", "E-12"), translated(db, "crm", "5")) == ("5", "E-12")
    assert (translated(db, "erp", "E-13"), translated(db, "crm", "6")) == (None, None)


def test_am_5_several_erp_managers_on_one_user_need_a_preferred_way_back(db: Database) -> None:
    map_one(db, "E-1", "5")
    with pytest.raises(AmbiguousMapping, match=r"E-1, E-2.*user 5.*--preferred"):
        map_one(db, "E-2", "5")
    assert ways(db) == {"E-1": ("5", False)}
    map_one(db, "E-2", "5", preferred=True)
    map_one(db, "E-3", "5")
    assert translated(db, "crm", "5") == "E-2"
    assert {translated(db, "erp", key) for key in ("E-1", "E-2", "E-3")} == {"5"}


def test_am_5_a_refused_mapping_releases_nobody(db: Database) -> None:
    map_one(db, "E-1", "5")
    waits = waiting_link(db, "1", waiting_key("erp", "E-2"))
    with pytest.raises(AmbiguousMapping):
        map_one(db, "E-2", "5")
    assert state_of(db, waits) == (0, 0, 0, None)


def test_the_preferred_mark_moves_to_whoever_gets_it_last(db: Database) -> None:
    map_one(db, "E-1", "5", preferred=True)
    map_one(db, "E-9", "6", preferred=True)
    map_one(db, "E-2", "5", preferred=True)
    assert ways(db) == {"E-1": ("5", False), "E-2": ("5", True), "E-9": ("6", True)}


def test_repeating_a_row_without_the_mark_keeps_it(db: Database) -> None:
    map_one(db, "E-1", "5", preferred=True)
    map_one(db, "E-2", "5")
    map_one(db, "E-1", "5")
    assert ways(db)["E-1"] == ("5", True)


def test_am_5_moving_or_removing_the_preferred_one_may_not_leave_others_ambiguous(db: Database) -> None:
    map_one(db, "E-1", "5", preferred=True)
    map_one(db, "E-2", "5")
    map_one(db, "E-3", "5")
    with pytest.raises(AmbiguousMapping):
        map_one(db, "E-1", "6")
    with pytest.raises(AmbiguousMapping):
        managers.unmap_manager(db, FLOW, "E-1")
    assert managers.unmap_manager(db, FLOW, "E-3")
    assert managers.unmap_manager(db, FLOW, "E-1")
    assert ways(db) == {"E-2": ("5", False)}
    assert translated(db, "crm", "5") == "E-2"


def test_removing_a_row_that_is_not_there_says_so(db: Database) -> None:
    assert not managers.unmap_manager(db, FLOW, "E-1")


def test_a_changed_row_rewrites_nobody_but_who_waits(db: Database) -> None:
    map_one(db, "E-1", "5")
    settled = waiting_link(db, "1", None)
    assert map_one(db, "E-1", "6") == []
    assert state_of(db, settled) == (0, 0, 0, None)
    assert ways(db) == {"E-1": ("6", False)}


def test_am_5_people_mapping_at_the_same_time_never_make_an_ambiguity(db: Database) -> None:
    refused: list[str] = []

    def work(key: str) -> None:
        try:
            map_one(db, key, "5")
        except AmbiguousMapping:
            refused.append(key)

    threads = [threading.Thread(target=work, args=(f"E-{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(refused), len(ways(db))) == (3, 1)


def test_a_row_says_who_made_it_and_whose_keys_it_holds(db: Database, clock: FakeClock) -> None:
    map_one(db, "E-1", "5")
    (row,) = managers.mappings(db, FLOW)
    assert (row.actor, row.at, row.erp_system, row.crm_system) == ("ann", clock.time, "erp", "crm")
    with db.read() as conn:
        assert len(conn.execute(select(manager_map)).all()) == 1


def people(db: Database, system: str) -> dict[str, directory.Known]:
    return {one.key: one for one in directory.directory(db, system)}


def test_the_directory_keeps_who_left_as_inactive_once_two_listings_lacked_them(db: Database, clock: FakeClock) -> None:
    first = [Listed("1", "E-1", "A", "a@x.example"), Listed("2", "E-2", "B"), Listed("3", "E-3", active=False)]
    assert directory.refresh(db, "erp", first) == directory.Refreshed(listed=3, new=3)
    directory.refresh(db, "crm", [Listed("2", "u2")])
    for left, still in ((0, True), (1, False), (0, False)):
        clock.advance(60)
        found = directory.refresh(db, "erp", [Listed("1", "E-1", "A2")])
        known = people(db, "erp")
        assert found.left == left
        assert {key: one.active for key, one in known.items()} == {"1": True, "2": still, "3": False}
    assert (known["1"].name, known["1"].email, known["1"].seen_at) == ("A2", None, clock.time)
    assert known["2"].seen_at == clock.time - 180
    assert [one.active for one in people(db, "crm").values()] == [True]


def test_am_1_a_refreshed_directory_says_who_is_new_renamed_disabled_and_enabled(
    db: Database, clock: FakeClock
) -> None:
    directory.refresh(db, "erp", [Listed("1", "E-1", "A"), Listed("2", "E-2", "B", active=False)])
    clock.advance(60)
    again = [Listed("1", "E-1", "A", active=False), Listed("2", "E-2", "Bee"), Listed("3", "E-3")]
    found = directory.refresh(db, "erp", again)
    assert found == directory.Refreshed(listed=3, new=1, renamed=1, disabled=1, enabled=1)


def test_am_1_a_mapped_user_who_is_disabled_is_not_used_and_is_again_once_enabled(db: Database) -> None:
    map_one(db, "E-1", "5")
    assert translated(db, "erp", "E-1") == "5"  # no directory has been read: nothing is known against it
    directory.refresh(db, "crm", [Listed("5", active=False), Listed("6")])
    assert (translated(db, "erp", "E-1"), translated(db, "crm", "5")) == (None, "E-1")
    waits = waiting_link(db, "1", waiting_key("erp", "E-1"))
    other = waiting_link(db, "2", waiting_key("erp", "E-2"))
    elsewhere = waiting_link(db, "3", waiting_key("erp", "E-1"), flow="branch")
    assert managers.wait_sweep(db) == ()
    found = directory.refresh(db, "crm", [Listed("5"), Listed("6")])
    assert [one.link_id for one in found.released] == [waits]
    assert state_of(db, other)[3] is None and state_of(db, elsewhere)[3] is None
    assert translated(db, "erp", "E-1") == "5"


def test_am_1_a_mapped_user_whom_the_directory_does_not_show_is_not_used(db: Database) -> None:
    map_one(db, "E-1", "5")
    directory.refresh(db, "crm", [Listed("6")])
    assert translated(db, "erp", "E-1") is None
    assert [one.link_id for one in directory.refresh(db, "crm", [Listed("5")]).released] == []
    assert translated(db, "erp", "E-1") == "5"


def test_am_5_every_change_of_the_mapping_is_journalled_with_who_made_it(db: Database) -> None:
    map_one(db, "E-1", "5")
    map_one(db, "E-1", "6")
    managers.unmap_manager(db, FLOW, "E-1", actor="ann")
    with db.read() as conn:
        c = journal.c
        rows = conn.execute(select(c.what, c.key, c.before, c.after, c.actor).order_by(c.id)).all()
    five, six = ({"crm": key, "preferred": False} for key in "56")
    assert [tuple(row) for row in rows] == [
        ("manager_mapped", "E-1", None, five, "ann"),
        ("manager_mapped", "E-1", five, six, "ann"),
        ("manager_unmapped", "E-1", six, None, "ann"),
    ]


def test_a_directory_entry_too_long_for_its_column_is_cut(db: Database) -> None:
    directory.refresh(db, "erp", [Listed("1", "r" * 300, "n" * 300, "e" * 300)])
    (one,) = directory.directory(db, "erp")
    assert (len(one.ref), len(one.name), len(one.email or "")) == (255, 255, 255)


def test_am_6_ten_thousand_waiting_links_are_released_in_one_transaction(db: Database) -> None:
    with db.write() as conn:
        rows = [
            {
                "flow": FLOW,
                "entity": "customer",
                "erp_key": str(n),
                "created_at": 0.0,
                "state": "waiting",
                "klass": "bulk",
            }
            for n in range(10_000)
        ]
        conn.execute(insert(link), rows)
        ids = list(conn.execute(select(link.c.id)).scalars())
        field = {"field": "account_manager", "why": "waiting", "waiting_on": waiting_key("erp", "E-12"), "at": 0.0}
        conn.execute(insert(open_field), [{"link_id": one, **field} for one in ids])
    assert managers.waiting_counts(db) == {(FLOW, waiting_key("erp", "E-12")): 10_000}
    assert sorted(map_one(db, "E-12", "5")) == sorted(ids)
    with db.read() as conn:
        assert conn.execute(select(func.count()).where(link.c.due_at.is_not(None))).scalar_one() == 10_000
