"""A provider of SMS as the service meets one: Twilio's API over HTTP, badly behaved on demand.

Behaviours: `accept`; `hold`, which accepts once released; `accept_and_hold`, which answers once
released; a pair of `hold` and a status, which is answered once released; `drop` and
`accept_and_drop`, which close instead of answering; `garbage`, which accepts and answers with what
is no JSON; `redirect`; a status such as 500; `throttle` with seconds until its 429 and seconds of
Retry-After.
"""

from __future__ import annotations

import asyncio
import json
import time
from asyncio import StreamReader, StreamWriter
from urllib.parse import parse_qs

from tests.faults.wire import Behaviours, WireLog

TOKEN = "tokenoftheaccount"  # what no log may show


class SMSProvider(Behaviours):
    """One HTTP server on a port of its own."""

    def __init__(self, log: WireLog) -> None:
        super().__init__()
        self.log = log
        self.calls: list[tuple[float, str]] = []
        """When, by time.monotonic, and for whom: all calls, accepted or not."""
        self.followed = 0
        self.throttled_at = 0.0
        self.at_once = 0
        self.most_at_once = 0
        self._number = 0

    async def start(self) -> SMSProvider:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    @property
    def dsn(self) -> str:
        return f"twilio://AC1:{TOKEN}@127.0.0.1:{self.port}?from=%2B12025550100&scheme=http"

    def calls_to(self, destination: str) -> int:
        return sum(to == destination for _, to in self.calls)

    async def close(self) -> None:
        self.release()
        self._server.close()

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        try:
            while request := await _read(reader):
                path, form = request
                if not path.endswith("/Messages.json"):
                    self.followed += 1
                self.at_once += 1
                self.most_at_once = max(self.most_at_once, self.at_once)
                try:
                    await self._answer(form["To"][0], form["Body"][0], reader, writer)
                finally:
                    self.at_once -= 1
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(self, to: str, body: str, reader: StreamReader, writer: StreamWriter) -> None:
        self.calls.append((time.monotonic(), to))

        def gone() -> bool:
            return reader.at_eof() or writer.is_closing()

        match self.take(to):
            case "accept":
                await self._accept(to, body, writer)
            case "hold":
                # What is released is taken, whether the caller still listens or not.
                await self.hold(lambda: False)
                await self._accept(to, body, writer)
            case ("hold", int(status)):
                await self.hold(lambda: False)
                _reply(writer, status, "{}")
            case "hold_for_ever":
                await self.hold(gone)
                raise ConnectionError
            case "accept_and_hold":
                await self.log.append(to, body)
                await self.hold(gone)
                _reply(writer, 201, json.dumps(self._resource()))
            case "accept_and_drop":
                await self.log.append(to, body)
                raise ConnectionError
            case "drop":
                raise ConnectionError
            case "garbage":
                await self.log.append(to, body)
                _reply(writer, 200, '{"sid": "SM')
            case "redirect":
                _reply(writer, 307, "", f"location: http://127.0.0.1:{self.port}/elsewhere\r\n")
            case ("slow", float(seconds)):
                await asyncio.sleep(seconds)
                await self._accept(to, body, writer)
            case ("throttle", float(after), int(seconds)):
                await asyncio.sleep(after)
                self.throttled_at = time.monotonic()
                _reply(writer, 429, "{}", f"retry-after: {seconds}\r\n")
            case int(status):
                _reply(writer, status, '{"code": 20001}')
            case other:
                raise AssertionError(other)
        await writer.drain()

    async def _accept(self, to: str, body: str, writer: StreamWriter) -> None:
        await self.log.append(to, body)
        _reply(writer, 201, json.dumps(self._resource()))

    def _resource(self) -> dict[str, str]:
        self._number += 1
        return {"sid": f"SM{self._number:08}"}


async def _read(reader: StreamReader) -> tuple[str, dict[str, list[str]]] | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines if line)
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return first.split(" ")[1], parse_qs(body.decode())


def _reply(writer: StreamWriter, status: int, body: str, more: str = "") -> None:
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{more}"
    writer.write(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
