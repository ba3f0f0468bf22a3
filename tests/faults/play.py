"""Plays a plan on a site, lets it come to rest, and gathers what the judge looks at."""

from __future__ import annotations

import base64
import json
import random
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import redis

from bench import filling
from faults import sight
from faults.judge import Observed
from faults.plan import SIDES, Change, Fault, Plan, Side, Size
from faults.site import FORGED_KEY, WORKERS, Site
from faults.story import Customer
from support.judged import COLUMNS
from sync_worker.demo.installation import work_ahead

TICK = 0.05
VENDOR_ERRORS = {
    "p_500": 0.015, "p_503": 0.015, "p_429": 0.02, "retry_after_s": 1, "p_reset_mid_body": 0.01,
}  # fmt: skip
NOTICE_FAULTS = {"p_notice_doubled": 0.05, "p_notice_lost": 0.05, "p_notice_reordered": 0.05}
LOST_NEVER = {"p_notice_lost": 0.0}
PATIENCE_SECONDS = 60.0
"""For a fault that meets nothing to hurt: no queue server, since another fault has just ended it; or no lock to be had,
since a worker was stopped that holds it."""
BUSY_SECONDS = 6  # longer than a call waits by itself: the pass fails, and is tried again later
LOST = 4  # creates that the CRM leaves unanswered, one after the other
FORGED = 0.0175  # of people's changes: one in a hundred of all notices, since vendors announce our writes, too
STAMP_SECONDS = 3.0
CALM_LOOKS = 3
WARM_CUSTOMERS = 200
AFTER_REST_SECONDS = 6.0
MORE_FILES = 48
"""Pools (database, queue, vendors) fill up to their bounds as work asks; a leak would be one per pass."""
MORE_THREADS = 24
MORE_KEYS = 4


@dataclass
class Player:
    """``say``: called with a line as things happen."""

    site: Site
    plan: Plan
    say: Callable[[str], None]
    customers: list[Customer] = field(default_factory=list)
    done: list[Fault] = field(default_factory=list)
    forged: int = 0
    forged_taken: int = 0
    late: float = 0.0

    def __post_init__(self) -> None:
        self._rng = random.Random(self.plan.seed + 1)
        self._start_seq: dict[Side, int] = {}
        self._stamped = 0.0

    def run(self) -> Observed:
        """The whole run; raises ``VendorAway`` or ``CannotStart`` when the stage itself breaks."""
        start = self._fill()
        self.say("started and linked")
        self._warm_up()
        self.say("warm")
        baseline = sight.resources(self.site)
        self._start_seq = {side: self.site.vendors[side].stats()["ledger_seq"] for side in SIDES}
        for side in SIDES:
            self.site.vendors[side].post("name_records", {})
            self.site.vendors[side].faults(**_notice_faults(side, self.plan.size))
        self._perform()
        self._heal()
        rested, due = self._rest()
        before = self._writes()
        self._wait(AFTER_REST_SECONDS)
        status = sight.status(self.site)["links"]
        resources = sight.resources(self.site)
        acknowledged = sight.acknowledged(self.site)
        return Observed(
            plan=self.plan,
            customers=self.customers,
            start=start,
            ledgers={side: self._ledger(side) for side in SIDES},
            calls={side: self.site.vendors[side].get("calls")["calls"] for side in SIDES},
            done=self.done,
            status=status,
            in_conflict=sight.in_conflict(self.site),
            due=due,
            rested=rested,
            forged=self.forged,
            forged_taken=self.forged_taken,
            forged_stored=sight.forged_stored(self.site, [FORGED_KEY.format(n=n) for n in range(self.forged)]),
            acknowledged=len(acknowledged),
            unstored=sight.unstored(self.site, acknowledged),
            grown=_grown(baseline, resources),
            resources=", ".join(f"{name} {before}-{resources[name]}" for name, before in baseline.items()),
            writes_after_rest=self._writes() - before,
        )

    # --- before ------------------------------------------------------------------------------------------------------

    def _fill(self) -> dict[tuple[int, str], Any]:
        site = self.site
        site.start_vendors(self.plan.size.latency_ms)
        pairs = filling.seed(site, self.plan.size.customers)
        filling.link_all(site, pairs)
        self.customers = sight.customers(site, pairs)
        site.start_site()
        numbers = range(filling.FIRST, filling.FIRST + len(pairs))
        return {(i, name): value for i, n in enumerate(numbers) for name, value in sight.first_values(n).items()}

    def _warm_up(self) -> None:
        """Every process has worked in both directions before its resources are counted; judged columns stay."""
        half = WARM_CUSTOMERS // 2
        first, second = self.customers[:half], self.customers[half:WARM_CUSTOMERS]
        column = "contacts.default.mailingAddress.addressLine1"
        lines = [{"entity": "customer", "key": one.erp, "columns": {column: "1 Warm Row"}} for one in first]
        codes = [{"entity": "Address", "key": one.address, "columns": {"Addr_PostCode": "LS2 1AA"}} for one in second]
        self.site.erp.post("people", lines)
        self.site.crm.post("people", codes)
        self._until(self._is_calm, self.plan.size.warm)

    # --- during ------------------------------------------------------------------------------------------------------

    def _perform(self) -> None:
        changes, faults = list(self.plan.changes), list(self.plan.faults)
        began = time.monotonic()
        while changes or faults or self.site.lasting:
            now = time.monotonic() - began
            due = _take(changes, now)
            if due:
                self.late = max(self.late, now - due[0].at)
            for side in SIDES:
                self._people(side, [change for change in due if change.side == side])
            for _ in due:
                if self._rng.random() < FORGED:
                    self._forge()
            for fault in _take(faults, now):
                if not self._hurt(fault, last=now > fault.at + PATIENCE_SECONDS):
                    faults.insert(0, fault)
            self._stamping(now)
            self.site.look()
            time.sleep(max(0.0, TICK - (time.monotonic() - began - now)))

    def _people(self, side: Side, changes: list[Change]) -> None:
        if changes:
            self.site.vendors[side].post("people", [self._body(change) for change in changes])

    def _body(self, change: Change) -> dict[str, Any]:
        erp_column, table, crm_column = COLUMNS[change.field]
        if change.customer is None:
            number = change.value.rpartition(" ")[2]
            columns = (
                {"id": f"N-{number}", "name": change.value} if change.side == "erp" else {crm_column: change.value}
            )
            return {"entity": "customer" if change.side == "erp" else "Company", "key": None, "columns": columns}
        one = self.customers[change.customer]
        if change.side == "erp":
            return {"entity": "customer", "key": one.erp, "columns": {erp_column: change.value}}
        key = {"Company": one.crm, "Email": one.email, "Address": one.address}[table]
        return {"entity": table, "key": key, "columns": {crm_column: change.value}}

    def _forge(self) -> None:
        """A notice that nobody signed, or that somebody signed who does not know the secret."""
        key = FORGED_KEY.format(n=self.forged)
        self.forged += 1
        event = {"entity": "customer", "key": key, "op": "updated"}
        sealed = base64.b64encode(self._rng.randbytes(32)).decode()
        headers = {
            "content-type": "application/json",
            "webhook-id": f"forged-{self.forged}",
            "webhook-timestamp": str(int(time.time())),
            "webhook-signature": f"v1,{sealed}",
            "X-IA-Sage-Signature": f"e30.e30.{sealed}",
        }
        side = self._rng.choice(SIDES)
        body = json.dumps(event if side == "erp" else {"events": [event]}).encode()
        status = self.site.post_hook(f"/hooks/{side}", body, headers)
        self.forged_taken += status is not None and status < 300

    def _stamping(self, now: float) -> None:
        """An API write of the CRM bumps the record's stamp at times, and at times does not."""
        if now - self._stamped >= STAMP_SECONDS:
            self._stamped = now
            self.site.crm.faults(bump_updated_on_api_write=self._rng.random() < 0.5)

    def _hurt(self, fault: Fault, *, last: bool) -> bool:
        """Do it, and note when it was done. False: what it hurts is not there just now, and this was not the ``last``
        time to try."""
        site, seconds = self.site, fault.seconds
        began = time.time()
        try:
            match fault.name:
                case "kill worker":
                    site.kill(WORKERS[fault.target])
                case "kill web":
                    site.kill("web")
                case "kill scheduler":
                    site.kill("scheduler")
                case "kill queue":
                    site.kill_queue()
                case "queue outage":
                    site.queue_outage(seconds)
                case "stop queue":
                    site.stop_process(site.queue_pid, seconds)
                case "stop worker":
                    site.stop_process(site.running[WORKERS[fault.target]].pid, seconds)
                case "halt worker":
                    site.halt_worker(WORKERS[fault.target], seconds)
                case "end creating":
                    site.end_creating(WORKERS[fault.target], seconds)
                case "lost create":
                    site.crm.faults(fail_next=[{"operation": "create company", "fault": "lost_after_apply"}] * LOST)
                case "flush":
                    site.flush_queue()
                case "queue memory":
                    site.fill_queue(seconds)
                case "database":
                    site.hurt_database(seconds)
                case "blackout erp" | "blackout crm":
                    site.blackout(fault.name.rpartition(" ")[2], seconds)
                case "busy crm":
                    site.crm.faults(p_429=1.0, retry_after_s=BUSY_SECONDS)
                    site.later(seconds, lambda: site.crm.faults(p_429=0.0, retry_after_s=1))
                case "vendor errors":
                    for vendor in site.vendors.values():
                        vendor.faults(**VENDOR_ERRORS, p_lost_after_apply=self.plan.size.unanswered)
                    site.later(seconds, self._well_again)
                case "token expiry":
                    site.erp.faults(fail_next=[{"operation": "*", "fault": "401"}])
                case "cut vendors":
                    site.cut_vendors()
                case "slow vendors":
                    site.slow_vendors(seconds)
        except (sqlite3.OperationalError, redis.RedisError, ProcessLookupError) as error:
            if last:
                self.say(f"{fault.name} did not happen: {error}")
            return last
        self.done.append(replace(fault, at=began))
        return True

    # --- after -------------------------------------------------------------------------------------------------------

    def _heal(self) -> None:
        """No more faults: what was lost must be found again now."""
        self._well_again()
        for vendor in self.site.vendors.values():
            vendor.faults(**dict.fromkeys(NOTICE_FAULTS, 0.0) | {"fail_next": []})
        self.say(f"all changes made, at most {self.late:.1f} s late; coming to rest")

    def _well_again(self) -> None:
        for vendor in self.site.vendors.values():
            vendor.faults(**dict.fromkeys((*VENDOR_ERRORS, "p_lost_after_apply"), 0.0) | {"retry_after_s": 1})

    def _rest(self) -> tuple[bool, int]:
        """Whether it comes to rest in time, and how many links are due all the same.

        A notice that was lost is known to nobody until a feed has looked: each begins one more after the last edit.
        """
        until = time.monotonic() + self.plan.size.drain
        looked = not self.plan.size.feeds or all(self._look_again(until) for _ in range(2))
        rested = looked and self._until(self._is_calm, until - time.monotonic())
        return rested, work_ahead(self.site.db)

    def _look_again(self, until: float) -> bool:
        """Every feed has ended a turn since now: the second time, also one that began since."""
        now = self.site.db.clock()
        self.site.make_feeds_due()
        return self._until(lambda: self.site.feeds_ended_since(now), until - time.monotonic())

    def _is_calm(self) -> bool:
        """Nothing due or ahead, three looks in a row, a poll's interval apart."""
        for _ in range(CALM_LOOKS):
            if not self.site.is_quiet(self.site.db):
                return False
            self._wait(0.7)
        return True

    def _until(self, condition: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            self._wait(0.2)
        return True

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.site.look()
            time.sleep(min(TICK, seconds))

    def _ledger(self, side: Side) -> list[dict[str, Any]]:
        return list(self.site.vendors[side].get("ledger", after=self._start_seq[side])["rows"])

    def _writes(self) -> int:
        return sum(int(vendor.stats()["writes"]) for vendor in self.site.vendors.values())


def _notice_faults(side: Side, size: Size) -> dict[str, float]:
    if size.calm:
        return {"p_notice_lost": 1.0} if side == "crm" else {}
    return NOTICE_FAULTS | ({} if size.feeds else LOST_NEVER)


def _grown(before: Mapping[str, int], now: Mapping[str, int]) -> list[str]:
    allowed = {"files": MORE_FILES, "threads": MORE_THREADS, "keys": MORE_KEYS}
    return [
        f"{name} {count} to {now[name]}"
        for name, count in before.items()
        if now[name] > count + allowed[name.rpartition(" ")[2]]
    ]


def _take(waiting: list[Any], now: float) -> list[Any]:
    """Remove and return what is due by now from a list in order of time."""
    count = next((i for i, one in enumerate(waiting) if one.at > now), len(waiting))
    taken = waiting[:count]
    del waiting[:count]
    return taken
