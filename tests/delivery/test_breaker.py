"""When a provider is left alone, and when it is asked again."""

from __future__ import annotations

import pytest

from service.channels import Blame, Outcome, Verdict
from service.delivery.breaker import Breaker
from tests.harness.clock import StillClock

ACCEPTED = Outcome(Verdict.ACCEPTED)
DOWN = Outcome(Verdict.RETRY, blames=Blame.PROVIDER)
UNAUTHORIZED = Outcome(Verdict.REFUSED, blames=Blame.ACCOUNT)
BUSY_MAILBOX = Outcome(Verdict.RETRY, blames=Blame.RECIPIENT)
THROTTLED = Outcome(Verdict.RETRY, retry_after=30, blames=Blame.PROVIDER)
NEUTRAL = [
    BUSY_MAILBOX,
    Outcome(Verdict.UNDELIVERABLE, blames=Blame.RECIPIENT),
    Outcome(Verdict.REFUSED, blames=Blame.MESSAGE),
    Outcome(Verdict.UNKNOWN, blames=Blame.MESSAGE),
]


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def breaker(clock: StillClock) -> Breaker:
    return Breaker(clock)


def _call(breaker: Breaker, *outcomes: Outcome) -> None:
    for outcome in outcomes:
        breaker.note(outcome, breaker.begin())


@pytest.mark.parametrize("outcome", NEUTRAL)
def test_replies_about_others_never_open_it(breaker: Breaker, outcome: Outcome) -> None:
    _call(breaker, *[outcome] * 100)
    assert breaker.unavailable_for() == 0


@pytest.mark.parametrize("outcome", NEUTRAL)
def test_replies_about_others_hide_no_failures(breaker: Breaker, outcome: Outcome) -> None:
    _call(breaker, *[DOWN, outcome] * 4, DOWN)
    breaker.note(outcome)  # a call that was under way
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


@pytest.mark.parametrize("outcome", NEUTRAL)
def test_a_probe_that_says_nothing_of_the_provider_leaves_its_turn_to_the_next(
    breaker: Breaker, clock: StillClock, outcome: Outcome
) -> None:
    _call(breaker, *[DOWN] * 5)
    clock.now += 10
    _call(breaker, outcome)
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
    breaker.note(Outcome(Verdict.RETRY, retry_after=1, blames=Blame.PROVIDER))
    assert breaker.unavailable_for() == 30
    clock.now += 30
    assert breaker.unavailable_for() == 0


def test_a_pause_has_an_end(breaker: Breaker) -> None:
    _call(breaker, Outcome(Verdict.RETRY, retry_after=1e9, blames=Blame.PROVIDER))
    assert breaker.unavailable_for() == 300
