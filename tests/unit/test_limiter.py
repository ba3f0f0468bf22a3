"""Call slots: of one process, and shared by all workers in a real Valkey."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import redis

from support.valkey import QueueServer
from support.waiting import until
from sync_worker.connectors.limiter import Limiter, LocalLimiter
from sync_worker.connectors.shared_slots import SPARE_IDLE, RedisLimiter
from sync_worker.errors import RateLimited
from sync_worker.events import LinkClass

pytest_plugins = ("support.queues",)


@pytest.fixture
def client(server: QueueServer) -> Iterator[redis.Redis]:
    if server.process is None:
        server.start()
    with redis.Redis.from_url(server.url, socket_timeout=1.0) as made:
        made.flushall()
        yield made


@pytest.fixture(params=["local", "redis"])
def limiter(request: pytest.FixtureRequest) -> Limiter:
    if request.param == "local":
        return LocalLimiter()
    return RedisLimiter(request.getfixturevalue("client"))


def nothing() -> None:
    """Nobody to tell."""


def hold(
    stack: ExitStack,
    limiter: Limiter,
    limit: int,
    klass: LinkClass = "live",
    seconds: float = 0.05,
    on_wait: Callable[[], None] = nothing,
) -> None:
    stack.enter_context(limiter.slot("erp", limit, klass, time.monotonic() + seconds, on_wait))


def test_no_more_than_the_limit_are_held_and_the_wait_ends_as_rate_limited(limiter: Limiter) -> None:
    with ExitStack() as held:
        hold(held, limiter, 2)
        hold(held, limiter, 2)
        with pytest.raises(RateLimited) as caught:
            hold(held, limiter, 2)
    assert caught.value.after == 1.0


def test_a_slot_comes_free_when_its_call_ends_even_by_an_error(limiter: Limiter) -> None:
    with pytest.raises(ZeroDivisionError), ExitStack() as held:
        hold(held, limiter, 1)
        raise ZeroDivisionError
    with ExitStack() as held:
        hold(held, limiter, 1)


def test_work_that_is_not_live_leaves_the_last_slot_while_live_work_asks(limiter: Limiter) -> None:
    with ExitStack() as held:
        hold(held, limiter, 2, "bulk")
        with ExitStack() as call:
            hold(call, limiter, 2, "live")
        for klass in ("bulk", "retry"):
            with pytest.raises(RateLimited):
                hold(held, limiter, 2, klass)  # type: ignore[arg-type]
        hold(held, limiter, 2, "live")


def test_work_that_is_not_live_has_the_last_slot_while_nobody_live_asks(limiter: Limiter) -> None:
    with ExitStack() as held:
        hold(held, limiter, 2, "bulk")
        with ExitStack() as call:
            hold(call, limiter, 2, "live")
        hold(held, limiter, 2, "bulk", seconds=5.0)  # a moment after the last live call
        with pytest.raises(RateLimited):
            hold(held, limiter, 2, "live")


def test_bulk_work_of_one_process_gives_the_last_slot_up_when_live_work_of_another_asks(client: redis.Redis) -> None:
    bulk, live = RedisLimiter(client), RedisLimiter(client)
    through = threading.Event()

    def busy() -> None:
        while not through.is_set():
            with bulk.slot("erp", 2, "bulk", time.monotonic() + 20, nothing):
                threading.Event().wait(0.005)

    threads = [threading.Thread(target=busy) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: client.zcard("sync:slots:erp") == 2)
        waited = []
        for _ in range(5):
            began = time.monotonic()
            call(live, 2, "live", seconds=5.0)
            waited.append(time.monotonic() - began)
        assert max(waited) < 1.0 and sorted(waited)[2] < 0.1, waited
    finally:
        through.set()
        for thread in threads:
            thread.join()


def test_with_a_limit_of_one_all_classes_share_it(limiter: Limiter) -> None:
    with ExitStack() as held:
        hold(held, limiter, 1, "bulk")
        with pytest.raises(RateLimited):
            hold(held, limiter, 1, "live")


def test_systems_do_not_share_slots(limiter: Limiter) -> None:
    with ExitStack() as held:
        hold(held, limiter, 1)
        held.enter_context(limiter.slot("crm", 1, "live", time.monotonic() + 0.05, nothing))


def test_waiting_renews_the_lease_and_what_that_raises_ends_the_wait(limiter: Limiter) -> None:
    class LeaseLost(Exception):
        pass

    def lost() -> None:
        raise LeaseLost

    with ExitStack() as held:
        hold(held, limiter, 1)
        with pytest.raises(LeaseLost):
            hold(held, limiter, 1, seconds=10.0, on_wait=lost)


def test_many_threads_never_exceed_the_limit_and_all_get_through(limiter: Limiter) -> None:
    lock = threading.Lock()
    now, most, done = 0, 0, 0

    def work() -> None:
        nonlocal now, most, done
        for _ in range(10):
            with limiter.slot("erp", 3, "live", time.monotonic() + 20, nothing):
                with lock:
                    now += 1
                    most = max(most, now)
                threading.Event().wait(0.001)
                with lock:
                    now -= 1
                    done += 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (done, most <= 3) == (80, True)


def test_a_waiting_live_call_goes_before_bulk_that_waited_longer() -> None:
    limiter = LocalLimiter()
    order: list[str] = []
    blocker = ExitStack()
    for _ in range(2):
        hold(blocker, limiter, 2)

    def want(klass: LinkClass) -> None:
        with limiter.slot("erp", 2, klass, time.monotonic() + 10, nothing):
            order.append(klass)

    bulk = threading.Thread(target=want, args=("bulk",))
    bulk.start()
    live = threading.Thread(target=want, args=("live",))
    live.start()
    until(lambda: limiter._rooms["erp"].live_waiting == 1)
    blocker.close()
    bulk.join()
    live.join()
    assert order == ["live", "bulk"]


def test_a_slot_that_comes_free_goes_on_at_once_however_many_wait(limiter: Limiter) -> None:
    through = threading.Barrier(13)

    def work(klass: LinkClass) -> None:
        for _ in range(4):
            with limiter.slot("erp", 2, klass, time.monotonic() + 20, nothing):
                threading.Event().wait(0.001)
        through.wait(20)

    threads = [threading.Thread(target=work, args=("live" if n == 0 else "bulk",)) for n in range(12)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    through.wait(20)
    assert time.monotonic() - began < 3.0  # were it told to nobody, each turn would take a heartbeat
    for thread in threads:
        thread.join()


def test_workers_share_slots_through_the_server(client: redis.Redis) -> None:
    one, two = RedisLimiter(client), RedisLimiter(client)
    with ExitStack() as held:
        hold(held, one, 2)
        hold(held, two, 2)
        with pytest.raises(RateLimited):
            hold(held, two, 2)


HOLDER = """
import sys, time, redis
from sync_worker.connectors.shared_slots import RedisLimiter
limiter = RedisLimiter(redis.Redis.from_url(sys.argv[1]), slot_seconds=1.0)
with limiter.slot("erp", 1, "live", time.monotonic() + 5, lambda: None):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_e2_a_killed_processs_slot_comes_free_soon_and_a_living_one_keeps_its_own_for_as_long_as_it_calls(
    server: QueueServer, client: redis.Redis
) -> None:
    with (
        subprocess.Popen(
            [sys.executable, "-c", HOLDER, server.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as holder,
        ExitStack() as held,
    ):
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        with pytest.raises(RateLimited):
            hold(held, RedisLimiter(client), 1, seconds=2.5)  # longer than a slot lives by itself
        holder.kill()
        hold(held, RedisLimiter(client), 1, seconds=2.5)


def test_without_the_server_each_process_takes_its_share(server: QueueServer, client: redis.Redis) -> None:
    limiter = RedisLimiter(client, processes=2)
    server.kill()
    with ExitStack() as held:
        hold(held, limiter, 4)
        hold(held, limiter, 4)
        with pytest.raises(RateLimited):
            hold(held, limiter, 4)


def test_the_server_is_used_again_once_it_is_back(server: QueueServer, client: redis.Redis) -> None:
    limiter = RedisLimiter(client, processes=2)
    server.kill()
    with ExitStack() as held:
        hold(held, limiter, 4)
    server.start()

    def shared() -> bool:
        with limiter.slot("erp", 4, "live", time.monotonic() + 1, nothing):
            return client.zcard("sync:slots:erp") == 1

    until(shared)


def test_a_slot_taken_before_the_server_went_away_is_given_back_quietly(
    server: QueueServer, client: redis.Redis
) -> None:
    limiter = RedisLimiter(client)
    with ExitStack() as held:
        hold(held, limiter, 1)
        server.kill()
    with ExitStack() as held:
        hold(held, limiter, 1)


def call(limiter: Limiter, limit: int = 2, klass: LinkClass = "live", seconds: float = 0.05) -> None:
    """A call that ends at once."""
    with limiter.slot("erp", limit, klass, time.monotonic() + seconds, nothing):
        pass


def asked(client: redis.Redis) -> int:
    """How often the server was asked for a slot."""
    stats: dict[str, dict[str, int]] = client.info("commandstats")  # type: ignore[assignment]
    return sum(stats.get(name, {}).get("calls", 0) for name in ("cmdstat_evalsha", "cmdstat_eval"))


def test_calls_that_follow_each_other_keep_their_slot_and_ask_the_server_for_one_only(client: redis.Redis) -> None:
    limiter = RedisLimiter(client, clock=lambda: 100.0)
    call(limiter)
    before = asked(client)
    for _ in range(20):
        call(limiter)
    assert asked(client) == before


def test_a_kept_slot_goes_back_when_it_is_not_used(client: redis.Redis) -> None:
    limiter = RedisLimiter(client)
    call(limiter)
    until(lambda: client.zcard("sync:slots:erp") == 0)


def test_closing_gives_back_what_is_kept(client: redis.Redis) -> None:
    limiter = RedisLimiter(client)
    call(limiter)
    limiter.close()
    assert client.zcard("sync:slots:erp") == 0


def test_no_more_than_the_share_is_kept(client: redis.Redis) -> None:
    limiter = RedisLimiter(client, processes=2, clock=lambda: 100.0)
    with ExitStack() as held:
        for _ in range(4):
            hold(held, limiter, 4)
    assert client.zcard("sync:slots:erp") == 2


def test_a_slot_beyond_the_share_goes_on_to_a_thread_that_waits_here(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    limiter = RedisLimiter(client, processes=2)
    returned: list[list[str]] = []
    plain = limiter._give_back
    monkeypatch.setattr(
        limiter, "_give_back", lambda system, tokens: (returned.append(tokens), plain(system, tokens))[1]
    )
    with ExitStack() as first, ExitStack() as held:
        hold(held, limiter, 2, "bulk")
        hold(first, limiter, 2, "bulk")
        through = threading.Event()

        def wait() -> None:
            with limiter.slot("erp", 2, "bulk", time.monotonic() + 20, nothing):
                through.set()

        thread = threading.Thread(target=wait)
        thread.start()
        until(lambda: limiter._queue.waited_for("erp", by_live=False))
        first.close()
        assert through.wait(20)
        thread.join()
    assert len(returned) == 1  # at the end, when nobody waited any more


class Passing:
    """Threads of a process that hand its only slot to each other; time stands still but for ``pass_on``."""

    def __init__(self, client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.limiter = RedisLimiter(client, clock=lambda: self.now)
        self.asked = 0
        self.looked = 0
        self._has = threading.Event()
        take, look = self.limiter._server.take, self.limiter._server.would_confirm

        def counted_take(*args: Any, **more: Any) -> int:
            self.asked += 1
            return take(*args, **more)

        def counted_look(*args: Any) -> bool:
            try:
                return look(*args)
            finally:
                self.looked += 1

        monkeypatch.setattr(self.limiter._server, "take", counted_take)
        monkeypatch.setattr(self.limiter._server, "would_confirm", counted_look)

    def call(self) -> Callable[[], None]:
        """A thread that wants the slot and keeps it until what is returned is called."""
        self._has, may_end = threading.Event(), threading.Event()

        def work(has: threading.Event) -> None:
            with self.limiter.slot("erp", 1, "bulk", self.now + 20, nothing):
                has.set()
                may_end.wait(20)

        threading.Thread(target=work, args=(self._has,)).start()
        return may_end.set

    def first(self) -> Callable[[], None]:
        end = self.call()
        assert self._has.wait(20)
        return end

    def pass_on(self, end: Callable[[], None]) -> Callable[[], None]:
        """A while later the call that ``end`` ends is followed by one that waited."""
        following = self.call()
        until(lambda: self.limiter._queue.waited_for("erp", by_live=False))
        self.now += SPARE_IDLE * 0.8
        end()
        assert self._has.wait(20)
        return following


def test_who_hands_a_slot_on_asks_the_server_about_it_so_that_nobody_waits_for_that(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    passing = Passing(client, monkeypatch)
    end = passing.first()
    for turn in range(1, 6):
        end = passing.pass_on(end)
        until(lambda turn=turn: passing.looked == turn)  # type: ignore[misc]
    end()
    assert passing.asked == 1


def test_a_slot_that_another_process_waits_for_is_handed_on_only_as_long_as_nobody_has_looked(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    passing = Passing(client, monkeypatch)
    end = passing.pass_on(passing.first())
    until(lambda: passing.looked == 1)
    client.set("sync:slots:erp:waiting", "another process")
    end = passing.pass_on(end)
    until(lambda: passing.looked == 2)
    assert passing.asked == 1
    following = passing.call()
    until(lambda: passing.limiter._queue.waited_for("erp", by_live=False))
    end()
    until(lambda: passing.asked > 1)
    following()


def test_a_kept_slot_goes_to_another_process_that_waits_though_its_keeper_calls_on(client: redis.Redis) -> None:
    one, two = RedisLimiter(client), RedisLimiter(client)
    through = threading.Event()

    def busy() -> None:
        while not through.is_set():
            call(one, limit=1, seconds=20.0)

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        until(lambda: client.zcard("sync:slots:erp") == 1)
        call(two, limit=1, seconds=20.0)
    finally:
        through.set()
        thread.join()


def test_a_thread_gets_its_turn_at_the_only_slot_its_process_has_though_another_calls_on(client: redis.Redis) -> None:
    other, limiter = RedisLimiter(client, processes=2), RedisLimiter(client, processes=2)
    through = threading.Event()

    def busy() -> None:
        while not through.is_set():
            call(limiter, limit=2, seconds=20.0)

    with ExitStack() as held:
        hold(held, other, 2)
        thread = threading.Thread(target=busy)
        thread.start()
        try:
            until(lambda: client.zcard("sync:slots:erp") == 2)
            for _ in range(3):
                call(limiter, limit=2, seconds=5.0)
        finally:
            through.set()
            thread.join()


def test_who_has_its_share_does_not_take_another_processs_slot_away(client: redis.Redis) -> None:
    one, two = RedisLimiter(client, processes=2), RedisLimiter(client, processes=2)
    with ExitStack() as held:
        call(one, limit=2)
        hold(held, two, 2)
        with pytest.raises(RateLimited):
            hold(held, two, 2, seconds=0.0)
        assert client.get("sync:slots:erp:waiting") is None


def test_a_slot_that_live_work_took_is_not_kept_for_other_work(client: redis.Redis) -> None:
    one, two = RedisLimiter(client), RedisLimiter(client)
    with ExitStack() as held:
        hold(held, two, 2, "bulk")
        call(one, 2, "live")  # the last slot, kept
        with pytest.raises(RateLimited):
            hold(held, one, 2, "bulk", seconds=0.0)


def test_a_slot_whose_return_the_server_forgot_is_dropped_by_the_process_itself(client: redis.Redis) -> None:
    limiter = RedisLimiter(client)
    client.zadd("sync:slots:erp", {f"{limiter._me}:before-the-kill": (time.time() + 20) * 1000})
    call(limiter, limit=1, seconds=5.0)


def test_two_busy_processes_together_never_exceed_the_limit(client: redis.Redis) -> None:
    both = [RedisLimiter(client, processes=2), RedisLimiter(client, processes=2)]
    lock = threading.Lock()
    now, most, done = 0, 0, 0

    def work(limiter: RedisLimiter, klass: LinkClass) -> None:
        nonlocal now, most, done
        for _ in range(30):
            with limiter.slot("erp", 3, klass, time.monotonic() + 30, nothing):
                with lock:
                    now += 1
                    most = max(most, now)
                threading.Event().wait(0.002)
                with lock:
                    now -= 1
                    done += 1

    classes: tuple[LinkClass, ...] = ("live", "live", "bulk", "live")
    threads = [threading.Thread(target=work, args=(one, klass)) for one in both for klass in classes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (done, most <= 3) == (240, True)
