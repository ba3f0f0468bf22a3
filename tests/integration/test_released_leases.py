"""What a dead worker held is let go at once where it had sent no write, and else left to its lease (E2, ADR 15)."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from sqlalchemy import select, update

from support.rules import Make, entries, pair, rest, row_of, run_once, there, three_due_links, updates, when
from support.world import Crash, World
from sync_worker.store import leases, links
from sync_worker.store.link_statements import POISON
from sync_worker.store.saves import Save
from sync_worker.store.session import Database
from sync_worker.store.tables import link
from sync_worker.store.waiting import Scope

SCOPE = Scope("customers", "customer", ("erp", "crm"))
EVERY_STEP = 12


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    yield from three_due_links(database_url)


def leased(db: Database) -> set[int]:
    with db.read() as conn:
        return set(conn.execute(select(link.c.id).where(link.c.lease_until > db.now(conn))).scalars())


def test_e2_what_a_dead_worker_held_is_free_and_what_a_living_one_holds_is_not(db: Database) -> None:
    dead = leases.claim(db, SCOPE, limit=1, owner="dead")
    living = leases.claim(db, SCOPE, limit=1, owner="living")
    unsupervised = leases.claim(db, SCOPE, limit=1)
    assert leases.release(db, "dead") == 1
    assert leased(db) == {row.id for row in (*living, *unsupervised)}
    assert leases.release(db, "dead") == 0
    [again] = leases.claim(db, SCOPE, limit=3, owner="heir")
    assert (again.id, again.lease_token) == (dead[0].id, dead[0].lease_token + 1)


def test_e3_a_worker_that_was_taken_for_dead_is_fenced_off_as_after_an_expired_lease(db: Database) -> None:
    [mine] = leases.claim(db, SCOPE, limit=1, owner="slow")
    leases.release(db, "slow")
    leases.claim(db, SCOPE, limit=3, owner="heir")
    assert leases.renew(db, [mine], {mine.id: {}}) == set()
    assert links.save(db, [Save(mine)]).lost == {mine.id}


def test_e2_a_link_whose_writes_were_about_to_be_sent_is_left_to_its_lease(db: Database) -> None:
    one, two = leases.claim(db, SCOPE, limit=2, owner="dead")
    leases.renew(db, [one], {one.id: {"tried": {}}})
    leases.renew(db, [one, two])
    assert leases.release(db, "dead") == 1
    assert leased(db) == {one.id}


def test_e18_a_link_whose_create_was_about_to_be_sent_is_left_to_its_lease(db: Database) -> None:
    one, _ = leases.claim(db, SCOPE, limit=2, owner="dead")
    one.intent, one.intent_at, one.intent_side = {"key": "k"}, time.time(), "crm"
    links.save(db, [Save(one, seen=False, keep_lease=True)])
    assert leases.release(db, "dead") == 1
    assert leased(db) == {one.id}


def test_e4_a_link_that_ran_alone_is_left_to_its_lease(db: Database) -> None:
    [row] = leases.claim(db, SCOPE, limit=1, owner="dead")
    for _ in range(POISON - 1):
        assert leases.release(db, "dead") == 1
        leases.claim(db, SCOPE, ids=[row.id], owner="dead")
    assert leases.release(db, "dead") == 1, "it ran with others"
    [row] = leases.claim(db, SCOPE, ids=[row.id], owner="dead")
    assert leases.release(db, "dead") == 0
    assert leased(db) == {row.id}


def test_e2_a_link_that_a_worker_of_the_version_before_has_claimed_since_is_not_let_go(db: Database) -> None:
    [row] = leases.claim(db, SCOPE, limit=1, owner="dead")
    c = link.c
    older = update(link).where(c.id == row.id).values(lease_token=c.lease_token + 1)  # it knows no owners
    db.run(lambda conn: conn.execute(older))
    assert leases.release(db, "dead") == 0
    assert leased(db) == {row.id}


def test_e2_a_link_that_came_to_its_end_stays_as_it_ended(db: Database) -> None:
    [row] = leases.claim(db, SCOPE, limit=1, owner="dead")
    row.due_at = None
    links.save(db, [Save(row)])
    assert leases.release(db, "dead") == 0
    with db.read() as conn:
        assert conn.execute(select(link.c.lease_until).where(link.c.id == row.id)).scalar_one() is None


# --- whole passes -----------------------------------------------------------------------------------------------------


def dies(world: World, system: str, operation: str, *, after: bool) -> int:
    """The worker dies at this call; how many links its successor could let go."""

    def die() -> None:
        raise Crash

    when(world.vendors[system], operation, die, after=after)
    world.deliver()
    dying = world.app
    with pytest.raises(Crash):
        world.work()
    world.app = world.build()
    return leases.release(world.db, str(dying.engine.owner))


@pytest.mark.parametrize("system", ["crm", "erp"])
def test_e2_an_edit_whose_worker_died_while_reading_goes_on_at_once(make: Make, system: str) -> None:
    world = make()
    one = pair(world)
    world.edit_crm(one.crm, Comp_Name="Northwind Renamed")
    assert dies(world, system, "read" if system == "crm" else "query customer", after=True) == 1
    assert run_once(world.app).claimed == 1
    assert world.erp_record(one.erp)["name"] == "Northwind Renamed"


@pytest.mark.parametrize("applied", [False, True])
def test_e3_a_write_whose_end_nobody_learnt_keeps_others_away_until_the_lease_has_run_out(
    make: Make, applied: bool
) -> None:
    world = make()
    one = pair(world)
    before = len(updates(world, "erp"))
    world.edit_crm(one.crm, Comp_Name="Northwind Renamed")
    assert dies(world, "erp", "write", after=applied) == 0
    assert run_once(world.app).claimed == 0
    world.clock.advance(leases.LEASE + 1)
    rest(world)
    assert len(updates(world, "erp")) == before + 1
    assert world.erp_record(one.erp)["name"] == "Northwind Renamed"
    assert row_of(world, crm=one.crm).state == "in_sync"


def test_e18_a_create_that_nobody_learnt_the_end_of_keeps_others_away_until_the_lease_has_run_out(make: Make) -> None:
    world = make()
    world.new_crm("Newcomer Ltd")
    assert dies(world, "erp", "create customer", after=False) == 0
    assert run_once(world.app).claimed == 0
    world.clock.advance(leases.LEASE + 1)
    rest(world)
    assert len(there(world, "erp", "Newcomer Ltd")) == 1


def test_e2_a_worker_that_dies_at_any_step_and_is_replaced_at_once_writes_an_edit_once(make_light: Make) -> None:
    world = make_light()
    one = pair(world)
    let_go: list[int] = []
    for steps in range(EVERY_STEP):
        world.edit_crm(one.crm, Comp_Name=f"Name {steps}")
        before = len(updates(world, "erp"))
        world.deliver()
        dying = world.app
        with world.crashing_after(steps):
            world.work()
        let_go.append(leases.release(world.db, str(dying.engine.owner)) if world.app is not dying else 0)
        rest(world)
        assert len(updates(world, "erp")) == before + 1, steps
        assert world.erp_record(one.erp)["name"] == f"Name {steps}"
        assert row_of(world, crm=one.crm).state == "in_sync"
    assert 0 in let_go and 1 in let_go, let_go
    assert not [e for e in entries(world) if e["what"] == "conflict"]
