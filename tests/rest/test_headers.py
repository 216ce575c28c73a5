"""Headers and logs: request ids, what reaches the service, what reaches the client."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from govifi.challenge.v1 import challenge_pb2

from service.api.public import PublicServicer
from service.settings import Settings
from tests.harness.logs import Logs
from tests.harness.refusals import refused
from tests.harness.service import Service
from tests.rest.edge import Edge, brief, nobody, path_of, running
from tests.rest.http2 import HTTP2


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The metadata of the last Send."""
    seen: dict[str, str] = {}
    original = PublicServicer.Send

    async def send(self: PublicServicer, request: Any, context: Any) -> challenge_pb2.Challenge:
        seen.clear()
        seen.update(context.invocation_metadata())
        seen["deadline"] = str(context.time_remaining())
        return await original(self, request, context)

    monkeypatch.setattr(PublicServicer, "Send", send)
    return seen


async def test_what_reaches_the_service(
    metadata: dict[str, str], service: Service, edge: Edge
) -> None:
    session = await service.open(allowed_origins=["https://shop.example"])
    answer = await edge.send(
        session,
        origin="https://shop.example",
        x_request_id="mine",
        x_rest_body="forged",
        x_rest_status="200",
        grpc_timeout="1n",
        grpc_encoding="gzip",
        grpc_trace_bin="!!",
        some_bin="not base64!",
        x_envoy_upstream_rq_timeout_ms="1",
        x_envoy_max_retries="100",
        cookie="a=b",
        te="gzip",
        lb_token="a",
    )
    assert (answer.status_code, answer.content) == (200, b"null")
    assert metadata["authorization"] == f"Bearer {session.secret}"
    assert metadata["origin"] == "https://shop.example"
    assert metadata["x-request-id"] == answer.headers["x-request-id"] != "mine"
    assert 1 < float(metadata["deadline"]) <= 9.5
    assert metadata.keys() == {
        "authorization", "origin", "x-request-id", "deadline",
        "x-envoy-original-method", "x-envoy-original-path",
    }  # fmt: skip


@pytest.mark.parametrize("character", "!#$%&'*+.^`|~-0A")
async def test_header_names_that_grpc_does_not_know(
    service: Service, edge: Edge, character: str
) -> None:
    session = await service.open()
    answer = await edge.send(session, **{f"a{character}b": "c", character: "d"})
    assert answer.status_code == 200


async def test_a_credential_that_grpc_would_not_take(service: Service, edge: Edge) -> None:
    """It takes no more than 16 KiB of metadata."""
    session = await service.open()
    for secret in (session.secret + "a" * 30_000, "a" * 30_000):
        answer = await edge.send(session, secret)
        assert brief(answer) == (401, "insufficient_scope", False)


async def test_an_origin_that_grpc_would_not_take(service: Service, edge: Edge) -> None:
    session = await service.open(allowed_origins=["https://shop.example"])
    answer = await edge.send(session, origin="https://shop.example" + "a" * 30_000)
    assert brief(answer) == (403, "origin_not_allowed", False)


@pytest.mark.parametrize("length", [129, 500, 5000, 30_000])
async def test_a_session_id_that_grpc_would_not_take(edge: Edge, length: int) -> None:
    answer = await edge.http.post(
        path_of("cs_" + "a" * (length - 3)), headers={"authorization": f"Bearer {nobody().secret}"}
    )
    assert brief(answer) == (422, "validation_error", False)


async def test_trailers_end_at_the_proxy(service: Service, edge: Edge) -> None:
    session = await service.open()
    async with edge.connection() as (reader, writer):
        client = HTTP2(reader, writer)
        trailers = {"a!b": "c", "grpc-timeout": "1n", "some-bin": "!", "authorization": "Bearer x"}
        bearer = {"authorization": f"Bearer {session.secret}"}
        await client.post(1, path_of(session.session_id), bearer, trailers)
        frames = await client.frames_until_end()
    assert [payload for kind, payload in frames if kind == "DATA" and payload] == [b"null"]


@pytest.mark.parametrize(
    "hosts",
    [
        pytest.param({"host": "evil.example"}, id="a-host-beside-another-authority"),
        pytest.param({":authority": "evil.example"}, id="an-authority"),
        pytest.param({":authority": "evil.example", "host": "edge"}, id="the-other-way-round"),
        pytest.param({"host": "evil.example", "x-forwarded-host": "evil.example"}, id="forwarded"),
    ],
)
async def test_no_host_is_believed(
    metadata: dict[str, str], service: Service, edge: Edge, hosts: dict[str, str]
) -> None:
    """RFC 9113, 8.3.1, would have two that differ refused; Envoy drops `host` as it reads it."""
    session = await service.challenged(allowed_origins=["https://shop.example"])
    async with edge.connection() as (reader, writer):
        client = HTTP2(reader, writer)
        bearer = {"authorization": f"Bearer {session.secret}"}
        await client.post(1, path_of(session.session_id), {**bearer, **hosts})
        frames = await client.frames_until_end()
    [answer] = [payload for kind, payload in frames if kind == "DATA" and payload]
    assert json.loads(answer)["code_sent"] is True
    assert "evil.example" not in str([*metadata.items(), frames])
    assert service.provider.accepted[0].text.splitlines()[-1].startswith("@shop.example #")


@pytest.mark.parametrize("name", ["authorization", "origin", "x-request-id", "content-type"])
@pytest.mark.parametrize("between", ["\r", "\rset-cookie: a=b\r", "\r\n ", "\r\n\tx: y"])
async def test_no_line_break_in_a_header_reaches_anyone(
    metadata: dict[str, str], service: Service, edge: Edge, name: str, between: str
) -> None:
    """Over HTTP/1.1 the proxy drops a bare CR, and takes a folded line for one line."""
    session = await service.open()
    headers = {"host": "edge", "authorization": f"Bearer {session.secret}"}
    headers[name] = headers.get(name, "application/json") + between
    lines = [f"POST {path_of(session.session_id)} HTTP/1.1"]
    lines += [f"{key}: {value}" for key, value in headers.items()]
    answer = await edge.raw("\r\n".join(lines).encode() + b"\r\n\r\n")
    assert answer.status_code in (200, 401, 403, 404, 415)
    assert not {"set-cookie", "x"} & (metadata.keys() | answer.headers.keys())
    assert "\r" not in str([*metadata.values(), *answer.headers.values()])
    assert "\n" not in str([*metadata.values(), *answer.headers.values()])


async def test_every_request_has_an_id_of_its_own(service: Service, edge: Edge) -> None:
    session = await service.challenged()
    answers = [await edge.send(session, x_request_id="mine") for _ in range(3)]
    answers += [await edge.http.get("/", headers={"x-request-id": "mine"}) for _ in range(3)]
    twice = [("x-request-id", "mine"), ("x-request-id", "other")]
    answers += [await edge.http.get("/", headers=twice) for _ in range(3)]
    assert len({answer.headers["x-request-id"] for answer in answers}) == 9


async def test_the_request_id_is_in_the_log(
    service: Service,
    edge: Edge,
    make_settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = await service.challenged()
    logged = Logs(monkeypatch, make_settings())
    answer = await edge.send(session)
    assert {line["event"] for line in logged.lines()} == {"dispatch_attempt", "call"}
    assert {line["request_id"] for line in logged.lines()} == {answer.headers["x-request-id"]}


async def test_one_credential_two_spellings(service: Service, edge: Edge) -> None:
    session = await service.open()
    for scheme in ("Bearer", "bearer", "BEARER  "):
        answer = await edge.http.post(
            path_of(session.session_id), headers={"authorization": f"{scheme} {session.secret}"}
        )
        assert answer.status_code == 200


@pytest.mark.parametrize("second", ["the same", "Bearer x", "x"])
async def test_two_credentials_are_none(service: Service, edge: Edge, second: str) -> None:
    session = await service.open()
    first = f"Bearer {session.secret}"
    for pair in ((first, second.replace("the same", first)), (second, first)):
        answer = await edge.http.post(
            path_of(session.session_id), headers=[("authorization", text) for text in pair]
        )
        assert brief(answer) == (401, "insufficient_scope", False)


async def test_nothing_follows_the_body_over_http_2(service: Service, edge: Edge) -> None:
    """HTTP/2 has trailers: grpc-status would show there."""
    for session in (await service.open(), await service.challenged()):
        async with edge.connection() as (reader, writer):
            client = HTTP2(reader, writer)
            bearer = {"authorization": f"Bearer {session.secret}"}
            await client.post(1, path_of(session.session_id), bearer)
            frames = await client.frames_until_end()
        assert [kind for kind, _ in frames].count("HEADERS") == 1
        body = b"".join(payload for kind, payload in frames if kind == "DATA")
        assert body.startswith((b"null", b'{"type":"sms"'))


async def test_the_access_log_holds_no_secret(service: Service, tmp_path: Path) -> None:
    session = await service.open()
    async with running(tmp_path, service.server.port) as edge:
        answer = await edge.send(session)
        malformed = await edge.http.post(path_of(session.session_id) + "?a=b")
    lines = {line["request_id"]: line for line in edge.access_log()}
    assert lines[answer.headers["x-request-id"]]["status"] == 200
    assert lines[answer.headers["x-request-id"]]["route"] == "send"
    assert lines[malformed.headers["x-request-id"]]["route"] == "malformed"
    assert session.session_id not in str(lines)


async def test_the_access_log_shows_which_requests_were_one_session_s(
    service: Service, tmp_path: Path
) -> None:
    one, other = await service.open(), await service.open()
    longest = "cs_" + "a" * 125
    async with running(tmp_path, service.server.port) as edge:
        await edge.send(one)
        await edge.http.get(path_of(one.session_id))
        await edge.http.post(path_of(one.session_id) + "?a=b")
        await edge.send(other)
        await edge.http.post(path_of(longest))
        for no_id in (longest + "a", "cs_é", one.secret, "cs_", "a" * 8):
            await edge.http.post(path_of(no_id))
        await edge.http.post("/")
    hashes = [line["session"] for line in edge.access_log()]
    expected = [f"{zlib.crc32(one.session_id.encode()):08x}"] * 3
    expected += [f"{zlib.crc32(id.encode()):08x}" for id in (other.session_id, longest)]
    assert hashes == expected + [None] * 6


async def test_the_access_log_names_the_grpc_status_of_native_calls_alone(
    service: Service, tmp_path: Path
) -> None:
    session = await service.open()
    async with running(tmp_path, service.server.port) as edge:
        await edge.send(session)
        await edge.send(session, secret="wrong")
        await edge.send_natively(session.session_id, authorization=f"Bearer {session.secret}")
        await refused(edge.send_natively(session.session_id))
    lines = [(line["status"], line["grpc_status"]) for line in edge.access_log()]
    assert lines == [(200, None), (401, None), (200, "0"), (200, "16")]


async def test_pipelined_requests_are_answered_in_order(service: Service, edge: Edge) -> None:
    session = await service.open()
    async with httpx.AsyncClient(base_url=edge.http.base_url, trust_env=False) as client:
        path = path_of(session.session_id)
        headers = {"authorization": f"Bearer {session.secret}"}
        answers = await asyncio.gather(
            *(client.post(path, headers=headers) for _ in range(50)),
        )
    assert {(answer.status_code, answer.content) for answer in answers} == {(200, b"null")}
