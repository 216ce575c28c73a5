"""`govifi.challenge.client`: tokens, deadlines, repeats and errors."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from govifi.challenge.client import ChallengeError, connect
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2

from tests.clients.readme import ROOT, block, commands, run, verified
from tests.harness.clock import StillClock
from tests.harness.marks import one_database
from tests.harness.ports import free_port
from tests.harness.service import Service, Session, running
from tests.rest import edge


class Counting(grpc.UnaryUnaryClientInterceptor):
    """Counts what a client sends, and keeps its timeouts and tokens."""

    def __init__(self) -> None:
        self.timeouts: list[float] = []
        self.is_clock_still = False
        self.tokens: list[str] = []

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        self.timeouts.append(details.timeout)
        self.tokens.append(dict(details.metadata)["authorization"].removeprefix("Bearer "))
        if self.is_clock_still:  # gRPC's is not
            details = details._replace(timeout=60.0)
        return continuation(details, request)


class Caller:
    """A client in a thread, with what it sent and how long it would have waited."""

    def __init__(self, port: int, token: Callable[[], str], **options: Any) -> None:
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self.sent = Counting()
        self.waits: list[float] = []
        self.then: Callable[[float], object] = lambda seconds: None
        counted = grpc.intercept_channel(self.channel, self.sent)
        self.admin = connect(counted, token, sleep=self._sleep, **options)

    def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.then(seconds)

    async def call(self, rpc: str, request: Any, **options: Any) -> Any:
        return await asyncio.to_thread(getattr(self.admin, rpc), request, **options)

    async def refused(self, rpc: str, request: Any, **options: Any) -> ChallengeError:
        with pytest.raises(ChallengeError) as raised:
            await self.call(rpc, request, **options)
        return raised.value


@pytest.fixture
async def proxy(service: Service, tmp_path: Path) -> AsyncIterator[edge.Edge]:
    """Envoy, as configured, in front of `service`."""
    async with edge.running(tmp_path, service.server.port) as proxy:
        yield proxy


@pytest.fixture
def caller(service: Service, proxy: edge.Edge) -> Caller:
    return Caller(proxy.internal_port, service.issuer.token)


@pytest.fixture
async def nobody(service: Service, tmp_path: Path) -> AsyncIterator[Caller]:
    """A client of an Envoy that has no service behind it."""
    async with edge.running(tmp_path, free_port()) as proxy:
        yield Caller(proxy.internal_port, service.issuer.token)


def get(session: Session) -> admin_pb2.GetChallengeRequest:
    return admin_pb2.GetChallengeRequest(session_id=session.session_id)


@one_database
async def test_a_call_is_answered(service: Service, caller: Caller) -> None:
    session = await service.challenged()
    answer = await caller.call("GetChallenge", get(session))
    assert answer.challenge.delivery_hint == "--0123"


@one_database
async def test_a_token_is_minted_once_until_it_is_refused(
    service: Service, proxy: edge.Edge
) -> None:
    session = await service.challenged()
    expired = service.issuer.token(exp=int(time.time()) - 60)
    tokens = [expired, *(service.issuer.token(jti=str(number)) for number in range(2))]
    left = list(tokens)
    caller = Caller(proxy.internal_port, lambda: left.pop(0))
    await caller.call("GetChallenge", get(session))
    await caller.call("GetChallenge", get(session))
    assert caller.sent.tokens == [tokens[0], tokens[1], tokens[1]]


@one_database
async def test_a_token_that_is_refused_again_is_an_error(
    service: Service, proxy: edge.Edge
) -> None:
    caller = Caller(proxy.internal_port, lambda: service.issuer.token(aud="another"))
    error = await caller.refused("GetChallenge", get(await service.open()))
    assert (error.code, error.status) == ("insufficient_scope", grpc.StatusCode.UNAUTHENTICATED)
    assert len(caller.sent.tokens) == 2


@one_database
async def test_every_call_has_a_deadline(service: Service, caller: Caller) -> None:
    session = await service.open()
    await caller.call("GetChallenge", get(session))
    await caller.call("GetChallenge", get(session), timeout=3)
    first, second = caller.sent.timeouts
    assert 5 < first <= 10
    assert 0 < second <= 3


@one_database
async def test_an_error_says_what_the_service_says(service: Service, caller: Caller) -> None:
    session = await service.challenged()
    await service.send(session)
    request = admin_pb2.VerifyChallengeRequest(session_id=session.session_id)
    error = await caller.refused("VerifyChallenge", request)
    assert (error.code, error.recoverable, error.retry_after) == ("challenge_required", True, None)
    assert error.challenge is not None
    assert error.challenge.delivery_hint == "--0123"
    assert len(error.request_id) == 36
    assert error.message == "Please complete the challenge first."

    request.code = service.provider.wrong()
    error = await caller.refused("VerifyChallenge", request)
    assert (error.code, error.attempts_remaining) == ("challenge_failed", 4)
    assert (error.reason, error.because) == ("WRONG_ANSWER", "")

    error = await caller.refused("GetChallenge", admin_pb2.GetChallengeRequest())
    assert error.fields.keys() == {"session_id"}
    assert not error.recoverable
    assert len(caller.sent.timeouts) == 3


@one_database
@pytest.mark.parametrize(
    ("rpc", "request_of", "repeated"),
    [
        ("VerifyChallenge", admin_pb2.VerifyChallengeRequest(), False),
        ("VerifyChallenge", admin_pb2.VerifyChallengeRequest(request_id="r-1"), True),
        ("IssueChallenge", admin_pb2.IssueChallengeRequest(), False),
        ("IssueChallenge", admin_pb2.IssueChallengeRequest(request_id="r-1"), True),
        ("OpenSession", admin_pb2.OpenSessionRequest(), True),
        ("GetChallenge", admin_pb2.GetChallengeRequest(), True),
        ("CloseSession", admin_pb2.CloseSessionRequest(), True),
    ],
)
async def test_where_nobody_answers_only_what_is_safe_is_repeated(
    nobody: Caller, monkeypatch: pytest.MonkeyPatch, rpc: str, request_of: Any, repeated: bool
) -> None:
    clock = StillClock()
    monkeypatch.setattr("govifi.challenge.client.time", SimpleNamespace(monotonic=clock))
    nobody.sent.is_clock_still = True
    nobody.then = lambda seconds: setattr(clock, "now", clock.now + seconds)
    error = await nobody.refused(rpc, request_of, timeout=10)
    assert (error.code, error.recoverable) == ("network_error", True)
    assert error.status is grpc.StatusCode.UNAVAILABLE
    assert (len(nobody.sent.timeouts) > 1) is repeated
    # Longer from one to the next, and never past the deadline.
    assert all(0.05 <= wait <= 2 for wait in nobody.waits)
    assert sum(nobody.waits) < 10
    assert sorted(nobody.sent.timeouts, reverse=True) == nobody.sent.timeouts


@one_database
async def test_a_spent_quota_is_waited_for_where_the_deadline_allows_it(
    make_settings: Any, provider: Any, clock: Any, issuer: Any, tmp_path: Path
) -> None:
    settings = make_settings(account_sessions_per_hour=1)
    async with (
        running(settings, provider, clock, issuer) as service,
        edge.running(tmp_path, service.server.port) as proxy,
    ):
        first = await service.open()
        caller = Caller(proxy.internal_port, issuer.token)
        loop = asyncio.get_running_loop()
        caller.then = lambda seconds: asyncio.run_coroutine_threadsafe(
            clock.advance(seconds), loop
        ).result()
        request = admin_pb2.OpenSessionRequest(
            session_id=f"{first.session_id}2", account_uid="acct_1",
            client_secret_sha256=bytes(32), merchant_display_name="Acme",
        )  # fmt: skip
        error = await caller.refused("OpenSession", request)
        assert (error.code, error.recoverable) == ("rate_limited", True)
        assert error.retry_after is not None
        assert 10 < error.retry_after <= 3600
        assert caller.waits == []
        await caller.call("OpenSession", request, timeout=7200)
        assert caller.waits == [pytest.approx(error.retry_after, abs=5)]


@one_database
async def test_what_the_service_refuses_is_not_repeated(service: Service, caller: Caller) -> None:
    session = await service.open()
    for _ in range(20):
        await service.issue(session)
    request = admin_pb2.IssueChallengeRequest(
        session_id=session.session_id,
        sms=admin_pb2.Sms(phone_number="+14155550123"),
        request_id="r-1",
    )
    error = await caller.refused("IssueChallenge", request, timeout=7200)
    assert (error.code, error.recoverable) == ("rate_limited", False)
    assert len(caller.sent.timeouts) == 1


@pytest.mark.parametrize(
    ("right", "said"),
    [(True, "satisfied"), (False, "challenge_failed True That code is not right.")],
)
def test_the_example_of_the_readme_with_the_wheel(tmp_path: Path, right: bool, said: str) -> None:
    build = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path))
    run(build, ROOT / "clients/python")
    (wheel,) = tmp_path.glob("govifi_challenge_client-*.whl")
    shutil.unpack_archive(wheel, tmp_path / "site", "zip")
    readme = (ROOT / "clients/python/README.md").read_text("utf-8")
    (tmp_path / "shop.py").write_text(block(readme, "python"), "utf-8")
    # Before all else on the path, so that neither stubs nor client are the repository's.
    said_now = verified(
        commands(readme)[-1].replace(".venv/bin/python", sys.executable), tmp_path, right=right,
        environment={"PYTHONPATH": str(tmp_path / "site")},
    )  # fmt: skip
    assert said_now.startswith(said)
