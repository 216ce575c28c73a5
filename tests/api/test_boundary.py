"""Around every call: request id, log line, deadline, bugs, limits; and the server's other rpcs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from govifi.challenge.v1 import challenge_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.settings import Settings
from service.storage.store import Store
from tests.harness.logs import Logs
from tests.harness.marks import one_database
from tests.harness.providers import Provider
from tests.harness.refusals import refused
from tests.harness.service import Service, Session, running
from tests.harness.timing import Pause, eventually
from tests.harness.tokens import Issuer

TIMED_OUT = ("DEADLINE_EXCEEDED", 504, "network_error", True)
BUG = ("INTERNAL", 500, "processing_error", True)
SECRET = "+14155550123 123456 internals"


async def answered_id(service: Service, session: Session, *request_ids: str) -> str:
    """Calls Send with these request ids; gives the one in the trailing metadata."""
    call = service.public.Send(
        challenge_pb2.SendRequest(session_id=session.session_id),
        metadata=(
            ("authorization", f"Bearer {session.secret}"),
            *(("x-request-id", one) for one in request_ids),
        ),
    )
    await call
    return str(dict(await call.trailing_metadata())["x-request-id"])


# Request ids


@one_database
async def test_a_request_id_is_kept(service: Service) -> None:
    session = await service.open()
    assert await answered_id(service, session, "req-1_A") == "req-1_A"


@one_database
async def test_every_call_without_one_is_given_a_request_id_of_its_own(service: Service) -> None:
    session = await service.open()
    first, second = [await answered_id(service, session) for _ in range(2)]
    assert len(first) == len(second) == 32
    assert first != second


@one_database
@pytest.mark.parametrize("request_id", ["", "a b", "a" * 65, '{"a":1}', "a,b", "../a", "a;b=c"])
async def test_a_malformed_request_id_is_replaced(service: Service, request_id: str) -> None:
    session = await service.open()
    assert len(await answered_id(service, session, request_id)) == 32


@one_database
async def test_an_error_carries_the_request_id_in_every_form(service: Service) -> None:
    session = await service.open()
    await service.close(session, "COMPLETED")
    refusal = await refused(service.send(session, **{"x-request-id": "req-1"}))
    assert refusal.trailing["x-request-id"] == "req-1"
    assert refusal.body["request_id"] == "req-1"
    assert refusal.request_id == "req-1"


# Log lines


@one_database
async def test_every_line_of_a_request_has_its_id(logged: Logs, service: Service) -> None:
    session = await service.challenged()
    await service.send(session, **{"x-request-id": "req-1"})
    events = {line["event"] for line in logged.lines() if line.get("request_id") == "req-1"}
    assert {"call", "dispatch_attempt"} <= events
    assert len({line["request_id"] for line in logged.lines("call")}) == 3


@one_database
async def test_calls_at_once_keep_their_ids_apart(logged: Logs, service: Service) -> None:
    sessions = [await service.challenged() for _ in range(5)]
    calls = (
        service.send(session, **{"x-request-id": f"req-{session.session_id}"})
        for session in sessions
    )
    await asyncio.gather(*calls)
    attempts = logged.lines("dispatch_attempt")
    assert len(attempts) == 5
    assert all(line["request_id"] == f"req-{line['session_id']}" for line in attempts)


@one_database
async def test_a_calls_line_says_what_became_of_it(logged: Logs, service: Service) -> None:
    session = await service.open()
    await service.send(session)
    await service.close(session, "EXPIRED")
    await refused(service.send(session))
    good, bad = [line for line in logged.lines("call") if line["rpc"] == "Send"]
    assert (good["status"], good["error"]) == ("OK", None)
    assert (bad["status"], bad["error"]) == ("FAILED_PRECONDITION", "SessionExpired")
    assert good["session_id"] == bad["session_id"] == session.session_id


@one_database
async def test_the_line_of_a_refused_call_names_its_quota(logged: Logs, service: Service) -> None:
    for _ in range(5):
        await service.send(await service.challenged())
    await refused(service.send(await service.challenged()))
    *_, good, bad = [line for line in logged.lines("call") if line["rpc"] == "Send"]
    assert (bad["error"], bad["quota"]) == ("QuotaOutlastsSession", "sms-hour")
    assert "quota" not in good


@one_database
async def test_a_call_that_its_caller_gave_up_is_not_logged_as_ok(
    logged: Logs, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await service.open()
    read = Pause(monkeypatch, Store, "read")
    call = asyncio.ensure_future(service.send(session))
    await read.reached()
    call.cancel()

    async def line() -> bool:
        return any(line["rpc"] == "Send" for line in logged.lines("call"))

    await eventually(line)
    assert logged.lines("call")[-1]["status"] == "CANCELLED"


@one_database
async def test_what_is_no_session_id_is_not_logged(logged: Logs, service: Service) -> None:
    session = await service.open()
    misplaced = Session(session.secret, session.secret)
    assert (await refused(service.send(misplaced))).fields == ["session_id"]
    assert logged.lines("call")[-1]["session_id"] is None
    assert session.secret not in logged.text


# Deadlines


@pytest.fixture
async def session(
    make_settings: Callable[..., Settings], provider: Provider, clock: Any, issuer: Issuer
) -> Session:
    """A session with a challenge, issued before anybody was in a hurry."""
    async with running(make_settings(), provider, clock, issuer) as service:
        return await service.challenged()


@pytest.fixture
async def hasty(
    session: Session,
    make_settings: Callable[..., Settings],
    provider: Provider,
    clock: Any,
    issuer: Issuer,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Service]:
    """A service that gives calls a second, and providers all that they want."""
    monkeypatch.setattr("service.serving.server._DEADLINE_SECONDS", 1.0)
    settings = make_settings(send_wait_seconds=8)
    async with running(settings, provider, clock, issuer) as service:
        yield service


@pytest.mark.slow
@one_database
@pytest.mark.parametrize("deadline", [None, 60])
async def test_a_call_has_no_more_time_than_the_server_gives(
    hasty: Service, session: Session, monkeypatch: pytest.MonkeyPatch, deadline: float | None
) -> None:
    Pause(monkeypatch, Store, "read")
    assert (await refused(hasty.send(session, deadline=deadline))).brief == TIMED_OUT


@pytest.mark.slow
@one_database
async def test_a_stalled_provider_ends_the_call_and_not_the_delivery(
    hasty: Service, session: Session
) -> None:
    hasty.provider.gate.clear()
    assert (await refused(hasty.send(session))).brief == TIMED_OUT
    assert len(hasty.provider.calls) == 1
    hasty.provider.gate.set()
    await eventually(hasty.settled)
    assert len(hasty.provider.accepted) == 1


async def test_a_caller_in_a_hurry_is_told_in_time_and_harms_nobody(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await service.challenged()
    read = Pause(monkeypatch, Store, "read")
    with pytest.raises(grpc.aio.AioRpcError, match="DEADLINE_EXCEEDED"):
        await service.send(session, deadline=0.001)
    read.resume()
    assert (await service.send(session)).code_sent


# Bugs


@pytest.mark.parametrize("rpc", ["Send", "GetChallenge"])
async def test_a_bug_tells_the_caller_nothing(
    logged: Logs, service: Service, monkeypatch: pytest.MonkeyPatch, rpc: str
) -> None:
    session = await service.open()

    async def broken(self: Store, session_id: str) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(Store, "read", broken)
    call = service.send if rpc == "Send" else service.get
    refusal = await refused(call(session))
    assert refusal.brief == BUG
    assert refusal.text == "Something went wrong on our side. Please try again."
    assert SECRET not in str(refusal.trailing)
    assert "RuntimeError" not in str(refusal.trailing)
    (bug,) = logged.lines("bug")
    assert bug["request_id"] == refusal.request_id
    assert bug["exception"][0]["exc_type"] == "RuntimeError"


async def test_a_row_that_makes_no_sense_is_a_bug_of_its_own_call_only(service: Service) -> None:
    session, other = await service.challenged(), await service.challenged()
    await service.database.row(
        "UPDATE hosted_session SET challenge_type = 'pigeon' WHERE session_id = $1",
        session.session_id,
    )
    assert (await refused(service.send(session))).brief == BUG
    assert (await service.send(other)).code_sent


# Limits


@one_database
async def test_metadata_that_is_too_large_is_refused(logged: Logs, service: Service) -> None:
    session = await service.open()
    opened = len(logged.lines("call"))
    with pytest.raises(grpc.aio.AioRpcError):
        await service.send(session, **{"x-padding": "x" * 30_000})
    assert len(logged.lines("call")) == opened


# Health


@one_database
@pytest.mark.parametrize(
    "name",
    ["", "govifi.challenge.v1.ChallengeService", "govifi.challenge.v1.ChallengeAdminService"],
)
async def test_a_running_service_is_healthy(service: Service, name: str) -> None:
    health = health_pb2_grpc.HealthStub(service.channel)
    answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
