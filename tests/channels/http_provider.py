"""An HTTP server that takes down what it is sent, and answers as it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum, auto
from typing import NamedTuple
from urllib.parse import parse_qsl

import h11

from tests.channels.clock import pass_time


class Request(NamedTuple):
    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    def form(self) -> dict[str, str]:
        assert self.headers["content-type"] == "application/x-www-form-urlencoded"
        pairs = parse_qsl(self.body.decode(), strict_parsing=True, keep_blank_values=True)
        assert len(dict(pairs)) == len(pairs), "a field is given twice"
        return dict(pairs)


class Answer(NamedTuple):
    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


class Break(Enum):
    """Ways to fail once the whole request is there."""

    SILENCE = auto()
    """Until the client's time has run out."""
    HELD = auto()
    """Until the client hangs up."""
    HANG_UP = auto()
    HALF_A_BODY = auto()
    ENDLESS_BODY = auto()
    STALLED_BODY = auto()
    """Its first bytes, and no more within the client's time."""


class HTTPProvider:
    def __init__(self, answer: Answer | Break) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.address = ""
        self.connections = 0
        self.left = asyncio.Event()
        self._over = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        connection = h11.Connection(h11.SERVER)
        while request := await _read(connection, reader):
            self.requests.append(request)
            if isinstance(self.answer, Break):
                await self._fail(self.answer, reader, writer)
                break
            writer.write(_written(connection, self.answer))
            connection.start_next_cycle()
        writer.close()
        self.left.set()

    async def _fail(
        self, how: Break, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if how is Break.HELD:
            await reader.read()
        if how is Break.SILENCE:
            await pass_time()
            await self._over.wait()
        if how is Break.STALLED_BODY:
            writer.write(b'HTTP/1.1 201 Created\r\ncontent-length: 999\r\n\r\n{"sid"')
            await pass_time()
            await self._over.wait()
        if how is Break.HALF_A_BODY:
            writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{"sid"')
        if how is Break.ENDLESS_BODY:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                while True:
                    writer.write(b"1" * 65536)
                    await writer.drain()

    def close(self) -> None:
        self._over.set()


@asynccontextmanager
async def http_provider(
    answer: Answer | Break, tls: ssl.SSLContext | None = None
) -> AsyncIterator[HTTPProvider]:
    provider = HTTPProvider(answer)
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0, ssl=tls)
    provider.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield provider
    server.close()
    provider.close()


async def _read(connection: h11.Connection, reader: asyncio.StreamReader) -> Request | None:
    head, body = None, b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(65536))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            assert head
            names = [name.decode() for name, _ in head.headers]
            assert len(set(names)) == len(names), "a header is given twice"
            headers = {name.decode(): value.decode() for name, value in head.headers}
            return Request(head.method.decode(), head.target.decode(), headers, body)
        else:
            return None


def _written(connection: h11.Connection, answer: Answer) -> bytes:
    headers = [("content-length", str(len(answer.body))), *answer.headers]
    response = h11.Response(status_code=answer.status, headers=headers)
    events = (response, h11.Data(data=answer.body), h11.EndOfMessage())
    return b"".join(connection.send(event) or b"" for event in events)
