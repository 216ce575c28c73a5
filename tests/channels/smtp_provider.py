"""SMTP servers: a real one that keeps what it gets, and one that says its lines from a script."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from enum import Enum, auto
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.channels.clock import pass_time


class Mailbox:
    """A real server, aiosmtpd, and what it was given."""

    def __init__(self) -> None:
        self.address = ""
        self.envelopes: list[Envelope] = []
        self.sessions: list[Session] = []
        self.logins: list[tuple[bytes, bytes]] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.envelopes.append(envelope)
        self.sessions.append(session)
        return "250 2.0.0 Ok: queued"

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login, data.password))
        return AuthResult(success=True)

    def mail(self) -> EmailMessage:
        """The last message, parsed."""
        content = self.envelopes[-1].original_content
        assert content is not None
        mail = message_from_bytes(content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        return mail


@asynccontextmanager
async def mailbox(tls: ssl.SSLContext | None = None, **options: Any) -> AsyncIterator[Mailbox]:
    kept = Mailbox()
    loop = asyncio.get_running_loop()

    def protocol() -> SMTP:
        return SMTP(
            kept,
            loop=loop,
            enable_SMTPUTF8=True,
            authenticator=kept.authenticate,
            auth_require_tls=bool(options.get("tls_context")),
            hostname="mx.example.com",
            **options,
        )

    server = await loop.create_server(protocol, "127.0.0.1", 0, ssl=tls)
    kept.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield kept
    server.close()


class Break(Enum):
    """What a scripted server does in place of a reply."""

    SILENCE = auto()
    """Until the client's time has run out."""
    TARPIT = auto()
    """As long as the server runs."""
    HANG_UP = auto()
    RESET = auto()


_DIALOGUE: Mapping[str, str] = {
    "CONNECT": "220 mx.example.com",
    "EHLO": "250 mx.example.com",
    "MAIL": "250 Ok",
    "RCPT": "250 Ok",
    "DATA": "354 go ahead",
    ".": "250 Ok",
    "QUIT": "221 bye",
}


class ScriptedServer:
    """Replies to each step as RFC 5321 has it, but for those in the script.

    Steps are CONNECT, the verbs, CONTENT (once some of a message is there) and the final dot.
    """

    def __init__(self, script: Mapping[str, str | Break]) -> None:
        self.address = ""
        self.lines: list[bytes] = []
        self.left = asyncio.Event()
        self._script = {**_DIALOGUE, **script}
        self._over = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            if await self._goes_on("CONNECT", writer):
                await self._converse(reader, writer)
            writer.close()
            await writer.wait_closed()
        self.left.set()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            self.lines.append(line)
            verb = line[:4].decode("ascii").strip().upper()
            if not await self._goes_on(verb, writer):
                return
            if verb == "DATA" and str(self._script["DATA"]).startswith("354"):
                if "CONTENT" in self._script:
                    await reader.readline()
                    await self._goes_on("CONTENT", writer)
                    return
                self.lines.append(await reader.readuntil(b"\r\n.\r\n"))
                if not await self._goes_on(".", writer):
                    return

    async def _goes_on(self, step: str, writer: asyncio.StreamWriter) -> bool:
        reply = self._script.get(step, "502 what?")
        if isinstance(reply, str):
            writer.write(reply.encode() + b"\r\n")
            await writer.drain()
            return True
        if reply is Break.SILENCE:
            await pass_time()
        if reply in (Break.SILENCE, Break.TARPIT):
            await self._over.wait()
        if reply is Break.RESET:
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        return False

    def close(self) -> None:
        self._over.set()


@asynccontextmanager
async def scripted_server(**script: str | Break) -> AsyncIterator[ScriptedServer]:
    """Serves; the final dot's step is named `dot`."""
    steps = {"." if step == "dot" else step.upper(): reply for step, reply in script.items()}
    provider = ScriptedServer(steps)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # little is read ahead
    server = await asyncio.start_server(provider.serve, sock=listener)
    provider.address = f"127.0.0.1:{listener.getsockname()[1]}"
    yield provider
    server.close()
    provider.close()
