"""`challenge edge`: SIGTERM to Envoy breaks nothing off."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import httpx
import psutil
from govifi.challenge.v1 import challenge_pb2, challenge_pb2_grpc

from service.commands.edge import render
from tests.harness.ports import free_port
from tests.harness.timing import eventually
from tests.rest.edge import ROOT, nobody, path_of, upstream

SEND = f"http://127.0.0.1:{{}}{path_of(nobody().session_id)}"


class Supervised(NamedTuple):
    """`challenge edge`, and where its Envoy listens."""

    process: Process
    public: int
    internal: int

    async def refuses(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.public)
        except ConnectionError:
            return True
        writer.close()
        return False

    async def serves(self) -> bool:
        assert self.process.returncode is None
        return not await self.refuses()


@asynccontextmanager
async def supervised(
    directory: Path, service_port: int, notice: str, stdout: int | None = None
) -> AsyncIterator[Supervised]:
    public, internal, config = free_port(), free_port(), directory / "envoy.yaml"
    admin = directory / "admin.sock"
    config.write_text(render(public, internal, service_port, admin, ROOT / "envoy.yaml"), "utf-8")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "service", "edge", str(config), "--notice-seconds", notice, cwd=ROOT,
        stdout=stdout, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    edge = Supervised(process, public, internal)
    try:
        await eventually(edge.serves, seconds=20)
        yield edge
    finally:
        if process.returncode is None:
            for child in psutil.Process(process.pid).children():
                child.kill()  # its parent ends with it
        await process.wait()


class Held:
    """A service whose calls end when they are let go."""

    def __init__(self) -> None:
        self.calls = 0
        self.let_go = asyncio.Event()

    async def send(self, _: bytes, __: Any) -> bytes:
        self.calls += 1
        await self.let_go.wait()
        return challenge_pb2.Challenge(site_key="k").SerializeToString()

    async def has_two(self) -> bool:
        return self.calls == 2


async def test_requests_under_way_end_and_new_connections_are_refused(tmp_path: Path) -> None:
    held = Held()
    async with (
        asyncio.timeout(60),
        upstream(held.send) as port,
        supervised(tmp_path, port, notice="0") as edge,
        httpx.AsyncClient(trust_env=False, timeout=30) as http,
        grpc.aio.insecure_channel(f"127.0.0.1:{edge.internal}") as channel,
    ):
        rest = asyncio.create_task(http.post(SEND.format(edge.public)))
        stub = challenge_pb2_grpc.ChallengeServiceStub(channel)
        native = stub.Send(challenge_pb2.SendRequest(session_id="cs_1"))
        await eventually(held.has_two)
        edge.process.send_signal(signal.SIGTERM)
        await eventually(edge.refuses)
        assert edge.process.returncode is None
        held.let_go.set()
        answer = await rest
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert (await native).site_key == "k"
        assert await edge.process.wait() == 0


async def test_it_starts_and_ends_without_a_word(tmp_path: Path) -> None:
    async with supervised(tmp_path, free_port(), "0", asyncio.subprocess.PIPE) as edge:
        edge.process.send_signal(signal.SIGTERM)
        said, _ = await edge.process.communicate()
    assert (edge.process.returncode, said.decode()) == (0, "")


async def test_new_connections_are_served_once_until_the_notice_is_over(tmp_path: Path) -> None:
    held = Held()
    held.let_go.set()
    async with (
        upstream(held.send) as port,
        supervised(tmp_path, port, notice="300") as edge,
        httpx.AsyncClient(trust_env=False, timeout=30) as http,
    ):
        answer = await http.post(SEND.format(edge.public))
        assert "connection" not in answer.headers
        edge.process.send_signal(signal.SIGTERM)

        async def closes() -> bool:
            answer = await http.post(SEND.format(edge.public))
            assert answer.status_code == 200
            return answer.headers.get("connection") == "close"

        await eventually(closes)
        assert not await edge.refuses()


async def test_an_envoy_that_ends_by_itself_ends_the_command(tmp_path: Path) -> None:
    config = tmp_path / "envoy.yaml"
    config.write_text("nonsense: true\n", "utf-8")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "service", "edge", str(config), cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, complaint = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 1
    assert b"nonsense" in complaint
