"""A lean HTTP/1.1 client: a usual one would cost more than what it measures."""

from __future__ import annotations

import asyncio

import httptools


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body = b""
        self.closed = False

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionError("closed"))

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        assert self._answer is not None
        self.closed = not self._parser.should_keep_alive()
        self._answer.set_result((self._parser.get_status_code(), self._body))

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        self._body = b""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        self._transport.close()


class RestClient:
    """Connections that are kept; as many as there are requests at once."""

    def __init__(self, target: str) -> None:
        """Makes one.

        Args:
            target: `host:port`.
        """
        self._target = target
        self._idle: list[_Connection] = []

    def forget(self) -> None:
        """Closes what is idle: servers do so too after a while, and requests would cross it."""
        while self._idle:
            self._idle.pop().close()

    async def post(self, path: str, headers: str) -> tuple[int, bytes]:
        """Posts without a body; returns status and body of the answer.

        Args:
            path: Path of the resource.
            headers: Lines, each ended by CRLF.
        """
        connection = await self._connection()
        request = (
            f"POST {path} HTTP/1.1\r\nhost: {self._target}\r\n{headers}content-length: 0\r\n\r\n"
        )
        answer = await connection.ask(request.encode())
        self._idle.append(connection)
        return answer

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed:
                return connection
        host, _, port = self._target.rpartition(":")
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, host, int(port))
        return connection
