"""What the internal listener refuses by itself carries the Error, as the service's errors do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from google.rpc import error_details_pb2
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2
from govifi.challenge.v1 import error_pb2
from grpc_status import rpc_status

from tests.harness.ports import free_port
from tests.harness.service import Service
from tests.rest.edge import Edge, running, upstream
from tests.rest.http2 import HTTP2

SEND = "/govifi.challenge.v1.ChallengeService/Send"
OPEN = "/govifi.challenge.v1.ChallengeAdminService/OpenSession"
HEALTH = "/grpc.health.v1.Health/Check"
GRPC = {"content-type": "application/grpc", "te": "trailers"}
NO_METHOD = ("validation_error", False, "There is no such method.")
TOO_LARGE = ("validation_error", False, "The request is too large.")
AGAIN = ("network_error", True, "Please try again in a moment.")
LATE = ("network_error", True, "This took too long. Please try again.")
WAIT = ("rate_limited", True, "Too many requests. Please wait, then try again.")
BUG = ("processing_error", True, "Something went wrong on our side. Please try again.")


REASONS = {
    NO_METHOD: "UNKNOWN_RPC", TOO_LARGE: "REQUEST_TOO_LARGE", AGAIN: "NO_REPLICA",
    LATE: "DEADLINE_PASSED", WAIT: "RATE_LIMITED", BUG: "BUG",
}  # fmt: skip


class Told(NamedTuple):
    """What a caller is told.

    Attributes:
        status: Of gRPC.
        error: Code of the Error, whether it is recoverable, its message.
        request_id: Of the Error.
        retry: Seconds of RetryInfo.
    """

    status: str
    error: tuple[str, bool, str]
    request_id: str
    retry: int | None


async def told(call: Awaitable[Any]) -> Told:
    """Makes a call that is refused; status, message and reason are also those of the details."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        async with asyncio.timeout(15):
            await call
    metadata = dict(raised.value.trailing_metadata())
    assert "x-too-large" not in metadata
    status: Any = rpc_status.from_call(raised.value)
    assert status is not None, raised.value
    error, info = error_pb2.Error(), error_details_pb2.ErrorInfo()
    retry = error_details_pb2.RetryInfo()
    assert status.details[0].Unpack(error)
    assert status.details[1].Unpack(info)
    assert info.domain == "challenge.govifi.com"
    assert status.message == error.message
    waits = len(status.details) > 2 and status.details[2].Unpack(retry)
    seen = (error_pb2.Error.Code.Name(error.code), error.recoverable, error.message)
    delay = int(retry.retry_delay.seconds) if waits else None
    assert info.reason == REASONS.get(seen, "TOKEN_INVALID")
    return Told(raised.value.code().name, seen, error.request_id, delay)


def call(edge: Edge, path: str = SEND, message: bytes = b"", **more: Any) -> Awaitable[Any]:
    return edge.grpc.unary_unary(path)(message, **more)


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[Edge]:
    """Envoy in front of nothing."""
    async with running(tmp_path, free_port()) as edge:
        yield edge


@pytest.mark.parametrize("path", [SEND, OPEN, HEALTH])
async def test_no_replica(alone: Edge, path: str) -> None:
    refusal = await told(call(alone, path))
    assert (refusal.status, refusal.error, refusal.retry) == ("UNAVAILABLE", AGAIN, None)
    assert refusal.request_id


@pytest.mark.parametrize(
    "path", ["/govifi.challenge.v1.ChallengeService/Send/x", "/grpc.health.v1.Health/List", "/a/b"]
)
async def test_an_unknown_rpc(alone: Edge, path: str) -> None:
    refusal = await told(call(alone, path))
    assert (refusal.status, refusal.error) == ("UNIMPLEMENTED", NO_METHOD)


@pytest.mark.parametrize(
    ("size", "status", "error"),
    [
        pytest.param(16_384, "UNAVAILABLE", AGAIN, id="16-KiB"),
        pytest.param(16_385, "RESOURCE_EXHAUSTED", TOO_LARGE, id="one-byte-more"),
        pytest.param(32_764, "RESOURCE_EXHAUSTED", TOO_LARGE, id="more-than-the-buffer"),
        pytest.param(2**20, "RESOURCE_EXHAUSTED", TOO_LARGE, id="1-MiB"),
    ],
)
async def test_a_long_message(
    alone: Edge, size: int, status: str, error: tuple[str, bool, str]
) -> None:
    refusal = await told(call(alone, message=b"a" * size))
    assert (refusal.status, refusal.error, refusal.retry) == (status, error, None)


@pytest.mark.parametrize(
    ("size", "status", "error"),
    [
        (7_000, "UNAVAILABLE", AGAIN),
        (10_000, "RESOURCE_EXHAUSTED", TOO_LARGE),
        (60_000, "RESOURCE_EXHAUSTED", TOO_LARGE),
    ],
)
async def test_long_metadata(
    alone: Edge, size: int, status: str, error: tuple[str, bool, str]
) -> None:
    refusal = await told(call(alone, metadata=(("a", "b" * size),)))
    assert (refusal.status, refusal.error) == (status, error)


async def test_much_metadata(alone: Edge) -> None:
    refusal = await told(call(alone, metadata=tuple((f"a{n}", "b") for n in range(100))))
    assert (refusal.status, refusal.error) == ("RESOURCE_EXHAUSTED", TOO_LARGE)


async def test_a_deadline_that_is_none(alone: Edge) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", alone.internal_port)
    client = HTTP2(reader, writer)
    await client.post(1, SEND, {**GRPC, "grpc-timeout": "soon"}, body=b"\0\0\0\0\0")
    [(_, block)] = [frame for frame in await client.frames_until_end() if frame[0] == "HEADERS"]
    writer.close()
    headers = client.decoded(block)
    assert headers["grpc-status"] == "3"
    assert headers["grpc-status-details-bin"]


@pytest.mark.parametrize(
    "body",
    [None, b"\0", b"\0\0\0\0", b"\0\0\0\0\1", b"\0\0\0\0\0\0", b"\0\0\0\0\0" * 2],
    ids=["none", "a-byte", "no-length", "too-short", "too-long", "two"],
)
async def test_what_is_not_one_message(alone: Edge, body: bytes | None) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", alone.internal_port)
    client = HTTP2(reader, writer)
    await client.post(1, SEND, GRPC, body=body)
    [(_, block)] = [frame for frame in await client.frames_until_end() if frame[0] == "HEADERS"]
    writer.close()
    assert client.decoded(block)["grpc-status"] == "3"


async def test_a_deadline_that_passes(tmp_path: Path) -> None:
    async def never(_: bytes, __: Any) -> bytes:
        await asyncio.Event().wait()
        raise AssertionError

    soon = (
        "timeout: 10s\n                  # The caller",
        "timeout: 0.1s\n                  # The caller",
    )
    async with upstream(never) as port, running(tmp_path, port, soon) as edge:
        refusal = await told(call(edge))
    assert (refusal.status, refusal.error) == ("DEADLINE_EXCEEDED", LATE)


async def test_a_stream_that_has_had_its_time(tmp_path: Path) -> None:
    soon = ("max_stream_duration: 10s", "max_stream_duration: 0.2s")
    async with running(tmp_path, free_port(), soon) as edge:
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.internal_port)
        client = HTTP2(reader, writer)
        await client.post(1, SEND, GRPC, ends=False)
        frames = await client.frames_until_end()
        writer.close()
    headers = client.decoded(next(block for kind, block in frames if kind == "HEADERS"))
    assert headers["grpc-status"] == "4"
    assert headers["grpc-status-details-bin"]


async def test_more_calls_than_the_breaker_takes(tmp_path: Path) -> None:
    none = ("- {max_connections: 100, max_pending_requests: 900, max_requests: 900",
            "- {max_connections: 100, max_pending_requests: 900, max_requests: 0")  # fmt: skip

    async def send(_: bytes, __: Any) -> bytes:
        return b""

    async with upstream(send) as port, running(tmp_path, port, none) as edge:
        refusal = await told(call(edge))
    assert (refusal.status, refusal.error) == ("UNAVAILABLE", AGAIN)


async def test_more_calls_than_the_rate(tmp_path: Path) -> None:
    """An answer at once would bring the next call."""
    spent = (
        "max_tokens: 100, tokens_per_fill: 20, fill_interval: 0.05s",
        "max_tokens: 1, tokens_per_fill: 1, fill_interval: 600s",
    )
    soon = ("math.random(3000, 7000)", "100")
    async with running(tmp_path, free_port(), spent, soon) as edge:
        await told(call(edge))
        refusal = await told(call(edge, metadata=(("x-request-id", "ours-1"),)))
        assert await edge.stat("http.internal.fault.delays_injected") == 1
        passed = await edge.stat("cluster.challenge.upstream_rq_total")
    assert (refusal.status, refusal.error) == ("RESOURCE_EXHAUSTED", WAIT)
    assert (refusal.request_id, refusal.retry) == ("ours-1", 1)
    assert passed == 0


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (grpc.StatusCode.UNKNOWN, BUG),
        (grpc.StatusCode.INTERNAL, BUG),
        (grpc.StatusCode.UNIMPLEMENTED, NO_METHOD),
        (grpc.StatusCode.UNAVAILABLE, AGAIN),
    ],
)
async def test_errors_of_the_grpc_library(
    tmp_path: Path, status: grpc.StatusCode, error: tuple[str, bool, str]
) -> None:
    async def fail(_: bytes, context: Any) -> bytes:
        await context.abort(status, "internals")
        raise AssertionError

    async with upstream(fail) as port, running(tmp_path, port) as edge:
        refusal = await told(call(edge))
    assert (refusal.status, refusal.error) == (status.name, error)


SECRET = f"cs_1_secret_{'a' * 22}"
"""A credential in the wrong place."""


@pytest.mark.parametrize("given", ["ours-1", "a" * 64, "a" * 65, "a b", SECRET])
async def test_the_request_id(service: Service, edge: Edge, given: str) -> None:
    """A good one is kept, of errors made here and of the service's."""
    good = given in ("ours-1", "a" * 64)
    for path in ("/a/b", OPEN):
        message = admin_pb2.OpenSessionRequest().SerializeToString()
        refusal = await told(call(edge, path, message, metadata=(("x-request-id", given),)))
        assert (refusal.request_id == given) is good
        assert 1 <= len(refusal.request_id) <= 64
