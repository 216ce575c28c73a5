"""Just enough of HTTP/2 to see which frames come back, and to misbehave."""

from __future__ import annotations

import asyncio

import hpack

_KINDS = {0: "DATA", 1: "HEADERS", 3: "RST_STREAM", 4: "SETTINGS", 6: "PING", 7: "GOAWAY"}
END_STREAM, _ACK, END_HEADERS = 0x1, 0x1, 0x4


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return (
        len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload
    )


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"")


def fields(count: int, size: int) -> bytes:
    """Encodes many short fields by HPACK's tables, a byte each, then a long one; `size` in all."""
    indexed = b"\x40" + literal("a", "b")[1:] + b"\xbe" * (count - 1)
    return indexed + literal("c", "d" * (size - 2 * count))


def literal(name: str, value: str) -> bytes:
    """Encodes a header as HPACK does without its tables."""
    return b"\0" + b"".join(
        _text(part) for part in (name.encode(), value.encode(errors="surrogateescape"))
    )


def _text(text: bytes) -> bytes:
    # Lengths of 127 and over take more bytes: 7 bits of prefix, then the rest, 7 bits a byte.
    if len(text) < 127:
        return bytes((len(text),)) + text
    prefix, rest = bytes((127,)), len(text) - 127
    while rest >= 128:
        prefix, rest = prefix + bytes((rest % 128 + 128,)), rest // 128
    return prefix + bytes((rest,)) + text


class HTTP2:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder = hpack.Decoder()
        writer.write(PREFACE)

    async def post(
        self,
        stream: int,
        path: str,
        headers: dict[str, str],
        trailers: dict[str, str] | None = None,
        *,
        body: bytes | None = None,
        ends: bool = True,
    ) -> None:
        """Sends a POST, which `ends` or is left open.

        `headers` may name pseudo-headers, for another request.
        """
        own = {":method": "POST", ":scheme": "http", ":authority": "edge", ":path": path}
        # Pseudo-headers come first.
        headers = dict(sorted({**own, **headers}.items(), key=lambda field: field[0][0] != ":"))
        for last, fields in ((not trailers, headers), (True, trailers)):
            if fields:
                block = b"".join(literal(name, value) for name, value in fields.items())
                flags = END_HEADERS | (END_STREAM if last and ends and body is None else 0)
                self._writer.write(frame(1, flags, stream, block))
        if body is not None:
            self._writer.write(frame(0, END_STREAM if ends else 0, stream, body))
        await self._writer.drain()

    def decoded(self, block: bytes) -> dict[str, str]:
        """Decodes the headers of a frame; those of one connection in their order."""
        return dict(self._decoder.decode(block))

    async def reset(self, stream: int) -> None:
        """Takes a request back."""
        self._writer.write(frame(3, 0, stream, (8).to_bytes(4, "big")))
        await self._writer.drain()

    def begin_headers(self, stream: int, name: str, value: str) -> None:
        """Begins a header block, which more is to follow."""
        self._writer.write(frame(1, 0, stream, literal(name, value)))

    def go_on_with_headers(self, stream: int, block: bytes = b"") -> None:
        """Goes on with it, by CONTINUATIONs that do not end it either."""
        for start in range(0, len(block) or 1, 16384):
            self._writer.write(frame(9, 0, stream, block[start : start + 16384]))

    async def is_open(self) -> bool:
        """Reads what comes within a moment; False once the connection has ended."""
        try:
            async with asyncio.timeout(0.1):
                return bool(await self._reader.read(65536))
        except TimeoutError:
            return True
        except ConnectionError:
            return False

    async def answer_ping(self) -> None:
        """Waits for a PING, and acknowledges it."""
        async with asyncio.timeout(10):
            while True:
                head = await self._reader.readexactly(9)
                payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
                if _KINDS.get(head[3]) == "PING" and not head[4] & _ACK:
                    self._writer.write(frame(6, _ACK, 0, payload))
                    return

    async def frames_until_end(self) -> list[tuple[str, bytes]]:
        """Reads frames until a stream, or the connection, has ended."""
        frames = []
        async with asyncio.timeout(10):
            while True:
                try:
                    head = await self._reader.readexactly(9)
                    payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
                except (asyncio.IncompleteReadError, ConnectionError):
                    return [*frames, ("EOF", b"")]
                kind = _KINDS.get(head[3], "OTHER")
                frames.append((kind, payload))
                if kind in ("DATA", "HEADERS") and head[4] & END_STREAM:
                    return frames
                if kind in ("RST_STREAM", "GOAWAY"):
                    return frames
