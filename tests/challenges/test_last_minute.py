"""A code's last minute, in which a Send makes the next, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from service.settings import Settings
from tests.harness.providers import Provider
from tests.harness.refusals import refused
from tests.harness.service import Service, Session, running
from tests.harness.tokens import Issuer

WINDOW, CODE_LIFE, LAST = 30, 600, 60
REPLACED = ("FAILED_PRECONDITION", 400, "challenge_failed", True)


@pytest.fixture
async def session(service: Service) -> Session:
    """A session whose code is in its last minute."""
    session = await service.challenged(expires_in=Duration(seconds=7200))
    await service.send(session)
    await service.later(CODE_LIFE - LAST + 10)
    return session


async def test_a_send_makes_the_next_code(service: Service, session: Session) -> None:
    old = service.provider.code()
    assert (await service.send(session)).code_sent
    assert service.provider.code() != old
    await service.later(CODE_LIFE - 1)
    await service.verify(session, service.provider.code())


async def test_until_then_a_send_repeats_the_code(service: Service) -> None:
    session = await service.challenged()
    await service.send(session)
    old = service.provider.code()
    await service.later(CODE_LIFE - LAST - 10)
    await service.send(session)
    assert (len(service.provider.accepted), service.provider.code()) == (2, old)


async def test_the_code_before_is_refused_and_not_counted(
    service: Service, session: Session
) -> None:
    old = service.provider.code()
    await service.send(session)
    for _ in range(6):
        refusal = await refused(service.verify(session, old))
        assert refusal.brief == REPLACED
        assert refusal.text == "A newer code is on its way. Use that one."
    assert await service.column(session, "wrong_total") == 0
    await service.verify(session, service.provider.code())


async def test_after_its_end_the_code_before_is_a_wrong_answer(
    service: Service, session: Session
) -> None:
    old = service.provider.code()
    await service.send(session)
    await service.later(LAST)
    assert (await refused(service.verify(session, old))).attempts_remaining == 4


async def test_a_resend_does_not_make_the_code_before_wrong(
    service: Service, session: Session
) -> None:
    old = service.provider.code()
    await service.send(session)
    await service.later(WINDOW)
    await service.send(session)
    assert len(service.provider.accepted) == 3
    await refused(service.verify(session, old))
    assert await service.column(session, "wrong_total") == 0


async def test_a_reissue_ends_what_was_known_of_the_code_before(
    service: Service, session: Session
) -> None:
    old = service.provider.code()
    await service.send(session)
    await service.issue(session)
    await service.send(session)
    assert (await refused(service.verify(session, old))).attempts_remaining == 4


async def test_wrong_answers_carry_over(service: Service, session: Session) -> None:
    for _ in range(4):
        await refused(service.verify(session, service.provider.wrong()))
    await service.send(session)
    refusal = await refused(service.verify(session, service.provider.wrong()))
    assert (refusal.code, refusal.recoverable) == ("challenge_failed", False)


async def test_the_window_does_not_outlive_the_code(
    make_settings: Callable[..., Settings], provider: Provider, clock: Any, issuer: Issuer
) -> None:
    settings = make_settings(send_window_seconds=600, code_ttl_seconds=120)
    async with running(settings, provider, clock, issuer) as service:
        session = await service.challenged()
        await service.send(session)
        await service.later(119)
        await service.send(session)
        assert len(provider.accepted) == 1
        await service.later(1)
        assert (await service.send(session)).code_sent
        assert len(provider.accepted) == 2
        await service.verify(session, provider.code())
