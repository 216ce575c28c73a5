"""Quotas on sends, over gRPC, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2

from service.challenges import quotas
from service.channels import Outcome, Result
from service.delivery.messages import Composer
from service.errors import ChallengeError, QuotaOutlastsSession, RateLimited, SendsSpent
from service.settings import Settings
from service.storage.dispatches import Dispatches
from service.storage.rows import Quota, SessionRow
from tests.harness.providers import Provider
from tests.harness.refusals import Refusal, refused
from tests.harness.service import Service, Session, running
from tests.harness.timing import Pause, eventually
from tests.harness.tokens import Issuer

WINDOW, HOUR, DAY = 30, 3600, 24 * 3600
SPENT = ("RESOURCE_EXHAUSTED", 429, "rate_limited", True)
NEVER = ("RESOURCE_EXHAUSTED", 429, "rate_limited", False)


LAST = "Too many codes were requested. Please use the last one."
NO_CODE = "Too many requests. Ask the merchant for another way, or for a new session later."
_ROW = SessionRow(*[None] * len(SessionRow._fields))._replace(  # type: ignore[arg-type]
    challenge_type="sms", account_uid="acct_1", now=0, expires_at=1_800_000,
    code_sent=False, code_unknown=False, code_expires_at=600_000,
)  # fmt: skip
LONG = {"expires_in": Duration(seconds=DAY)}
"""A session in which waiting for most quotas helps."""


async def by_sms(
    service: Service, number: str = "+14155550123", account: str = "acct_1"
) -> Session:
    return await service.challenged(number, account_uid=account, **LONG)


async def by_email(service: Service, address: str = "jane@example.com") -> Session:
    session = await service.open(**LONG)
    await service.issue(session, email=admin_pb2.Email(address=address))
    return session


async def sends(
    service: Service, times: int, by: Callable[..., Any] = by_sms, *destination: str
) -> None:
    """Sends to one destination, each time in a session of its own."""
    for _ in range(times):
        await service.send(await by(service, *destination))


async def spent(service: Service, by: Callable[..., Any] = by_sms, *destination: str) -> Refusal:
    """Sends once more, which must be one too many."""
    return await refused(service.send(await by(service, *destination)))


async def test_a_phone_number_has_five_sends_an_hour(service: Service) -> None:
    await sends(service, 5)
    assert (await spent(service)).brief == SPENT
    assert len(service.provider.calls) == 5


async def test_another_number_has_a_quota_of_its_own(service: Service) -> None:
    await sends(service, 5)
    await sends(service, 1, by_sms, "+14155550199")


async def test_other_spellings_share_the_quota(service: Service) -> None:
    await sends(service, 5, by_sms, "+1 (415) 555-0123")
    await spent(service, by_sms, "+14155550123")


async def test_the_hour_is_over_when_retry_info_says(service: Service) -> None:
    await sends(service, 1)
    await service.later(600)
    await sends(service, 4)
    refusal = await spent(service)
    assert HOUR - 660 < refusal.retry_after <= HOUR - 600
    await service.later(refusal.retry_after)
    await sends(service, 1)


async def test_a_moment_too_early_the_quota_is_still_spent(service: Service) -> None:
    await sends(service, 5)
    await service.later((await spent(service)).retry_after - 30)
    await spent(service)


async def test_the_retry_after_of_rest_is_the_same(service: Service) -> None:
    await sends(service, 5)
    refusal = await spent(service)
    assert refusal.trailing["retry-after"] == str(refusal.retry_after)


async def test_a_phone_number_has_ten_sends_a_day(service: Service) -> None:
    await sends(service, 5)
    await service.later(HOUR)
    await sends(service, 5)
    refusal = await spent(service)
    assert DAY - HOUR - 60 < refusal.retry_after <= DAY - HOUR
    await service.later(HOUR)
    await spent(service)
    await service.later(refusal.retry_after - HOUR)
    await sends(service, 1)


async def test_an_email_address_has_five_sends_an_hour(service: Service) -> None:
    await sends(service, 5, by_email)
    refusal = await spent(service, by_email)
    assert refusal.brief == SPENT
    await service.later(refusal.retry_after)
    await sends(service, 1, by_email)


async def test_an_email_address_in_other_case_shares_the_quota(service: Service) -> None:
    await sends(service, 5, by_email, "Jane@Example.com")
    await spent(service, by_email, "jane@example.com")


async def test_repeats_within_the_window_spend_nothing(service: Service) -> None:
    session = await by_sms(service)
    for _ in range(6):
        await service.send(session)
    await sends(service, 4)
    await spent(service)


async def test_resends_spend_the_quota_too(service: Service) -> None:
    session = await by_sms(service)
    for _ in range(5):
        await service.send(session)
        await service.later(WINDOW)
    await spent(service)


async def test_a_new_challenge_to_the_same_number_spends_the_quota_too(service: Service) -> None:
    session = await service.open()
    for _ in range(5):
        await service.issue(session)
        await service.send(session)
    await spent(service)


async def test_what_was_refused_for_its_quota_counts_for_nothing(service: Service) -> None:
    await sends(service, 5)
    session = await by_sms(service)
    for _ in range(6):
        refusal = await refused(service.send(session))
    await service.later(refusal.retry_after)
    assert (await service.send(session)).code_sent


@pytest.mark.slow
async def test_sends_to_one_number_at_once_never_exceed_its_quota(service: Service) -> None:
    sessions = [await by_sms(service) for _ in range(30)]
    calls = (service.send(session) for session in sessions)
    results = await asyncio.gather(*calls, return_exceptions=True)
    failures = [Refusal(result) for result in results if isinstance(result, BaseException)]
    assert {failure.brief for failure in failures} == {SPENT}
    assert len(failures) == 25
    assert len(service.provider.accepted) == 5


@pytest.mark.parametrize(("number", "account"), [("+14155550123", "acct_2")])
async def test_an_account_does_not_feel_what_another_has_sent(
    service: Service, number: str, account: str
) -> None:
    await sends(service, 5, by_sms, number)
    await spent(service, by_sms, number)
    await sends(service, 5, by_sms, number, account)


async def test_over_all_accounts_a_destination_has_fifteen_sends_an_hour(service: Service) -> None:
    for account in ("acct_1", "acct_2", "acct_3"):
        await sends(service, 5, by_sms, "+14155550123", account)
    await service.later(100)
    refusal = await spent(service, by_sms, "+14155550123", "acct_4")
    assert refusal.brief == SPENT
    assert refusal.retry_after == HOUR, "tells when others have sent"
    await service.later(HOUR - 100)
    await sends(service, 1, by_sms, "+14155550123", "acct_4")


@pytest.mark.slow
async def test_over_all_accounts_a_destination_has_thirty_sends_a_day(service: Service) -> None:
    for hour in range(2):
        for account in ("acct_1", "acct_2", "acct_3"):
            await sends(service, 5, by_sms, "+14155550123", f"{account}{hour}")
        await service.later(HOUR)
    refusal = await spent(service, by_sms, "+14155550123", "acct_9")
    assert refusal.retry_after % 900 == 0
    assert DAY - 2 * HOUR - 900 < refusal.retry_after <= DAY - 2 * HOUR + 900


@pytest.mark.slow
async def test_sends_of_all_accounts_at_once_never_exceed_the_destinations_quota(
    service: Service,
) -> None:
    sessions = [await by_sms(service, account=f"acct_{number % 8}") for number in range(40)]
    results = await asyncio.gather(
        *(service.send(session) for session in sessions), return_exceptions=True
    )
    assert sum(isinstance(result, BaseException) for result in results) == 25
    assert len(service.provider.accepted) == 15


async def test_the_last_send_of_a_session_is_the_last(service: Service) -> None:
    session = await by_email(service)
    for _ in range(5):
        await service.send(session)
        await service.later(WINDOW)
    refusal = await refused(service.send(session))
    assert refusal.brief == SPENT, "the code that was sent can still be typed"
    assert refusal.error.message == LAST
    await service.later(600)
    refusal = await refused(service.send(session))
    assert (refusal.brief, refusal.error.message) == (NEVER, NO_CODE)
    assert not refusal.waits


async def test_no_wait_is_named_that_the_session_does_not_live_to_see(service: Service) -> None:
    """Nor a new session, which meets the same quota."""
    await sends(service, 5)
    for _ in range(2):
        refusal = await refused(service.send(await service.challenged()))
        assert (refusal.brief, refusal.error.message) == (NEVER, NO_CODE)
        assert not refusal.waits


@pytest.mark.parametrize(
    "quota",
    [*quotas.sends_of(_ROW, 3), *quotas.wrong_answers_of(_ROW)],
    ids=lambda quota: str(quota.key.partition(":")[0]),
)
def test_what_helps_against_a_spent_quota(quota: Quota) -> None:
    """Waiting, then the code that was sent, if it is not answers that are too many."""

    def kind(wait_ms: int, *, code_lives: bool) -> type[ChallengeError]:
        row = _ROW._replace(code_sent=code_lives)
        return type(quotas.refusal(row, {quota.key: wait_ms}))

    sends_are_spent = not quota.key.startswith("wrong-")
    assert kind(1_000, code_lives=False) is kind(1_000, code_lives=True) is RateLimited
    assert kind(1_800_000, code_lives=False) is QuotaOutlastsSession
    last = SendsSpent if sends_are_spent else QuotaOutlastsSession
    assert kind(1_800_000, code_lives=True) is last


async def test_where_no_other_code_is_sent_the_last_can_be_used(service: Service) -> None:
    session = await service.challenged()
    await sends(service, 4)
    await service.send(session)
    await service.later(WINDOW)
    refusal = await refused(service.send(session))
    assert (refusal.brief, refusal.error.message) == (SPENT, LAST)
    await service.verify(session, service.provider.code())


async def test_an_account_opens_the_sessions_that_the_settings_allow(
    make_settings: Callable[..., Settings], provider: Provider, clock: Any, issuer: Issuer
) -> None:
    settings = make_settings(account_sessions_per_hour=3)
    async with running(settings, provider, clock, issuer) as service:
        opened = [await service.open() for _ in range(3)]
        await asyncio.gather(*(service.reopen(session) for session in opened))
        refusal = await refused(service.open())
        assert refusal.brief == SPENT
        await service.open(account_uid="acct_2")
        await service.later(refusal.retry_after)
        await service.open()


async def test_sessions_opened_at_once_never_exceed_the_quota(
    make_settings: Callable[..., Settings], provider: Provider, clock: Any, issuer: Issuer
) -> None:
    settings = make_settings(account_sessions_per_hour=3)
    async with running(settings, provider, clock, issuer) as service:
        results = await asyncio.gather(*(service.open() for _ in range(20)), return_exceptions=True)
        assert sum(isinstance(result, Session) for result in results) == 3


async def test_quotas_outlive_the_process(
    make_settings: Callable[..., Settings], provider: Provider, clock: Any, issuer: Issuer
) -> None:
    for allowed in (3, 2):
        async with running(make_settings(), provider, clock, issuer) as service:
            await sends(service, allowed)
    async with running(make_settings(), provider, clock, issuer) as service:
        await spent(service)


async def test_an_account_has_the_sends_that_the_settings_allow(
    make_settings: Callable[..., Settings], provider: Provider, clock: Any, issuer: Issuer
) -> None:
    settings = make_settings(account_sends_per_hour=2)
    async with running(settings, provider, clock, issuer) as service:
        await sends(service, 1, by_sms, "+14155550123")
        await sends(service, 1, by_email, "jane@example.com")
        refusal = await spent(service, by_sms, "+14155550199")
        assert refusal.brief == SPENT
        await sends(service, 1, by_sms, "+14155550123", "acct_2")
        await service.later(refusal.retry_after)
        await sends(service, 1, by_sms, "+14155550199")


@pytest.mark.slow
async def test_an_account_without_a_limit_has_none(
    make_settings: Callable[..., Settings], provider: Provider, clock: Any, issuer: Issuer
) -> None:
    settings = make_settings(account_sends_per_hour=0)
    async with running(settings, provider, clock, issuer) as service:
        for number in range(20):
            await sends(service, 1, by_sms, f"+141555501{number:02}")


async def test_a_lowered_limit_holds_at_once(
    make_settings: Callable[..., Settings], provider: Provider, clock: Any, issuer: Issuer
) -> None:
    settings = make_settings(account_sends_per_hour=5)
    async with running(settings, provider, clock, issuer) as service:
        await sends(service, 3)
    settings = make_settings(account_sends_per_hour=2)
    async with running(settings, provider, clock, issuer) as service:
        await spent(service)


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.UNDELIVERABLE])
async def test_only_the_sessions_send_comes_back_once_a_provider_was_asked(
    service: Service, outcome: str
) -> None:
    service.provider.results = [Result(Outcome(outcome), reason="refused")] * 5
    for _ in range(5):
        session = await by_sms(service)
        await asyncio.gather(service.send(session), return_exceptions=True)
        assert await service.column(session, "sends") == 0
    await spent(service)
    assert len(service.provider.calls) == 5, "free probing"


async def test_all_comes_back_when_no_provider_was_asked(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ValueError

    with monkeypatch.context() as patch:
        patch.setattr(Composer, "compose", broken)
        for _ in range(5):
            session = await by_sms(service)
            await service.send(session)
            await eventually(service.settled)
            assert await service.column(session, "sends") == 0
    await sends(service, 5)
    await spent(service)


async def test_the_quota_does_not_come_back_when_the_outcome_is_unknown(
    make_settings: Callable[..., Settings], provider: Provider, clock: Any, issuer: Issuer
) -> None:
    provider.results = [Result(Outcome.UNKNOWN, reason="timed out")] * 2
    settings = make_settings(account_sends_per_hour=1)
    async with running(settings, provider, clock, issuer) as service:
        session = await by_sms(service)
        assert not (await service.send(session)).code_sent
        assert await service.column(session, "dispatch_state") == "dead"
        assert await service.column(session, "sends") == 1
        await spent(service)


async def test_nothing_comes_back_from_a_period_that_began_later(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def once_broken(*_: Any) -> None:
        monkeypatch.setattr(Composer, "compose", compose)
        raise ValueError

    compose = Composer.compose
    monkeypatch.setattr(Composer, "compose", once_broken)
    hand_back = Pause(monkeypatch, Dispatches, "hand_back")
    call = asyncio.ensure_future(service.send(await by_sms(service)))
    await hand_back.reached()
    await service.later(HOUR)
    await sends(service, 3)
    hand_back.resume()
    await call
    await sends(service, 2)
    await spent(service)
