"""Guesses: what wrong answers cost a destination, and which codes can be answered at all."""

from __future__ import annotations

import asyncio

import pytest
from google.protobuf.duration_pb2 import Duration

from service.channels import Outcome, Result
from tests.harness.refusals import Refusal, refused
from tests.harness.service import Service, Session
from tests.harness.timing import eventually

HOUR, DAY = 3600, 24 * 3600
WRONG = ("FAILED_PRECONDITION", 400, "challenge_failed", True)
SPENT = ("RESOURCE_EXHAUSTED", 429, "rate_limited", True)
NEVER = ("RESOURCE_EXHAUSTED", 429, "rate_limited", False)
VOID = ("FAILED_PRECONDITION", 400, "challenge_failed", True)


async def sent(service: Service, account: str = "acct_1", life: int = DAY) -> Session:
    """Opens a session to the one number and sends its code."""
    session = await service.challenged(account_uid=account, expires_in=Duration(seconds=life))
    await service.send(session)
    return session


async def guess(service: Service, session: Session, times: int) -> list[Refusal]:
    """Answers wrongly, one after the other."""
    return [await refused(service.verify(session, service.provider.wrong())) for _ in range(times)]


async def spend(service: Service, account: str = "acct_1") -> None:
    """Answers wrongly twenty times, in five sessions."""
    for _ in range(5):
        assert {r.brief for r in await guess(service, await sent(service, account), 4)} == {WRONG}


async def test_twenty_wrong_answers_a_day_per_account_and_destination(service: Service) -> None:
    await spend(service)
    await service.later(HOUR)
    session = await service.challenged(expires_in=Duration(seconds=DAY))
    refusal = await refused(service.send(session))
    assert refusal.brief == SPENT, "a code that cannot be answered need not be sent"
    assert DAY - HOUR - 60 < refusal.retry_after <= DAY - HOUR


async def test_neither_right_nor_wrong_is_judged_once_they_are_spent(service: Service) -> None:
    for _ in range(4):
        await guess(service, await sent(service), 4)
    await service.later(HOUR)
    session = await sent(service)
    code = service.provider.code()
    await guess(service, session, 4)
    for answer in (code, service.provider.wrong()):
        assert (await refused(service.verify(session, answer))).brief == SPENT
    assert await service.column(session, "wrong_total") == 4
    assert await service.get(session) is not None, "never locked"
    await service.waive(session)


async def test_a_session_that_ends_before_is_told_so(service: Service) -> None:
    short = await sent(service, life=1800)
    for _ in range(4):
        await guess(service, await sent(service), 4)
    await guess(service, short, 4)
    refusal = await refused(service.verify(short, service.provider.wrong()))
    assert (refusal.brief, refusal.waits) == (NEVER, False)


async def test_another_account_has_twenty_of_its_own(service: Service) -> None:
    await spend(service)
    session = await sent(service, "acct_2")
    await service.verify(session, service.provider.code())


@pytest.mark.slow
async def test_a_hundred_wrong_answers_a_day_over_all_accounts(service: Service) -> None:
    for account in range(5):
        await spend(service, f"acct_{account}")
        await service.later(HOUR)
    session = await service.challenged(account_uid="acct_9", expires_in=Duration(seconds=DAY))
    refusal = await refused(service.send(session))
    assert refusal.brief == SPENT
    assert refusal.retry_after % 900 == 0, "tells when others have guessed"


async def test_a_right_answer_clears_both(service: Service) -> None:
    for _ in range(4):
        await guess(service, await sent(service), 4)
    session = await sent(service)
    await guess(service, session, 3)
    await service.verify(session, service.provider.code())
    left = await service.database.rows("SELECT used FROM quota WHERE key LIKE 'wrong-%'")
    assert [tuple(row) for row in left] == [(0,), (0,)]


@pytest.mark.slow
async def test_guesses_at_once_over_many_sessions_never_exceed_the_quota(
    service: Service,
) -> None:
    sessions = [await sent(service) for _ in range(5)]
    wrong = service.provider.wrong()
    await guess(service, sessions[0], 1)
    refusals = await asyncio.gather(
        *(refused(service.verify(session, wrong)) for session in sessions for _ in range(20))
    )
    counted = sum(refusal.brief == WRONG for refusal in refusals)
    locked = [await service.column(session, "wrong_total") for session in sessions]
    assert sum(locked) == 20
    assert counted <= 19
    row = await service.database.row("SELECT max(used) FROM quota WHERE key LIKE 'wrong-day:%'")
    assert row is not None
    assert row[0] == 20


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.RETRY])
async def test_a_code_that_surely_left_nobody_is_void(service: Service, outcome: Outcome) -> None:
    service.provider.results = [Result(outcome, reason="401")] * 2
    session = await service.challenged()
    assert not (await service.send(session)).code_sent
    await eventually(service.settled)
    right = service.provider.asked_code()
    for answer in (right, "000000", "111111"):
        assert (await refused(service.verify(session, answer))).brief == VOID
    assert await service.column(session, "wrong_total") == 0
    assert await service.database.row("SELECT 1 FROM quota WHERE key LIKE 'wrong-%'") is None


async def test_a_code_that_may_have_arrived_can_be_answered(service: Service) -> None:
    service.provider.results = [Result(Outcome.UNKNOWN, reason="timed out")] * 2
    session = await service.challenged()
    assert not (await service.send(session)).code_sent
    await service.verify(session, service.provider.asked_code())


async def test_it_still_can_when_the_resend_surely_failed(service: Service) -> None:
    service.provider.results = [
        *[Result(Outcome.UNKNOWN, reason="timed out")] * 2,
        Result(Outcome.REFUSED, reason="refused"),
    ]
    session = await service.challenged()
    await service.send(session)
    await service.later(30)
    await service.send(session)
    await eventually(service.settled)
    await service.verify(session, service.provider.asked_code())


async def test_what_was_sent_before_a_new_code_says_nothing_of_it(service: Service) -> None:
    session = await sent(service)
    await service.later(600)
    service.provider.results = [Result(Outcome.REFUSED, reason="refused")]
    await service.send(session)
    await eventually(service.settled)
    right = service.provider.asked_code()
    assert (await refused(service.verify(session, right))).brief == VOID
