"""The machine that plays random lives of linked customers, and judges them from the vendors' ledgers (judge.py)."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import hypothesis.strategies as st
from hypothesis import note
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from mappings.merge import BOUNCES
from support.judge import COLUMNS, FieldStory, Historian, in_step, read_current
from support.rules import row_of
from support.world import World
from sync_worker.store import leases, migrate

STALE = 20.0
_template: list[Path] = []

sides = st.sampled_from(["erp", "crm"])
fields = st.sampled_from(sorted(COLUMNS))
customers = st.integers(0, 1)


def template() -> Path:
    """A migrated SQLite file, made once."""
    if not _template:
        path = Path(tempfile.mkdtemp(prefix="sync-machine-")) / "template.db"
        migrate.upgrade(f"sqlite:///{path}")
        _template.append(path)
    return _template[0]


def moved_with(side: str, table: str, actor: str) -> set[str]:
    """Fields whose row moves when one of this table is written; what we write in other tables may move the main one."""
    if actor != "person":
        table = "Company" if side == "crm" and table != "Company" else ""
    elif side == "erp":
        return set(COLUMNS)
    return {name for name, (_, place, _) in COLUMNS.items() if place == table}


class Life(RuleBasedStateMachine):
    """Two linked customers and whatever is created beside them."""

    FLOW = ""
    FEW: ClassVar[Mapping[str, str]] = {}  # field -> the one that is edited instead, and of the first customer only

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="sync-life-"))
        shutil.copyfile(template(), self.directory / "sync.db")
        self.world = World(self.directory, f"sqlite:///{self.directory / 'sync.db'}", stale=STALE, flow=self.FLOW)
        self.history = Historian(self.world)
        self.pairs: list[tuple[str, str]] = []
        self.counter = 0
        self.made: list[tuple[str, str]] = []
        self.put_back: Counter[tuple[int, str]] = Counter()
        self.interrupted = False  # a pass ended between a write and its save, or an answer was lost
        self.windows = False  # a person edited in the middle of a pass, or reads were stale: E22 may lose that edit

    @initialize(cut=st.sampled_from([None, "cut", "upper"]))
    def begin(self, cut: str | None) -> None:
        for number in (1, 2):
            self.world.new_crm(
                f"{number:04d} Company",
                Comp_WebSite=f"http://{number:04d}.example",
                comp_vatnumber=f"GB{number:09d}",
                email=[{"$type": "Business", "Emai_EmailAddress": f"{number:04d}@start.example"}],
                Address=[
                    {"$isDefault": True, "$type": "Business", "Addr_City": f"{number:04d}ton", "Addr_Country": "GB"}
                ],
            )
        self.world.poll()
        self.world.settle()
        self.pairs = [(row["erp_key"], row["crm_key"]) for row in self.world.links()]
        assert len(self.pairs) == 2 and all(all(pair) for pair in self.pairs)
        if cut == "cut":
            self.world.crm.faults.merge({"cut": {"Comp_Name": 12}})
        elif cut == "upper":
            self.world.crm.faults.merge({"upper": ["Comp_Name"]})

    def value(self, name: str) -> str:
        """A value nobody had before, in the form the field takes."""
        self.counter += 1
        n = f"{self.counter:04d}"
        forms = {
            "name": f"{n} Trading International", "website": f"http://{n}.example", "tax_number": f"GB8{n}00000"[:11],
            "email": f"{n}@edit.example", "city": f"{n}ham",
        }  # fmt: skip
        return forms[name]

    def edit(self, side: str, customer: int, name: str, value: str | None = None) -> None:
        customer, name = self.meant(customer, name)
        erp_key, crm_key = self.pairs[customer]
        value = value or self.value(name)
        column, table, crm_column = COLUMNS[name]
        if side == "erp":
            self.world.edit_erp(erp_key, **{column: value})
        elif table == "Company":
            self.world.edit_crm(crm_key, **{crm_column: value})
        else:
            self.world.crm.person(table, self.world.crm_child_key(crm_key, table), {crm_column: value})

    def meant(self, customer: int, name: str) -> tuple[int, str]:
        return (0, self.FEW[name]) if self.FEW else (customer, name)

    @rule(side=sides, customer=customers, name=fields)
    def somebody_edits(self, side: str, customer: int, name: str) -> None:
        self.edit(side, customer, name)

    @rule(side=sides, customer=customers, name=fields)
    def somebody_puts_back_what_stood_there_before(self, side: str, customer: int, name: str) -> None:
        customer, name = self.meant(customer, name)
        *earlier, now = self.stories()[customer, name].held[side]
        before = next((value for value in reversed(earlier) if value and value != now), None)
        if before is not None:
            self.put_back[customer, name] += 1
            self.world.clock.advance(1.0)  # people take their time, and stamps of vendors tell seconds apart
            self.edit(side, customer, name, before)

    @rule(side=sides)
    def somebody_creates(self, side: str) -> None:
        self.counter += 1
        name = f"{self.counter:04d} Newcomer"
        self.made.append((side, name))
        if side == "erp":
            self.world.new_erp(name, id=f"C-{self.counter}")
        else:
            self.world.new_crm(name)

    @rule()
    def notices_arrive(self) -> None:
        self.world.deliver()

    @rule()
    def notices_are_lost(self) -> None:
        for emulator in self.world.vendors.values():
            emulator.take_notices()

    @rule()
    def notices_arrive_doubled_and_in_another_order(self) -> None:
        for emulator in self.world.vendors.values():
            emulator.faults.merge({"p_notice_doubled": 0.5, "notices_reordered": True})
        self.world.deliver()
        for emulator in self.world.vendors.values():
            emulator.faults.merge({"p_notice_doubled": 0.0, "notices_reordered": False})

    @rule(side=sides, customer=customers)
    def somebody_forges_a_notice(self, side: str, customer: int) -> None:
        self.world.notice(side, self.pairs[customer][0 if side == "erp" else 1])

    @rule()
    def the_worker_works(self) -> None:
        self.world.work()

    @rule()
    def the_feeds_are_polled(self) -> None:
        self.world.poll()

    @rule(seconds=st.sampled_from([0.5, 3.0, 11.0, 25.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.clock.advance(seconds)

    @rule(
        side=sides,
        kind=st.sampled_from(["read", "write"]),
        fault=st.sampled_from(["500", "429", "before_apply", "lost_after_apply"]),
    )
    def the_next_call_fails(self, side: str, kind: str, fault: str) -> None:
        if kind == "read" and fault == "lost_after_apply":
            fault = "reset"
        self.interrupted = self.interrupted or fault == "lost_after_apply"
        self.world.vendors[side].faults.fail_next.append({"operation": kind, "fault": fault})

    @rule(steps=st.integers(0, 14), supervised=st.booleans())
    def the_worker_dies(self, steps: int, supervised: bool) -> None:
        self.interrupted = True
        dying = self.world.app
        with self.world.crashing_after(steps):
            self.world.deliver()
            self.world.work()
        if supervised and self.world.app is not dying:
            leases.release(self.world.db, str(dying.engine.owner))

    @rule()
    def leases_run_out(self) -> None:
        self.world.clock.advance(31.0)

    @rule(side=sides)
    def reads_become_stale(self, side: str) -> None:
        self.windows = True
        self.world.vendors[side].faults.merge({"p_stale_read": 0.5, "stale_seconds": STALE - 2})

    @rule()
    def reads_are_fresh_again(self) -> None:
        for emulator in self.world.vendors.values():
            emulator.faults.merge({"p_stale_read": 0.0})

    @rule(side=sides, customer=customers, name=fields, steps=st.integers(1, 8))
    def somebody_edits_in_the_middle_of_a_pass(self, side: str, customer: int, name: str, steps: int) -> None:
        self.windows = True
        self.world.in_the_middle(steps, lambda: self.edit(side, customer, name))
        self.world.deliver()
        self.world.work()
        self.world.in_the_middle(None, None)

    def teardown(self) -> None:
        try:
            if self.pairs:
                self.to_rest()
                self.judge()
                self.nothing_more_is_written()
        finally:
            self.world.close()
            shutil.rmtree(self.directory, ignore_errors=True)

    def to_rest(self) -> None:
        """No more faults; the feeds find what was lost; run until nothing is due, and look once more."""
        for emulator in self.world.vendors.values():
            emulator.faults.fail_next.clear()
            emulator.faults.merge({"p_stale_read": 0.0})
        for _ in range(3):
            self.world.clock.advance(STALE + 1)
            self.world.poll()
            self.world.sweep()
            self.world.settle()

    def judge(self) -> None:
        told = self.stories()
        unseen = range(max(story.met for story in told.values()))
        tellings = [told, *(self.stories(seen) for seen in unseen)]
        for number, (erp_key, crm_key) in enumerate(self.pairs):
            shown = self.world.explain("crm", crm_key)
            opens = row_of(self.world, crm=crm_key).opens.items()
            rewritten = {("city" if n == "address" else n) for n, one in opens if one.cause == "rewritten"}
            note(f"customer {number}: {shown['state']} {shown['cause']}")
            for name, values in read_current(self.world, erp_key, crm_key).items():
                at = (number, name)
                wrong = [self.wrong_of(at, one[at], values, shown, name in rewritten) for one in tellings]
                assert None in wrong, f"{name}: {wrong[0]}: {told[at]} {shown}"
            assert shown["state"] in ("in_sync", "conflict"), shown
        self.judge_creates()

    def wrong_of(
        self,
        at: tuple[int, str],
        story: FieldStory,
        values: tuple[object, object],
        shown: dict[str, Any],
        rewritten: bool,
    ) -> str | None:
        """What is wrong with a field at rest, if this is how it went; None: nothing."""
        told = {("city" if f["name"] == "address" else f["name"]): f["status"] for f in shown["fields"]}
        is_open, equal = told.get(at[1], "in_step") != "in_step", in_step(*values)
        for side, edited_at, over_at in story.lost if self.interrupted else (*story.lost, *story.undone):
            if not self.windows or over_at - edited_at > STALE + 1:
                return f"an edit on {side} was overwritten"
        if rewritten:  # E14: people who put back each other's values look like two systems
            return None if self.put_back[at] >= BOUNCES else "rewritten by nobody"
        if self.interrupted and story.over_ours and is_open:
            # Nobody can know whether the edit was made over our write or beside it: a person is asked.
            return "open, but equal" if equal else None
        if story.conflict:
            return None if is_open else "edited on both sides, but no conflict"
        if is_open and story.met and equal and values[0] != values[1]:
            return None  # two people typed nearly the same: whether it is the same is for a person to say
        if (story.revived or (self.interrupted and story.blurred)) and is_open:
            return "open, but equal" if equal else None  # asked in vain
        if not equal:
            return f"{values} differ at rest"
        return "open without cause" if is_open else None

    def stories(self, seen: int | None = None) -> dict[tuple[int, str], FieldStory]:
        """Everything that happened to the judged fields of both customers, in one order."""
        stories = {(i, n): FieldStory(seen=seen) for i in range(len(self.pairs)) for n in COLUMNS}
        owner = {("erp", "customer", erp): i for i, (erp, _) in enumerate(self.pairs)}
        for i, (_, crm_key) in enumerate(self.pairs):
            owner["crm", "Company", crm_key] = i
            for table in ("Email", "Address"):
                owner["crm", table, self.world.crm_child_key(crm_key, table)] = i
        for side, row in self.history.events:
            number = owner.get((side, row.entity, row.key))
            if number is None:
                continue
            for name, (erp_column, table, crm_column) in COLUMNS.items():
                column = erp_column if side == "erp" else crm_column if row.entity == table else None
                if column in row.after:
                    actor = "api" if row.op == "create" else row.actor
                    put_back = row.after[column] in stories[number, name].held[side]
                    stories[number, name].happened(side, row.after[column], actor, row.at)
                    for another in moved_with(side, row.entity, actor) - {name}:
                        stories[number, another].row_edited(side, put_back=put_back and actor == "person")
        return stories

    def judge_creates(self) -> None:
        """Every newcomer has exactly one partner."""
        for side, name in self.made:
            other = "crm" if side == "erp" else "erp"
            found = {
                "erp": [r for r in self.world.erp.list_records("customer") if in_step(r["name"], name)],
                "crm": [r for r in self.world.crm.list_records("Company") if in_step(r["Comp_Name"], name)],
            }
            assert len(found[side]) == 1 and len(found[other]) == 1, (side, name, found, self.world.links())
        states = {row["state"] for row in self.world.links()}
        assert states <= {"in_sync", "conflict"}, self.world.links()

    def nothing_more_is_written(self) -> None:
        before = {side: len(self.world.written(side)) for side in self.world.vendors}
        self.world.clock.advance(STALE + 1)
        self.world.poll()
        self.world.sweep()
        for erp_key, crm_key in self.pairs:
            self.world.notice("erp", erp_key)
            self.world.notice("crm", crm_key)
        self.world.settle()
        assert {side: len(self.world.written(side)) for side in self.world.vendors} == before
