"""`challenge health`, as a container's health check runs it."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from tests.commands.test_commands import challenge
from tests.harness.marks import one_database
from tests.harness.ports import free_port
from tests.harness.service import Service

SERVICE = "govifi.challenge.v1.ChallengeService"


@one_database
@pytest.mark.parametrize("name", ["", SERVICE])
async def test_a_server_that_serves_exits_with_0(service: Service, name: str) -> None:
    done = await asyncio.to_thread(
        challenge, "health", "--service", name, CHALLENGE_GRPC_LISTEN=service.target
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "serving\n", "")


async def test_one_that_drains_exits_with_1_and_says_so() -> None:
    health, server = HealthServicer(), grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    await health.enter_graceful_shutdown()
    done = await asyncio.to_thread(challenge, "health", "--target", target)
    await server.stop(None)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"challenge: {target} says NOT_SERVING\n"


@one_database
async def test_a_name_that_is_not_known_exits_with_1(service: Service) -> None:
    done = await asyncio.to_thread(
        challenge, "health", "--service", "x", "--target", service.target
    )
    assert done.returncode == 1
    assert done.stderr == f"challenge: {service.target} knows no service x\n"


def test_no_server_exits_with_1() -> None:
    target = f"127.0.0.1:{free_port()}"
    done = challenge("health", "--target", target)
    assert done.returncode == 1
    assert done.stderr == f"challenge: {target} does not answer: UNAVAILABLE\n"
