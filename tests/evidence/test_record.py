"""What is recorded of a session, on both databases: an event for each change, and one only."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2

from service.captchas import CaptchaToken, Judgement
from service.captchas import Verdict as Judged
from service.challenges.rules import LONGEST_LIFE_MS
from service.channels import Outcome, Result
from service.evidence.chain import commitment
from service.evidence.documents import check
from service.settings import Settings
from service.storage.archive import Archive
from service.storage.retention import Retention
from tests.evidence.exports import events_of, exported, names_of
from tests.harness.marks import one_database
from tests.harness.providers import Provider
from tests.harness.refusals import refused
from tests.harness.service import Service, Session, running
from tests.harness.timing import eventually
from tests.harness.tokens import Issuer

PHONE = admin_pb2.Sms(phone_number="+14155550123")
MAIL = admin_pb2.Fallback(email=admin_pb2.Email(address="jo@example.com"))
PAYMENT = admin_pb2.Payment(amount_minor=1999, currency="EUR", payee="Acme")


async def sent(service: Service, **fields: Any) -> Session:
    session = await service.challenged(**fields)
    await service.send(session)
    await eventually(service.settled)
    return session


async def test_a_session_from_its_opening_to_its_end(service: Service) -> None:
    session = await service.open(allowed_origins=["https://shop.example"])
    phone = admin_pb2.Sms(phone_number="+14155550123")
    await service.issue(session, sms=phone, payment=PAYMENT)
    await service.send(session, origin="https://shop.example")
    await eventually(service.settled)
    await refused(service.verify(session, service.provider.wrong(), payment=PAYMENT))
    address = "203.0.113.9"
    await service.verify(session, service.provider.code(), payment=PAYMENT, remote_ip=address)
    await service.verify(session, "000000", payment=PAYMENT)
    await service.close(session, "COMPLETED")

    document = json.loads(await exported(service, session))
    opened, challenged, tried, wrong, right, confirmed, closed = document["events"]

    assert opened["session_id"] == session.session_id
    assert opened["account_uid"] == "acct_1"
    assert opened["allowed_origins"] == ["https://shop.example"]
    assert challenged["type"] == "sms"
    paid = {"amount_minor": 1999, "currency": "EUR", "payee": "Acme"}
    assert challenged["payment"] == right["payment"] == confirmed["payment"] == paid
    assert tried["outcome"] == "accepted"
    assert tried["message_id"] == "msg_1"
    assert tried["page_origin"] == "https://shop.example"
    assert {"channel", "claimed_at", "code_expires_at"} <= tried.keys()
    assert (wrong["verdict"], wrong["wrong_code"], wrong["wrong_total"]) == ("wrong", 1, 1)
    assert (right["verdict"], right["wrong_total"], right["confirms_left"]) == ("right", 1, 9)
    assert confirmed["confirms_left"] == 8
    assert closed["state"] == "completed"
    hint, told = document["personal"]["2"]["hint"], document["personal"]["5"]["remote_ip"]
    assert (hint["value"], told["value"]) == ("--0123", address)
    assert challenged["hint_sha256"] == commitment(hint["salt"], hint["value"])
    assert right["remote_ip_sha256"] == commitment(told["salt"], told["value"])


async def test_no_code_and_no_destination_is_recorded(service: Service) -> None:
    session = await sent(service, phone="+14155550187")
    await service.verify(session, service.provider.code())
    document = await exported(service, session)
    assert "4155550187" not in document
    assert service.provider.code() not in document
    assert session.secret.partition("_secret_")[2] not in document


async def test_each_try_is_an_event(service: Service) -> None:
    service.provider.results = [
        Result(Outcome.RETRY, reason="busy"),
        Result(Outcome.UNKNOWN, reason="timed out"),
        Result(Outcome.UNKNOWN, reason="timed out"),
    ]
    session = await service.challenged()
    await service.send(session)
    await eventually(service.settled)
    tries = [event for event in await events_of(service, session) if event["event"] == "tried"]
    assert [event["try"] for event in tries] == [1, 2]
    assert [event["outcome"] for event in tries] == ["retry", "unknown"]
    assert [event["dispatch"] for event in tries] == ["queued", "queued"]


@pytest.mark.slow
async def test_a_send_that_ends_after_the_right_answer_is_recorded_all_the_same(
    service: Service,
) -> None:
    service.provider.gate.clear()
    session = await service.challenged()
    await service.send(session)
    await eventually(service.provider.called)
    await service.verify(session, service.provider.asked_code())
    service.provider.gate.set()
    await eventually(lambda: recorded(service, session, 4))
    assert await names_of(service, session) == ["opened", "challenged", "answered", "tried"]
    listed = admin_pb2.ListAttemptsRequest(session_id=session.session_id)
    assert len((await service.admin("ListAttempts", listed)).attempts) == 1


async def recorded(service: Service, session: Session, events: int) -> bool:
    rows = await service.database.rows(
        "SELECT seq FROM evidence WHERE session_id = $1", session.session_id
    )
    return len(rows) == events


@pytest.mark.slow
async def test_a_wrong_answer_during_a_send_moves_both_on(service: Service) -> None:
    service.provider.gate.clear()
    session = await service.challenged()
    await service.send(session)
    await eventually(service.provider.called)
    right = service.provider.asked_code()
    await refused(service.verify(session, "123456" if right != "123456" else "654321"))
    service.provider.gate.set()
    await eventually(service.settled)
    assert await service.column(session, "dispatch_state") == "sent"
    assert len(service.provider.calls) == 1
    assert await names_of(service, session) == ["opened", "challenged", "answered", "tried"]


async def test_wrong_answers_at_once_are_an_event_each(service: Service) -> None:
    session = await sent(service)
    wrong = service.provider.wrong()
    await asyncio.gather(*(refused(service.verify(session, wrong)) for _ in range(8)))
    events = await events_of(service, session)
    answers = [event for event in events if event["event"] == "answered"]
    assert [answer["wrong_code"] for answer in answers] == [1, 2, 3, 4, 5]
    assert await service.column(session, "wrong_total") == 5


async def test_refusals_past_a_lock_are_no_events(service: Service) -> None:
    session = await sent(service)
    for _ in range(5):
        await refused(service.verify(session, service.provider.wrong()))
    before = await exported(service, session)
    for _ in range(20):
        await refused(service.verify(session, service.provider.wrong()))
        await refused(service.send(session))
    assert json.loads(before)["head"] == json.loads(await exported(service, session))["head"]


@pytest.mark.slow
async def test_two_hundred_right_answers_at_once_satisfy_once(service: Service) -> None:
    session = await sent(service)
    code = service.provider.code()
    calls = [service.verify(session, code) for _ in range(200)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    outcomes = Counter(getattr(answer, "outcome", None) for answer in answers)
    assert outcomes[1] == 1
    assert outcomes[2] == 9  # and then the satisfaction is used up
    names = Counter(await names_of(service, session))
    assert (names["answered"], names["confirmed"]) == (1, 9)


async def test_a_token_is_judged_once_however_the_row_moves_on(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[str] = []
    both, written = asyncio.Barrier(2), asyncio.Event()

    async def judge(_: str, token: CaptchaToken) -> Judgement:
        judged.append(token.text)
        await both.wait()  # both have read the row by now
        right = token.text == "right"
        if right:
            await written.wait()  # so that the row moves on before this one is written
        return Judgement(Judged.PASSED if right else Judged.REFUSED, "passed" if right else "no")

    monkeypatch.setattr(service.app.captchas, "judge", judge)
    session = await service.open()
    await service.issue(session, hcaptcha=admin_pb2.Captcha(site_key="key"))
    requests = [
        admin_pb2.VerifyChallengeRequest(session_id=session.session_id, token=token)
        for token in ("wrong", "right")
    ]
    wrong, right = (
        asyncio.create_task(service.admin("VerifyChallenge", request)) for request in requests
    )
    await refused(wrong)
    written.set()
    await asyncio.wait_for(right, 5)
    assert sorted(judged) == ["right", "wrong"]
    assert await service.column(session, "challenge_state") == "satisfied"


async def test_a_repeat_records_nothing(service: Service) -> None:
    session = await sent(service)
    for _ in range(3):
        await refused(service.verify(session, service.provider.wrong(), request_id="r1"))
    for _ in range(3):
        await service.waive(session)
    for _ in range(3):
        await service.close(session, "EXPIRED")
    events = await names_of(service, session)
    assert events == ["opened", "challenged", "tried", "answered", "waived", "closed"]


async def test_another_challenge_is_another_event(service: Service) -> None:
    session = await sent(service)
    await service.issue(session, hcaptcha=admin_pb2.Captcha(site_key="key"))
    *_, challenged = await events_of(service, session)
    assert (challenged["type"], challenged["site_key"]) == ("hcaptcha", "key")
    assert "hint_sha256" not in challenged


async def test_what_the_owner_changes_is_an_event(service: Service) -> None:
    session = await sent(service)
    paid = admin_pb2.Payment(amount_minor=5, currency="EUR", payee="Acme")
    await update(service, session, allowed_origins=["https://other.example"])
    await update(service, session, payment=paid)
    _, _, _, moved, voided = await events_of(service, session)
    assert (moved["event"], moved["allowed_origins"]) == ("updated", ["https://other.example"])
    assert "voids" not in moved
    assert (voided["voids"], voided["payment"]["amount_minor"]) == (True, 5)


async def update(service: Service, session: Session, **changes: Any) -> None:
    request = admin_pb2.UpdateSessionRequest(session_id=session.session_id, **changes)
    request.update_mask.paths.extend(changes)
    await service.admin("UpdateSession", request)


async def test_a_fallback_is_the_next_challenge(service: Service) -> None:
    session = await service.open()
    await service.issue(session, sms=PHONE, fallback=MAIL)
    request = admin_pb2.UseFallbackRequest(session_id=session.session_id)
    await service.admin("UseFallback", request)
    document = json.loads(await exported(service, session))
    first, second = document["events"][1:]
    assert (first["type"], "fallback" in first) == ("sms", False)
    assert (second["event"], second["type"]) == ("challenged", "email")
    assert second["fallback"] == "payer"
    assert document["personal"]["3"]["hint"]["value"] == "j--@example.com"


async def test_a_waiver_says_for_what(service: Service) -> None:
    session = await service.challenged()
    request = admin_pb2.WaiveChallengeRequest(
        session_id=session.session_id, payment=PAYMENT, proof_kind="3ds", proof_reference="ref-7"
    )
    for _ in range(3):
        await service.admin("WaiveChallenge", request)
    request.proof_reference = "ref-8"
    await service.admin("WaiveChallenge", request)
    *_, first, second = await events_of(service, session)
    assert [first["event"], first["proof"], second["proof"]] == ["waived", "3ds ref-7", "3ds ref-8"]
    assert first["payment"]["amount_minor"] == 1999
    assert len(await events_of(service, session)) == 4


async def test_a_waiver_says_whose_it_was(service: Service, issuer: Issuer) -> None:
    session = await service.challenged()
    request = admin_pb2.WaiveChallengeRequest(session_id=session.session_id)
    token = issuer.token(sub="checkout/" + "é" * 500)
    await service.admin("WaiveChallenge", request, token)
    *_, waived = await events_of(service, session)
    assert waived["by"] == "checkout/" + "é" * 119


async def test_evidence_outlives_the_sessions_row(service: Service) -> None:
    session = await sent(service)
    await service.close(session, "COMPLETED")
    retention = Retention(Archive(service.database), 30, 540, LONGEST_LIFE_MS)
    await service.later(31 * 86400)
    assert (await retention.purge()).sessions == 1
    assert len(check(await exported(service, session)).events) == 4
    await service.later(508 * 86400)
    assert (await retention.purge()).events == 0
    await service.later(3 * 86400)
    assert (await retention.purge()).events == 4
    assert (await refused(exported(service, session))).brief[0] == "NOT_FOUND"


@pytest.mark.slow
@one_database
async def test_a_session_in_which_much_happened_is_exported_whole(
    make_settings: Callable[..., Settings], provider: Provider, clock: Any, issuer: Issuer
) -> None:
    settings = make_settings(satisfaction_payments=1000)
    async with running(settings, provider, clock, issuer) as service:
        session = await sent(service)
        await service.verify(session, provider.code(), payment=PAYMENT)
        for _ in range(300):
            await service.verify(session, "000000", payment=PAYMENT)
        document = await exported(service, session)
        assert len(document) > 64 * 1024
        assert len(check(document).events) == 304


async def test_another_accounts_evidence_is_not_found(service: Service) -> None:
    session = await service.challenged()
    request = admin_pb2.ExportEvidenceRequest(session_id=session.session_id)
    theirs = service.issuer.token(account_uid="acct_2", scope="challenge:admin")
    refusal = await refused(service.admin("ExportEvidence", request, theirs))
    assert refusal.brief[0] == "NOT_FOUND"


@pytest.mark.parametrize("session_id", ["cs_unknown", "cs_-", ""])
async def test_an_unknown_session_has_no_evidence(service: Service, session_id: str) -> None:
    request = admin_pb2.ExportEvidenceRequest(session_id=session_id)
    refusal = await refused(service.admin("ExportEvidence", request))
    assert refusal.brief[0] in ("NOT_FOUND", "INVALID_ARGUMENT")
