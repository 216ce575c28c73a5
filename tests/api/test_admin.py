"""Opening, issuing, getting, waiving and closing, over gRPC."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2
from govifi.challenge.v1 import challenge_pb2

from service.channels import Outcome, Result
from service.settings import Settings
from tests.harness.marks import one_database
from tests.harness.providers import Provider
from tests.harness.refusals import refused
from tests.harness.service import Service, Session, running
from tests.harness.timing import eventually
from tests.harness.tokens import Issuer

SESSION_LIFE = 1800
COMPLETED = ("FAILED_PRECONDITION", 409, "already_confirmed", False)
EXPIRED = ("FAILED_PRECONDITION", 410, "session_expired", False)
PAYMENT = {"amount_minor": 1999, "currency": "EUR", "payee": "Acme"}
SMS = {"phone_number": "+14155550123"}


def opening(**changes: Any) -> admin_pb2.OpenSessionRequest:
    """A request that is good but for the changes."""
    values: dict[str, Any] = {
        "session_id": "cs_1", "account_uid": "acct_1", "client_secret_sha256": bytes(range(32)),
        "scope": "SCOPE_PAYMENT", "allowed_origins": ["https://shop.example"],
        "expires_in": Duration(seconds=600), "locale": "de", "merchant_display_name": "Acme",
    }  # fmt: skip
    return admin_pb2.OpenSessionRequest(**{**values, **changes})


# OpenSession


async def test_opening_tells_when_the_session_ends(service: Service) -> None:
    answer = await service.admin("OpenSession", opening())
    now = await service.database.row("SELECT challenge_now()")
    assert now is not None
    assert 0 < answer.expire_time.ToMilliseconds() - now[0] <= 600_000


async def test_a_session_lives_half_an_hour_unless_told_otherwise(service: Service) -> None:
    session = await service.challenged()
    await service.later(SESSION_LIFE - 30)
    await service.send(session)
    await service.later(30)
    assert (await refused(service.send(session))).brief == EXPIRED


async def test_opening_again_with_the_same_values_answers_alike(service: Service) -> None:
    first = await service.admin("OpenSession", opening())
    await service.later(60)
    assert await service.admin("OpenSession", opening()) == first


async def test_opening_at_once_with_the_same_values_answers_alike(service: Service) -> None:
    calls = (service.admin("OpenSession", opening()) for _ in range(20))
    first, *others = await asyncio.gather(*calls)
    assert all(other == first for other in others)


async def test_scope_and_locale_default_to_payment_and_english(service: Service) -> None:
    spelt_out = opening(scope="SCOPE_PAYMENT", locale="en")
    left_out = opening(scope="SCOPE_UNSPECIFIED", locale="")
    first = await service.admin("OpenSession", spelt_out)
    assert await service.admin("OpenSession", left_out) == first


@pytest.mark.parametrize(
    "change",
    [
        {"account_uid": "acct_2"},
        {"client_secret_sha256": bytes(32)},
        {"scope": "SCOPE_WALLET"},
        {"allowed_origins": []},
        {"expires_in": Duration(seconds=601)},
        {"locale": "en"},
        {"merchant_display_name": "Other"},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_opening_again_with_other_values_is_a_conflict(
    service: Service, change: dict[str, Any]
) -> None:
    await service.admin("OpenSession", opening())
    refusal = await refused(service.admin("OpenSession", opening(**change)))
    assert refusal.brief == ("ALREADY_EXISTS", 409, "validation_error", False)


@one_database
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("session_id", ""),
        ("session_id", "cs_"),
        ("session_id", "xs_1"),
        ("session_id", "cs_1_2"),
        ("session_id", "cs_é"),
        ("session_id", "cs_1\n"),
        ("session_id", "cs_" + "1" * 126),
        ("account_uid", ""),
        ("account_uid", "acct 1"),
        ("account_uid", "a" * 65),
        ("client_secret_sha256", b""),
        ("client_secret_sha256", bytes(31)),
        ("client_secret_sha256", bytes(33)),
        ("scope", 99),
        ("allowed_origins", ["https://shop.example"] * 21),
        ("allowed_origins", ["https://Shop.example"]),
        ("allowed_origins", ["https://shop.example/"]),
        ("allowed_origins", ["https://shop.example https://evil.example"]),
        ("allowed_origins", ["ftp://shop.example"]),
        ("allowed_origins", ["null"]),
        ("allowed_origins", ["*"]),
        ("allowed_origins", [""]),
        ("allowed_origins", ["https://shop.example:65536"]),
        ("allowed_origins", ["https://shop.example:0443"]),
        ("allowed_origins", ["https://shop.example:0"]),
        ("expires_in", Duration()),
        ("expires_in", Duration(seconds=-1)),
        ("expires_in", Duration(seconds=1, nanos=-1)),
        ("expires_in", Duration(seconds=86_401)),
        ("locale", "en_US.UTF-8"),
        ("locale", "english"),
        ("merchant_display_name", ""),
        ("merchant_display_name", "   "),
        ("merchant_display_name", "a" * 65),
        ("merchant_display_name", "Acme\r\nBcc: all"),
        ("merchant_display_name", "Acme\u202e"),
        ("merchant_display_name", "Acme\0"),
        ("merchant_display_name", "\u200d\u200c"),
        ("merchant_display_name", "https://paypa1.example/login"),
        ("merchant_display_name", "paypa1.example/login"),
        ("merchant_display_name", "www.paypa1.example"),
        ("merchant_display_name", "paypa1.example:443/login"),
        ("merchant_display_name", "paypa1.example?login"),
        ("merchant_display_name", "paypa1.example#x"),
        ("merchant_display_name", "http:paypa1.example"),
        ("merchant_display_name", "192.0.2.1"),
        ("merchant_display_name", "tel:+19005550199"),
        ("merchant_display_name", "//paypa1.example"),
        ("merchant_display_name", "\u3164\u2800\u200d"),
        ("merchant_display_name", "help@paypa1.example"),
        ("merchant_display_name", "ｈttps：／／paypa1。example／login"),
        ("merchant_display_name", "paypa1．example⁄login"),
        ("merchant_display_name", "help＠paypa1.example"),
        ("merchant_display_name", "ｗｗｗ．paypa1"),
        ("allowed_origins", ["javascript://shop.example"]),
        ("allowed_origins", ["capacitor://localhost/"]),
    ],
)
async def test_a_malformed_field_is_named(service: Service, field: str, value: Any) -> None:
    refusal = await refused(service.admin("OpenSession", opening(**{field: value})))
    assert refusal.brief == ("INVALID_ARGUMENT", 422, "validation_error", False)
    assert refusal.fields == [field]


@one_database
async def test_the_longest_values_are_taken(service: Service) -> None:
    request = opening(
        session_id="cs_" + "1" * 125, account_uid="a" * 64, merchant_display_name="é" * 64,
        allowed_origins=["http://localhost:65535"] * 20, expires_in=Duration(seconds=86_400),
        locale="zh-Hant-TW",
    )  # fmt: skip
    await service.admin("OpenSession", request)


# IssueChallenge


async def test_issuing_answers_the_challenge(service: Service) -> None:
    session = await service.open()
    types = challenge_pb2.Challenge
    site = admin_pb2.Captcha(site_key="key-1")
    assert await service.issue(session, hcaptcha=site) == types(
        type=types.hcaptcha, site_key="key-1"
    )
    assert await service.issue(session, turnstile=site) == types(
        type=types.turnstile, site_key="key-1"
    )
    assert await service.issue(session, sms=admin_pb2.Sms(**SMS)) == types(
        type=types.sms, delivery_hint="--0123", code_sent=False
    )
    assert await service.issue(session, email=admin_pb2.Email(address="j@example.com")) == types(
        type=types.email, delivery_hint="j--@example.com", code_sent=False
    )


async def test_a_satisfied_session_can_be_challenged_again(service: Service) -> None:
    session = await service.challenged()
    await service.send(session)
    await service.verify(session, service.provider.code())
    await service.issue(session)
    await service.send(session)
    await service.verify(session, service.provider.code())


@one_database
@pytest.mark.parametrize(
    ("method", "field"),
    [
        ({}, "method"),
        ({"sms": {}}, "sms.phone_number"),
        ({"sms": {"phone_number": "4155550123"}}, "sms.phone_number"),
        ({"sms": {"phone_number": "+1"}}, "sms.phone_number"),
        ({"email": {}}, "email.address"),
        ({"email": {"address": "jane"}}, "email.address"),
        ({"email": {"address": "j@example.com\r\nBcc: all@example.com"}}, "email.address"),
        ({"hcaptcha": {}}, "hcaptcha.site_key"),
        ({"hcaptcha": {"site_key": "k" * 129}}, "hcaptcha.site_key"),
        ({"turnstile": {"site_key": "a b"}}, "turnstile.site_key"),
        ({"turnstile": {"site_key": "key-1"}, "payment": PAYMENT}, "payment"),
        ({"sms": SMS, "payment": {**PAYMENT, "amount_minor": -1}}, "payment.amount_minor"),
        ({"sms": SMS, "payment": {**PAYMENT, "currency": "eur"}}, "payment.currency"),
        ({"sms": SMS, "payment": {**PAYMENT, "payee": ""}}, "payment.payee"),
        ({"sms": SMS, "payment": {**PAYMENT, "payee": "Acme\n"}}, "payment.payee"),
    ],
)
async def test_a_malformed_challenge_is_named(
    service: Service, method: dict[str, Any], field: str
) -> None:
    session = await service.open()
    request = admin_pb2.IssueChallengeRequest(session_id=session.session_id, **method)
    refusal = await refused(service.admin("IssueChallenge", request))
    assert refusal.brief == ("INVALID_ARGUMENT", 422, "validation_error", False)
    assert refusal.fields == [field]
    assert await service.get(session) is None


@pytest.mark.parametrize("kind", ["sms", "email"])
async def test_a_code_that_nothing_can_deliver_is_not_issued(
    make_settings: Callable[..., Settings],
    provider: Provider,
    clock: Any,
    issuer: Issuer,
    kind: str,
) -> None:
    providers = {"sms": [provider], "email": [provider], kind: []}
    async with running(make_settings(), provider, clock, issuer, by_type=providers) as service:
        session = await service.open()
        method = {"sms": admin_pb2.Sms(**SMS), "email": admin_pb2.Email(address="j@example.com")}
        refusal = await refused(service.issue(session, **{kind: method[kind]}))
        assert (refusal.status, refusal.fields) == ("INVALID_ARGUMENT", [kind])


# GetChallenge


async def test_getting_shows_what_a_browser_may_see(service: Service) -> None:
    session = await service.open()
    assert await service.get(session) is None
    issued = await service.issue(session)
    assert await service.get(session) == issued
    sent = await service.send(session)

    async def shows_it() -> bool:  # Send answers when the provider has, the row follows at once
        return await service.get(session) == sent

    await eventually(shows_it)
    await service.verify(session, service.provider.code())
    assert await service.get(session) is None


# WaiveChallenge


async def test_a_waived_challenge_is_needed_no_more(service: Service) -> None:
    session = await service.challenged()
    for _ in range(2):
        await service.waive(session)
        assert await service.get(session) is None


# CloseSession


@pytest.mark.parametrize("outcome", ["COMPLETED", "EXPIRED"])
async def test_closing_wipes_the_destination(service: Service, outcome: str) -> None:
    session = await service.challenged()
    assert await service.column(session, "destination") is not None
    for _ in range(2):
        await service.close(session, outcome)
        assert await service.column(session, "destination") is None


@pytest.mark.parametrize(
    ("first", "second", "brief"),
    [("COMPLETED", "EXPIRED", COMPLETED), ("EXPIRED", "COMPLETED", EXPIRED)],
)
async def test_closing_the_other_way_is_refused(
    service: Service, first: str, second: str, brief: object
) -> None:
    session = await service.challenged()
    await service.close(session, first)
    assert (await refused(service.close(session, second))).brief == brief
    assert await service.column(session, "state") == first.lower()


async def test_closing_both_ways_at_once_has_one_winner(service: Service) -> None:
    session = await service.challenged()
    calls = (service.close(session, outcome) for outcome in ("COMPLETED", "EXPIRED"))
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(result is None for result in results) == 1


async def test_closing_ends_what_was_still_to_be_sent(service: Service) -> None:
    session = await service.challenged()
    service.provider.gate.clear()
    call = asyncio.ensure_future(service.send(session))
    await eventually(service.provider.called)
    await service.close(session, "EXPIRED")
    assert await service.column(session, "due_at") is None
    service.provider.gate.set()
    await call


@one_database
@pytest.mark.parametrize("outcome", ["OUTCOME_UNSPECIFIED", 99])
async def test_closing_must_say_how(service: Service, outcome: Any) -> None:
    session = await service.open()
    request = admin_pb2.CloseSessionRequest(session_id=session.session_id, outcome=outcome)
    refusal = await refused(service.admin("CloseSession", request))
    assert (refusal.status, refusal.fields) == ("INVALID_ARGUMENT", ["outcome"])


# ListAttempts


async def attempts(service: Service, session: Session, **page: Any) -> Any:
    request = admin_pb2.ListAttemptsRequest(session_id=session.session_id, **page)
    return await service.admin("ListAttempts", request)


async def test_every_call_of_a_provider_is_listed(service: Service) -> None:
    session = await service.challenged()
    assert await attempts(service, session) == admin_pb2.ListAttemptsResponse()
    service.provider.results = [Result(Outcome.RETRY, reason="no connection")]
    await service.send(session)
    await eventually(service.settled)
    first, second = (await attempts(service, session)).attempts
    assert (first.dispatch_try, first.outcome, first.reason, first.provider_message_id) == (
        1, admin_pb2.Attempt.OUTCOME_RETRY, "no connection", "",
    )  # fmt: skip
    assert (second.dispatch_try, second.outcome, second.reason, second.provider_message_id) == (
        2, admin_pb2.Attempt.OUTCOME_ACCEPTED, "", "msg_1",
    )  # fmt: skip
    assert {first.channel, second.channel} == {"test://provider"}
    assert first.challenge_id == second.challenge_id
    assert first.end_time.ToMilliseconds() <= second.end_time.ToMilliseconds()


async def test_attempts_come_in_pages(service: Service) -> None:
    session = await service.challenged()
    for _ in range(5):
        await service.send(session)
        await service.later(30)
    token, sizes, ends = "", [], []
    while not sizes or token:
        page = await attempts(service, session, page_size=2, page_token=token)
        token = page.next_page_token
        sizes.append(len(page.attempts))
        ends += [attempt.end_time.ToMilliseconds() for attempt in page.attempts]
    assert sizes == [2, 2, 1]
    assert ends == sorted(set(ends))


async def test_a_session_shows_no_others_attempts(service: Service) -> None:
    session, other = await service.challenged(), await service.challenged()
    await service.send(other)
    assert list((await attempts(service, session)).attempts) == []


@one_database
@pytest.mark.parametrize(
    ("field", "value"),
    [("page_size", -1), ("page_token", "x"), ("page_token", "-1"), ("page_token", "f" * 16)],
)
async def test_a_malformed_page_is_named(service: Service, field: str, value: Any) -> None:
    refusal = await refused(attempts(service, await service.open(), **{field: value}))
    assert (refusal.status, refusal.fields) == ("INVALID_ARGUMENT", [field])


# What they share


@pytest.mark.parametrize(("ending", "brief"), [("COMPLETED", COMPLETED), ("EXPIRED", EXPIRED)])
async def test_nothing_is_issued_or_waived_once_the_session_ended(
    service: Service, ending: str, brief: object
) -> None:
    session = await service.challenged()
    await service.close(session, ending)
    assert (await refused(service.issue(session))).brief == brief
    assert (await refused(service.waive(session))).brief == brief
    assert await service.column(session, "destination") is None


async def test_nothing_is_issued_or_waived_past_the_sessions_time(service: Service) -> None:
    session = await service.challenged()
    await service.later(SESSION_LIFE)
    assert (await refused(service.issue(session))).brief == EXPIRED
    assert (await refused(service.waive(session))).brief == EXPIRED


@one_database
@pytest.mark.parametrize(
    "rpc",
    [
        "IssueChallenge",
        "GetChallenge",
        "VerifyChallenge",
        "WaiveChallenge",
        "CloseSession",
        "ListAttempts",
    ],
)
async def test_a_malformed_session_id_is_named(service: Service, rpc: str) -> None:
    request = getattr(admin_pb2, f"{rpc}Request")(session_id="cs_1/2")
    refusal = await refused(service.admin(rpc, request))
    assert refusal.status == "INVALID_ARGUMENT"
    assert "session_id" in refusal.fields


@one_database
@pytest.mark.parametrize(
    ("response", "field"),
    [
        ({"code": "000000", "payment": {**PAYMENT, "amount_minor": -1}}, "payment.amount_minor"),
        ({"code": "000000", "payment": {**PAYMENT, "currency": "EURO"}}, "payment.currency"),
        ({"code": "000000", "payment": {**PAYMENT, "payee": ""}}, "payment.payee"),
    ],
)
async def test_a_malformed_answer_is_named_and_not_counted(
    service: Service, response: dict[str, Any], field: str
) -> None:
    session = await service.challenged()
    await service.send(session)
    request = admin_pb2.VerifyChallengeRequest(session_id=session.session_id, **response)
    refusal = await refused(service.admin("VerifyChallenge", request))
    assert (refusal.status, refusal.fields) == ("INVALID_ARGUMENT", [field])
    assert await service.column(session, "wrong_total") == 0


@one_database
@pytest.mark.parametrize("char", [*"\u3000\u200c\u200d\u00a0\u2019"])
async def test_names_of_every_script_are_taken(service: Service, char: str) -> None:
    await service.admin("OpenSession", opening(merchant_display_name=f"Acme{char}Co"))


@one_database
async def test_no_name_holds_a_control_or_a_bidi_character(service: Service) -> None:
    hidden = [
        char for char in map(chr, range(0x3000))
        if unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp") and char not in "\u200c\u200d"
    ]  # fmt: skip
    assert {"\u202e", "\u2066", "\u2028", "\n"} <= set(hidden)
    for char in hidden:
        request = opening(merchant_display_name=f"Acme{char}Co")
        assert (await refused(service.admin("OpenSession", request))).fields == [
            "merchant_display_name"
        ]


@one_database
@pytest.mark.parametrize("locale", ["en_US", "ar-SA-u-nu-latn", "de-x-formal", "zh_Hant_TW", "sr"])
async def test_locales_of_bcp_47_and_posix_are_taken(service: Service, locale: str) -> None:
    await service.admin("OpenSession", opening(locale=locale))


@one_database
async def test_a_payee_is_the_same_composed_or_not(service: Service) -> None:
    def payment(payee: str, currency: str = "EUR") -> admin_pb2.Payment:
        return admin_pb2.Payment(amount_minor=100, currency=currency, payee=payee)

    session = await service.open()
    issue = admin_pb2.IssueChallengeRequest(
        session_id=session.session_id, payment=payment("Caf\u00e9")
    )
    issue.sms.phone_number = "+14155550123"
    await service.admin("IssueChallenge", issue)
    await service.send(session)
    await service.admin(
        "VerifyChallenge",
        admin_pb2.VerifyChallengeRequest(
            session_id=session.session_id,
            code=service.provider.code(),
            payment=payment("Cafe\u0301"),
        ),
    )
    issue.payment.CopyFrom(payment("Acme", "XAU"))
    refusal = await refused(service.admin("IssueChallenge", issue))
    assert refusal.fields == ["payment.currency"]
