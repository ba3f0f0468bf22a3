"""The contract of every connector: when the vendor or the configuration is in trouble."""

from __future__ import annotations

import pytest
from suite import Case, fault

from sync_worker.connectors.base import Ask
from sync_worker.errors import (
    AuthFailed,
    RateLimited,
    RetryableError,
    SystemUnavailable,
)


@pytest.mark.back_door("faults")
def test_a_vendor_that_is_down_is_unavailable_and_comes_back(case: Case) -> None:
    key = case.make()
    write = case.update_of(key, name="Later")
    with fault(case, blackout=True):
        with pytest.raises(SystemUnavailable):
            case.read(key)
        (outcome,) = case.connector.write_many("customer", [write])
        assert isinstance(outcome.error, RetryableError)
    assert case.read(key).key == key


@pytest.mark.back_door("faults")
def test_one_hiccup_of_a_read_is_not_noticed(case: Case) -> None:
    key = case.make()
    for kind in ("500", "503", "before_apply", "reset"):
        with fault(case, fail_next=[{"operation": "read", "fault": kind}]):
            assert case.read(key).key == key


@pytest.mark.back_door("faults")
def test_a_rate_limit_says_how_long_to_wait(case: Case) -> None:
    key = case.make()
    with fault(case, p_429=1.0, retry_after_s=30), pytest.raises(RateLimited) as caught:
        case.read(key)
    assert caught.value.after == 30.0


@pytest.mark.back_door("faults")
def test_a_rate_limit_without_a_hint_is_still_a_rate_limit(case: Case) -> None:
    key = case.make()
    write = case.update_of(key, name="Later")
    with fault(case, p_429_no_hint=1.0):
        (outcome,) = case.connector.write_many("customer", [write])
    assert isinstance(outcome.error, RateLimited)
    assert case.values(key)["name"] == "Orchard Foods"


@pytest.mark.back_door("faults")
def test_after_an_error_that_concerns_all_the_rest_of_the_creates_is_not_doubtful(case: Case) -> None:
    writes = [case.write_of(str(n), f"k{n}", name=f"New {n}") for n in range(3)]
    with fault(case, p_429=1.0, retry_after_s=60):
        outcomes = case.connector.write_many("customer", writes)
    assert [type(outcome.error) for outcome in outcomes] == [RateLimited] * 3
    assert all(outcome.key is None for outcome in outcomes)


@pytest.mark.back_door("a login that cannot be locked")
def test_wrong_credentials_are_an_auth_error_and_doctor_says_which_setting(case: Case) -> None:
    stranger = case.connect(**case.door.bad_secret)
    with pytest.raises(AuthFailed):
        stranger.read_many("customer", [Ask("1")])
    bad = [check for check in stranger.check() if not check.ok]
    assert any(setting in check.fix for check in bad for setting in case.door.bad_secret)


@pytest.mark.only_reads
def test_doctor_is_content_with_a_healthy_system_and_writes_nothing(case: Case) -> None:
    checks = case.connector.check()
    assert [check for check in checks if not check.ok] == []
    assert len(checks) >= 3


@pytest.mark.only_reads
def test_a_configured_column_that_is_not_there_stops_that_field_only_and_doctor_names_it(case: Case) -> None:
    (key,) = case.there()
    broken = case.misconfigured()
    (record,) = broken.read_many("customer", [Ask(key)]).values()
    assert record is not None
    values = broken.maps["customer"].get(record.native)
    assert values["name"] == case.values(key)["name"]
    assert "region" not in values
    named = [check for check in broken.check() if not check.ok]
    assert any(case.missing in f"{check.name} {check.detail} {check.fix}" for check in named)


@pytest.mark.back_door("faults")
def test_errors_never_repeat_what_was_written(case: Case) -> None:
    key = case.make()
    with fault(case, refuse={case.fmap.fields["name"].columns[0]: ["Zanzibar Ltd"]}):
        outcome = case.update(key, name="Zanzibar Ltd")
    assert "Zanzibar" not in f"{outcome.error!s} {outcome.error!r}"
