"""The provider over HTTP: takes each message as Twilio does, at once, and remembers none."""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
import uvloop

_BODY = b'{"sid":"SM00000000000000000000000000000001","status":"queued"}'
_ANSWER = (
    b"HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
) % (len(_BODY), _BODY)


class Accepting(asyncio.Protocol):
    """One connection, which stays open."""

    def connection_made(self, transport: Any) -> None:  # noqa: D102
        self._transport: asyncio.WriteTransport = transport
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:  # noqa: D102
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Answers; the parser calls it when a request is complete."""
        self._transport.write(_ANSWER)


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(Accepting, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve())
