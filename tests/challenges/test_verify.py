"""VerifyChallenge, over gRPC, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2
from govifi.challenge.v1 import challenge_pb2

from service.settings import Settings
from service.storage.store import Store
from tests.harness.providers import Provider
from tests.harness.refusals import Refusal, refused
from tests.harness.service import Service, Session, running
from tests.harness.timing import Pause
from tests.harness.tokens import Issuer

WINDOW, CODE_LIFE, SESSION_LIFE = 30, 600, 1800
WRONG = ("FAILED_PRECONDITION", 400, "challenge_failed", True)
LOCKED = ("FAILED_PRECONDITION", 403, "challenge_failed", False)
COMPLETED = ("FAILED_PRECONDITION", 409, "already_confirmed", False)
REQUIRED = ("FAILED_PRECONDITION", 403, "challenge_required", True)
SATISFIED, ALREADY, NOT_REQUIRED = 1, 2, 3
EXPIRED = ("FAILED_PRECONDITION", 410, "session_expired", False)
PAYMENT = admin_pb2.Payment(amount_minor=1999, currency="EUR", payee="Acme")


@pytest.fixture
async def session(service: Service) -> Session:
    """A session whose code has been sent."""
    session = await service.challenged()
    await service.send(session)
    return session


async def guess(service: Service, session: Session, times: int) -> list[Refusal]:
    """Answers wrongly, one after the other."""
    return [await refused(service.verify(session, service.provider.wrong())) for _ in range(times)]


async def test_the_right_code_satisfies_the_challenge(service: Service, session: Session) -> None:
    answer = await service.verify(session, service.provider.code())
    assert answer.HasField("satisfy_time")
    assert await service.get(session) is None


async def test_spaces_and_dashes_are_ignored(service: Service, session: Session) -> None:
    code = service.provider.code()
    await service.verify(session, f" {code[:3]}-{code[3:]} ")


async def test_a_wrong_answer_says_how_many_remain(service: Service, session: Session) -> None:
    refusals = await guess(service, session, 4)
    assert {refusal.brief for refusal in refusals} == {WRONG}
    assert [refusal.attempts_remaining for refusal in refusals] == [4, 3, 2, 1]


async def test_the_right_code_is_accepted_on_the_last_try(
    service: Service, session: Session
) -> None:
    await guess(service, session, 4)
    await service.verify(session, service.provider.code())


async def test_the_fifth_wrong_answer_locks_the_challenge(
    service: Service, session: Session
) -> None:
    assert (await guess(service, session, 5))[-1].brief == LOCKED
    refusal = await refused(service.verify(session, service.provider.code()))
    assert refusal.brief == LOCKED


async def test_a_lock_outlives_the_code_and_a_new_challenge(
    service: Service, session: Session
) -> None:
    await guess(service, session, 5)
    await service.later(CODE_LIFE)
    assert (await refused(service.send(session))).brief == LOCKED
    await service.issue(session)
    assert (await refused(service.send(session))).brief == LOCKED


async def test_a_hundred_wrong_answers_at_once_count_five(
    service: Service, session: Session
) -> None:
    wrong = service.provider.wrong()
    refusals = await asyncio.gather(*(refused(service.verify(session, wrong)) for _ in range(100)))
    assert sum(refusal.brief == WRONG for refusal in refusals) == 4
    assert sum(refusal.brief == LOCKED for refusal in refusals) == 96
    assert await service.column(session, "wrong_total") == 5


async def test_a_hundred_right_answers_at_once_are_one_success(
    service: Service, session: Session
) -> None:
    code = service.provider.code()
    answers = await asyncio.gather(
        *(service.verify(session, code) for _ in range(100)), return_exceptions=True
    )
    failures = [Refusal(answer) for answer in answers if isinstance(answer, grpc.RpcError)]
    outcomes = [getattr(answer, "outcome", None) for answer in answers]
    assert (outcomes.count(SATISFIED), outcomes.count(ALREADY)) == (1, 9), "10 payments"
    assert {failure.brief for failure in failures} == {WRONG}, "its code is void"


async def test_a_code_is_accepted_once(service: Service, session: Session) -> None:
    code = service.provider.code()
    assert (await service.verify(session, code)).outcome == SATISFIED
    await service.later(900)
    assert (await refused(service.verify(session, code))).brief == WRONG


async def test_sending_again_does_not_reset_the_count(service: Service, session: Session) -> None:
    await guess(service, session, 4)
    await service.later(WINDOW)
    await service.send(session)
    assert (await guess(service, session, 1))[0].brief == LOCKED


async def test_a_new_challenge_does_not_reset_the_count(service: Service, session: Session) -> None:
    await guess(service, session, 4)
    await service.issue(session)
    await service.send(session)
    assert (await guess(service, session, 1))[0].brief == LOCKED


async def test_a_new_challenge_by_other_means_does_not_reset_the_count(
    service: Service, session: Session
) -> None:
    await guess(service, session, 4)
    await service.issue(session, email=admin_pb2.Email(address="jane@example.com"))
    await service.send(session)
    assert (await guess(service, session, 1))[0].brief == LOCKED


async def test_waiving_and_issuing_again_does_not_reset_the_count(
    service: Service, session: Session
) -> None:
    await guess(service, session, 4)
    await service.waive(session)
    await service.issue(session)
    await service.send(session)
    assert (await guess(service, session, 1))[0].brief == LOCKED


async def test_the_code_after_an_expired_one_has_a_count_of_its_own(
    service: Service, session: Session
) -> None:
    await guess(service, session, 4)
    await service.later(CODE_LIFE)
    await service.send(session)
    assert (await guess(service, session, 1))[0].attempts_remaining == 4


async def test_a_session_has_ten_wrong_answers(service: Service) -> None:
    session = await service.challenged(expires_in=Duration(seconds=7200))
    await service.send(session)
    for _ in range(2):
        await guess(service, session, 4)
        await service.later(CODE_LIFE)
        await service.send(session)
    ninth, tenth = await guess(service, session, 2)
    assert ninth.attempts_remaining == 1
    assert tenth.brief == LOCKED
    refusal = await refused(service.verify(session, service.provider.code()))
    assert refusal.brief == LOCKED


async def test_the_right_code_is_accepted_after_nine_wrong_answers(service: Service) -> None:
    session = await service.challenged(expires_in=Duration(seconds=7200))
    await service.send(session)
    for _ in range(2):
        await guess(service, session, 4)
        await service.later(CODE_LIFE)
        await service.send(session)
    await guess(service, session, 1)
    await service.verify(session, service.provider.code())


async def test_a_code_is_valid_to_the_end_of_its_life(service: Service, session: Session) -> None:
    await service.later(CODE_LIFE - 30)
    await service.verify(session, service.provider.code())


async def test_a_code_past_its_life_is_refused_and_not_counted(
    service: Service, session: Session
) -> None:
    await service.later(CODE_LIFE)
    refusal = await refused(service.verify(session, service.provider.code()))
    assert refusal.brief == WRONG
    assert await service.column(session, "wrong_total") == 0


async def test_sending_again_does_not_prolong_the_code(service: Service, session: Session) -> None:
    await service.later(CODE_LIFE - 70)
    await service.send(session)
    assert len(service.provider.accepted) == 2
    await service.later(70)
    refusal = await refused(service.verify(session, service.provider.code()))
    assert refusal.text == "That code is no longer valid. Request a new one."


async def test_an_expired_code_stays_wrong_beside_its_successor(
    service: Service, session: Session
) -> None:
    old = service.provider.code()
    await service.later(CODE_LIFE)
    await service.send(session)
    assert (await refused(service.verify(session, old))).attempts_remaining == 4
    await service.verify(session, service.provider.code())


async def test_the_code_of_a_replaced_challenge_is_wrong(
    service: Service, session: Session
) -> None:
    old = service.provider.code()
    await service.issue(session)
    await service.send(session)
    assert (await refused(service.verify(session, old))).brief == WRONG


async def test_the_code_of_another_session_is_wrong(service: Service, session: Session) -> None:
    others = service.provider.code()
    mine = await service.challenged()
    await service.send(mine)
    assert (await refused(service.verify(mine, others))).brief == WRONG


async def test_there_is_nothing_to_answer_before_the_first_send(service: Service) -> None:
    session = await service.challenged()
    refusal = await refused(service.verify(session, "000000"))
    assert refusal.brief == WRONG
    assert await service.column(session, "wrong_total") == 0


async def test_there_is_nothing_to_answer_without_a_challenge(service: Service) -> None:
    session = await service.open()
    answer = await service.verify(session, "000000")
    assert (answer.outcome, answer.HasField("satisfy_time")) == (NOT_REQUIRED, False)


async def test_there_is_nothing_to_answer_once_waived(service: Service, session: Session) -> None:
    await service.waive(session)
    answer = await service.verify(session, service.provider.code())
    assert answer.outcome == NOT_REQUIRED


@pytest.mark.parametrize(("ending", "brief"), [("COMPLETED", COMPLETED), ("EXPIRED", EXPIRED)])
async def test_no_code_is_accepted_once_the_session_ended(
    service: Service, session: Session, ending: str, brief: object
) -> None:
    await service.close(session, ending)
    refusal = await refused(service.verify(session, service.provider.code()))
    assert refusal.brief == brief


async def test_no_code_is_accepted_past_the_sessions_time(service: Service) -> None:
    session = await service.challenged(expires_in=Duration(seconds=60))
    await service.send(session)
    await service.later(60)
    refusal = await refused(service.verify(session, service.provider.code()))
    assert refusal.brief == EXPIRED


async def test_a_code_does_not_satisfy_a_captcha(service: Service) -> None:
    session = await service.open()
    await service.issue(session, turnstile=admin_pb2.Captcha(site_key="key-1"))
    refusal = await refused(service.verify(session, "000000"))
    assert refusal.brief == REQUIRED
    assert refusal.challenge.site_key == "key-1"


async def test_a_code_of_eight_digits_is_sent_and_accepted(
    make_settings: Callable[..., Settings], provider: Provider, clock: Any, issuer: Issuer
) -> None:
    async with running(make_settings(code_digits=8), provider, clock, issuer) as service:
        session = await service.challenged()
        await service.send(session)
        assert len(provider.code()) == 8
        await service.verify(session, provider.code())


# Judged in time, answered late: what the statement itself still checks.


@asynccontextmanager
async def judged(
    service: Service, session: Session, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[asyncio.Future[Refusal]]:
    """Answers with the right code; the block runs once that is judged, before it is counted."""
    answer = Pause(monkeypatch, Store, "answer")
    call = asyncio.ensure_future(refused(service.verify(session, service.provider.code())))
    await answer.reached()
    yield call
    answer.resume()


async def test_a_code_that_expires_meanwhile_is_refused(
    service: Service, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with judged(service, session, monkeypatch) as call:
        await service.later(CODE_LIFE)
    assert (await call).brief == WRONG
    assert await service.get(session) is not None


async def test_a_session_that_ends_meanwhile_is_not_satisfied(
    service: Service, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with judged(service, session, monkeypatch) as call:
        await service.close(session, "EXPIRED")
    assert (await call).brief == EXPIRED


async def test_a_session_past_its_time_meanwhile_is_not_satisfied(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await service.challenged(expires_in=Duration(seconds=60))
    await service.send(session)
    async with judged(service, session, monkeypatch) as call:
        await service.later(60)
    assert (await call).brief == EXPIRED


async def test_a_challenge_replaced_meanwhile_is_not_satisfied(
    service: Service, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with judged(service, session, monkeypatch) as call:
        await service.issue(session)
    assert (await call).brief == WRONG
    assert await service.get(session) is not None


async def test_a_challenge_replaced_and_sent_meanwhile_is_not_satisfied(
    service: Service, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with judged(service, session, monkeypatch) as call:
        await service.issue(session)
        await service.send(session)
    assert (await call).attempts_remaining == 4
    assert await service.get(session) is not None


async def test_a_code_that_has_a_successor_meanwhile_is_wrong(
    service: Service, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with judged(service, session, monkeypatch) as call:
        await service.later(CODE_LIFE)
        await service.send(session)
    assert (await call).attempts_remaining == 4
    assert await service.get(session) is not None


# Codes bound to a payment (PSD2 RTS article 5, ASVS 6.6.2).


@pytest.fixture
async def bound(service: Service) -> Session:
    """A session whose code was sent for PAYMENT."""
    session = await service.open()
    phone = admin_pb2.Sms(phone_number="+14155550123")
    await service.issue(session, sms=phone, payment=PAYMENT)
    await service.send(session)
    return session


async def test_the_message_shows_amount_and_payee(service: Service, bound: Session) -> None:
    text = service.provider.accepted[-1].text
    assert "€19.99" in text
    assert "to Acme" in text


async def test_a_bound_code_is_accepted_for_its_payment(service: Service, bound: Session) -> None:
    await service.verify(bound, service.provider.code(), payment=PAYMENT)


@pytest.mark.parametrize(
    "change", [{"amount_minor": 2000}, {"currency": "USD"}, {"payee": "Acme Ltd"}], ids=str
)
async def test_a_bound_code_is_not_judged_for_any_other_payment(
    service: Service, bound: Session, change: dict[str, Any]
) -> None:
    other = admin_pb2.Payment(amount_minor=1999, currency="EUR", payee="Acme")
    for field, value in change.items():
        setattr(other, field, value)
    refusal = await refused(service.verify(bound, service.provider.code(), payment=other))
    assert refusal.brief == REQUIRED
    assert refusal.challenge.delivery_hint == "--0123"
    assert await service.column(bound, "wrong_total") == 0


async def test_a_bound_code_needs_its_payment_named(service: Service, bound: Session) -> None:
    refusal = await refused(service.verify(bound, service.provider.code()))
    assert (refusal.status, refusal.fields) == ("INVALID_ARGUMENT", ["payment"])
    assert await service.column(bound, "wrong_total") == 0


async def test_an_unbound_code_holds_for_any_payment(service: Service, session: Session) -> None:
    await service.verify(session, service.provider.code(), payment=PAYMENT)


@pytest.mark.parametrize("typed", ["", "   ", "1" * 65, "12345", "1234567", "12345a", "1" * 8000])
async def test_what_has_not_the_form_of_a_code_is_refused_and_not_counted(
    service: Service, session: Session, typed: str
) -> None:
    refusal = await refused(service.verify(session, typed))
    assert refusal.brief == ("INVALID_ARGUMENT", 422, "validation_error", True)
    assert refusal.fields == ["code"]
    assert await service.column(session, "wrong_total") == 0


async def test_a_token_is_never_judged_as_a_code(service: Service) -> None:
    session = await service.challenged()
    await service.send(session)
    code = service.provider.code()
    for token in ("000000", code):
        request = admin_pb2.VerifyChallengeRequest(
            session_id=session.session_id, token=token, type=challenge_pb2.Challenge.sms
        )
        assert (await refused(service.admin("VerifyChallenge", request))).code == (
            "challenge_required"
        )
    assert await service.column(session, "wrong_total") == 0
