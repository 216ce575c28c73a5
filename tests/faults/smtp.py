"""A mail server as the service meets one, badly behaved on demand.

Behaviours, by recipient: `accept`; a pair of stage (`connect`, `mail`, `rcpt`, `data`, `end`) and
reply, such as `("rcpt", "450 4.2.1 busy")`; `tarpit`, which never answers MAIL; `drop_after_end`
and `accept_and_drop`, which close after the final dot; `reset_in_data`, which resets the connection
while the message comes in.
"""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
import re
import socket
import struct
from asyncio import StreamReader, StreamWriter

from tests.faults.wire import Behaviours, WireLog

_RECIPIENT = re.compile(rb"RCPT TO:<([^>]*)>", re.IGNORECASE)


class MailServer(Behaviours):
    """One SMTP server on a port of its own."""

    def __init__(self, log: WireLog) -> None:
        super().__init__()
        self.log = log
        self.calls: list[str] = []
        """Recipients that were named, accepted or not."""
        self.commands: list[bytes] = []
        self.greetings: list[str] = []
        """What to greet the next connections with, instead of 220."""

    async def start(self) -> MailServer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    @property
    def dsn(self) -> str:
        return f"smtp://127.0.0.1:{self.port}?from=codes@shop.example&starttls=never"

    async def close(self) -> None:
        self.release()
        self._server.close()

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        # Cancelled at the lab's end; asyncio would report that as an error of the server's.
        gone = (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError)
        with contextlib.suppress(*gone):
            await self._talk(reader, writer)
        writer.close()

    async def _talk(self, reader: StreamReader, writer: StreamWriter) -> None:
        def say(line: str) -> None:
            writer.write(line.encode() + b"\r\n")

        say(self.greetings.pop(0) if self.greetings else "220 mail.example ESMTP")
        to, behaviour = "", None
        while line := await reader.readline():
            self.commands.append(line)
            verb = line[:4].upper()
            if verb == b"EHLO":
                say("250-mail.example")
                say("250 SMTPUTF8")
            elif verb == b"MAIL":
                say("250 ok")
            elif verb == b"RCPT":
                found = _RECIPIENT.match(line)
                to = found[1].decode() if found else ""
                self.calls.append(to)
                behaviour = self.take(to)
                if behaviour == "tarpit":
                    gone = asyncio.create_task(reader.read())  # to the end: a QUIT may be there
                    await self.hold(gone.done)
                    gone.cancel()
                    return
                say(_at("rcpt", behaviour) or "250 ok")
            elif verb == b"DATA":
                reply = _at("data", behaviour)
                say(reply or "354 go on")
                if reply:
                    continue
                if behaviour == "reset_in_data":
                    await reader.readline()
                    _reset(writer)
                    return
                mail = await reader.readuntil(b"\r\n.\r\n")
                reply = _at("end", behaviour)
                if reply or behaviour == "drop_after_end":
                    if behaviour == "drop_after_end":
                        return
                    say(str(reply))
                    continue
                await self.log.append(to, _text(mail))
                if behaviour == "accept_and_drop":
                    return
                say("250 2.0.0 queued")
            elif verb == b"QUIT":
                say("221 bye")
                return
            else:
                say("502 what?")


def _at(stage: str, behaviour: object) -> str | None:
    if isinstance(behaviour, tuple) and behaviour[0] == stage:
        return str(behaviour[1])
    return None


def _text(mail: bytes) -> str:
    message = email.message_from_bytes(mail, policy=email.policy.default)
    body = message.get_body(("plain",))
    return f"{message['Subject']}\n{body.get_content() if body else ''}"


def _reset(writer: StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
