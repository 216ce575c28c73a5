"""deploy/replicas.yaml: a replica that fails is left out, and no caller can bring that about."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from govifi.challenge.v1 import challenge_pb2, challenge_pb2_grpc
from grpc import StatusCode
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from tests.deploy.conftest import Overlaid
from tests.deploy.test_replicas import render
from tests.harness.timing import eventually
from tests.rest.edge import ROOT, Edge, nobody, running
from tests.rest.http2 import HTTP2

CALLS = 40
STATS = "cluster.challenge.outlier_detection."
CALLERS_ERRORS = (
    StatusCode.INVALID_ARGUMENT, StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED,
    StatusCode.NOT_FOUND, StatusCode.ALREADY_EXISTS, StatusCode.FAILED_PRECONDITION,
    StatusCode.RESOURCE_EXHAUSTED, StatusCode.UNIMPLEMENTED, StatusCode.CANCELLED,
    StatusCode.INTERNAL, StatusCode.UNKNOWN,
)  # fmt: skip
OFFSET = "grpc_timeout_header_offset: 0.1s"
"""How much earlier a caller's deadline ends at Envoy than at the replica."""
OFFSET_IN_TESTS = "grpc_timeout_header_offset: 3s"
ONE_CHECK = "{timeout: 60s, interval: 3600s, no_traffic_interval: 3600s}"
PATIENT = {
    "    outlier": f"    health_checks: [{ONE_CHECK}]\n    outlier",
    "base_ejection_time: 5s": "base_ejection_time: 3600s",
    "max_ejection_time: 10s": "max_ejection_time: 3600s",
}
"""Of the overlay: a busy machine fails health checks, and is slower than an ejection.

So there is one health check, which lets a replica in, and an ejection has no end.
"""
CHECKED = {"    outlier": "    health_checks: [{timeout: 60s}]\n    outlier"}
Start = Callable[..., Awaitable[Edge]]


class Replica(challenge_pb2_grpc.ChallengeServiceServicer):
    """A service that health checks find well, and whose calls end as they are told."""

    def __init__(self, status: StatusCode = StatusCode.OK) -> None:
        self.status = status
        self.calls = 0
        self.remaining: list[float] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self.server = grpc.aio.server()

    async def Send(self, _: object, context: Any) -> challenge_pb2.Challenge:
        self.calls += 1
        if (seconds := context.time_remaining()) is not None:
            self.remaining.append(seconds)
        await self.answers.wait()
        if self.status is not StatusCode.OK:
            await context.abort(self.status, "told to")
        return challenge_pb2.Challenge(type=challenge_pb2.Challenge.hcaptcha, site_key="k")

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        """Serves; gives its port."""
        health = HealthServicer()
        service = challenge_pb2.DESCRIPTOR.services_by_name["ChallengeService"].full_name
        await health.set(service, 1)
        health_pb2_grpc.add_HealthServicer_to_server(health, self.server)
        challenge_pb2_grpc.add_ChallengeServiceServicer_to_server(self, self.server)
        port = self.server.add_insecure_port("127.0.0.1:0")
        await self.server.start()
        try:
            yield port
        finally:
            await self.server.stop(None)


@pytest.fixture
async def start(
    tmp_path: Path, overlaid: Overlaid, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Start]:
    """Starts Envoy before two replicas, and waits until it has found them well.

    Takes pieces of the overlay to replace beside PATIENT's, and of what it makes of envoy.yaml.
    """
    monkeypatch.setattr("tests.rest.edge.edge.render", render)
    async with AsyncExitStack() as stack:

        async def begin(
            *replicas: Replica,
            changes: dict[str, str] | None = None,
            edge_changes: dict[str, str] | None = None,
        ) -> Edge:
            ports = [await stack.enter_async_context(replica.serving()) for replica in replicas]
            text = (ROOT / "deploy/replicas.yaml").read_text("utf-8")
            for written, port in zip(("50051", "50061"), ports, strict=True):
                text = text.replace(f"port_value: {written}", f"port_value: {port}")
            overlay = tmp_path / "replicas.yaml"
            overlay.write_text(_changed(text, {**PATIENT, **(changes or {})}), "utf-8")
            merged = _changed(overlaid(overlay), edge_changes)
            whole = ((ROOT / "envoy.yaml").read_text("utf-8"), merged)
            edge = await stack.enter_async_context(running(tmp_path, 0, whole))

            async def found() -> bool:
                return await edge.stat("cluster.challenge.membership_healthy") == 2

            await eventually(found)
            return edge

        yield begin


def _changed(text: str, changes: dict[str, str] | None) -> str:
    for old, new in (changes or {}).items():
        assert old in text, f"neither envoy.yaml nor the overlay has {old!r}"
        text = text.replace(old, new)
    return text


async def sent(edge: Edge, times: int) -> list[int]:
    return [(await edge.send(nobody())).status_code for _ in range(times)]


async def test_a_replica_that_answers_unavailable_is_ejected(start: Start) -> None:
    bad, good = Replica(StatusCode.UNAVAILABLE), Replica()
    edge = await start(bad, good)
    statuses = await sent(edge, CALLS)
    assert statuses.count(503) == bad.calls == 5
    assert set(statuses[-20:]) == {200}
    assert await edge.stat(STATS + "ejections_enforced_consecutive_gateway_failure") == 1


async def test_health_checks_do_not_bring_it_back(start: Start) -> None:
    bad, good = Replica(StatusCode.UNAVAILABLE), Replica()
    edge = await start(bad, good, changes=CHECKED)
    await sent(edge, 12)
    before = await edge.stat("cluster.challenge.health_check.success")

    async def checked() -> bool:  # each replica twice
        return await edge.stat("cluster.challenge.health_check.success") >= before + 4

    await eventually(checked)
    assert await edge.stat(STATS + "ejections_active") == 1


async def test_one_that_has_recovered_is_taken_back(start: Start) -> None:
    bad, good = Replica(StatusCode.UNAVAILABLE), Replica()
    edge = await start(bad, good, changes={"base_ejection_time: 5s": "base_ejection_time: 1s"})
    await sent(edge, 12)
    assert await edge.stat(STATS + "ejections_enforced_total") == 1
    bad.status, failed = StatusCode.OK, bad.calls

    async def back() -> bool:
        return await edge.stat(STATS + "ejections_active") == 0

    await eventually(back)
    assert await sent(edge, 4) == [200] * 4
    assert bad.calls > failed


async def test_never_are_all_ejected(start: Start) -> None:
    replicas = [Replica(StatusCode.UNAVAILABLE), Replica(StatusCode.UNAVAILABLE)]
    edge = await start(*replicas)
    assert set(await sent(edge, CALLS)) == {503}
    assert await edge.stat(STATS + "ejections_active") == 1
    assert await edge.stat(STATS + "ejections_overflow") > 0
    assert sum(replica.calls for replica in replicas) == CALLS


async def test_a_replica_that_is_gone_is_ejected_before_health_checks_see_it(start: Start) -> None:
    gone, good = Replica(), Replica()
    edge = await start(gone, good)
    await gone.server.stop(None)
    assert set(await sent(edge, CALLS)) == {200}
    assert await edge.stat(STATS + "ejections_enforced_consecutive_local_origin_failure") == 1
    assert await edge.stat("cluster.challenge.membership_healthy") == 1


async def test_what_callers_bring_about_ejects_none(start: Start) -> None:
    replicas = [Replica(), Replica()]
    edge = await start(*replicas)
    for status in CALLERS_ERRORS:
        for replica in replicas:
            replica.status, replica.calls = status, 0
        assert 200 not in await sent(edge, CALLS // 2)
        for _ in range(CALLS // 2):
            with pytest.raises(grpc.aio.AioRpcError):
                await edge.send_natively("cs_1")
        assert all(replica.calls > 12 for replica in replicas), status
        assert await edge.stat(STATS + "ejections_enforced_total") == 0, status


@pytest.mark.parametrize("seconds", [0.05, 0.3])
async def test_callers_that_go_after_a_short_time_eject_none(start: Start, seconds: float) -> None:
    replicas = [Replica(), Replica()]
    edge = await start(*replicas)
    for replica in replicas:
        replica.answers.clear()
    await exceeded(edge, timeout=seconds)
    assert await edge.stat(STATS + "ejections_enforced_total") == 0


async def test_a_deadline_ends_at_envoy_before_it_does_at_a_replica(start: Start) -> None:
    replicas = [Replica(), Replica()]
    # Envoy, on a busy machine, may be a tenth of a second late; by three seconds it is not.
    edge = await start(*replicas, edge_changes={OFFSET: OFFSET_IN_TESTS})
    for replica in replicas:
        replica.answers.clear()
    await exceeded(edge, metadata=(("grpc-timeout", "3300m"),))  # the client itself has none
    remaining = [seconds for replica in replicas for seconds in replica.remaining]
    assert len(remaining) > CALLS // 2
    assert min(remaining) > 1  # of 3.3, where Envoy allows 0.3
    assert await edge.stat("http.internal.downstream_rq_max_duration_reached") == CALLS
    assert await edge.stat(STATS + "ejections_enforced_total") == 0


@pytest.mark.parametrize("malformed", ["abc", "1", "123456789S", "1S,1S"])
async def test_a_malformed_deadline_reaches_no_replica(start: Start, malformed: str) -> None:
    replicas = [Replica(), Replica()]
    edge = await start(*replicas)
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.internal_port)
    path = "/govifi.challenge.v1.ChallengeService/Send"
    headers = {"content-type": "application/grpc", "te": "trailers", "grpc-timeout": malformed}
    client = HTTP2(reader, writer)
    await client.post(1, path, headers)
    await client.frames_until_end()
    writer.close()
    assert sum(replica.calls for replica in replicas) == 0
    assert await edge.stat("cluster.challenge.upstream_rq_total") == 0
    assert set(await sent(edge, CALLS)) == {200}


async def exceeded(edge: Edge, **options: Any) -> None:
    """Makes calls that all end by their deadline."""
    stub = challenge_pb2_grpc.ChallengeServiceStub(edge.grpc)
    request = challenge_pb2.SendRequest(session_id="cs_1")
    for call in [stub.Send(request, **options) for _ in range(CALLS)]:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call
        assert raised.value.code() is StatusCode.DEADLINE_EXCEEDED
