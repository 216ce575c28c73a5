"""What can be reached through which listener."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2
from govifi.challenge.v1 import challenge_admin_pb2_grpc as admin_grpc
from govifi.challenge.v1 import challenge_pb2, challenge_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.harness.ports import free_port
from tests.harness.refusals import Refusal, refused
from tests.harness.service import Service
from tests.rest.edge import Edge, nobody, running


@pytest.fixture
async def publicly(edge: Edge) -> AsyncIterator[grpc.aio.Channel]:
    """A gRPC channel to the public listener."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{edge.port}") as channel:
        yield channel


async def test_native_grpc_is_refused_in_public(
    service: Service, publicly: grpc.aio.Channel
) -> None:
    session = await service.challenged()
    admin = admin_grpc.ChallengeAdminServiceStub(publicly)
    send = challenge_pb2_grpc.ChallengeServiceStub(publicly).Send
    token = (("authorization", f"Bearer {service.issuer.token()}"),)
    secret = (("authorization", f"Bearer {session.secret}"),)
    calls = [
        admin.GetChallenge(
            admin_pb2.GetChallengeRequest(session_id=session.session_id), metadata=token
        ),
        send(challenge_pb2.SendRequest(session_id=session.session_id), metadata=secret),
        health_pb2_grpc.HealthStub(publicly).Check(health_pb2.HealthCheckRequest()),
    ]
    for call in calls:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call
        assert "415" in raised.value.details()
    assert service.provider.calls == []


async def test_internal_serves_both_services(service: Service, edge: Edge) -> None:
    session = await service.challenged()
    answer = await edge.send_natively(session.session_id, authorization=f"Bearer {session.secret}")
    assert answer.code_sent
    admin = admin_grpc.ChallengeAdminServiceStub(edge.grpc)
    call = admin.VerifyChallenge(
        admin_pb2.VerifyChallengeRequest(
            session_id=session.session_id, code=service.provider.code()
        ),
        metadata=(("authorization", f"Bearer {service.issuer.token()}"),),
    )
    assert (await call).satisfy_time.seconds


async def test_internal_hands_on_the_details_of_errors(service: Service, edge: Edge) -> None:
    session = await service.challenged()
    await service.send(session)
    call = admin_grpc.ChallengeAdminServiceStub(edge.grpc).VerifyChallenge(
        admin_pb2.VerifyChallengeRequest(
            session_id=session.session_id, code=service.provider.wrong()
        ),
        metadata=(("authorization", f"Bearer {service.issuer.token()}"),),
    )
    refusal = await refused(call)
    assert (refusal.code, refusal.attempts_remaining) == ("challenge_failed", 4)


async def test_internal_serves_health(edge: Edge) -> None:
    health = health_pb2_grpc.HealthStub(edge.grpc)
    answer = await health.Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_internal_takes_over_request_ids(service: Service, edge: Edge) -> None:
    refusal: Refusal = await refused(
        edge.send_natively(nobody().session_id, **{"x-request-id": "ours-1"})
    )
    assert refusal.request_id == "ours-1"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/govifi.challenge.v1.ChallengeService/Send", "UNAVAILABLE"),
        ("/govifi.challenge.v1.ChallengeAdminService/GetChallenge", "UNAVAILABLE"),
        ("/grpc.health.v1.Health/Check", "UNAVAILABLE"),
        ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "UNIMPLEMENTED"),
        ("/govifi.challenge.v1.ChallengeService/Send/x", "UNIMPLEMENTED"),
        ("/anything.else/Call", "UNIMPLEMENTED"),
    ],
)
async def test_internal_lets_nothing_else_through(tmp_path: Path, path: str, status: str) -> None:
    """There is nothing behind it, so that what it lets through is UNAVAILABLE."""
    async with running(tmp_path, free_port()) as edge:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await edge.grpc.unary_unary(path)(b"")
    assert raised.value.code().name == status
