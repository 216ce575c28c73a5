"""What native gRPC callers meet where the library, not a servicer, would answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2
from govifi.challenge.v1 import challenge_pb2, error_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_status import rpc_status

from service.settings import Settings
from tests.harness.logs import Logs
from tests.harness.marks import one_database
from tests.harness.providers import Provider
from tests.harness.service import Service, running
from tests.harness.tokens import Issuer
from tests.rest.http2 import HTTP2, frame

pytestmark = one_database

SEND = "/govifi.challenge.v1.ChallengeService/Send"
OPEN = "/govifi.challenge.v1.ChallengeAdminService/OpenSession"
UNREADABLE = ("INVALID_ARGUMENT", "validation_error", False, "The request is malformed.")
TOO_LARGE = ("RESOURCE_EXHAUSTED", "validation_error", False, "The request is too large.")
UNKNOWN = ("UNIMPLEMENTED", "validation_error", False, "There is no such method.")


@pytest.fixture
async def channel(service: Service) -> AsyncIterator[grpc.aio.Channel]:
    """A channel of a native caller's own."""
    async with grpc.aio.insecure_channel(service.target) as channel:
        yield channel


async def told(call: Any) -> tuple[str, str, bool, str]:
    """Status, code, recoverable and text of a refusal, and that its metadata holds no more."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        async with asyncio.timeout(10):
            await call
    status: Any = rpc_status.from_call(raised.value)
    error = error_pb2.Error()
    assert status.details[0].Unpack(error)
    trailing = dict(raised.value.trailing_metadata())
    assert set(trailing) == {"x-request-id", "grpc-status-details-bin"}
    assert trailing["x-request-id"] == error.request_id
    assert raised.value.details() == error.message
    code = error_pb2.Error.Code.Name(error.code)
    return raised.value.code().name, code, error.recoverable, error.message


@pytest.mark.parametrize("method", [SEND, OPEN])
@pytest.mark.parametrize(
    "message", [b"\xff", b"\n", b"\n\x02\xff\xff", b"{}", b"\x0b" * 9000], ids=repr
)
async def test_what_is_no_message_is_refused(
    channel: grpc.aio.Channel, method: str, message: bytes
) -> None:
    assert await told(channel.unary_unary(method)(message)) == UNREADABLE


@pytest.mark.parametrize("method", [SEND, OPEN])
@pytest.mark.parametrize("size", [16 * 1024 + 1, 100_000, 250_000])
async def test_what_is_too_large_is_refused(
    channel: grpc.aio.Channel, method: str, size: int
) -> None:
    assert await told(channel.unary_unary(method)(b"\n" * size)) == TOO_LARGE


@pytest.mark.slow
async def test_what_is_far_too_large_is_refused_before_it_is_held(
    channel: grpc.aio.Channel,
) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="RESOURCE_EXHAUSTED"):
        await channel.unary_unary(SEND)(b"\n" * 300_000)


async def test_the_largest_message_is_read(channel: grpc.aio.Channel) -> None:
    message = challenge_pb2.SendRequest(session_id="x" * (16 * 1024 - 3)).SerializeToString()
    assert len(message) == 16 * 1024
    status, _, _, text = await told(channel.unary_unary(SEND)(message))
    assert (status, text) == ("INVALID_ARGUMENT", "The request is malformed.")


@pytest.mark.parametrize(
    "method",
    [
        "/govifi.challenge.v1.ChallengeService/Steal", "/govifi.challenge.v1.Nothing/Send",
        "/Send", "/", "//", "/a/b/c", "/grpc.health.v1.Health/List", "/grpc.health.v1.Health/Stop",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    ],
)  # fmt: skip
async def test_an_unknown_rpc_is_refused(
    channel: grpc.aio.Channel, service: Service, monkeypatch: pytest.MonkeyPatch,
    make_settings: Callable[..., Settings], method: str,
) -> None:  # fmt: skip
    logged = Logs(monkeypatch, make_settings())
    assert await told(channel.unary_unary(method)(b"")) == UNKNOWN
    (line,) = logged.lines()
    assert (line["rpc"], line["error"]) == ("unknown", "UnknownRpc")


@pytest.mark.parametrize("rpc", ["Check", "Watch"])
async def test_a_health_check_that_is_no_message_is_refused(
    channel: grpc.aio.Channel, rpc: str
) -> None:
    method = f"/grpc.health.v1.Health/{rpc}"
    assert await told(channel.unary_unary(method)(b"\xff")) == UNREADABLE


async def test_every_call_of_the_internal_api_answers_native_callers_alone(
    channel: grpc.aio.Channel,
) -> None:
    for rpc in admin_pb2.DESCRIPTOR.services_by_name["ChallengeAdminService"].methods:
        method = f"/{rpc.containing_service.full_name}/{rpc.name}"
        status, code, _, _ = await told(channel.unary_unary(method)(b""))
        assert (status, code) == ("UNAUTHENTICATED", "insufficient_scope")


async def test_a_native_send_without_a_challenge_has_no_body(
    channel: grpc.aio.Channel, service: Service
) -> None:
    session = await service.open()
    request = challenge_pb2.SendRequest(session_id=session.session_id).SerializeToString()
    bearer = (("authorization", f"Bearer {session.secret}"),)
    call = channel.unary_unary(SEND)(request, metadata=bearer)
    assert await call == b""
    assert "x-rest-body" not in dict(await call.initial_metadata())


# The id of a request


@pytest.mark.parametrize(
    "given",
    [
        "x" * 65, "x" * 6000, "a b", "<b>", "a.b", "", "a%00b", '"', "{}", "\\n",
        "cs_1_secret_" + "a" * 30, "Bearer abc", "eyJhbGciOiJFUzI1NiJ9.e30.c2ln",
    ],
)  # fmt: skip
async def test_an_id_that_cannot_be_shown_is_replaced(
    channel: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch,
    make_settings: Callable[..., Settings], given: str,
) -> None:  # fmt: skip
    logged = Logs(monkeypatch, make_settings())
    await told(channel.unary_unary(SEND)(b"", metadata=(("x-request-id", given),)))
    (line,) = logged.lines()
    assert len(line["request_id"]) == 32
    assert len(given) < 6 or given not in logged.text


async def test_an_id_that_is_no_text_is_replaced_and_not_logged(
    service: Service, monkeypatch: pytest.MonkeyPatch, make_settings: Callable[..., Settings]
) -> None:
    logged = Logs(monkeypatch, make_settings())
    reader, writer = await asyncio.open_connection("127.0.0.1", service.server.port)
    client = HTTP2(reader, writer)
    headers = {"content-type": "application/grpc", "te": "trailers"}
    # As no client of gRPC sends it: bytes that are no UTF-8.
    await client.post(1, SEND, {**headers, "x-request-id": "\udcffsecret\udcfe"}, ends=False)
    writer.write(frame(0, 1, 1, bytes(5)))
    frames = await client.frames_until_end()
    writer.close()
    assert frames[-1][0] == "HEADERS"
    assert [line["event"] for line in logged.lines()] == ["call"]
    assert "secret" not in logged.text


# Reflection


@pytest.fixture
async def development(
    make_settings: Callable[..., Settings], provider: Provider, clock: Any, issuer: Issuer
) -> AsyncIterator[Service]:
    """A service that tells of itself."""
    settings = make_settings(environment="development")
    async with running(settings, provider, clock, issuer) as service:
        yield service


async def asked(service: Service, version: str, **question: str) -> Any:
    """What reflection answers."""
    method = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
    async with grpc.aio.insecure_channel(service.target) as channel:
        call = channel.stream_stream(
            method,
            reflection_pb2.ServerReflectionRequest.SerializeToString,
            reflection_pb2.ServerReflectionResponse.FromString,
        )(iter([reflection_pb2.ServerReflectionRequest(**question)]))
        return await call.read()


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_services_and_methods_are_described(development: Service, version: str) -> None:
    answer = await asked(development, version, list_services="")
    assert {one.name for one in answer.list_services_response.service} == {
        "govifi.challenge.v1.ChallengeService", "govifi.challenge.v1.ChallengeAdminService",
        "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection",
    }  # fmt: skip
    for symbol in ("ChallengeService", "ChallengeService.Send", "Challenge", "Challenge.Type"):
        found = await asked(
            development, version, file_containing_symbol=f"govifi.challenge.v1.{symbol}"
        )
        files = [
            descriptor_pb2.FileDescriptorProto.FromString(file)
            for file in found.file_descriptor_response.file_descriptor_proto
        ]
        assert "govifi/challenge/v1/challenge.proto" in {file.name for file in files}
    for symbol in ("govifi.Nothing", "govifi.challenge.v1.ChallengeService.Steal", "", "."):
        missing = await asked(development, version, file_containing_symbol=symbol)
        assert missing.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_is_for_development_only(service: Service, version: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="UNIMPLEMENTED"):
        await asked(service, version, list_services="")
