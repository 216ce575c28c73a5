"""The shield: rate limits that cannot be dodged, slow and greedy clients that are cut off."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.harness.service import Service
from tests.harness.timing import eventually
from tests.rest.conftest import IDLE
from tests.rest.edge import Edge, answer_on, brief, nobody, path_of, running
from tests.rest.http2 import HTTP2, fields

PER_CREDENTIAL = "{max_tokens: 60, tokens_per_fill: 1, fill_interval: 1s}"
PER_ADDRESS = "{max_tokens: 600, tokens_per_fill: 10, fill_interval: 1s}"
THREE = "{max_tokens: 3, tokens_per_fill: 1, fill_interval: 600s}"
SPARE_FILES = 500
"""For everything but the connections of a test."""
RATE_LIMITED = (429, "rate_limited", True)


async def test_one_credential_may_send_fifty_at_once(service: Service, edge: Edge) -> None:
    session = await service.challenged()
    answers = await asyncio.gather(*(edge.send(session) for _ in range(50)))
    assert {(answer.status_code, answer.text) for answer in answers} == {
        (200, '{"type":"sms","delivery_hint":"--0123","code_sent":true}')
    }
    assert len(service.provider.calls) == 1


async def test_requests_per_credential(service: Service, tmp_path: Path) -> None:
    mine, other = await service.challenged(), await service.challenged()
    async with running(tmp_path, service.server.port, (PER_CREDENTIAL, THREE)) as edge:
        assert [(await edge.send(mine)).status_code for _ in range(3)] == [200] * 3
        answer = await edge.send(mine, origin="https://shop.example")
        assert brief(answer) == RATE_LIMITED
        assert answer.json()["message"] == "Too many requests. Please wait, then try again."
        assert 1 <= int(answer.headers["retry-after"]) <= 600
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
        assert (await edge.send(other)).status_code == 200


async def test_what_is_left_is_told(service: Service, tmp_path: Path) -> None:
    session = await service.challenged()
    async with running(tmp_path, service.server.port, (PER_CREDENTIAL, THREE)) as edge:
        answers = [await edge.send(session) for _ in range(4)]
    assert [answer.headers["x-ratelimit-limit"].partition(",")[0] for answer in answers] == [
        "3"
    ] * 4
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["2", "1", "0", "0"]
    assert 1 <= int(answers[-1].headers["x-ratelimit-reset"]) <= 600


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer   ", "bEaReR "])
async def test_no_spelling_gives_a_credential_another_bucket(
    service: Service, tmp_path: Path, scheme: str
) -> None:
    session = await service.challenged()
    async with running(tmp_path, service.server.port, (PER_CREDENTIAL, THREE)) as edge:
        for _ in range(3):
            await edge.send(session)
        answer = await edge.http.post(
            path_of(session.session_id), headers={"authorization": f"{scheme} {session.secret}"}
        )
    assert brief(answer) == RATE_LIMITED


@pytest.mark.parametrize("lines", [1, 2])
async def test_requests_per_address_whatever_the_client_says(
    service: Service, tmp_path: Path, lines: int
) -> None:
    sessions = [await service.open() for _ in range(6)]
    forged = (
        "x-forwarded-for", "x-real-ip", "forwarded", "true-client-ip",
        "x-envoy-external-address", "x-envoy-internal",
    )  # fmt: skip
    async with running(tmp_path, service.server.port, (PER_ADDRESS, THREE)) as edge:
        answers = [
            await edge.http.post(
                path_of(session.session_id),
                headers=[
                    ("authorization", f"Bearer {session.secret}"),
                    *((name, f"203.0.113.{number}") for name in forged * lines),
                ],
            )
            for number, session in enumerate(sessions)
        ]
    assert [answer.status_code for answer in answers] == [200] * 3 + [429] * 3
    assert brief(answers[-1]) == RATE_LIMITED


@pytest.mark.parametrize("lines", ["one", "several"])
async def test_behind_a_proxy_the_address_that_it_adds_counts(tmp_path: Path, lines: str) -> None:
    """Some add it to the client's line, others add a line."""

    async def ask(*addresses: str) -> int:
        values = addresses if lines == "several" else [", ".join(addresses)]
        answer = await edge.http.get("/", headers=[("x-forwarded-for", value) for value in values])
        return answer.status_code

    hop = ("xff_num_trusted_hops: 0", "xff_num_trusted_hops: 1")
    async with running(tmp_path, 1, hop, (PER_ADDRESS, THREE)) as edge:
        one = [await ask(f"203.0.113.{n}", f"203.0.113.{n + 1}", "198.51.100.1") for n in range(4)]
        other = await ask("198.51.100.1", "198.51.100.2")
    assert (one, other) == ([404] * 3 + [429], 404)


@pytest.mark.parametrize("bucket", [PER_CREDENTIAL, PER_ADDRESS], ids=["credential", "address"])
async def test_preflights_pass_when_a_rate_is_spent(
    service: Service, tmp_path: Path, bucket: str
) -> None:
    """And spend none: page code could not read why its call is refused."""
    session = await service.open()
    page = {"origin": "https://shop.example"}
    asks = {**page, "access-control-request-method": "POST"}
    path = path_of(session.session_id)
    async with running(tmp_path, service.server.port, (bucket, THREE)) as edge:
        before = [(await edge.http.options(path, headers=asks)).status_code for _ in range(10)]
        calls = [(await edge.send(session)).status_code for _ in range(4)]
        after = [(await edge.http.options(path, headers=asks)).status_code for _ in range(10)]
        refusal = await edge.send(session, **page)
    assert (before, calls, after) == ([204] * 10, [200] * 3 + [429], [204] * 10)
    assert brief(refusal) == RATE_LIMITED
    assert refusal.headers["access-control-allow-origin"] == page["origin"]
    assert "retry-after" in refusal.headers["access-control-expose-headers"]


async def test_refusals_count_against_the_address(tmp_path: Path) -> None:
    async with running(tmp_path, 1, (PER_ADDRESS, THREE)) as edge:
        assert [(await edge.http.get("/")).status_code for _ in range(4)] == [404] * 3 + [429]


async def test_quotas_hold_when_there_are_more_credentials_than_buckets(
    service: Service, tmp_path: Path
) -> None:
    changes = (
        (PER_CREDENTIAL, THREE),
        ("max_dynamic_descriptors: 20000", "max_dynamic_descriptors: 2"),
    )
    sessions = [await service.challenged("+14155550123") for _ in range(9)]
    async with running(tmp_path, service.server.port, *changes) as edge:
        answers = [await edge.send(session) for session in sessions]
    assert Counter(answer.status_code for answer in answers) == {200: 5, 429: 4}
    assert len(service.provider.accepted) == 5


@pytest.mark.parametrize(
    ("change", "data", "status"),
    [
        pytest.param(
            (
                "request_headers_timeout: 5s\n          request_timeout",
                "request_headers_timeout: 0.1s\n          request_timeout",
            ),
            b"POST / HTTP/1.1\r\nhost: edge\r\n",
            408,
            id="slow-headers",
        ),
        pytest.param(
            ("request_timeout: 10s", "request_timeout: 0.1s"),
            f"POST {path_of(nobody().session_id)} HTTP/1.1\r\nhost: edge\r\n"
            "content-type: application/json\r\ncontent-length: 2\r\n\r\n{".encode(),
            408,
            id="slow-body",
        ),
    ],
)
async def test_slow_requests_are_cut_off(
    service: Service, tmp_path: Path, change: tuple[str, str], data: bytes, status: int
) -> None:
    async with running(tmp_path, service.server.port, change) as edge:
        async with edge.connection() as (reader, writer):
            writer.write(data)
            answer = await answer_on(reader)
            assert brief(answer) == (status, "network_error", True)
            assert await reader.read() == b""
        assert (await edge.send(await service.challenged())).status_code == 200


@pytest.mark.parametrize("drips", [False, True])
async def test_a_header_block_of_http2_that_never_ends_is_cut_off(
    service: Service, tmp_path: Path, drips: bool
) -> None:
    change = (
        "connection_keepalive: {interval: 5s, timeout: 5s}",
        "connection_keepalive: {interval: 0.2s, timeout: 0.2s}",
    )
    async with running(tmp_path, service.server.port, change) as edge:
        async with edge.connection() as (reader, writer):
            client = HTTP2(reader, writer)
            client.begin_headers(1, "cookie", "x" * 60)
            async with asyncio.timeout(15):  # half of what an idle connection has
                while await client.is_open():
                    if drips:
                        client.go_on_with_headers(1)
        assert (await edge.send(await service.challenged())).status_code == 200


@pytest.mark.parametrize("count", [4000, 8000, 16000])
async def test_what_a_header_block_without_an_end_holds_is_bounded(
    tmp_path: Path, count: int
) -> None:
    """As many fields as may be, and as many bytes; or more, which ends it."""
    patient = (
        "request_headers_timeout: 5s\n          request_timeout",
        "request_headers_timeout: 600s\n          request_timeout",
    )
    unasked = ("{interval: 5s, timeout: 5s}", "{interval: 600s, timeout: 600s}")
    block, connections = fields(count, 280_000), 30

    async def read() -> bool:
        received = await edge.stat("http.public.downstream_cx_rx_bytes_total")
        return received > connections * len(block)

    async with running(tmp_path, 1, patient, unasked) as edge, AsyncExitStack() as stack:
        before = await edge.allocated()
        for _ in range(connections):
            reader, writer = await stack.enter_async_context(edge.connection())
            client = HTTP2(reader, writer)
            client.begin_headers(1, ":method", "POST")
            client.go_on_with_headers(1, block)
            await writer.drain()
        await eventually(read)
        held = (await edge.allocated() - before) / connections
    assert held < 3_500_000


async def test_a_connection_that_answers_stays(service: Service, tmp_path: Path) -> None:
    change = (
        "connection_keepalive: {interval: 5s, timeout: 5s}",
        "connection_keepalive: {interval: 0.1s, timeout: 5s}",
    )
    async with (
        running(tmp_path, service.server.port, change) as edge,
        edge.connection() as (reader, writer),
    ):
        client = HTTP2(reader, writer)
        for _ in range(3):
            await client.answer_ping()


@pytest.fixture
def connections() -> Iterator[int]:
    """As many as there may be open files, and 10 000 at most; the limit is raised meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = 10_000 + SPARE_FILES
    if hard != resource.RLIM_INFINITY:
        files = min(files, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, files), hard))
    yield files - SPARE_FILES
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_idle_connections_are_closed_and_others_are_served(
    service: Service,
    tmp_path: Path,
    connections: int,
    record_property: Callable[[str, object], None],
) -> None:
    record_property(IDLE, connections)
    session, loop = await service.challenged(), asyncio.get_running_loop()
    # No shorter than configured: opening them takes a second, or ten where others are busy.
    async with running(tmp_path, service.server.port) as edge:
        with contextlib.ExitStack() as stack:
            idle = [stack.enter_context(socket.socket()) for _ in range(connections)]
            for each in idle:
                each.setblocking(False)
                await loop.sock_connect(each, ("127.0.0.1", edge.port))
            answer = await edge.send(session)
            assert answer.status_code == 200
            assert await edge.stat("http.public.downstream_cx_active") > connections
            async with asyncio.timeout(120):
                ends = await asyncio.gather(*(loop.sock_recv(each, 1) for each in idle))
            assert set(ends) == {b""}
            assert await edge.stat("http.public.downstream_cx_idle_timeout") >= connections
        assert (await edge.send(session)).status_code == 200


async def test_rapid_reset(service: Service, edge: Edge) -> None:
    """Of calls that reach the service: what the proxy answers by itself costs no more than any."""
    session = await service.open()
    async with edge.connection() as (reader, writer):
        client = HTTP2(reader, writer)
        with contextlib.suppress(ConnectionError):
            for stream in range(1, 1001, 2):
                bearer = {"authorization": f"Bearer {nobody().secret}"}
                await client.post(stream, path_of(session.session_id), bearer)
                await client.reset(stream)
        frames = await client.frames_until_end()
        while frames[-1][0] not in ("GOAWAY", "EOF"):
            frames += await client.frames_until_end()
    assert await edge.stat("http.public.downstream_rq_too_many_premature_resets") == 1
    assert (await edge.send(session)).status_code == 200
