"""VerifyChallenge with captchas, before a stand-in of their providers, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2
from govifi.challenge.v1 import challenge_pb2

from examples.siteverify import HCAPTCHA_PATH, TURNSTILE_PATH, StandIn, Token, Trouble
from service.challenges.verifying import Verifier
from service.settings import Settings
from tests.harness.providers import Provider
from tests.harness.refusals import refused
from tests.harness.service import Service, Session, running
from tests.harness.timing import Pause
from tests.harness.tokens import Issuer

SATISFIED, ALREADY = 1, 2
KEY, SECRET, IP = "site-1", "0x4AAAAAAA-s3cret", "203.0.113.7"
FAILED = ("FAILED_PRECONDITION", 400, "challenge_failed", True)
LOCKED = ("FAILED_PRECONDITION", 403, "challenge_failed", False)
DENIED = ("UNAVAILABLE", 503, "network_error", True)
MALFORMED = ("INVALID_ARGUMENT", 422, "validation_error", True)
OUTAGES = (
    Trouble.SILENCE, Trouble.SLOW_BODY, Trouble.RESET, Trouble.HALF_A_BODY, Trouble.SERVER_ERROR,
)  # fmt: skip


@pytest.fixture(params=["hcaptcha", "turnstile"])
def kind(request: pytest.FixtureRequest) -> str:
    """The challenge's type."""
    return str(request.param)


@pytest.fixture
def stand_in() -> StandIn:
    """Both providers."""
    return StandIn({KEY: [SECRET]})


@pytest.fixture
async def url(stand_in: StandIn) -> AsyncIterator[str]:
    """Where they listen."""
    runner = web.AppRunner(stand_in.application, handler_cancellation=True, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}"
    await runner.cleanup()


@pytest.fixture
async def service(
    make_settings: Callable[..., Settings],
    provider: Provider,
    clock: Any,
    issuer: Issuer,
    url: str,
) -> AsyncIterator[Service]:
    """A service that asks the stand-in."""
    settings = make_settings(
        hcaptcha_secrets=f"{KEY}={SECRET}", hcaptcha_url=f"{url}{HCAPTCHA_PATH}",
        turnstile_secrets=f"{KEY}={SECRET}", turnstile_url=f"{url}{TURNSTILE_PATH}",
    )  # fmt: skip
    async with running(settings, provider, clock, issuer) as service:
        yield service


@pytest.fixture
async def session(service: Service, kind: str) -> Session:
    """A session with a captcha."""
    session = await service.open(allowed_origins=["https://shop.example"])
    await service.issue(session, **{kind: admin_pb2.Captcha(site_key=KEY)})
    return session


def solved(stand_in: StandIn, session: Session, **values: Any) -> str:
    """A token of the session's page."""
    usual = {"site_key": KEY, "hostname": "shop.example", "cdata": session.session_id}
    return stand_in.solve(Token(**{**usual, "action": "challenge", **values}))


async def verify(service: Service, session: Session, token: str, **fields: Any) -> Any:
    request = admin_pb2.VerifyChallengeRequest(
        session_id=session.session_id, token=token, remote_ip=IP, **fields
    )
    return await service.admin("VerifyChallenge", request)


async def test_a_token_satisfies_the_challenge(
    service: Service, stand_in: StandIn, session: Session
) -> None:
    answer = await verify(service, session, solved(stand_in, session))
    assert answer.outcome == SATISFIED
    assert stand_in.asked[-1]["remoteip"] == IP
    assert await service.get(session) is None
    assert (await verify(service, session, "anything")).outcome == ALREADY


async def test_a_token_of_the_named_type_does_too(
    service: Service, stand_in: StandIn, session: Session, kind: str
) -> None:
    named = challenge_pb2.Challenge.Type.Value(kind)
    token = solved(stand_in, session)
    assert (await verify(service, session, token, type=named)).outcome == SATISFIED


async def test_a_token_of_another_type_is_not_judged(
    service: Service, stand_in: StandIn, session: Session
) -> None:
    token = solved(stand_in, session)
    refusal = await refused(verify(service, session, token, type=challenge_pb2.Challenge.sms))
    assert refusal.code == "challenge_required"
    assert stand_in.asked == []


@pytest.mark.parametrize("values", [{"human": False}, {"hostname": "evil.example"}], ids=str)
async def test_what_is_no_proof_is_counted(
    service: Service, stand_in: StandIn, session: Session, values: dict[str, Any]
) -> None:
    refusals = [
        await refused(verify(service, session, solved(stand_in, session, **values)))
        for _ in range(5)
    ]
    assert [refusal.brief for refusal in refusals] == [FAILED] * 4 + [LOCKED]
    assert [refusal.attempts_remaining for refusal in refusals[:4]] == [4, 3, 2, 1]
    good = solved(stand_in, session)
    assert (await refused(verify(service, session, good))).brief == LOCKED


@pytest.mark.slow
async def test_a_token_that_is_too_old_is_not_counted(
    service: Service, stand_in: StandIn, session: Session
) -> None:
    token = solved(stand_in, session, expired=True)
    refusal = await refused(verify(service, session, token))
    assert (refusal.brief, refusal.text) == (FAILED, "The check has expired. Please try again.")
    assert await service.column(session, "wrong_total") == 0


@pytest.mark.slow
async def test_a_token_is_spent_once_here_too(
    service: Service, stand_in: StandIn, session: Session, kind: str
) -> None:
    token = solved(stand_in, session, cdata="")
    await verify(service, session, token)
    stand_in.tokens[token].judged_by = None  # as if the provider had forgotten
    other = await service.open(allowed_origins=["https://shop.example"])
    await service.issue(other, **{kind: admin_pb2.Captcha(site_key=KEY)})
    assert (await refused(verify(service, other, token))).brief == FAILED
    assert await service.column(other, "challenge_state") == "pending"
    assert await service.column(other, "wrong_total") == 0


async def test_of_many_at_once_one_satisfies(
    service: Service, stand_in: StandIn, session: Session
) -> None:
    tokens = [solved(stand_in, session) for _ in range(8)]
    answers = await asyncio.gather(*(verify(service, session, token) for token in tokens))
    assert sorted(answer.outcome for answer in answers) == [SATISFIED, *[ALREADY] * 7]


@pytest.mark.parametrize("request_id", ["", "v-1"])
async def test_of_one_token_many_times_at_once_none_is_turned_away(
    service: Service, stand_in: StandIn, session: Session, request_id: str
) -> None:
    """The provider judges it once, and calls the others duplicates before the first is written."""
    token = solved(stand_in, session)
    calls = [verify(service, session, token, request_id=request_id) for _ in range(6)]
    outcomes = sorted(answer.outcome for answer in await asyncio.gather(*calls))
    once = [SATISFIED, *[ALREADY] * 5]
    assert outcomes == ([SATISFIED] * 6 if request_id else once)


async def test_a_repeat_waits_for_the_request_that_it_overlaps(
    service: Service, stand_in: StandIn, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long that is judged: the provider would call the token a duplicate meanwhile."""
    token = solved(stand_in, session)
    judged = Pause(monkeypatch, Verifier, "_answer")
    first = asyncio.create_task(verify(service, session, token, request_id="v-1"))
    await judged.reached()
    repeat = asyncio.create_task(verify(service, session, token, request_id="v-1"))
    for _ in range(20):
        await service.get(session)  # which came after the repeat
    judged.resume()
    assert [(await call).outcome for call in (first, repeat)] == [SATISFIED, SATISFIED]
    assert len(stand_in.asked) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "trouble", [Trouble.SERVER_ERROR, Trouble.THROTTLED, Trouble.NO_JSON], ids=lambda t: t.name
)
async def test_what_cannot_be_judged_is_denied_and_not_counted(
    service: Service, stand_in: StandIn, session: Session, trouble: Trouble
) -> None:
    token = solved(stand_in, session, trouble=trouble)
    assert (await refused(verify(service, session, token))).brief == DENIED
    assert await service.column(session, "wrong_total") == 0
    assert (await verify(service, session, solved(stand_in, session))).outcome == SATISFIED


FALLBACK = admin_pb2.Fallback(sms=admin_pb2.Sms(phone_number="+14155550123"))


async def with_fallback(service: Service, kind: str) -> Session:
    session = await service.open(allowed_origins=["https://shop.example"])
    await service.issue(session, **{kind: admin_pb2.Captcha(site_key=KEY)}, fallback=FALLBACK)
    return session


@pytest.mark.slow
async def test_an_outage_of_five_seconds_takes_the_fallback(
    service: Service, stand_in: StandIn, kind: str
) -> None:
    session = await with_fallback(service, kind)
    token = solved(stand_in, session, trouble=Trouble.SERVER_ERROR)
    began = asyncio.get_running_loop().time()
    fields = {"request_id": "r-1"}
    refusal = await refused(verify(service, session, token, **fields))
    assert refusal.brief == ("FAILED_PRECONDITION", 403, "challenge_required", True)
    assert refusal.challenge.type == challenge_pb2.Challenge.sms
    assert refusal.because == "fallback_taken"
    assert asyncio.get_running_loop().time() - began > 3
    repeat = await refused(verify(service, session, token, **fields))
    assert (repeat.brief, repeat.challenge) == (refusal.brief, refusal.challenge)
    assert repeat.because == "other_type"  # by then the challenge is for a code
    assert await service.column(session, "wrong_total") == 0
    assert (await service.send(session)).code_sent
    assert (await service.verify(session, service.provider.code())).outcome == SATISFIED


@pytest.mark.slow
@pytest.mark.parametrize(
    "trouble", [t for t in Trouble if t not in (*OUTAGES, Trouble.ENDLESS_BODY)],
    ids=lambda t: t.name,
)  # fmt: skip
async def test_nothing_that_a_token_can_cause_does(
    service: Service, stand_in: StandIn, kind: str, trouble: Trouble
) -> None:
    session = await with_fallback(service, kind)
    token = solved(stand_in, session, trouble=trouble)
    assert (await refused(verify(service, session, token))).brief == DENIED
    for values in ({"human": False}, {"expired": True}, {"hostname": "evil.example"}):
        await refused(verify(service, session, solved(stand_in, session, **values)))
    stand_in.troubles = iter([Trouble.SERVER_ERROR])
    await refused(verify(service, session, solved(stand_in, session, human=False)))
    assert (await service.get(session)).site_key == KEY  # type: ignore[union-attr]


async def test_a_mistake_of_ours_takes_no_fallback(
    service: Service, stand_in: StandIn, kind: str
) -> None:
    session = await service.open(allowed_origins=["https://shop.example"])
    unknown = admin_pb2.Captcha(site_key="no-secret")
    await service.issue(session, **{kind: unknown}, fallback=FALLBACK)
    refusal = await refused(verify(service, session, solved(stand_in, session)))
    assert refusal.brief == DENIED
    assert (await service.get(session)).site_key == "no-secret"  # type: ignore[union-attr]


async def test_a_mistake_of_ours_is_denied_and_not_counted(
    service: Service, stand_in: StandIn, kind: str
) -> None:
    session = await service.open(allowed_origins=["https://shop.example"])
    await service.issue(session, **{kind: admin_pb2.Captcha(site_key="no-secret")})
    token = solved(stand_in, session)
    assert (await refused(verify(service, session, token))).brief == DENIED
    assert await service.column(session, "wrong_total") == 0


@pytest.mark.parametrize("token", ["", "x" * 9000, "two words"])
async def test_what_is_no_token_is_refused_and_not_counted(
    service: Service, stand_in: StandIn, session: Session, token: str
) -> None:
    refusal = await refused(verify(service, session, token))
    assert (refusal.brief, refusal.fields) == (MALFORMED, ["token"])
    assert await service.column(session, "wrong_total") == 0
    assert stand_in.asked == []


async def test_a_repeat_is_not_judged_again(
    service: Service, stand_in: StandIn, session: Session
) -> None:
    token = solved(stand_in, session)
    for _ in range(3):
        answer = await verify(service, session, token, request_id="r-1")
        assert answer.outcome == SATISFIED
    assert len(stand_in.asked) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["turnstile"], indirect=True)  # hCaptcha has no such key
async def test_turnstile_is_asked_under_the_requests_own_key(
    service: Service, stand_in: StandIn, session: Session
) -> None:
    stand_in.troubles = iter([Trouble.SERVER_ERROR])
    token = solved(stand_in, session)
    await verify(service, session, token, request_id="r-1")
    keys = {form["idempotency_key"] for form in stand_in.asked}
    assert (len(stand_in.asked), len(keys)) == (2, 1)


async def test_a_lapsed_captcha_is_judged_anew(
    service: Service, stand_in: StandIn, session: Session
) -> None:
    await verify(service, session, solved(stand_in, session))
    await service.later(900)
    challenge = await service.get(session)
    assert challenge is not None
    assert challenge.site_key == KEY
    refusal = await refused(verify(service, session, solved(stand_in, session, human=False)))
    assert refusal.brief == FAILED
    assert (await verify(service, session, solved(stand_in, session))).outcome == SATISFIED
