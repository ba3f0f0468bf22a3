"""When an alert is told, told again, and over: the pure rule, played through minute by minute."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest

from sync_worker.alerts.message import compose, duration
from sync_worker.alerts.rule import QUIET, REMIND, Standing, Subject, Told, Turn, decide

START = 1_800_000_000.0
MINUTE = 60.0
HOUR = 3600.0
UNMAPPED = Subject("links", "customers", "waiting", "manager_unmapped")
REFUSED = Subject("links", "customers", "failing", "refused")
PAUSED = Subject("paused", "crm", "system", "unavailable")


def waits(subject: Subject = UNMAPPED, count: int = 500, since: float = START - 5 * HOUR) -> Standing:
    return Standing(subject, since, count)


class Play:
    """One target over time. ``down``: sending fails."""

    def __init__(self) -> None:
        self.now = START
        self.memory: Sequence[Told] = ()
        self.down = False

    def turn(self, *standing: Standing, after: float = MINUTE) -> list[tuple[str, Subject]]:
        """What is told this turn: (status, subject), after that many seconds."""
        self.now += after
        decided = decide(standing, self.memory, self.now)
        self.memory = decided.seen if self.down else decided.told(self.now)
        self.last = decided
        return [(line.status, line.subject) for line in decided.lines]

    def turns(self, standing: Iterable[Standing], seconds: float, every: float = MINUTE) -> list[tuple[str, Subject]]:
        """Everything that is told in a span with the same things standing."""
        fixed = tuple(standing)
        return [told for _ in range(int(seconds // every)) for told in self.turn(*fixed, after=every)]

    def message_id(self) -> str:
        return compose(self.last.lines, target="mail", public_url="https://sync.example", now=self.now).id


def test_what_stands_is_told_once_and_then_only_once_a_day() -> None:
    play = Play()
    assert play.turn(waits()) == [("new", UNMAPPED)]
    assert play.turns([waits()], REMIND - 2 * MINUTE) == []
    assert play.turns([waits()], 2 * MINUTE) == [("still", UNMAPPED)]
    assert play.turns([waits()], REMIND - 2 * MINUTE) == []


def test_a_message_names_everything_that_stands_so_that_the_next_reminder_is_a_day_away_for_all() -> None:
    play = Play()
    play.turn(waits())
    play.turns([waits()], 23 * HOUR)
    assert play.turn(waits(), waits(REFUSED, 3)) == [("new", REFUSED), ("still", UNMAPPED)]
    assert play.turns([waits(), waits(REFUSED, 3)], 23 * HOUR) == []


def test_the_same_cause_with_more_links_or_other_links_is_no_news() -> None:
    play = Play()
    play.turn(waits())
    assert play.turn(waits(count=9000)) == []
    assert play.turn(waits(count=1, since=START - HOUR)) == []


def test_the_last_thing_that_ends_is_told_as_all_clear_after_a_quarter_of_an_hour_and_then_there_is_silence() -> None:
    play = Play()
    play.turn(waits())
    assert play.turns([], QUIET) == []
    assert play.turn() == [("over", UNMAPPED)]
    assert play.memory == ()
    assert play.turns([], 3 * REMIND, every=10 * MINUTE) == []


def test_what_ends_while_something_else_stands_is_told_with_the_next_message() -> None:
    play = Play()
    play.turn(waits(), waits(REFUSED))
    assert play.turns([waits()], 2 * HOUR) == []
    assert play.turn(waits(), waits(PAUSED)) == [("over", REFUSED), ("still", UNMAPPED), ("new", PAUSED)]
    assert play.turns([waits(), waits(PAUSED)], 2 * HOUR) == []


def test_all_clear_waits_until_the_last_one_is_surely_over() -> None:
    play = Play()
    play.turn(waits(), waits(REFUSED))
    play.turns([waits()], HOUR)
    assert play.turns([], QUIET) == []
    assert sorted(play.turn()) == [("over", REFUSED), ("over", UNMAPPED)]


@pytest.mark.parametrize("gap", [MINUTE, 5 * MINUTE, QUIET - MINUTE])
def test_what_ends_and_begins_again_within_a_quarter_of_an_hour_is_not_told_twice(gap: float) -> None:
    play = Play()
    play.turn(waits())
    told = [one for _ in range(20) for one in [*play.turns([], gap), *play.turns([waits()], 5 * MINUTE)]]
    assert told == []


def test_what_begins_again_after_it_was_told_as_over_is_new() -> None:
    play = Play()
    play.turn(waits())
    first = play.message_id()
    play.turns([], QUIET + MINUTE)
    assert play.turn(waits()) == [("new", UNMAPPED)]
    assert play.message_id() != first


def test_a_pause_that_ends_by_itself_is_told_only_when_it_lasts_and_its_gaps_do_not_start_it_anew() -> None:
    play = Play()

    def pause() -> Standing:
        return Standing(PAUSED, play.now + MINUTE, ripe_after=15 * MINUTE)  # the breaker opens anew each time

    for _ in range(7):
        assert play.turn(pause()) == []
        assert play.turn() == []
    told = [one for _ in range(4) for one in [*play.turn(pause()), *play.turn()]]
    assert told == [("new", PAUSED)]
    assert play.last.seen[0].since == START + MINUTE


def test_what_never_became_ripe_is_forgotten_without_a_word() -> None:
    play = Play()
    assert play.turn(Standing(PAUSED, START, ripe_after=15 * MINUTE)) == []
    assert play.turns([], QUIET + MINUTE) == []
    assert play.memory == ()


def test_while_sending_fails_the_same_message_is_tried_under_the_same_id_and_not_forgotten() -> None:
    play = Play()
    play.down = True
    play.turn(waits())
    first = play.message_id()
    for _ in range(30):
        assert play.turn(waits(count=501, since=START - 4 * HOUR)) == [("new", UNMAPPED)]
        assert play.message_id() == first
    play.down = False
    assert play.turn(waits()) == [("new", UNMAPPED)]
    assert play.turns([waits()], 5 * HOUR) == []


def test_an_end_that_could_not_be_told_is_told_later_and_what_nobody_heard_of_needs_no_end() -> None:
    play = Play()
    play.turn(waits())
    play.down = True
    assert ("over", UNMAPPED) in play.turns([], QUIET + 5 * MINUTE)
    play.down = False
    assert play.turn() == [("over", UNMAPPED)]
    play.down = True
    play.turn(waits(REFUSED))
    play.down = False
    assert play.turns([], 2 * HOUR) == []


def test_nothing_standing_and_nothing_told_is_silence() -> None:
    assert decide([], [], START) == Turn((), ())


def test_every_message_of_one_standing_cause_has_an_id_of_its_own() -> None:
    play = Play()
    ids = set()
    for _ in range(5):
        play.turn(waits(), after=REMIND)
        ids.add(play.message_id())
    assert len(ids) == 5


def test_two_targets_never_share_an_id() -> None:
    lines = decide([waits()], [], START).lines
    ids = {compose(lines, target=t, public_url="https://sync.example", now=START).id for t in ("mail", "webhook")}
    assert len(ids) == 2


# ----- words


def test_a_message_says_what_why_how_long_what_next_and_where_to_look() -> None:
    managers = (("account_manager:erp:E-12", 480), ("account_manager:erp:E-13", 20))
    keyed = replace(waits(), keys=managers, example=("erp", "77"))
    auth = Standing(Subject("paused", "crm", "system", "auth_failed"), START - 2 * HOUR)
    lag = Standing(Subject("lag", "customers"), START - 20 * MINUTE, 7)
    task = Standing(Subject("task", "poll:erp"), START - HOUR, detail="rejected: HTTP 400")
    lines = decide([keyed, auth, lag, task], [], START).lines
    message = compose(lines, target="mail", public_url="https://sync.example", now=START)
    assert message.subject == "[sync-worker sync.example] flow customers: lags 7 links, and 3 more"
    assert message.text == (
        "NEW\n"
        "- flow customers: lags: 7 links, the oldest for 20 min\n"
        "  why: work is due and nobody does it\n"
        "  next: is a worker running, and is it quick enough? sync-worker status\n"
        "- flow customers: waiting: 500 links, the oldest for 5 h\n"
        "  why: some fields: no mapping for account_manager:erp:E-12 (480), account_manager:erp:E-13 (20)\n"
        "  next: sync-worker managers map --flow customers --erp KEY --crm KEY\n"
        "  one of them: sync-worker explain erp key:77\n"
        "  all again: sync-worker replay --state waiting --flow customers\n"
        "- system crm: paused: for 2 h\n"
        "  why: it refuses our credentials\n"
        "  next: correct them: sync-worker doctor says which setting\n"
        "- task poll:erp: fails: for 1 h\n"
        "  why: it fails again and again: rejected: HTTP 400\n"
        "  next: sync-worker doctor says what is wrong\n"
        "\n"
        "Look: sync-worker status, or https://sync.example\n"
    )
    assert [one["status"] for one in message.document["data"]["alerts"]] == ["new"] * 4
    assert message.document["data"]["all_clear"] is False


def test_all_clear_says_so_and_what_is_over() -> None:
    play = Play()
    play.turn(waits())
    play.turns([], QUIET)
    play.turn()
    message = compose(play.last.lines, target="mail", public_url="https://sync.example/x", now=play.now)
    assert message.subject == "[sync-worker sync.example] all clear"
    assert message.text == (
        "OVER\n- flow customers: waiting (manager_unmapped)\n\n"
        "All of it is over. Look: sync-worker status, or https://sync.example/x\n"
    )
    assert message.document["data"]["all_clear"] is True


def test_a_cause_told_of_many_records_quotes_nothing_of_any_of_them() -> None:
    from sync_worker import causes

    for code in [*causes.CAUSES, "rejected"]:
        text = causes.general_text(code)
        assert "{" not in text and "…" not in text, code


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "less than a minute"),
        (59, "less than a minute"),
        (60, "1 min"),
        (3600, "1 h"),
        (3660, "1 h 1 min"),
        (86_400 * 3 + 3600 * 4 + 120, "3 d 4 h"),
        (-5, "less than a minute"),
    ],
)
def test_a_span_is_said_in_its_two_largest_units(seconds: float, said: str) -> None:
    assert duration(seconds) == said
