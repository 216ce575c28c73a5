"""Send, over gRPC, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2
from govifi.challenge.v1 import challenge_pb2

from service.channels import Message, Outcome, Result
from service.settings import Settings
from service.storage.dispatches import Dispatches
from tests.harness.marks import on_postgres
from tests.harness.providers import Provider
from tests.harness.refusals import refused
from tests.harness.service import Service, Session, running
from tests.harness.timing import Pause, eventually
from tests.harness.tokens import Issuer

WINDOW, CODE_LIFE, SESSION_LIFE = 30, 600, 1800
SMS = challenge_pb2.Challenge(
    type=challenge_pb2.Challenge.sms, delivery_hint="--0123", code_sent=True
)
SMS_NOT_SENT = challenge_pb2.Challenge(
    type=challenge_pb2.Challenge.sms, delivery_hint="--0123", code_sent=False
)
NONE = challenge_pb2.Challenge()
DOWN = Result(Outcome.RETRY, reason="no connection")
INVALID_NUMBER = Result(Outcome.UNDELIVERABLE, reason="invalid number")


async def test_a_code_is_sent_and_accepted_once(service: Service) -> None:
    session = await service.challenged()
    assert await service.send(session) == SMS
    assert len(service.provider.accepted) == 1
    await service.verify(session, service.provider.code())
    assert await service.get(session) is None
    assert await service.send(session) == NONE


async def test_the_message_goes_to_the_destination(service: Service) -> None:
    await service.send(await service.challenged(phone="+1 (415) 555-0199"))
    assert service.provider.accepted[-1].recipient == "+14155550199"


async def test_a_code_goes_by_email(service: Service) -> None:
    session = await service.open()
    await service.issue(session, email=admin_pb2.Email(address="jane@example.com"))
    assert await service.send(session) == challenge_pb2.Challenge(
        type=challenge_pb2.Challenge.email, delivery_hint="j--@example.com", code_sent=True
    )
    message = service.provider.accepted[-1]
    assert message.recipient == "jane@example.com"
    assert message.subject
    await service.verify(session, service.provider.code())


async def test_fifty_at_once_are_one_delivery(service: Service) -> None:
    session = await service.challenged()
    answers = await asyncio.gather(*(service.send(session) for _ in range(50)))
    assert len(service.provider.calls) == 1
    assert {answer.SerializeToString() for answer in answers} == {SMS.SerializeToString()}


async def test_fifty_at_once_share_the_answer_of_a_slow_provider(service: Service) -> None:
    session = await service.challenged()
    service.provider.gate.clear()
    answers = asyncio.gather(*(service.send(session) for _ in range(50)))
    await eventually(service.provider.called)
    service.provider.gate.set()
    assert {answer.SerializeToString() for answer in await answers} == {SMS.SerializeToString()}
    assert len(service.provider.calls) == 1


async def test_a_repeat_within_the_window_sends_nothing(service: Service) -> None:
    session = await service.challenged()
    await service.send(session)
    await service.later(WINDOW - 15)
    assert await service.send(session) == SMS
    assert len(service.provider.calls) == 1


async def test_after_the_window_the_same_code_is_sent_again(service: Service) -> None:
    session = await service.challenged()
    await service.send(session)
    first = service.provider.code()
    await service.later(WINDOW)
    assert await service.send(session) == SMS
    assert len(service.provider.accepted) == 2
    assert service.provider.code() == first


async def test_every_dispatch_has_an_idempotency_key_of_its_own(service: Service) -> None:
    session = await service.challenged()
    await service.send(session)
    await service.later(WINDOW)
    await service.send(session)
    first, second = service.provider.accepted
    assert first.id != second.id


async def test_the_tries_of_a_dispatch_share_its_idempotency_key(service: Service) -> None:
    session = await service.challenged()
    service.provider.results = [Result(Outcome.UNKNOWN, reason="timed out")]
    assert await service.send(session) == SMS
    first, second = service.provider.calls
    assert first.id == second.id
    assert first.text.split()[0] == second.text.split()[0]  # the minutes may differ


async def test_after_its_life_a_different_code_is_sent(service: Service) -> None:
    session = await service.challenged()
    await service.send(session)
    first = service.provider.code()
    await service.later(CODE_LIFE)
    assert await service.send(session) == SMS
    assert service.provider.code() != first


async def test_a_new_challenge_is_sent_at_once_with_a_different_code(service: Service) -> None:
    session = await service.challenged()
    await service.send(session)
    first = service.provider.code()
    assert await service.issue(session) == SMS_NOT_SENT
    assert await service.send(session) == SMS
    assert service.provider.code() != first


async def test_a_captcha_is_answered_and_nothing_is_sent(service: Service) -> None:
    session = await service.open()
    for kind in ("hcaptcha", "turnstile"):
        await service.issue(session, **{kind: admin_pb2.Captcha(site_key="key-1")})
        assert await service.send(session) == challenge_pb2.Challenge(
            type=challenge_pb2.Challenge.Type.Value(kind), site_key="key-1"
        )
    assert service.provider.calls == []


async def test_nothing_is_sent_where_no_challenge_was_issued(service: Service) -> None:
    session = await service.open()
    assert await service.send(session) == NONE
    assert service.provider.calls == []


async def test_nothing_is_sent_once_the_challenge_is_waived(service: Service) -> None:
    session = await service.challenged()
    await service.waive(session)
    assert await service.send(session) == NONE
    assert service.provider.calls == []


async def test_rest_is_told_null_where_no_challenge_is_needed(service: Service) -> None:
    assert await _rest_body(service, await service.open()) == "null"
    assert await _rest_body(service, await service.challenged()) is None


async def test_a_completed_session_is_refused(service: Service) -> None:
    session = await service.challenged()
    await service.close(session, "COMPLETED")
    refusal = await refused(service.send(session))
    assert refusal.brief == ("FAILED_PRECONDITION", 409, "already_confirmed", False)


async def test_a_session_that_its_owner_gave_up_is_refused(service: Service) -> None:
    session = await service.challenged()
    await service.close(session, "EXPIRED")
    refusal = await refused(service.send(session))
    assert refusal.brief == ("FAILED_PRECONDITION", 410, "session_expired", False)


async def test_a_session_past_its_time_is_refused(service: Service) -> None:
    session = await service.challenged()
    await service.later(SESSION_LIFE)
    refusal = await refused(service.send(session))
    assert refusal.brief == ("FAILED_PRECONDITION", 410, "session_expired", False)
    assert service.provider.calls == []


async def test_a_locked_challenge_is_refused(service: Service) -> None:
    session = await service.challenged()
    await service.send(session)
    for _ in range(5):
        await refused(service.verify(session, service.provider.wrong()))
    refusal = await refused(service.send(session))
    assert refusal.brief == ("FAILED_PRECONDITION", 403, "challenge_failed", False)


async def test_a_session_has_five_sends(service: Service) -> None:
    session = await service.open()
    await service.issue(session, email=admin_pb2.Email(address="jane@example.com"))
    for _ in range(5):
        await service.send(session)
        await service.later(WINDOW)
    refusal = await refused(service.send(session))
    assert refusal.brief == ("RESOURCE_EXHAUSTED", 429, "rate_limited", True)
    assert len(service.provider.accepted) == 5


async def test_a_new_challenge_does_not_restore_the_sends(service: Service) -> None:
    session = await service.open()
    for number in range(5):
        await service.issue(session, sms=admin_pb2.Sms(phone_number=f"+1415555012{number}"))
        await service.send(session)
    await service.issue(session, email=admin_pb2.Email(address="jane@example.com"))
    refusal = await refused(service.send(session))
    assert refusal.code == "rate_limited"


async def test_a_destination_refused_for_good_is_told_at_once_and_again(service: Service) -> None:
    session = await service.challenged()
    service.provider.results = [INVALID_NUMBER]
    for wait in (0, WINDOW, CODE_LIFE):
        await service.later(wait)
        refusal = await refused(service.send(session))
        assert refusal.brief == ("FAILED_PRECONDITION", 400, "processing_error", False)
    assert len(service.provider.calls) == 1


async def test_all_who_wait_learn_that_the_destination_is_refused(service: Service) -> None:
    session = await service.challenged()
    service.provider.results = [INVALID_NUMBER]
    refusals = await asyncio.gather(*(refused(service.send(session)) for _ in range(10)))
    assert {refusal.code for refusal in refusals} == {"processing_error"}
    assert len(service.provider.calls) == 1


async def test_a_new_challenge_follows_a_refused_destination(service: Service) -> None:
    session = await service.challenged()
    service.provider.results = [INVALID_NUMBER]
    await refused(service.send(session))
    await service.issue(session, sms=admin_pb2.Sms(phone_number="+14155550199"))
    assert (await service.send(session)).code_sent


async def test_the_second_provider_takes_what_the_first_cannot(
    make_settings: Callable[..., Settings], clock: Any, issuer: Issuer
) -> None:
    first, second = Provider("test://first"), Provider("test://second")
    first.results = [DOWN]
    providers = {"sms": [first, second], "email": [first]}
    async with running(make_settings(), second, clock, issuer, by_type=providers) as service:
        session = await service.challenged()
        assert await service.send(session) == SMS
        assert (len(first.calls), len(second.accepted)) == (1, 1)
        await service.verify(session, second.code())


@pytest.mark.slow
async def test_a_provider_that_is_down_gets_the_message_later(service: Service) -> None:
    session = await service.challenged()
    service.provider.results = [DOWN, DOWN]
    assert await service.send(session) == SMS_NOT_SENT
    await service.later(8)  # the longest second pause
    await eventually(lambda: _sent(service, session))
    assert await service.send(session) == SMS
    assert len(service.provider.accepted) == 1


PAGES = ["https://shop.example", "https://pay.other.example", "http://localhost:3000"]


def _bound_to(message: Message) -> str:
    return message.text.splitlines()[-1].partition(" ")[0]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
async def test_an_sms_is_bound_to_the_page_that_asked_also_when_it_is_retried(
    service: Service, page: str
) -> None:
    session = await service.challenged(allowed_origins=PAGES)
    service.provider.results = [DOWN, DOWN]
    assert await service.send(session, origin=page) == SMS_NOT_SENT
    await service.later(8)
    await eventually(lambda: _sent(service, session))
    (message,) = service.provider.accepted
    assert _bound_to(message) == f"@{urlsplit(page).hostname}"


async def test_an_sms_is_bound_to_the_first_page_when_no_browser_asked(service: Service) -> None:
    session = await service.challenged(allowed_origins=PAGES)
    await service.send(session)
    await service.later(30)
    await service.send(session, origin=PAGES[1])
    await service.later(30)
    await service.send(session)
    bound = [_bound_to(message) for message in service.provider.accepted]
    assert bound == ["@shop.example", "@pay.other.example", "@shop.example"]


@pytest.mark.slow
async def test_a_code_past_its_life_is_never_sent_late(service: Service) -> None:
    session = await service.challenged()
    service.provider.results = [DOWN, DOWN]
    await service.send(session)
    await service.later(CODE_LIFE)
    await eventually(lambda: _is(service, session, "dispatch_state", "expired"))
    assert service.provider.accepted == []


async def test_what_a_process_left_behind_is_delivered_by_the_next(
    make_settings: Callable[..., Settings], clock: Any, issuer: Issuer
) -> None:
    settings = make_settings(send_wait_seconds=0)
    dead, living = Provider(), Provider()
    dead.gate.clear()
    async with running(settings, dead, clock, issuer) as service:
        session = await service.challenged()
        assert await service.send(session) == SMS_NOT_SENT
    await clock.advance(settings.lease_seconds)
    async with running(settings, living, clock, issuer) as service:
        await eventually(lambda: _sent(service, session))
        assert len(living.accepted) == 1
        await service.verify(session, living.code())


async def test_a_slow_provider_is_not_waited_for(
    make_settings: Callable[..., Settings], provider: Provider, clock: Any, issuer: Issuer
) -> None:
    settings = make_settings(send_wait_seconds=0.05)
    async with running(settings, provider, clock, issuer) as service:
        session = await service.challenged()
        provider.gate.clear()
        answer = await service.send(session)
        assert answer == SMS_NOT_SENT
        assert answer.HasField("code_sent")
        provider.gate.set()
        await eventually(lambda: _sent(service, session))
        assert len(provider.calls) == 1


async def test_what_is_still_to_be_delivered_is_not_sent_again_after_the_window(
    make_settings: Callable[..., Settings], provider: Provider, clock: Any, issuer: Issuer
) -> None:
    settings = make_settings(send_wait_seconds=0, lease_seconds=300)
    async with running(settings, provider, clock, issuer) as service:
        session = await service.challenged()
        provider.gate.clear()
        assert await service.send(session) == SMS_NOT_SENT
        await clock.advance(WINDOW)
        assert await service.send(session) == SMS_NOT_SENT
        provider.gate.set()
        await eventually(service.settled)
        assert len(provider.calls) == 1


async def test_hanging_up_does_not_cancel_a_delivery(service: Service) -> None:
    session = await service.challenged()
    service.provider.gate.clear()
    call = asyncio.ensure_future(service.send(session))
    await eventually(service.provider.called)
    call.cancel()
    service.provider.gate.set()
    await eventually(lambda: _sent(service, session))
    assert len(service.provider.accepted) == 1


@pytest.mark.slow
async def test_hanging_up_does_not_cancel_a_claim(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await service.challenged()
    claim = Pause(monkeypatch, Dispatches, "claim")
    call = asyncio.ensure_future(service.send(session, deadline=1))
    await claim.reached()
    with pytest.raises(grpc.aio.AioRpcError, match="DEADLINE_EXCEEDED"):
        await call
    claim.resume()
    await eventually(lambda: _sent(service, session))
    assert len(service.provider.accepted) == 1


@pytest.mark.parametrize("ending", ["COMPLETED", "EXPIRED"])
async def test_a_session_that_ends_meanwhile_is_not_claimed(
    service: Service, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    session = await service.challenged()
    claim = Pause(monkeypatch, Dispatches, "claim")
    call = asyncio.ensure_future(refused(service.send(session)))
    await claim.reached()
    await service.close(session, ending)
    claim.resume()
    assert (await call).status == "FAILED_PRECONDITION"
    assert service.provider.calls == []


async def test_a_session_past_its_time_meanwhile_is_not_claimed(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await service.challenged()
    claim = Pause(monkeypatch, Dispatches, "claim")
    call = asyncio.ensure_future(refused(service.send(session)))
    await claim.reached()
    await service.later(SESSION_LIFE)
    claim.resume()
    assert (await call).code == "session_expired"
    assert service.provider.calls == []


async def test_a_challenge_locked_meanwhile_is_not_claimed(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await service.challenged()
    await service.send(session)
    await service.later(WINDOW)
    claim = Pause(monkeypatch, Dispatches, "claim")
    call = asyncio.ensure_future(refused(service.send(session)))
    await claim.reached()
    for _ in range(5):
        await refused(service.verify(session, service.provider.wrong()))
    claim.resume()
    assert (await call).code == "challenge_failed"
    assert len(service.provider.calls) == 1


async def test_a_challenge_replaced_meanwhile_is_sent_instead(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await service.challenged()
    claim = Pause(monkeypatch, Dispatches, "claim")
    call = asyncio.ensure_future(service.send(session))
    await claim.reached()
    await service.issue(session, sms=admin_pb2.Sms(phone_number="+14155550199"))
    claim.resume()
    assert (await call).delivery_hint == "--0199"
    assert [message.recipient for message in service.provider.calls] == ["+14155550199"]


@on_postgres
async def test_after_a_reissue_a_repeat_elsewhere_waits_for_the_new_code(
    make_settings: Callable[..., Settings],
    provider: Provider,
    clock: Any,
    issuer: Issuer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = Provider()
    other.results = [Result(Outcome.REFUSED, reason="refused")]
    provider.gate.clear()
    other.gate.clear()
    async with (
        running(make_settings(), provider, clock, issuer) as first,
        running(make_settings(), other, clock, issuer) as second,
    ):
        session = await first.challenged()
        calls = [asyncio.ensure_future(first.send(session))]
        await eventually(provider.called)
        await first.issue(session, sms=admin_pb2.Sms(phone_number="+14155550199"))
        calls.append(asyncio.ensure_future(second.send(session)))
        await eventually(other.called)
        settle = Pause(monkeypatch, Dispatches, "settle")
        provider.gate.set()
        await settle.reached()  # the old code was sent, and is still to be settled
        calls.append(asyncio.ensure_future(first.send(session)))
        await asyncio.wait(calls[2:], timeout=0.3)  # it has no reason to end
        other.gate.set()
        settle.resume()
        old, _, repeat = await asyncio.gather(*calls)
        assert old.code_sent
        assert (repeat.delivery_hint, repeat.code_sent) == ("--0199", False)


async def _sent(service: Service, session: Session) -> bool:
    return await _is(service, session, "dispatch_state", "sent")


async def _is(service: Service, session: Session, column: str, value: str) -> bool:
    return bool(await service.column(session, column) == value)


async def _rest_body(service: Service, session: Session) -> str | None:
    call = service.public.Send(
        challenge_pb2.SendRequest(session_id=session.session_id),
        metadata=(("authorization", f"Bearer {session.secret}"),),
    )
    return dict(await call.initial_metadata()).get("x-rest-body")
