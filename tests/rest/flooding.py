"""A flood of the internal listener: `python -m tests.rest.flooding KIND PORT`.

Each line on standard input lets it begin or pause. It keeps every stream open that it may, on
every connection that it may have, and asks again as soon as it is answered. It runs only while
nobody else wants the processor: attackers bring their own.
"""

from __future__ import annotations

import asyncio
import os
import sys

from tests.rest.flood import CONNECTIONS, FLOODS, GRPC, STREAMS, Flood
from tests.rest.http2 import END_HEADERS, END_STREAM, PREFACE, frame, literal

_MESSAGE, _RESET = (0, 1), 3


class Flooder:
    """All connections of one flood."""

    def __init__(self, port: int, kind: Flood) -> None:
        self._port = port
        self.is_on = False
        self.open: set[Connection] = set()
        fields = {":method": "POST", ":scheme": "http", ":authority": "a", ":path": kind.path}
        headers = {**fields, **GRPC, **dict(kind.headers)}
        self._block = b"".join(literal(name, value) for name, value in headers.items())
        self._kind = kind
        self.resets = not kind.ends

    def call(self, stream: int) -> bytes:
        """Writes one call."""
        body, ends = self._kind.body, END_STREAM if self._kind.ends else 0
        flags = END_HEADERS | (ends if body is None else 0)
        data = b"" if body is None else frame(0, ends, stream, body)
        return frame(1, flags, stream, self._block) + data

    def switch(self) -> None:
        """Begins or pauses; connections stay."""
        self.is_on = not self.is_on
        if self.is_on:
            for connection in self.open:
                connection.ask(STREAMS)
            for _ in range(CONNECTIONS - len(self.open)):
                self.connect()

    def connect(self) -> None:
        """Opens one more connection, for as long as it takes."""
        self._connecting = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: Connection(self), "127.0.0.1", self._port)


class Connection(asyncio.Protocol):
    """One connection, whose ended streams are followed by new ones."""

    def __init__(self, flooder: Flooder) -> None:
        self._flooder = flooder
        self._stream = 1
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._flooder.open.add(self)
        transport.write(PREFACE)
        self.ask(STREAMS)

    def ask(self, calls: int) -> None:
        """Makes some calls at once."""
        streams = range(self._stream, self._stream + 2 * calls, 2)
        self._stream = streams.stop
        self._transport.write(b"".join(self._flooder.call(stream) for stream in streams))

    def data_received(self, data: bytes) -> None:
        data, at, ended = self._unread + data, 0, 0
        while len(data) >= at + 9:
            end = at + 9 + int.from_bytes(data[at : at + 3], "big")
            if end > len(data):
                break
            kind, flags = data[at + 3], data[at + 4]
            if self._flooder.resets:  # a call that is left open is answered, then reset
                ended += kind == _RESET
            else:
                ended += kind in _MESSAGE and bool(flags & END_STREAM)
            at = end
        self._unread = data[at:]
        if ended and self._flooder.is_on:
            self.ask(ended)

    def connection_lost(self, _: Exception | None) -> None:
        self._flooder.open.discard(self)
        if self._flooder.is_on:
            self._flooder.connect()


async def main(name: str, port: int) -> None:
    flooder = Flooder(port, FLOODS[name])
    commands = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while await commands.readline():
        flooder.switch()


if __name__ == "__main__":
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
