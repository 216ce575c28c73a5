"""When a provider is left alone, and when it is asked again."""

from __future__ import annotations

import pytest

from service.channels import Blame, Outcome, Result
from service.delivery.breaker import Breaker
from tests.harness.clock import StillClock

ACCEPTED = Result(Outcome.ACCEPTED)
DOWN = Result(Outcome.RETRY, blames=Blame.PROVIDER)
UNAUTHORIZED = Result(Outcome.REFUSED, blames=Blame.ACCOUNT)
BUSY_MAILBOX = Result(Outcome.RETRY, blames=Blame.RECIPIENT)
THROTTLED = Result(Outcome.RETRY, retry_after=30, blames=Blame.PROVIDER)
NEUTRAL = [
    BUSY_MAILBOX,
    Result(Outcome.UNDELIVERABLE, blames=Blame.RECIPIENT),
    Result(Outcome.REFUSED, blames=Blame.MESSAGE),
    Result(Outcome.UNKNOWN, blames=Blame.MESSAGE),
]


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def breaker(clock: StillClock) -> Breaker:
    return Breaker(clock)


def _call(breaker: Breaker, *results: Result) -> None:
    for result in results:
        breaker.note(result, breaker.begin())


@pytest.mark.parametrize("result", NEUTRAL)
def test_replies_about_others_never_open_it(breaker: Breaker, result: Result) -> None:
    _call(breaker, *[result] * 100)
    assert breaker.unavailable_for() == 0


@pytest.mark.parametrize("result", NEUTRAL)
def test_replies_about_others_hide_no_failures(breaker: Breaker, result: Result) -> None:
    _call(breaker, *[DOWN, result] * 4, DOWN)
    breaker.note(result)  # a call that was under way
    assert breaker.unavailable_for() == 10


def test_five_failures_in_a_row_open_it(breaker: Breaker) -> None:
    _call(breaker, *[DOWN] * 4, ACCEPTED, *[DOWN] * 4)
    assert breaker.unavailable_for() == 0
    _call(breaker, DOWN)
    assert breaker.unavailable_for() == 10


def test_one_call_at_a_time_finds_out(breaker: Breaker, clock: StillClock) -> None:
    _call(breaker, *[DOWN] * 5)
    clock.now += 10
    is_probe = breaker.begin()
    assert breaker.unavailable_for() == 10
    breaker.note(ACCEPTED, is_probe)
    assert breaker.unavailable_for() == 0


@pytest.mark.parametrize("result", NEUTRAL)
def test_a_probe_that_says_nothing_of_the_provider_leaves_its_turn_to_the_next(
    breaker: Breaker, clock: StillClock, result: Result
) -> None:
    _call(breaker, *[DOWN] * 5)
    clock.now += 10
    _call(breaker, result)
    assert breaker.unavailable_for() == 0
    assert breaker.begin()
    assert breaker.unavailable_for() == 10  # still in doubt


def test_messages_that_have_not_failed_find_out_first(breaker: Breaker, clock: StillClock) -> None:
    assert breaker.unavailable_for(failed_before=True) == 0
    _call(breaker, *[DOWN] * 5)
    clock.now += 10
    assert (breaker.unavailable_for(), breaker.unavailable_for(failed_before=True)) == (0, 5)
    clock.now += 5
    assert breaker.unavailable_for(failed_before=True) == 0
    _call(breaker, ACCEPTED)
    assert breaker.unavailable_for(failed_before=True) == 0


def test_one_refusal_of_our_account_opens_it_for_a_minute(
    breaker: Breaker, clock: StillClock
) -> None:
    _call(breaker, ACCEPTED, UNAUTHORIZED)
    assert breaker.unavailable_for() == 60
    clock.now += 60
    _call(breaker, UNAUTHORIZED)
    assert breaker.unavailable_for() == 60
    clock.now += 60
    _call(breaker, ACCEPTED)
    assert breaker.unavailable_for() == 0


def test_a_failure_of_a_call_under_way_shortens_no_pause(breaker: Breaker) -> None:
    _call(breaker, UNAUTHORIZED)
    breaker.note(DOWN)
    assert breaker.unavailable_for() == 60


def test_success_of_a_call_under_way_takes_no_retry_after_back(
    breaker: Breaker, clock: StillClock
) -> None:
    _call(breaker, THROTTLED)
    breaker.note(ACCEPTED)
    breaker.note(Result(Outcome.RETRY, retry_after=1, blames=Blame.PROVIDER))
    assert breaker.unavailable_for() == 30
    clock.now += 30
    assert breaker.unavailable_for() == 0


def test_a_pause_has_an_end(breaker: Breaker) -> None:
    _call(breaker, Result(Outcome.RETRY, retry_after=1e9, blames=Blame.PROVIDER))
    assert breaker.unavailable_for() == 300
