"""Errors that the service makes: each row of the contract's table, over REST and over gRPC."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from govifi.challenge.v1 import challenge_pb2

from service.settings import Settings
from service.storage.store import Store
from tests.harness.ports import free_port
from tests.harness.providers import Provider
from tests.harness.refusals import Refusal, refused
from tests.harness.service import Service
from tests.harness.service import running as running_service
from tests.harness.tokens import Issuer
from tests.rest.edge import Edge, brief, nobody, path_of, running, upstream
from tests.rest.rows import ACCOUNT_SENDS, ROWS, Call, Row


@pytest.fixture
async def service(
    make_settings: Callable[..., Settings], provider: Provider, clock: Any, issuer: Issuer
) -> AsyncIterator[Service]:
    """A service whose accounts may send but a few times."""
    settings = make_settings(account_sends_per_hour=ACCOUNT_SENDS)
    async with running_service(settings, provider, clock, issuer) as service:
        yield service


async def both_ways(edge: Edge, call: Call) -> tuple[httpx.Response, Refusal]:
    """Makes a call over REST, then the same one over gRPC."""
    answer = await edge.http.post(path_of(call.session_id), headers=call.headers)
    return answer, await refused(edge.send_natively(call.session_id, **call.headers))


def assert_alike(answer: httpx.Response, refusal: Refusal) -> None:
    body = answer.json()
    assert brief(answer)[1:] == (refusal.code, refusal.recoverable)
    assert body["message"] == refusal.error.message == refusal.text
    assert not {"x-rest-status", "x-rest-body", "retry-after"} & refusal.trailing.keys()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_row(service: Service, edge: Edge, monkeypatch: pytest.MonkeyPatch, row: Row) -> None:
    answer, refusal = await both_ways(edge, await row.arrange(service, monkeypatch))
    assert brief(answer) == (row.http, row.code, row.recoverable)
    assert refusal.status == row.status
    assert_alike(answer, refusal)
    assert answer.headers.get("www-authenticate") == ("Bearer" if row.http == 401 else None)
    if row.status == "RESOURCE_EXHAUSTED":
        # Of an hour or so; a busy machine lets time pass from one to the other.
        between = int(answer.headers["retry-after"]) - refusal.retry_after
        assert 0 <= between < 60
        assert refusal.retry_after >= 1
    else:
        assert "retry-after" not in answer.headers
    if row.status == "INVALID_ARGUMENT":
        assert refusal.fields == ["session_id"]


async def test_deadline_passed(
    make_settings: Callable[..., Settings],
    provider: Provider,
    clock: Any,
    issuer: Issuer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.serving.server._DEADLINE_SECONDS", 1.0)
    async with (
        running_service(make_settings(), provider, clock, issuer) as service,
        running(tmp_path, service.server.port) as edge,
    ):
        session = await service.challenged()
        monkeypatch.setattr(Store, "read", _never)
        answer = await edge.send(session)
        refusal = await refused(
            edge.send_natively(session.session_id, authorization=f"Bearer {session.secret}")
        )
    assert brief(answer) == (504, "network_error", True)
    assert refusal.status == "DEADLINE_EXCEEDED"
    assert_alike(answer, refusal)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param([("value: 9500m", "value: 100m")], id="of-the-call"),
        pytest.param([("timeout: 10s\n", "timeout: 0.1s\n")], id="of-the-proxy"),
    ],
)
async def test_deadline_passed_on_the_way(
    service: Service,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: list[tuple[str, str]],
) -> None:
    session = await service.challenged()
    monkeypatch.setattr(Store, "read", _never)
    async with running(tmp_path, service.server.port, *changes) as edge:
        answer = await edge.send(session)
    assert brief(answer) == (504, "network_error", True)
    assert answer.json()["message"] == "This took too long. Please try again."


async def _never(*_: object) -> None:
    await asyncio.Event().wait()


async def test_every_replica_unreachable(tmp_path: Path) -> None:
    session = nobody()
    async with running(tmp_path, free_port()) as edge:
        answer = await edge.send(session, origin="https://shop.example")
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await edge.send_natively(session.session_id)
    assert brief(answer) == (503, "network_error", True)
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_replica_that_talks_nonsense(tmp_path: Path) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with running(tmp_path, port) as edge:
            assert brief(await edge.send(nobody())) == (503, "network_error", True)


async def test_unknown_and_not_yours_are_the_same_bytes(service: Service, edge: Edge) -> None:
    mine, other = await service.challenged(), await service.challenged()
    seen = []
    for session, secret in ((other, mine.secret), (nobody(), mine.secret)):
        answer = await edge.send(session, secret)
        request_id = answer.headers["x-request-id"]
        # x-ratelimit-* tell of the caller's own requests, and so differ from one to the next.
        headers = {
            name: text
            for name, text in answer.headers.items()
            if name != "date" and not name.startswith("x-ratelimit-")
        }
        seen.append(
            (
                answer.status_code,
                {name: text.replace(request_id, "*") for name, text in headers.items()},
                answer.text.replace(request_id, "*"),
            )
        )
    assert seen[0] == seen[1]


async def test_unknown_and_not_yours_take_the_same_time(service: Service, tmp_path: Path) -> None:
    """OWASP ASVS 6.3.8. In turns, and by rank, so that a busy machine is alike for both."""
    mine, other = await service.challenged(), await service.challenged()
    times: dict[bool, list[float]] = {True: [], False: []}
    plenty = ("{max_tokens: 60, tokens_per_fill: 1,", "{max_tokens: 600, tokens_per_fill: 1,")
    async with running(tmp_path, service.server.port, plenty) as edge:
        for turn in range(400):
            known = turn % 2 == 0
            began = time.perf_counter()
            answer = await edge.send(other if known else nobody(), mine.secret)
            times[known].append(time.perf_counter() - began)
            assert answer.status_code == 404
    slower = [known > unknown for known in times[True] for unknown in times[False]]
    # 0.5 for the same times; 200 of each vary by 0.03 around it.
    assert 0.3 < sum(slower) / len(slower) < 0.7


@pytest.mark.parametrize(
    ("status", "http", "code"),
    [
        pytest.param(grpc.StatusCode.RESOURCE_EXHAUSTED, 503, "network_error", id="too-busy"),
        pytest.param(grpc.StatusCode.UNAVAILABLE, 503, "network_error", id="stopping"),
        pytest.param(grpc.StatusCode.UNIMPLEMENTED, 503, "network_error", id="another-version"),
        pytest.param(grpc.StatusCode.CANCELLED, 503, "network_error", id="cancelled"),
        pytest.param(grpc.StatusCode.DEADLINE_EXCEEDED, 504, "network_error", id="too-late"),
        pytest.param(grpc.StatusCode.UNKNOWN, 500, "processing_error", id="bug-unknown"),
        pytest.param(grpc.StatusCode.INTERNAL, 500, "processing_error", id="bug-internal"),
    ],
)
async def test_errors_of_the_grpc_library(
    tmp_path: Path, status: grpc.StatusCode, http: int, code: str
) -> None:
    """They carry none of our metadata, and their texts are not ours."""

    async def fail(_: bytes, context: Any) -> bytes:
        await context.abort(status, 'internals: "é"\n')

    async with upstream(fail) as port, running(tmp_path, port) as edge:
        answer = await edge.send(nobody())
    assert brief(answer) == (http, code, True)
    assert "internals" not in answer.text


async def test_a_bug_of_the_proxy(tmp_path: Path) -> None:
    """An error on the way out passes fewer of the proxy's filters."""

    async def send(_: bytes, __: Any) -> bytes:
        return challenge_pb2.Challenge(site_key="k" * 100).SerializeToString()

    change = ("max_response_body_size: 65536", "max_response_body_size: 99")
    async with upstream(send) as port, running(tmp_path, port, change) as edge:
        answer = await edge.send(nobody(), origin="https://shop.example")
    assert brief(answer) == (500, "processing_error", True)
    assert answer.headers["access-control-allow-origin"] == "*"
