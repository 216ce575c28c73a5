"""A running Envoy, and what holds of each of its answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
from govifi.challenge.v1 import challenge_pb2, challenge_pb2_grpc

from service.commands import edge
from tests.harness.ports import free_port
from tests.harness.refusals import CODES
from tests.harness.service import Session

ROOT = Path(__file__).parents[2]
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_INTERNAL = re.compile(r"grpc-.*|x-rest-.*|x-envoy-.*|server|trailer")
_HANGS_SECONDS = 120.0
"""Longer than Envoy takes to start or to answer, however busy the machine is."""
HTTP_1, HTTP_2 = "HTTP/1.1", "HTTP/2"


def path_of(session_id: str) -> str:
    return f"/v1/hosted-sessions/{session_id}/challenge/send"


def nobody() -> Session:
    """Returns a session that was never opened."""
    session_id = f"cs_{secrets.token_hex(12)}"
    return Session(session_id, f"{session_id}_secret_{secrets.token_urlsafe(24)}")


async def check(answer: httpx.Response) -> None:
    """Asserts what the contract says of every answer."""
    text = await answer.aread()
    names = [name.lower() for name, _ in answer.headers.multi_items()]
    assert len(names) == len(set(names)), f"repeated: {names}"
    assert not [name for name in names if _INTERNAL.fullmatch(name)]
    assert answer.headers["cache-control"] == "no-store"
    assert _UUID.fullmatch(answer.headers["x-request-id"])
    if answer.status_code < 400 or not text:
        return
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body.keys() == {"code", "message", "recoverable", "request_id"}
    assert body["code"] in CODES
    assert body["request_id"] == answer.headers["x-request-id"]
    assert isinstance(body["recoverable"], bool)
    assert body["message"].endswith(".")


def brief(answer: httpx.Response) -> tuple[int, str, bool]:
    """What the contract's error table says of an answer."""
    body = answer.json()
    return answer.status_code, body["code"], body["recoverable"]


class Edge:
    """One Envoy in front of one service."""

    def __init__(self, public: int, internal: int, admin: Path, access_log: Path) -> None:
        self.port = public
        self.internal_port = internal
        self.http = self.client(HTTP_1)
        self.grpc = grpc.aio.insecure_channel(f"127.0.0.1:{internal}")
        self._admin = httpx.AsyncClient(
            base_url="http://envoy", transport=httpx.AsyncHTTPTransport(uds=str(admin))
        )
        self._access_log = access_log

    def client(self, version: str) -> httpx.AsyncClient:
        """Makes a client of one protocol, whose answers are checked."""
        return httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}",
            http1=version == HTTP_1,
            http2=version == HTTP_2,
            event_hooks={"response": [check]},
            trust_env=False,
            timeout=_HANGS_SECONDS,
        )

    async def send(
        self, session: Session, secret: str | None = None, **headers: str
    ) -> httpx.Response:
        """Calls Send as the session's own page would; underscores stand for dashes."""
        own = {"authorization": f"Bearer {secret or session.secret}"}
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.post(path_of(session.session_id), headers={**own, **more})

    async def send_natively(self, session_id: str, **metadata: str) -> challenge_pb2.Challenge:
        """Calls Send over gRPC, through the internal listener."""
        stub = challenge_pb2_grpc.ChallengeServiceStub(self.grpc)
        request = challenge_pb2.SendRequest(session_id=session_id)
        return await stub.Send(request, metadata=tuple(metadata.items()))

    async def raw(self, data: bytes) -> httpx.Response:
        """Sends exactly these bytes; gives the first answer to them."""
        async with self.connection() as (reader, writer):
            writer.write(data)
            return await answer_on(reader)

    @asynccontextmanager
    async def connection(
        self,
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Opens a connection to the public listener."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def stat(self, name: str) -> int:
        """Reads one of Envoy's counters or gauges."""
        query = {"filter": f"^{re.escape(name)}$", "format": "json"}
        answer = await self._admin.get("/stats", params=query)
        [stat] = answer.json()["stats"]
        return int(stat["value"])

    async def allocated(self) -> int:
        """Reads how many bytes of memory Envoy holds now."""
        return int((await self._admin.get("/memory")).json()["allocated"])

    async def close(self) -> None:
        await self.http.aclose()
        await self.grpc.close()
        await self._admin.aclose()

    def access_log(self) -> list[dict[str, Any]]:
        """Reads the access log; it is complete once Envoy has stopped."""
        return [json.loads(line) for line in self._access_log.read_text().splitlines()]


async def answer_on(reader: asyncio.StreamReader) -> httpx.Response:
    """Reads one HTTP/1.1 answer."""
    async with asyncio.timeout(10):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
        first, *lines = head.rstrip("\r\n").split("\r\n")
        headers = httpx.Headers([tuple(line.split(": ", 1)) for line in lines])
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    answer = httpx.Response(int(first.split()[1]), headers=headers, content=body)
    await check(answer)
    return answer


@asynccontextmanager
async def running(
    directory: Path, service_port: int, *changes: tuple[str, str]
) -> AsyncIterator[Edge]:
    """Runs Envoy with the repository's configuration.

    Args:
        directory: For its files.
        service_port: Where it looks for the service.
        changes: Pieces of `envoy.yaml`, each with what takes its place.
    """
    text = (ROOT / "envoy.yaml").read_text("utf-8")
    for old, new in changes:
        assert old in text, f"envoy.yaml no longer has {old!r}"
        text = text.replace(old, new)
    template, access_log = directory / "template.yaml", directory / "access.log"
    template.write_text(text, "utf-8")
    process, public, internal = await _start(directory, template, service_port, access_log)
    edge = Edge(public, internal, directory / "admin.sock", access_log)
    try:
        yield edge
    finally:
        await edge.close()
        process.terminate()
        await process.wait()
    log = (directory / "envoy.log").read_text("utf-8")
    assert not [line for line in log.splitlines() if "[error]" in line or "[critical]" in line]


@asynccontextmanager
async def upstream(send: Callable[[bytes, Any], Awaitable[bytes]]) -> AsyncIterator[int]:
    """Runs a gRPC server that has nothing but a Send, on bytes; gives its port."""
    server = grpc.aio.server()
    service = challenge_pb2.DESCRIPTOR.services_by_name["ChallengeService"].full_name
    methods = {"Send": grpc.unary_unary_rpc_method_handler(send)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


async def _start(
    directory: Path, template: Path, service_port: int, access_log: Path
) -> tuple[Process, int, int]:
    config, log = directory / "envoy.yaml", directory / "envoy.log"
    for _ in range(10):
        public, internal = free_port(), free_port()
        admin = directory / "admin.sock"
        rendered = edge.render(public, internal, service_port, admin, template)
        config.write_text(rendered, "utf-8")
        with access_log.open("wb") as out, log.open("wb") as err:
            process = await asyncio.create_subprocess_exec(
                *edge.command(config, "config:info"), cwd=ROOT, stdout=out, stderr=err
            )
        try:
            if await _serves(process, log, public):
                return process, public, internal
        except BaseException:
            process.kill()
            raise
        await process.wait()  # someone took one of the ports meanwhile
    raise AssertionError(log.read_text())


async def _serves(process: Process, log: Path, port: int) -> bool:
    """Waits until this very Envoy, and no other process on its port, accepts connections."""
    async with asyncio.timeout(_HANGS_SECONDS):
        while b"starting workers" not in log.read_bytes():  # noqa: ASYNC240
            if process.returncode is not None:
                assert b"cannot bind" in log.read_bytes(), log.read_text()  # noqa: ASYNC240
                return False
            await asyncio.sleep(0.005)
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return True
            await asyncio.sleep(0.005)
