"""Fallbacks: what switches, what never does, and what carries over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2
from govifi.challenge.v1 import challenge_pb2

from service.channels import Outcome, Result
from service.keyring import random_key
from service.settings import Settings
from service.storage.store import Store
from tests.harness.providers import Provider
from tests.harness.refusals import refused
from tests.harness.service import Service, Session, running
from tests.harness.timing import eventually
from tests.harness.tokens import Issuer

PHONE = admin_pb2.Sms(phone_number="+14155550123")
MAILBOX = admin_pb2.Email(address="payer@example.com")
WIDGET = admin_pb2.Captcha(site_key="key-1")
PAYMENT = admin_pb2.Payment(amount_minor=1999, currency="EUR", payee="Acme")
SMS = challenge_pb2.Challenge(type="sms", delivery_hint="--0123", code_sent=False)
EMAIL = challenge_pb2.Challenge(type="email", delivery_hint="p--@example.com", code_sent=False)
CAPTCHA = challenge_pb2.Challenge(type="turnstile", site_key="key-1")
BY_MAIL = admin_pb2.Fallback(email=MAILBOX)
REFUSED = ("FAILED_PRECONDITION", 400, "processing_error", False)
REQUIRED = ("FAILED_PRECONDITION", 403, "challenge_required", True)
NOBODY, NO, LATER, PERHAPS = (
    Result(outcome)
    for outcome in (Outcome.UNDELIVERABLE, Outcome.REFUSED, Outcome.RETRY, Outcome.UNKNOWN)
)


async def issued(service: Service, **fields: Any) -> Session:
    """Opens a session with an SMS that falls back to an email."""
    session = await service.open()
    await service.issue(session, **{"sms": PHONE, "fallback": BY_MAIL, **fields})
    return session


async def sent(service: Service) -> Session:
    """Has its code sent, too."""
    session = await issued(service)
    assert (await service.send(session)).code_sent
    await eventually(service.settled)
    return session


async def passes(service: Service, session: Session, **fields: Any) -> bool:
    """Has the fallback's code sent and verified."""
    assert (await service.send(session)).code_sent
    assert service.provider.accepted[-1].recipient == "payer@example.com"
    answer = await service.verify(session, service.provider.code(), **fields)
    return bool(answer.outcome == 1)


# What switches


async def test_the_send_that_meets_a_refusal_answers_with_the_fallback(service: Service) -> None:
    session = await issued(service)
    service.provider.results = [NOBODY]
    assert await service.send(session) == EMAIL
    assert await service.get(session) == EMAIL
    assert await passes(service, session)


async def test_so_do_all_that_wait_with_it(service: Service) -> None:
    session = await issued(service)
    service.provider.results = [NOBODY]
    answers = await asyncio.gather(*(service.send(session) for _ in range(8)))
    assert EMAIL in answers
    assert {answer.type for answer in answers} == {challenge_pb2.Challenge.email}
    assert len(service.provider.calls) <= 2


async def test_a_dispatch_that_is_dead_with_nothing_delivered_switches(service: Service) -> None:
    session = await issued(service)
    service.provider.results = [NO]
    assert await service.send(session) == EMAIL
    assert await passes(service, session)


async def test_the_payer_asks_for_another_way(service: Service) -> None:
    session = await sent(service)
    assert await service.use_fallback(session) == EMAIL
    assert await passes(service, session)


async def test_before_anything_was_sent_too(service: Service) -> None:
    session = await issued(service)
    assert await service.use_fallback(session) == EMAIL


@pytest.mark.parametrize(
    ("first", "fallback", "wanted"),
    [
        ({"email": MAILBOX}, {"sms": PHONE}, SMS),
        ({"sms": PHONE}, {"turnstile": WIDGET}, CAPTCHA),
        ({"hcaptcha": WIDGET}, {"turnstile": WIDGET}, CAPTCHA),
        ({"turnstile": WIDGET}, {"email": MAILBOX}, EMAIL),
    ],
)
async def test_any_type_falls_back_to_any_other(
    service: Service, first: dict[str, Any], fallback: dict[str, Any], wanted: object
) -> None:
    session = await service.open()
    await service.issue(session, **first, fallback=admin_pb2.Fallback(**fallback))
    assert await service.use_fallback(session) == wanted
    assert await service.send(session) == wanted or service.provider.accepted


async def test_a_fallback_has_none_itself(service: Service) -> None:
    session = await issued(service)
    service.provider.results = [NOBODY, NOBODY]
    assert await service.send(session) == EMAIL
    assert (await refused(service.send(session))).brief == REFUSED
    assert (await refused(service.use_fallback(session))).brief == REQUIRED


async def test_a_new_challenge_takes_the_fallback_along(service: Service) -> None:
    session = await issued(service)
    await service.issue(session, sms=PHONE)
    refusal = await refused(service.use_fallback(session))
    assert (refusal.brief, refusal.challenge) == (REQUIRED, SMS)
    assert await service.column(session, "fallback_fingerprint") is None


# What does not


async def test_never_while_a_message_is_under_way(service: Service) -> None:
    session = await issued(service)
    service.provider.gate.clear()
    sending = asyncio.create_task(service.send(session))
    await eventually(service.provider.called)
    refusal = await refused(service.use_fallback(session))
    assert (refusal.brief, refusal.challenge) == (REQUIRED, SMS)
    service.provider.gate.set()
    assert (await sending).code_sent
    await eventually(service.settled)
    assert await service.use_fallback(session) == EMAIL


async def test_never_while_a_message_is_queued(service: Service) -> None:
    session = await issued(service)
    service.provider.results = [LATER] * 3
    assert not (await service.send(session)).code_sent
    assert await service.column(session, "dispatch_state") == "queued"
    assert (await refused(service.use_fallback(session))).brief == REQUIRED
    assert (await service.get(session)) == SMS


async def test_never_while_a_message_may_have_been_delivered(service: Service) -> None:
    session = await issued(service)
    service.provider.results = [PERHAPS, PERHAPS]
    assert await service.send(session) == SMS
    assert await service.column(session, "dispatch_state") == "dead"
    assert await service.get(session) == SMS
    assert (await refused(service.use_fallback(session))).brief == REQUIRED
    code = service.provider.asked_code()
    assert (await service.verify(session, code)).outcome == 1


async def test_what_may_have_been_delivered_is_waited_for_no_longer_than_its_code(
    service: Service,
) -> None:
    session = await issued(service)
    service.provider.results = [PERHAPS, PERHAPS]
    await service.send(session)
    await service.later(600)
    assert await service.get(session) == SMS, "unless the payer asks"
    assert await service.use_fallback(session) == EMAIL


async def test_a_refusal_after_what_may_have_been_delivered_is_no_dead_end(
    service: Service,
) -> None:
    session = await issued(service)
    service.provider.results = [PERHAPS, NOBODY]
    assert await service.send(session) == SMS
    assert await service.column(session, "challenge_state") == "refused"
    assert await service.send(session) == SMS
    await service.later(600)
    assert await passes(service, session)


@pytest.mark.parametrize("weaker", [{"email": MAILBOX}, {"turnstile": WIDGET}], ids=str)
async def test_a_bound_code_falls_back_to_what_proves_less_only_if_allowed(
    service: Service, weaker: dict[str, Any]
) -> None:
    session = await service.open()
    bound = {"sms": PHONE, "payment": PAYMENT}
    call = service.issue(session, **bound, fallback=admin_pb2.Fallback(**weaker))
    assert (await refused(call)).fields == ["fallback.allow_weaker"]
    allowed = admin_pb2.Fallback(**weaker, allow_weaker=True)
    await service.issue(session, **bound, fallback=allowed)
    challenge = await service.use_fallback(session)
    assert challenge in (EMAIL, CAPTCHA)
    assert (await refused(service.verify(session, "000000"))).fields == ["payment"]


async def test_a_payment_that_comes_later_counts_too(service: Service) -> None:
    session = await issued(service)
    await service.update(session, payment=PAYMENT)
    assert (await refused(service.use_fallback(session))).brief == REQUIRED
    service.provider.results = [NOBODY]
    assert (await refused(service.send(session))).brief == REFUSED


async def test_a_bound_mail_falls_back_to_an_sms_that_is_bound_too(service: Service) -> None:
    session = await service.open()
    await service.issue(
        session, email=MAILBOX, payment=PAYMENT, fallback=admin_pb2.Fallback(sms=PHONE)
    )
    assert await service.use_fallback(session) == SMS
    await service.send(session)
    assert "€19.99" in service.provider.accepted[-1].text
    answer = await service.verify(session, service.provider.code(), payment=PAYMENT)
    assert answer.outcome == 1


async def test_one_that_no_channel_reaches_is_refused_when_issued(
    make_settings: Callable[..., Settings], provider: Provider, clock: Any, issuer: Issuer
) -> None:
    only_sms = {"sms": [provider], "email": []}
    async with running(make_settings(), provider, clock, issuer, by_type=only_sms) as service:
        session = await service.open()
        call = service.issue(session, sms=PHONE, fallback=BY_MAIL)
        assert (await refused(call)).fields == ["fallback.email"]


async def test_what_needs_no_challenge_needs_no_fallback(service: Service) -> None:
    session = await issued(service)
    await service.waive(session)
    assert await service.use_fallback(session) == challenge_pb2.Challenge()
    assert await service.column(session, "challenge_state") == "waived"


async def test_an_ended_session_has_none(service: Service) -> None:
    session = await issued(service)
    await service.close(session, "EXPIRED")
    assert (await refused(service.use_fallback(session))).code == "session_expired"
    assert await service.column(session, "destination") is None


async def test_that_of_a_captcha_is_wiped_with_its_session(service: Service) -> None:
    session = await service.open()
    await service.issue(session, turnstile=WIDGET, fallback=BY_MAIL)
    assert await service.column(session, "destination") is not None
    await service.later(1800)
    await service.app._retention.purge()
    assert await service.column(session, "destination") is None


# What carries over


async def test_the_old_code_dies_without_costing_a_try(service: Service) -> None:
    session = await sent(service)
    await refused(service.verify(session, service.provider.wrong()))
    old = service.provider.code()
    await service.use_fallback(session)
    refusal = await refused(service.verify(session, old))
    assert (refusal.code, refusal.recoverable) == ("challenge_failed", True)
    counts = ("wrong_code", "wrong_total", "sends")
    assert [await service.column(session, name) for name in counts] == [1, 1, 1]


async def test_a_lock_carries_over(service: Service) -> None:
    session = await issued(service)
    await service.send(session)
    for _ in range(5):
        await refused(service.verify(session, service.provider.wrong()))
    refusal = await refused(service.use_fallback(session))
    assert (refusal.code, refusal.recoverable) == ("challenge_failed", False)
    assert await service.column(session, "challenge_type") == "sms"


async def test_a_switch_is_no_issue(service: Service) -> None:
    session = await issued(service)
    await service.use_fallback(session)
    assert await service.column(session, "issues") == 1


# Repeats and races


async def test_a_repeat_changes_nothing(service: Service) -> None:
    session = await issued(service)
    assert await service.use_fallback(session, "f-1") == EMAIL
    await service.send(session)
    await eventually(service.settled)
    assert (await service.use_fallback(session, "f-1")).code_sent
    assert (await refused(service.use_fallback(session, "f-2"))).brief == REQUIRED


async def test_of_many_repeats_one_switches(service: Service) -> None:
    session = await issued(service)
    answers = await asyncio.gather(*(service.use_fallback(session, "f-1") for _ in range(8)))
    assert answers == [EMAIL] * 8
    assert await service.column(session, "fence") == 2


async def test_of_many_that_ask_one_switches(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await issued(service)
    fall_back, all_have_judged, judged = Store.fall_back, asyncio.Event(), 0

    async def once_all_have_judged(*args: Any) -> Any:
        nonlocal judged
        judged += 1
        if judged == 16:
            all_have_judged.set()
        await all_have_judged.wait()
        return await fall_back(*args)

    monkeypatch.setattr(Store, "fall_back", once_all_have_judged)
    answers = await asyncio.gather(*(service.use_fallback(session) for _ in range(16)))
    assert answers == [EMAIL] * 16
    assert await service.column(session, "fence") == 2


async def test_an_issue_with_another_fallback_is_no_repeat(service: Service) -> None:
    session = await issued(service, request_id="i-1")
    other = admin_pb2.Fallback(turnstile=WIDGET)
    call = service.issue(session, sms=PHONE, fallback=other, request_id="i-1")
    assert (await refused(call)).fields == ["request_id"]
    assert await service.issue(session, sms=PHONE, fallback=BY_MAIL, request_id="i-1") == SMS


async def test_one_of_a_key_that_is_gone_is_none(
    make_settings: Callable[..., Settings], provider: Provider, clock: Any, issuer: Issuer
) -> None:
    async with running(make_settings(), provider, clock, issuer) as service:
        session = await issued(service)
    gone = make_settings(keys=f"k2:{random_key()}")
    async with running(gone, provider, clock, issuer) as service:
        assert (await refused(service.use_fallback(session))).brief == REQUIRED
