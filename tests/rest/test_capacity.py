"""Payers have capacity of their own: internal callers cannot take it, whatever they do.

How long payers wait meanwhile: `python -m tests.rest.capacity` measures it, with processes of
their own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.serving import server
from tests.harness.service import Service
from tests.harness.timing import eventually
from tests.rest.edge import ROOT, Edge, running
from tests.rest.flood import CONNECTIONS as MOST_CONNECTIONS
from tests.rest.flood import FLOODS, GRPC, HEALTH, OPEN, STREAMS, Flood
from tests.rest.http2 import HTTP2

ENVOY: dict[str, Any] = yaml.safe_load((ROOT / "envoy.yaml").read_text("utf-8"))
CONNECTIONS = 40
"""At once, with the streams of each: more than the service takes from all internal callers."""
UPSTREAM = "cluster.challenge.upstream_rq_total"
BURST = 100
"""Calls that internal callers may make at once."""
RATE = "tokens_per_fill: 20, fill_interval: 0.05s"
NO_RATE = "tokens_per_fill: 1, fill_interval: 600s"


async def fill(client: HTTP2, flood: Flood) -> None:
    """Opens as many streams as a connection may have, each in the state that `flood` says."""
    headers = {**GRPC, **dict(flood.headers)}
    for stream in range(1, 2 * STREAMS, 2):
        await client.post(stream, flood.path, headers, body=flood.body, ends=flood.ends)


@asynccontextmanager
async def flooded(edge: Edge, flood: Flood) -> AsyncIterator[None]:
    """Holds as many streams as may be open, each in the state that `flood` says."""
    async with AsyncExitStack() as stack:
        for _ in range(CONNECTIONS):
            reader, writer = await asyncio.open_connection("127.0.0.1", edge.internal_port)
            stack.callback(writer.close)
            client = HTTP2(reader, writer)
            await fill(client, flood)
        yield


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
async def test_payers_are_served_whatever_internal_callers_do(
    service: Service, edge: Edge, flood: Flood
) -> None:
    session = await service.challenged()

    async def arrived() -> bool:
        return await edge.stat("http.internal.downstream_rq_total") >= CONNECTIONS * STREAMS

    async with flooded(edge, flood):
        answers = await asyncio.gather(*(edge.send(session) for _ in range(50)))
        await eventually(arrived, seconds=20)
        passed = await edge.stat(UPSTREAM)
        answers += [await edge.send(session) for _ in range(5)]
    assert {answer.status_code for answer in answers} == {200}
    assert await edge.stat("cluster.challenge.circuit_breakers.high.rq_open") == 0
    if not (flood.ends and flood.body):
        assert passed <= len(answers) + 50, "only payers' calls and health checks reach the service"


@pytest.mark.parametrize("path", [OPEN, HEALTH])
async def test_streams_that_internal_callers_leave_open_end(
    service: Service, tmp_path: Path, path: str
) -> None:
    soon = ("max_stream_duration: 10s", "max_stream_duration: 0.5s")

    async def over() -> bool:
        return await edge.stat("http.internal.downstream_rq_active") == 0

    left_open = Flood(path, None, ends=False)
    async with (
        running(tmp_path, service.server.port, soon) as edge,
        flooded(edge, left_open),
    ):
        await eventually(over, seconds=20)


async def test_internal_callers_have_a_rate(service: Service, tmp_path: Path) -> None:
    """Without it, calls that cost their caller nothing would cost the service all its time."""
    async with running(tmp_path, service.server.port, (RATE, NO_RATE)) as edge:
        call = edge.grpc.unary_unary(HEALTH)
        answers = await asyncio.gather(
            *(call(b"") for _ in range(BURST + 20)), return_exceptions=True
        )
        session = await service.challenged()
        assert (await edge.send(session)).status_code == 200
    refused = [answer.code().name for answer in answers if isinstance(answer, BaseException)]  # type: ignore[attr-defined]
    assert refused == ["RESOURCE_EXHAUSTED"] * 20


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
async def test_over_the_rate_calls_wait_for_their_refusal(
    service: Service, tmp_path: Path, flood: Flood
) -> None:
    """So that a flood is no faster than its streams allow, whatever it consists of."""
    long = ("math.random(3000, 7000)", "300000")
    longer = ("max_stream_duration: 10s", "max_stream_duration: 600s")
    spent = (f"max_tokens: 100, {RATE}", f"max_tokens: 1, {NO_RATE}")

    async def held() -> bool:
        return await edge.stat("http.internal.fault.delays_injected") == STREAMS

    async with running(tmp_path, service.server.port, spent, long, longer) as edge:
        await edge.grpc.unary_unary(HEALTH)(b"")
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.internal_port)
        client = HTTP2(reader, writer)
        await fill(client, flood)
        await eventually(held)
        assert await edge.stat("http.internal.downstream_rq_active") == STREAMS
        writer.close()


@pytest.mark.parametrize(
    "bound",
    [
        pytest.param(("max_connections: 60\n", "max_connections: 2\n"), id="at-once"),
        pytest.param(
            ("max_tokens: 100, tokens_per_fill: 1, fill_interval: 0.1s",
             "max_tokens: 2, tokens_per_fill: 1, fill_interval: 600s"),
            id="one-after-another",
        ),
    ],
)  # fmt: skip
async def test_connections_of_internal_callers_are_bounded(
    service: Service, tmp_path: Path, bound: tuple[str, str]
) -> None:
    async with running(tmp_path, service.server.port, bound) as edge, AsyncExitStack() as stack:
        readers = []
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", edge.internal_port)
            stack.callback(writer.close)
            HTTP2(reader, writer)
            readers.append(reader)
        async with asyncio.timeout(10):
            first = [await reader.read(9) for reader in readers[:2]]
            with contextlib.suppress(ConnectionError):
                assert await readers[2].read(9) == b""
        assert all(first)


async def test_who_connects_and_says_nothing_takes_no_connection(edge: Edge) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(MOST_CONNECTIONS):
            _, silent = await asyncio.open_connection("127.0.0.1", edge.internal_port)
            stack.callback(silent.close)
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.internal_port)
        stack.callback(writer.close)
        HTTP2(reader, writer)
        async with asyncio.timeout(60):
            assert await reader.read(9)


async def test_who_connects_and_says_nothing_is_cut_off(service: Service, tmp_path: Path) -> None:
    soon = ("listener_filters_timeout: 5s", "listener_filters_timeout: 0.1s")
    async with running(tmp_path, service.server.port, soon) as edge:
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.internal_port)
        async with asyncio.timeout(60):
            assert await reader.read(9) == b""
        writer.close()


async def test_an_internal_caller_that_is_gone_keeps_no_connection(
    service: Service, tmp_path: Path
) -> None:
    soon = ("{interval: 10s, timeout: 10s}", "{interval: 0.1s, timeout: 0.1s}")
    async with running(tmp_path, service.server.port, soon) as edge:
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.internal_port)
        frames = await HTTP2(reader, writer).frames_until_end()
        writer.close()
    assert frames[-1][0] in ("GOAWAY", "EOF")


def test_both_breakers_stay_below_what_the_service_takes() -> None:
    [cluster] = ENVOY["static_resources"]["clusters"]
    breakers = cluster["circuit_breakers"]["thresholds"]
    assert [breaker.get("priority") for breaker in breakers] == [None, "HIGH"]
    health_checks = 10
    most = sum(breaker["max_requests"] for breaker in breakers)
    assert most + health_checks <= server._CALLS_AT_ONCE


def managers() -> dict[str, dict[str, Any]]:
    return {
        listener["name"]: next(
            part["typed_config"]
            for part in listener["filter_chains"][0]["filters"]
            if part["name"] == "http"
        )
        for listener in ENVOY["static_resources"]["listeners"]
    }


def routes(manager: dict[str, Any]) -> list[dict[str, Any]]:
    [host] = manager["route_config"]["virtual_hosts"]
    return [route["route"] for route in host["routes"] if "route" in route]


def test_listeners_have_capacity_apart() -> None:
    internal, public = managers()["internal"], managers()["public"]
    assert {route.get("priority") for route in routes(public)} == {"HIGH"}
    assert {route.get("priority") for route in routes(internal)} == {None}


def test_connections_take_turns() -> None:
    """Else all that one of them sends at once is worked off before anybody else's next."""
    [layer] = ENVOY["layered_runtime"]["layers"]
    assert layer["static_layer"]["http.max_requests_per_io_cycle"] == 1


def test_the_measured_flood_takes_all_that_it_may() -> None:
    internal = managers()["internal"]
    assert internal["http2_protocol_options"]["max_concurrent_streams"] == STREAMS
    [listener] = [
        one for one in ENVOY["static_resources"]["listeners"] if one["name"] == "internal"
    ]
    limit = listener["filter_chains"][0]["filters"][0]["typed_config"]
    assert limit["max_connections"] == MOST_CONNECTIONS


def test_what_is_over_the_rate_is_not_worked_on() -> None:
    """Marked first, then past all that costs time; the mark is Envoy's own."""
    internal = managers()["internal"]
    names = [part["name"] for part in internal["http_filters"]]
    assert names == ["rate-limit", "whole", "wait", "router"]
    [early] = internal["early_header_mutation_extensions"]
    assert {"remove": "x-over-rate"} in early["typed_config"]["mutations"]


def test_every_stream_has_an_end() -> None:
    for manager in managers().values():
        options = manager["common_http_protocol_options"]
        assert options["max_stream_duration"] in ("10s", "20s")
        assert all(float(route["timeout"].rstrip("s")) <= 10 for route in routes(manager))
