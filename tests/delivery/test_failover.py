"""Failover: who is asked next, who is not asked again, and what the payer is told in the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import pytest

from service.channels import Blame, Outcome, Result
from service.delivery import providers
from service.settings import Settings
from tests.harness.providers import Provider
from tests.harness.refusals import refused
from tests.harness.service import Service, running
from tests.harness.timing import eventually, holds
from tests.harness.tokens import Issuer

DOWN = Result(Outcome.RETRY, reason="no connection", blames=Blame.PROVIDER)
BUSY_MAILBOX = Result(Outcome.RETRY, reason="SMTP 450 4.1.2", blames=Blame.RECIPIENT)
LATER = Result(Outcome.RETRY, reason="HTTP 429", retry_after=3, blames=Blame.PROVIDER)
OPTED_OUT = Result(Outcome.REFUSED, reason="code 21610", blames=Blame.MESSAGE)
UNAUTHORIZED = Result(Outcome.REFUSED, reason="HTTP 401", blames=Blame.ACCOUNT)
INVALID = Result(Outcome.UNDELIVERABLE, reason="code 21211", blames=Blame.RECIPIENT)
MAYBE = Result(Outcome.UNKNOWN, reason="timed out", blames=Blame.PROVIDER)


class Two(NamedTuple):
    """A service with two providers of SMS; the second is `service.provider`."""

    first: Provider
    second: Provider
    service: Service

    @property
    def calls(self) -> tuple[int, int]:
        return len(self.first.calls), len(self.second.calls)


@pytest.fixture
async def two(
    make_settings: Callable[..., Settings], clock: Any, issuer: Issuer
) -> AsyncIterator[Two]:
    first, second = Provider("test://first"), Provider("test://second")
    both = {"sms": [first, second], "email": [first]}
    async with running(make_settings(), second, clock, issuer, by_type=both) as service:
        yield Two(first, second, service)


@pytest.fixture
def one_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that answers one call at a time."""
    monkeypatch.setattr(providers, "_CONCURRENCY", 1)


async def test_a_provider_without_a_slot_is_passed_over(one_slot: None, two: Two) -> None:
    one, other = [await two.service.challenged(phone=f"+1415555010{n}") for n in range(2)]
    two.first.gate.clear()
    slow = asyncio.create_task(two.service.send(one))
    await eventually(two.first.called)
    assert (await two.service.send(other)).code_sent
    assert two.calls == (1, 1)
    two.first.gate.set()
    await slow


@pytest.mark.parametrize("result", [DOWN, LATER, OPTED_OUT, UNAUTHORIZED, INVALID, MAYBE])
async def test_the_next_provider_is_asked_whatever_the_first_says(two: Two, result: Result) -> None:
    two.first.results = [result]
    session = await two.service.challenged()
    assert (await two.service.send(session)).code_sent
    assert two.calls == (1, 1)
    await two.service.verify(session, two.second.code())


@pytest.mark.parametrize(
    ("first", "second"), [(INVALID, INVALID), (INVALID, OPTED_OUT), (UNAUTHORIZED, INVALID)]
)
async def test_the_payer_is_told_when_none_is_left_and_one_is_sure(
    two: Two, first: Result, second: Result
) -> None:
    two.first.results, two.second.results = [first], [second]
    refusal = await refused(two.service.send(await two.service.challenged()))
    assert refusal.brief == ("FAILED_PRECONDITION", 400, "processing_error", False)
    assert two.calls == (1, 1)


async def test_the_payer_is_not_told_so_when_nobody_is_sure(two: Two) -> None:
    two.first.results, two.second.results = [OPTED_OUT], [UNAUTHORIZED]
    session = await two.service.challenged()
    assert not (await two.service.send(session)).code_sent
    assert await two.service.column(session, "dispatch_state") == "dead"
    assert two.calls == (1, 1)


@pytest.mark.slow
async def test_who_refuses_is_not_asked_again_after_a_pause(two: Two) -> None:
    two.first.results, two.second.results = [DOWN, DOWN], [OPTED_OUT]
    session = await two.service.challenged()
    assert not (await two.service.send(session)).code_sent
    assert two.calls == (1, 1)
    for calls in (2, 3):  # the ledger tells whoever claims it next
        await two.service.later(31)
        await eventually(holds(lambda calls=calls: len(two.first.calls) == calls))
    await eventually(_is(two.service, session, "sent"))
    assert two.calls == (3, 1)


async def test_a_refusal_of_one_leaves_the_code_to_another_that_may_come_back(two: Two) -> None:
    two.first.results, two.second.results = [LATER], [OPTED_OUT]
    session = await two.service.challenged()
    assert not (await two.service.send(session)).code_sent
    assert await two.service.column(session, "dispatch_state") == "queued"


async def test_a_provider_that_refuses_us_is_left_alone(two: Two) -> None:
    two.first.results = [UNAUTHORIZED] * 20
    sessions = [await two.service.challenged(phone=f"+1415555{n:04}") for n in range(100, 120)]
    for session in sessions:
        assert (await two.service.send(session)).code_sent
    assert two.calls == (1, 20)


@pytest.mark.slow
async def test_sixty_bad_addresses_hold_up_nobody_else(two: Two) -> None:
    two.first.results, two.second.results = [BUSY_MAILBOX] * 60, [BUSY_MAILBOX] * 60
    bad = [await two.service.challenged(phone=f"+1415555{n:04}") for n in range(100, 160)]
    await asyncio.gather(*(two.service.send(session) for session in bad))
    others = [await two.service.challenged(phone=f"+1415555{n:04}") for n in range(160, 199)]
    answers = await asyncio.gather(*(two.service.send(session) for session in others))
    assert all(answer.code_sent for answer in answers)


async def test_what_may_have_been_delivered_is_retried_once(two: Two) -> None:
    two.first.results, two.second.results = [MAYBE] * 5, [MAYBE] * 5
    session = await two.service.challenged()
    assert not (await two.service.send(session)).code_sent
    assert await two.service.column(session, "dispatch_state") == "dead"
    assert two.calls == (1, 1)
    [first], [second] = two.first.calls, two.second.calls
    assert first.id == second.id  # the same code, under the same idempotency key
    assert first.text[:20] == second.text[:20]


def _is(service: Service, session: Any, state: str) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return bool(await service.column(session, "dispatch_state") == state)

    return check
