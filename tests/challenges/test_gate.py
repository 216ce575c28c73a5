"""VerifyChallenge's table: session × response × type × payment × repeat, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2
from govifi.challenge.v1 import challenge_pb2

from tests.harness.refusals import Refusal, refused
from tests.harness.service import Service, Session
from tests.harness.timing import eventually

SATISFIED, ALREADY, NOT_REQUIRED = 1, 2, 3
COMPLETED = ("FAILED_PRECONDITION", "already_confirmed", False)
EXPIRED = ("FAILED_PRECONDITION", "session_expired", False)
REQUIRED = ("FAILED_PRECONDITION", "challenge_required", True)
LOCKED = ("FAILED_PRECONDITION", "challenge_failed", False)
FAILED = ("FAILED_PRECONDITION", "challenge_failed", True)
UNNAMED = ("INVALID_ARGUMENT", "validation_error", False)
UNAVAILABLE = ("UNAVAILABLE", "network_error", True)
MALFORMED = ("INVALID_ARGUMENT", "validation_error", True)
PAYMENT = admin_pb2.Payment(amount_minor=1999, currency="EUR", payee="Acme")
OTHER = admin_pb2.Payment(amount_minor=2000, currency="EUR", payee="Acme")
PHONE = admin_pb2.Sms(phone_number="+14155550123")
MAILBOX = admin_pb2.Email(address="payer@example.com")
BY_MAIL = admin_pb2.Fallback(email=MAILBOX, allow_weaker=True)
SMS, EMAIL = challenge_pb2.Challenge.sms, challenge_pb2.Challenge.email


async def none(service: Service) -> Session:
    return await service.open()


async def expected(service: Service) -> Session:
    return await service.open(challenge_expected=True)


async def pending(service: Service) -> Session:
    session = await service.challenged()
    await service.send(session)
    return session


async def bound(service: Service) -> Session:
    session = await service.open()
    await service.issue(session, sms=PHONE, payment=PAYMENT)
    await service.send(session)
    return session


async def unsent(service: Service) -> Session:
    return await service.challenged()


async def lapsed_code(service: Service) -> Session:
    session = await pending(service)
    await service.later(600)
    return session


async def locked(service: Service) -> Session:
    session = await pending(service)
    for _ in range(5):
        await refused(service.verify(session, service.provider.wrong()))
    return session


async def locked_and_bound(service: Service) -> Session:
    session = await bound(service)
    for _ in range(5):
        await refused(service.verify(session, service.provider.wrong(), payment=PAYMENT))
    return session


async def waived(service: Service) -> Session:
    session = await pending(service)
    await service.waive(session)
    return session


async def satisfied(service: Service) -> Session:
    session = await pending(service)
    await service.verify(session, service.provider.code())
    return session


async def satisfied_and_bound(service: Service) -> Session:
    session = await bound(service)
    await service.verify(session, service.provider.code(), payment=PAYMENT)
    return session


async def completed(service: Service) -> Session:
    session = await satisfied(service)
    await service.close(session, "COMPLETED")
    return session


async def expired(service: Service) -> Session:
    session = await pending(service)
    await service.close(session, "EXPIRED")
    return session


async def waived_for_one(service: Service) -> Session:
    session = await pending(service)
    await service.waive(session, payment=PAYMENT, proof_kind="3ds", proof_reference="ds-1")
    return session


async def waived_for_one_and_none_issued(service: Service) -> Session:
    session = await service.open()
    await service.waive(session, payment=PAYMENT)
    return session


async def updated(service: Service) -> Session:
    session = await bound(service)
    await service.update(session, payment=OTHER)
    return session


async def updated_and_sent(service: Service) -> Session:
    session = await updated(service)
    await service.send(session)
    return session


async def satisfied_and_updated(service: Service) -> Session:
    session = await satisfied_and_bound(service)
    await service.update(session, payment=OTHER)
    return session


async def waived_and_updated(service: Service) -> Session:
    session = await waived_for_one(service)
    await service.update(session, payment=OTHER)
    return session


async def waived_for_all_and_updated(service: Service) -> Session:
    session = await waived(service)
    await service.update(session, payment=OTHER)
    return session


async def fallen_back(service: Service) -> Session:
    session = await service.open()
    await service.issue(session, sms=PHONE, payment=PAYMENT, fallback=BY_MAIL)
    await service.send(session)
    await eventually(service.settled)
    await service.use_fallback(session)
    return session


async def fallen_back_and_sent(service: Service) -> Session:
    session = await fallen_back(service)
    await service.send(session)
    return session


async def captcha(service: Service) -> Session:
    session = await service.open()
    await service.issue(session, turnstile=admin_pb2.Captcha(site_key="key-1"))
    return session


async def erased(service: Service) -> Session:
    session = await pending(service)
    await eventually(service.settled)
    await service.admin("EraseDestination", admin_pb2.EraseDestinationRequest(sms=PHONE))
    return session


State = Callable[[Service], Awaitable[Session]]
TABLE: list[tuple[State, str, dict[str, Any], object]] = [
    (completed, "", {}, COMPLETED), (completed, "right", {}, COMPLETED),
    (expired, "", {}, EXPIRED), (expired, "right", {}, EXPIRED),
    (none, "", {}, NOT_REQUIRED), (none, "right", {}, NOT_REQUIRED),
    (none, "", {"payment": PAYMENT}, NOT_REQUIRED),
    (expected, "", {}, REQUIRED), (expected, "right", {}, REQUIRED),
    (waived, "", {}, NOT_REQUIRED), (waived, "wrong", {}, NOT_REQUIRED),
    (satisfied, "", {}, ALREADY), (satisfied, "right", {}, ALREADY),
    (satisfied, "wrong", {}, ALREADY), (satisfied, "", {"payment": PAYMENT}, ALREADY),
    (satisfied_and_bound, "", {"payment": PAYMENT}, ALREADY),
    (satisfied_and_bound, "wrong", {"payment": PAYMENT}, ALREADY),
    (satisfied_and_bound, "", {}, UNNAMED), (satisfied_and_bound, "", {"payment": OTHER}, REQUIRED),
    (locked, "", {}, LOCKED), (locked, "right", {}, LOCKED), (locked, "wrong", {}, LOCKED),
    (locked_and_bound, "", {}, LOCKED), (locked_and_bound, "right", {"payment": OTHER}, LOCKED),
    (bound, "", {}, UNNAMED), (bound, "right", {}, UNNAMED),
    (bound, "", {"payment": PAYMENT}, REQUIRED), (bound, "right", {"payment": OTHER}, REQUIRED),
    (bound, "", {"payment": OTHER}, REQUIRED), (bound, "right", {"payment": PAYMENT}, SATISFIED),
    (bound, "wrong", {"payment": PAYMENT}, FAILED),
    (pending, "", {}, REQUIRED), (pending, "right", {}, SATISFIED), (pending, "wrong", {}, FAILED),
    (pending, "right", {"type": SMS}, SATISFIED), (pending, "right", {"type": EMAIL}, REQUIRED),
    (pending, "wrong", {"type": EMAIL}, REQUIRED), (pending, "token", {}, REQUIRED),
    (pending, "token", {"type": SMS}, REQUIRED),
    (pending, "malformed", {}, MALFORMED), (pending, "malformed", {"type": EMAIL}, REQUIRED),
    (pending, "right", {"payment": PAYMENT}, SATISFIED),
    (unsent, "", {}, REQUIRED), (unsent, "000000", {}, FAILED),
    (lapsed_code, "", {}, REQUIRED), (lapsed_code, "right", {}, FAILED),
    (captcha, "", {}, REQUIRED), (captcha, "000000", {}, REQUIRED),
    (captcha, "token", {}, UNAVAILABLE),  # its site key has no secret
    (erased, "", {}, REQUIRED), (erased, "right", {}, FAILED), (erased, "wrong", {}, FAILED),
    (waived_for_one, "", {"payment": PAYMENT}, NOT_REQUIRED),
    (waived_for_one, "wrong", {"payment": PAYMENT}, NOT_REQUIRED),
    (waived_for_one, "", {}, UNNAMED), (waived_for_one, "right", {}, UNNAMED),
    (waived_for_one, "", {"payment": OTHER}, REQUIRED),
    (waived_for_one, "right", {"payment": OTHER}, REQUIRED),
    (waived_for_one_and_none_issued, "", {"payment": PAYMENT}, NOT_REQUIRED),
    (waived_for_one_and_none_issued, "", {"payment": OTHER}, REQUIRED),
    (waived_for_one_and_none_issued, "", {}, UNNAMED),
    (waived_and_updated, "", {"payment": OTHER}, REQUIRED),
    (waived_and_updated, "right", {"payment": OTHER}, FAILED),
    (waived_and_updated, "", {"payment": PAYMENT}, REQUIRED),
    (waived_for_all_and_updated, "", {"payment": OTHER}, NOT_REQUIRED),
    (waived_for_all_and_updated, "", {}, NOT_REQUIRED),
    (updated, "", {"payment": OTHER}, REQUIRED), (updated, "right", {"payment": OTHER}, FAILED),
    (updated, "right", {"payment": PAYMENT}, REQUIRED), (updated, "right", {}, UNNAMED),
    (updated_and_sent, "right", {"payment": OTHER}, SATISFIED),
    (updated_and_sent, "wrong", {"payment": OTHER}, FAILED),
    (updated_and_sent, "right", {"payment": PAYMENT}, REQUIRED),
    (satisfied_and_updated, "", {"payment": OTHER}, REQUIRED),
    (satisfied_and_updated, "right", {"payment": OTHER}, FAILED),
    (satisfied_and_updated, "", {"payment": PAYMENT}, REQUIRED),
    (fallen_back, "", {"payment": PAYMENT}, REQUIRED),
    (fallen_back, "right", {"payment": PAYMENT}, FAILED),
    (fallen_back, "right", {"payment": PAYMENT, "type": SMS}, REQUIRED),
    (fallen_back, "right", {"payment": OTHER}, REQUIRED), (fallen_back, "", {}, UNNAMED),
    (fallen_back_and_sent, "right", {"payment": PAYMENT}, SATISFIED),
    (fallen_back_and_sent, "wrong", {"payment": PAYMENT}, FAILED),
    (fallen_back_and_sent, "right", {"payment": PAYMENT, "type": EMAIL}, SATISFIED),
    (fallen_back_and_sent, "right", {"payment": PAYMENT, "type": SMS}, REQUIRED),
]  # fmt: skip
COUNTED = {
    (bound, "wrong"), (pending, "wrong"), (updated_and_sent, "wrong"),
    (fallen_back_and_sent, "wrong"),
}  # fmt: skip
IDS = [
    f"{state.__name__}-{response or 'nothing'}-{'-'.join(fields) or 'plain'}"
    for state, response, fields, _ in TABLE
]


async def ask(service: Service, session: Session, response: str, fields: dict[str, Any]) -> object:
    """Asks whether a payment may go on; returns the outcome, or what the refusal says in brief."""
    answers = {
        "right": lambda: {"code": service.provider.code()},
        "wrong": lambda: {"code": service.provider.wrong()},
        "malformed": lambda: {"code": "12-34"},
        "token": lambda: {"token": "token-1"},
        "": dict,
    }
    said = answers[response]() if response in answers else {"code": response}
    request = admin_pb2.VerifyChallengeRequest(session_id=session.session_id, **said, **fields)
    try:
        answer = await service.admin("VerifyChallenge", request)
    except Exception as error:  # the refusal is looked into below
        refusal = Refusal(error)  # type: ignore[arg-type]
        return refusal.status, refusal.code, refusal.recoverable
    assert answer.HasField("satisfy_time") == (answer.outcome != NOT_REQUIRED)
    return answer.outcome


def known(service: Service, response: str) -> str:
    """Returns what to respond with; where no code was sent, none is right."""
    return "000000" if response == "right" and not service.provider.accepted else response


@pytest.mark.parametrize(("state", "response", "fields", "wanted"), TABLE, ids=IDS)
async def test_a_row_of_the_table(
    service: Service, state: State, response: str, fields: dict[str, Any], wanted: object
) -> None:
    session = await state(service)
    response = known(service, response)
    before = await service.column(session, "wrong_total")
    assert await ask(service, session, response, fields) == wanted
    counted = int((state, response) in COUNTED and "type" not in fields)
    assert await service.column(session, "wrong_total") == before + counted


@pytest.mark.slow
@pytest.mark.parametrize(("state", "response", "fields", "wanted"), TABLE, ids=IDS)
async def test_a_repeat_is_answered_alike_and_counts_nothing(
    service: Service, state: State, response: str, fields: dict[str, Any], wanted: object
) -> None:
    session = await state(service)
    response = known(service, response)
    fields = {**fields, "request_id": "r-1"}
    assert await ask(service, session, response, fields) == wanted
    after = (
        await service.column(session, "wrong_total"),
        await service.column(session, "confirms_left"),
    )
    for _ in range(3):
        assert await ask(service, session, response, fields) == wanted
    assert after == (
        await service.column(session, "wrong_total"),
        await service.column(session, "confirms_left"),
    )


async def test_the_challenge_that_is_required_is_among_the_details(service: Service) -> None:
    session = await pending(service)
    await eventually(service.settled)
    request = admin_pb2.VerifyChallengeRequest(session_id=session.session_id)
    refusal = await refused(service.admin("VerifyChallenge", request))
    assert refusal.challenge == challenge_pb2.Challenge(
        type=SMS, delivery_hint="--0123", code_sent=True
    )


async def test_one_that_was_never_issued_is_not(service: Service) -> None:
    request = admin_pb2.VerifyChallengeRequest(session_id=(await expected(service)).session_id)
    refusal = await refused(service.admin("VerifyChallenge", request))
    assert (refusal.code, refusal.kinds) == ("challenge_required", ["Error", "ErrorInfo"])


# The end of a satisfaction


async def test_a_satisfaction_ends_after_fifteen_minutes(service: Service) -> None:
    session = await satisfied(service)
    await service.later(899)
    assert await ask(service, session, "", {}) == ALREADY
    assert await service.get(session) is None
    await service.later(1)
    assert await ask(service, session, "", {}) == REQUIRED
    assert (await service.get(session)) is not None
    old = service.provider.code()
    assert (await service.send(session)).code_sent
    assert service.provider.code() != old
    assert await ask(service, session, "right", {}) == SATISFIED


async def test_a_satisfaction_ends_after_ten_payments(service: Service) -> None:
    session = await satisfied(service)
    outcomes = [await ask(service, session, "", {}) for _ in range(10)]
    assert outcomes == [ALREADY] * 9 + [REQUIRED]
    assert await ask(service, session, "right", {}) == FAILED, "the code that was accepted is void"
    assert (await service.send(session)).code_sent, "no window stands in the way"
    assert await ask(service, session, "right", {}) == SATISFIED


async def test_the_repeat_of_the_last_confirm_is_answered_as_the_first_time(
    service: Service,
) -> None:
    session = await satisfied(service)
    for _ in range(8):
        await ask(service, session, "", {})
    last = {"request_id": "last"}
    assert [await ask(service, session, "", last) for _ in range(3)] == [ALREADY] * 3
    assert await ask(service, session, "", {"request_id": "more"}) == REQUIRED


async def test_an_ok_is_not_repeated_once_it_no_longer_holds(service: Service) -> None:
    session = await bound(service)
    fields = {"payment": PAYMENT, "request_id": "r-1"}
    assert await ask(service, session, "right", fields) == SATISFIED
    await service.later(900)
    assert await ask(service, session, "right", fields) == REQUIRED
    await service.close(session, "COMPLETED")
    assert await ask(service, session, "right", fields) == COMPLETED


@pytest.mark.parametrize(
    ("response", "fields"),
    [("wrong", {}), ("right", {"payment": PAYMENT}), ("right", {"type": SMS}), ("", {})],
)
async def test_a_request_id_of_something_else_is_refused(
    service: Service, response: str, fields: dict[str, Any]
) -> None:
    session = await pending(service)
    assert await ask(service, session, "right", {"request_id": "r-1"}) == SATISFIED
    assert await ask(service, session, response, {**fields, "request_id": "r-1"}) == UNNAMED


@pytest.mark.parametrize("name", ["request_id", "remote_ip"])
async def test_a_malformed_field_is_named(service: Service, name: str) -> None:
    session = await pending(service)
    refusal = await refused(service.verify(session, "000000", **{name: "no such\n"}))
    assert (refusal.status, refusal.fields) == ("INVALID_ARGUMENT", [name])


# IssueChallenge


async def test_a_repeated_issue_leaves_the_code_as_it_is(service: Service) -> None:
    session = await service.open(expires_in=Duration(seconds=7200))
    issued = {"sms": PHONE, "request_id": "i-1"}
    await service.issue(session, **issued)
    await service.send(session)
    await eventually(service.settled)
    answer = await service.issue(session, **issued)
    assert (answer.delivery_hint, answer.code_sent) == ("--0123", True)
    assert await ask(service, session, "right", {}) == SATISFIED
    repeat = admin_pb2.IssueChallengeRequest(session_id=session.session_id, **issued)
    assert not (await service.admin("IssueChallenge", repeat)).HasField("challenge")


async def test_an_issue_of_the_same_id_for_another_number_is_refused(service: Service) -> None:
    session = await service.open()
    await service.issue(session, sms=PHONE, request_id="i-1")
    other = admin_pb2.Sms(phone_number="+14155550199")
    refusal = await refused(service.issue(session, sms=other, request_id="i-1"))
    assert (refusal.status, refusal.fields) == ("INVALID_ARGUMENT", ["request_id"])


async def test_a_session_is_given_twenty_challenges(service: Service) -> None:
    session = await service.open()
    for _ in range(20):
        await service.issue(session)
    refusal = await refused(service.issue(session))
    assert refusal.brief == ("RESOURCE_EXHAUSTED", 429, "rate_limited", False)


async def test_the_code_of_the_last_challenge_can_be_answered_until_it_is_locked(
    service: Service,
) -> None:
    session = await service.open()
    for _ in range(20):
        await service.issue(session)
    await service.send(session)
    refusal = await refused(service.issue(session))
    assert refusal.brief == ("RESOURCE_EXHAUSTED", 429, "rate_limited", True)
    assert 1200 < refusal.retry_after <= 1800, "until the session ends"
    for _ in range(5):
        await refused(service.verify(session, service.provider.wrong()))
    refusal = await refused(service.issue(session))
    assert refusal.brief == ("RESOURCE_EXHAUSTED", 429, "rate_limited", False)


async def test_repeats_of_a_right_response_at_once_are_answered_alike(service: Service) -> None:
    for number in range(5):
        session = await pending(service)
        fields = {"request_id": f"r-{number}"}
        answers = await asyncio.gather(*(ask(service, session, "right", fields) for _ in range(4)))
        assert answers == [SATISFIED] * 4


async def test_issues_of_one_id_at_once_answer_the_challenge(service: Service) -> None:
    session = await captcha(service)
    issues = [service.issue(session, sms=PHONE, request_id="i-1") for _ in range(4)]
    answers = await asyncio.gather(*issues)
    assert {(answer.type, answer.delivery_hint) for answer in answers} == {(SMS, "--0123")}


async def test_an_issue_is_not_repeated_once_the_session_is_over(service: Service) -> None:
    session = await service.open()
    await service.issue(session, sms=PHONE, request_id="i-1")
    await service.close(session, "EXPIRED")
    refusal = await refused(service.issue(session, sms=PHONE, request_id="i-1"))
    assert refusal.code == "session_expired"


async def test_a_request_is_the_same_however_its_code_was_typed(service: Service) -> None:
    session = await pending(service)
    code = service.provider.code()
    await service.verify(session, code, request_id="r-1")
    await service.verify(session, f" {code[:3]}-{code[3:]} ", request_id="r-1")


async def test_no_other_request_is_taken_for_the_same(service: Service) -> None:
    session = await bound(service)
    code = service.provider.code()
    await service.verify(session, code, payment=PAYMENT, request_id="r-1")
    joined = f"{code}\0{PAYMENT.amount_minor}\0{PAYMENT.currency}\0{PAYMENT.payee}"
    refusal = await refused(service.verify(session, joined, request_id="r-1"))
    assert (refusal.status, refusal.fields) == ("INVALID_ARGUMENT", ["request_id"])


@pytest.mark.parametrize("state", [lapsed_code, expired, locked])
async def test_a_code_that_cannot_be_answered_counts_as_not_sent(
    service: Service, state: State
) -> None:
    session = await state(service)
    challenge = await service.get(session)
    assert challenge is not None and challenge.code_sent is False


async def test_nor_does_one_that_was_accepted_once_its_satisfaction_has_ended(
    service: Service,
) -> None:
    session = await pending(service)
    assert await ask(service, session, "right", {}) == SATISFIED
    await service.later(900)
    challenge = await service.get(session)
    assert challenge is not None and challenge.code_sent is False


@pytest.mark.parametrize("address", ["::1%a&b=1", "fe80::1%eth0", "203.0.113.7 "])
async def test_an_address_with_more_behind_it_is_refused(service: Service, address: str) -> None:
    session = await pending(service)
    refusal = await refused(service.verify(session, "000000", remote_ip=address))
    assert (refusal.status, refusal.fields) == ("INVALID_ARGUMENT", ["remote_ip"])


async def test_after_a_satisfaction_the_next_code_has_a_count_of_its_own(service: Service) -> None:
    session = await pending(service)
    for _ in range(3):
        assert await ask(service, session, "wrong", {}) == FAILED
    assert await ask(service, session, "right", {}) == SATISFIED
    await service.later(900)
    await service.send(session)
    assert await service.column(session, "wrong_code") == 0
    assert await service.column(session, "wrong_total") == 3
