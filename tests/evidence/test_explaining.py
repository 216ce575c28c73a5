"""Seeded failures, each explained by the evidence of the session that met it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2

from service.captchas import Judgement
from service.captchas import Verdict as Judged
from service.channels import Outcome, Result
from service.evidence.documents import check
from service.evidence.explaining import explain
from service.settings import Settings
from tests.evidence.exports import events_of, exported
from tests.harness.providers import Provider
from tests.harness.refusals import refused
from tests.harness.service import Service, Session, running
from tests.harness.timing import eventually
from tests.harness.tokens import Issuer

PHONE = "+14155550123"
PAYMENT = admin_pb2.Payment(amount_minor=5, currency="EUR", payee="Acme")
OTHER = admin_pb2.Payment(amount_minor=6, currency="EUR", payee="Acme")
IN_THE_LOG = "a refusal that counted nothing is in the log, as the error of its call."
ENDED = "The session has ended by now: open a new one."


async def explained(service: Service, session: Session) -> str:
    """Explains a session, once everything is settled."""
    await eventually(service.settled)
    text = explain(check(await exported(service, session)))
    assert "0123" not in text, "a hint is personal"
    return text


async def failed(service: Service, *results: Result) -> Session:
    """Sends while the provider answers so, and with the same for good."""
    service.provider.results = [*results, *[results[-1]] * 5]
    session = await service.challenged(PHONE)
    with contextlib.suppress(grpc.aio.AioRpcError):  # a refusal; why is what is asked for
        await service.send(session)
    return session


async def test_no_challenge_was_issued(service: Service) -> None:
    assert await explained(service, await service.open()) == (
        "No challenge was issued, so there is no code. Call IssueChallenge for the session."
    )


async def test_nobody_asked_for_the_code(service: Service) -> None:
    text = await explained(service, await service.challenged(PHONE))
    assert text.startswith("No provider has answered for the code of the present challenge.")
    assert "Have the page call Send" in text


async def test_the_provider_took_it(service: Service) -> None:
    session = await service.challenged(PHONE)
    await service.send(session)
    text = await explained(service, session)
    assert text.startswith("test://provider took the message at ")
    assert " as msg_1. Ask the provider what became of it" in text


async def test_the_code_ended_unanswered(service: Service) -> None:
    session = await service.challenged(PHONE)
    await service.send(session)
    await service.later(601)
    text = await explained(service, session)
    assert "and the code ended at" in text
    assert "Have the page call Send for a new one" in text


async def test_the_destination_is_refused(service: Service) -> None:
    session = await failed(service, Result(Outcome.UNDELIVERABLE, reason="21211"))
    assert await explained(service, session) == (
        "The destination is refused for good (test://provider said: 21211). "
        "Ask the payer for another, and issue a challenge to that."
    )


async def test_the_provider_refuses_our_account(service: Service) -> None:
    session = await failed(service, Result(Outcome.REFUSED, reason="HTTP 401"))
    assert await explained(service, session) == (
        "Every provider refuses the message (test://provider said: HTTP 401). "
        "Look at the account with the provider, then have the page call Send."
    )


async def test_the_provider_is_busy(service: Service) -> None:
    session = await failed(service, Result(Outcome.RETRY, reason="HTTP 503"))
    text = await explained(service, session)
    assert text.startswith("The message was not taken yet (test://provider said: HTTP 503).")
    assert "tried again by itself" in text


async def test_it_is_unknown_whether_it_was_taken(service: Service) -> None:
    session = await failed(service, Result(Outcome.UNKNOWN, reason="no answer in time"))
    text = await explained(service, session)
    assert text.startswith("It is unknown twice whether the message was taken")


async def test_there_is_no_provider(
    make_settings: Callable[..., Settings], provider: Provider, clock: Any, issuer: Issuer
) -> None:
    async with running(make_settings(), provider, clock, issuer) as service:
        session = await service.challenged(PHONE)
    nobody = {"sms": [], "email": [provider]}
    async with running(make_settings(), provider, clock, issuer, by_type=nobody) as service:
        await service.send(session)
        assert await explained(service, session) == (
            "There is no provider for sms. Set CHALLENGE_SMS_CHANNELS."
        )


async def test_the_key_has_left_the_ring(
    make_settings: Callable[..., Settings], provider: Provider, clock: Any, issuer: Issuer
) -> None:
    async with running(make_settings(), provider, clock, issuer) as service:
        session = await service.challenged(PHONE)
    other = make_settings(keys=make_settings().keys.get_secret_value().replace("k1", "k2"))
    async with running(other, provider, clock, issuer) as service:
        await service.send(session)
        assert await explained(service, session) == (
            "The message could not be written (cannot compose: KeyRetired). "
            "Put the key that has left CHALLENGE_KEYS back, or issue the challenge again."
        )


async def test_the_last_answer_was_wrong(service: Service) -> None:
    session = await service.challenged(PHONE)
    await service.send(session)
    await eventually(service.settled)
    await refused(service.verify(session, service.provider.wrong()))
    assert await explained(service, session) == (
        "The payer's last answer was not the code that was sent last. "
        "Have them type the newest code; 4 answers left."
    )


async def test_the_challenge_is_locked(service: Service) -> None:
    session = await service.challenged(PHONE)
    await service.send(session)
    await eventually(service.settled)
    for _ in range(5):
        await refused(service.verify(session, service.provider.wrong()))
    assert await explained(service, session) == (
        "The challenge is locked: 5 answers of the session were wrong. Open a new session."
    )


async def test_it_is_a_captcha(service: Service) -> None:
    session = await service.open()
    await service.issue(session, turnstile=admin_pb2.Captcha(site_key="key"))
    text = await explained(service, session)
    assert text.startswith("The challenge is a widget of turnstile: no code is sent")
    request = admin_pb2.VerifyChallengeRequest(session_id=session.session_id, token="t")
    await refused(service.admin("VerifyChallenge", request))  # nobody can judge it: no secret
    assert await explained(service, session) == text
    assert text.endswith("the log's captcha_judged says why nobody could judge it.")


@pytest.mark.parametrize(
    ("reason", "step"),
    [
        ("hostname-mismatch", "Open the session with the origin of the page"),
        ("cdata-missing", "Set the widget's cdata"),
        ("invalid-input-response", "Have the page reset the widget"),
    ],
)
async def test_the_token_was_refused(
    service: Service, monkeypatch: pytest.MonkeyPatch, reason: str, step: str
) -> None:
    async def judge(*_: object) -> Judgement:
        return Judgement(Judged.REFUSED, reason)

    monkeypatch.setattr(service.app.captchas, "judge", judge)
    session = await service.open()
    await service.issue(session, hcaptcha=admin_pb2.Captcha(site_key="key"))
    request = admin_pb2.VerifyChallengeRequest(session_id=session.session_id, token="t")
    await refused(service.admin("VerifyChallenge", request))
    text = await explained(service, session)
    assert text.startswith(f"The widget's token was refused: {reason}.")
    assert step in text


async def test_it_is_satisfied(service: Service) -> None:
    session = await service.challenged(PHONE)
    await service.send(session)
    await eventually(service.settled)
    await service.verify(session, service.provider.code())
    assert "so nothing is sent or judged. Payments may go on until" in await explained(
        service, session
    )
    await service.later(900)
    text = await explained(service, session)
    assert "but that ended at" in text
    assert "Have the page call Send" in text
    await service.send(session)
    assert "took the message at" in await explained(service, session)


async def test_the_payment_was_changed(service: Service) -> None:
    session = await service.challenged(PHONE)
    await service.send(session)
    await eventually(service.settled)
    paid = admin_pb2.Payment(amount_minor=5, currency="EUR", payee="Acme")
    request = admin_pb2.UpdateSessionRequest(session_id=session.session_id, payment=paid)
    request.update_mask.paths.append("payment")
    await service.admin("UpdateSession", request)
    assert (await explained(service, session)).startswith("The payment was changed at ")
    await service.send(session)
    assert "took the message at" in await explained(service, session)


async def test_a_send_that_ends_after_the_session_changes_nothing(service: Service) -> None:
    service.provider.gate.clear()
    session = await service.challenged(PHONE)
    sending = asyncio.create_task(service.send(session))
    await eventually(service.provider.called)
    await service.close(session, "COMPLETED")
    service.provider.gate.set()
    await sending
    await eventually(lambda: _has(service, session, 4))
    assert (await explained(service, session)).startswith("The payment is complete.")


async def test_a_refusal_that_leaves_no_event_is_in_the_log(service: Service) -> None:
    for _ in range(6):  # the number has five sends an hour
        session = await service.challenged(PHONE)
        with contextlib.suppress(grpc.aio.AioRpcError):
            await service.send(session)
    text = await explained(service, session)
    assert text.startswith("No provider has answered for the code of the present challenge.")
    assert text.endswith(IN_THE_LOG)


async def test_so_is_an_answer_for_another_payment(service: Service) -> None:
    session = await service.open()
    await service.issue(session, sms=admin_pb2.Sms(phone_number=PHONE), payment=PAYMENT)
    await service.send(session)
    await eventually(service.settled)
    await refused(service.verify(session, service.provider.code(), payment=OTHER))
    assert (await explained(service, session)).endswith(IN_THE_LOG)


async def test_the_fallback_was_taken(service: Service) -> None:
    session = await service.open()
    by_mail = admin_pb2.Fallback(email=admin_pb2.Email(address="jo@example.com"))
    await service.issue(session, sms=admin_pb2.Sms(phone_number=PHONE), fallback=by_mail)
    service.provider.results = [Result(Outcome.UNDELIVERABLE, reason="21211")]
    await service.send(session)
    now = "The challenge is the fallback by email now, for the destination before is refused"
    text = await explained(service, session)
    assert text.startswith(f"{now} for good. No provider has answered for the code")
    await service.send(session)
    text = await explained(service, session)
    assert text.startswith(f"{now} for good. test://provider took the message at ")
    assert "jo@" not in text
    assert "j--" not in text


async def test_it_is_waived_for_one_payment(service: Service) -> None:
    session = await service.challenged(PHONE)
    await service.waive(session, payment=PAYMENT)
    assert await explained(service, session) == (
        "The challenge was waived for one payment, so nothing is sent. "
        "For another payment call UpdateSession with it, and have the page call Send."
    )
    await service.update(session, payment=OTHER)
    assert (await explained(service, session)).startswith("The payment was changed at ")


async def test_what_was_proven_before_an_erasure_stays_proven(service: Service) -> None:
    session = await service.challenged(PHONE)
    await service.send(session)
    await eventually(service.settled)
    await service.verify(session, service.provider.code())
    erase = admin_pb2.EraseDestinationRequest(sms=admin_pb2.Sms(phone_number=PHONE))
    await service.admin("EraseDestination", erase)
    assert "so nothing is sent or judged. Payments may go on" in await explained(service, session)
    await service.later(900)
    assert (await explained(service, session)).startswith("The destination was erased")


async def test_the_session_ended_before_the_next_try(service: Service) -> None:
    session = await failed(service, Result(Outcome.RETRY, reason="HTTP 503"))
    await service.later(1800)
    text = await explained(service, session)
    assert text.startswith("The message was not taken yet (test://provider said: HTTP 503).")
    assert text.endswith(ENDED)


async def _has(service: Service, session: Session, events: int) -> bool:
    return len(await events_of(service, session)) == events


async def test_it_is_waived_erased_replaced_or_over(service: Service) -> None:
    waived = await service.challenged(PHONE)
    await service.waive(waived)
    assert (await explained(service, waived)).startswith("The challenge was waived")

    erased = await service.challenged(PHONE)
    request = admin_pb2.EraseDestinationRequest(sms=admin_pb2.Sms(phone_number=PHONE))
    await service.admin("EraseDestination", request)
    assert (await explained(service, erased)).startswith("The destination was erased")

    replaced = await service.challenged(PHONE)
    await service.send(replaced)
    await eventually(service.settled)
    await service.issue(replaced, email=admin_pb2.Email(address="jo@example.com"))
    assert "of the present challenge" in await explained(service, replaced)

    await service.close(replaced, "EXPIRED")
    assert (await explained(service, replaced)).endswith(ENDED)
    paid = await service.open()
    await service.close(paid, "COMPLETED")
    assert (await explained(service, paid)).startswith("The payment is complete.")
    late = await service.challenged(PHONE)
    await service.later(1800)
    assert (await explained(service, late)).endswith(ENDED)
