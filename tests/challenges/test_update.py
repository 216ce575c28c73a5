"""UpdateSession: what changes, what never does, and what a changed payment voids."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2

from service.channels import Outcome, Result
from service.evidence.events import unchanged
from service.storage.dispatches import Dispatches
from service.storage.rows import Payment, Quota, RequestKey, SessionChanges
from service.storage.store import Store
from tests.harness.refusals import refused
from tests.harness.service import Service, Session
from tests.harness.timing import eventually

HOUR = 3600
PAYMENT = admin_pb2.Payment(amount_minor=1999, currency="EUR", payee="Acme")
OTHER = admin_pb2.Payment(amount_minor=2500, currency="EUR", payee="Acme")
THIRD = admin_pb2.Payment(amount_minor=1999, currency="EUR", payee="Acme & Sons")
PHONE = admin_pb2.Sms(phone_number="+14155550123")
EXPIRED = ("FAILED_PRECONDITION", 410, "session_expired", False)
REQUIRED = ("FAILED_PRECONDITION", 403, "challenge_required", True)


def at(ms: int) -> Timestamp:
    return Timestamp(seconds=ms // 1000, nanos=ms % 1000 * 1_000_000)


async def bound(service: Service, payment: admin_pb2.Payment = PAYMENT) -> Session:
    session = await service.open()
    await service.issue(session, sms=PHONE, payment=payment)
    return session


async def ends_at(service: Service, session: Session) -> int:
    found: int = await service.column(session, "expires_at")
    return found


# The fields


@pytest.mark.parametrize(
    ("values", "column", "wanted"),
    [
        ({"allowed_origins": ["https://a.example:443", "capacitor://localhost"]},
         "allowed_origins", "https://a.example capacitor://localhost"),
        ({"locale": "pt_BR"}, "locale", "pt-BR"),
        ({"merchant_display_name": "Cafe\u0301"}, "merchant_name", "Café"),
    ],
)  # fmt: skip
async def test_a_field_changes_and_no_other(
    service: Service, values: dict[str, Any], column: str, wanted: object
) -> None:
    session = await service.open(allowed_origins=["https://shop.example"], locale="de")
    names = ("allowed_origins", "locale", "merchant_name", "expires_at", "fence")
    before = {name: await service.column(session, name) for name in names}
    await service.update(session, **values)
    after = {name: await service.column(session, name) for name in names}
    assert after == {**before, column: wanted}


async def test_a_named_field_that_is_not_set_has_its_default(service: Service) -> None:
    session = await service.open(allowed_origins=["https://shop.example"], locale="de")
    await service.update(session, "allowed_origins", "locale")
    assert await service.column(session, "allowed_origins") == ""
    assert await service.column(session, "locale") == "en"


async def test_what_the_mask_does_not_name_stays(service: Service) -> None:
    session = await service.open(locale="de")
    await service.update(session, "merchant_display_name", merchant_display_name="B", locale="fr")
    # Nor is it held to any rule.
    await service.update(session, "merchant_display_name", merchant_display_name="C", locale="!")
    assert await service.column(session, "locale") == "de"


async def test_a_changed_origin_counts_at_once(service: Service) -> None:
    session = await service.challenged(allowed_origins=["https://shop.example"])
    await service.update(session, allowed_origins=["https://pay.example"])
    await refused(service.send(session, origin="https://shop.example"))
    assert (await service.send(session, origin="https://pay.example")).code_sent


async def test_an_opening_is_compared_with_what_was_registered(service: Service) -> None:
    session = await service.open(locale="de")
    await service.update(
        session, locale="fr", merchant_display_name="Beta", expires_in=Duration(seconds=7200)
    )
    await service.waive(session, payment=PAYMENT)
    await service.reopen(session, locale="de")
    assert await service.column(session, "locale") == "fr"
    refusal = await refused(service.reopen(session, locale="fr", merchant_display_name="Beta"))
    assert refusal.status == "ALREADY_EXISTS"


# The end


async def test_the_end_moves_both_ways(service: Service) -> None:
    session = await service.open()
    before = await ends_at(service, session)
    later = await service.update(session, expire_time=at(before + 60_000))
    assert later.expire_time.ToMilliseconds() == before + 60_000 == await ends_at(service, session)
    await service.update(session, expires_in=Duration(seconds=60))
    await service.later(60)
    assert (await refused(service.send(session))).brief == EXPIRED


async def test_the_end_is_at_most_a_day_from_the_opening(service: Service) -> None:
    session = await service.open()
    opened = await ends_at(service, session) - 1_800_000
    await service.later(1000)
    await service.update(session, expire_time=at(opened + 24 * HOUR * 1000))
    refusal = await refused(service.update(session, expire_time=at(opened + 24 * HOUR * 1000 + 1)))
    assert (refusal.status, refusal.fields) == ("INVALID_ARGUMENT", ["expire_time"])
    refusal = await refused(service.update(session, expires_in=Duration(seconds=24 * HOUR)))
    assert (refusal.status, refusal.fields) == ("INVALID_ARGUMENT", ["expires_in"])


async def test_the_end_is_to_come(service: Service) -> None:
    session = await service.open()
    past = await ends_at(service, session) - 1_900_000
    refusal = await refused(service.update(session, expire_time=at(past)))
    assert refusal.fields == ["expire_time"]


async def test_nothing_revives_a_session(service: Service) -> None:
    session = await service.open()
    await service.later(1800)
    again = service.update(session, expires_in=Duration(seconds=HOUR))
    assert (await refused(again)).brief == EXPIRED
    closed = await service.open()
    await service.close(closed, "COMPLETED")
    refusal = await refused(service.update(closed, expires_in=Duration(seconds=HOUR)))
    assert refusal.code == "already_confirmed"


async def test_attempts_are_found_wherever_the_end_was_moved(service: Service) -> None:
    session = await service.challenged()
    await service.send(session)
    await service.later(1500)
    await service.update(session, expires_in=Duration(seconds=12 * HOUR))
    await service.later(11 * HOUR)
    request = admin_pb2.ListAttemptsRequest(session_id=session.session_id)
    assert len((await service.admin("ListAttempts", request)).attempts) == 1


# The payment


async def test_a_changed_payment_voids_the_code_without_costing_a_try(service: Service) -> None:
    session = await bound(service)
    await service.send(session)
    old = service.provider.code()
    await refused(service.verify(session, service.provider.wrong(), payment=PAYMENT))
    await service.update(session, payment=OTHER)
    refusal = await refused(service.verify(session, old, payment=OTHER))
    assert (refusal.code, refusal.recoverable) == ("challenge_failed", True)
    assert await service.column(session, "wrong_total") == 1
    assert (await service.send(session)).code_sent, "no window stands in the way"
    assert await service.column(session, "wrong_code") == 1, "wrong answers carry over"
    assert "€25.00" in service.provider.accepted[-1].text
    code = service.provider.code()
    assert code != old
    assert (await service.verify(session, code, payment=OTHER)).outcome == 1


async def test_a_payment_that_comes_back_has_a_code_of_its_own(service: Service) -> None:
    session = await bound(service)
    await service.send(session)
    codes = [service.provider.code()]
    for payment in (OTHER, PAYMENT):
        await service.update(session, payment=payment)
        await service.send(session)
        codes.append(service.provider.code())
    assert len(set(codes)) == 3


async def test_the_same_payment_voids_nothing(service: Service) -> None:
    session = await bound(service)
    await service.send(session)
    await service.update(session, payment=PAYMENT)
    assert (await service.verify(session, service.provider.code(), payment=PAYMENT)).outcome == 1
    await service.update(session, payment=PAYMENT)
    assert await service.get(session) is None


@pytest.mark.parametrize("payment", [OTHER, THIRD], ids=["amount", "payee"])
async def test_what_was_satisfied_for_another_payment_is_required_again(
    service: Service, payment: admin_pb2.Payment
) -> None:
    session = await bound(service)
    await service.send(session)
    await service.verify(session, service.provider.code(), payment=PAYMENT)
    await service.update(session, payment=payment)
    challenge = await service.get(session)
    assert challenge is not None
    assert not challenge.code_sent
    assert (await service.send(session)).code_sent
    assert (await service.verify(session, service.provider.code(), payment=payment)).outcome == 1


async def test_a_captcha_that_was_satisfied_is_required_again(service: Service) -> None:
    session = await service.open()
    await service.issue(session, turnstile=admin_pb2.Captcha(site_key="key-1"))
    await service.database.rows(
        "UPDATE hosted_session SET challenge_state = 'satisfied', satisfied_at = challenge_now()"
    )
    await service.update(session, payment=PAYMENT)
    assert (await service.get(session)) is not None


async def test_a_code_that_is_under_way_is_void(service: Service) -> None:
    session = await bound(service)
    service.provider.gate.clear()
    sending = asyncio.create_task(service.send(session))
    await eventually(service.provider.called)
    await service.update(session, payment=OTHER)
    service.provider.gate.set()
    await sending
    old = service.provider.code()
    assert await service.column(session, "code_sent") == 0, "its end is fenced off"
    await refused(service.verify(session, old, payment=OTHER))
    assert await service.column(session, "wrong_total") == 0
    assert (await service.send(session)).code_sent


async def test_a_send_that_was_judged_before_the_change_claims_nothing(service: Service) -> None:
    session = await bound(service)
    store = Store(service.database)
    judged = await store.read(session.session_id)
    assert judged is not None
    await service.update(session, payment=OTHER)
    claimed = await Dispatches(service.database).claim(
        judged, counter=1, code_expires_at=judged.now + 600_000, lease_ms=1000, window_ms=1000,
        wrong_caps=(5, 10), counts_anew=False, page_origin=None, traceparent=None,
        quotas=(Quota("", 0, 0),) * 7,
    )  # fmt: skip
    assert claimed is None


async def test_a_refused_destination_stays_refused(service: Service) -> None:
    session = await bound(service)
    service.provider.results = [Result(Outcome.UNDELIVERABLE)]
    await refused(service.send(session))
    await service.update(session, payment=OTHER)
    assert (await refused(service.send(session))).code == "processing_error"


async def test_a_payment_is_a_challenges(service: Service) -> None:
    session = await service.open()
    refusal = await refused(service.update(session, payment=PAYMENT))
    assert (refusal.status, refusal.fields) == ("INVALID_ARGUMENT", ["payment"])


async def test_a_token_that_was_judged_before_the_change_satisfies_nothing(
    service: Service,
) -> None:
    session = await service.open()
    await service.issue(session, turnstile=admin_pb2.Captcha(site_key="key-1"))
    store = Store(service.database)
    judged = await store.read(session.session_id)
    assert judged is not None
    await service.update(session, payment=PAYMENT)
    now = await store.read(session.session_id)
    assert now is not None
    answered = await store.answer(
        judged, right=True, wrong_caps=(5, 10), quotas=(Quota("", 0, 0),) * 3, request=RequestKey(),
        satisfied_ms=1000, confirms_left=None, event=unchanged(now),
    )  # fmt: skip
    assert answered is None


async def test_a_verification_that_was_judged_before_the_change_satisfies_nothing(
    service: Service,
) -> None:
    session = await bound(service)
    await service.send(session)
    code = service.provider.code()
    calls = [service.verify(session, code, payment=PAYMENT) for _ in range(20)]
    results = await asyncio.gather(
        *calls, service.update(session, payment=OTHER), return_exceptions=True
    )
    assert not isinstance(results[-1], Exception)
    state, amount = await service.column(session, "challenge_state"), OTHER.amount_minor
    assert (state, await service.column(session, "amount_minor")) == ("pending", amount)


# The waiver


async def test_a_waiver_keeps_what_was_proven_elsewhere(service: Service) -> None:
    session = await service.challenged()
    await service.waive(session, payment=PAYMENT, proof_kind="3ds", proof_reference="ds-trans-1")
    assert await service.column(session, "waiver") == "3ds ds-trans-1"


async def test_a_waiver_of_one_payment_ends_with_it(service: Service) -> None:
    session = await service.challenged()
    await service.send(session)
    await service.waive(session, payment=PAYMENT)
    assert await service.get(session) is None
    ask = admin_pb2.VerifyChallengeRequest(session_id=session.session_id, payment=OTHER)
    refusal = await refused(service.admin("VerifyChallenge", ask))
    assert refusal.brief == REQUIRED
    assert refusal.challenge.delivery_hint == "--0123"
    await service.update(session, payment=OTHER)
    assert (await service.send(session)).code_sent
    assert (await service.verify(session, service.provider.code(), payment=OTHER)).outcome == 1


async def test_where_nothing_was_issued_a_waiver_lets_one_payment_through(service: Service) -> None:
    session = await service.open()
    await service.waive(session, payment=PAYMENT)
    await service.update(session, payment=OTHER)
    ask = admin_pb2.VerifyChallengeRequest(session_id=session.session_id, payment=OTHER)
    refusal = await refused(service.admin("VerifyChallenge", ask))
    assert (refusal.brief, refusal.kinds) == (REQUIRED, ["Error", "ErrorInfo"])


async def test_what_ends_while_it_is_judged_is_not_revived_either(service: Service) -> None:
    store = Store(service.database)
    for payment in (None, Payment(2500, "EUR", "Acme")):
        session = await bound(service)
        row = await store.read(session.session_id)
        assert row is not None
        await service.later(1800)
        changes = SessionChanges(expires_at=row.expires_at + HOUR * 1000, payment=payment)
        voids = payment is not None
        assert await store.update_session(row, changes, unchanged(row), voids=voids) is None
