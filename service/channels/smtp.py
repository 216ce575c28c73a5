"""Email by SMTP, with STARTTLS or with TLS from the first byte."""

from __future__ import annotations

import asyncio
import functools
from typing import Any, cast

import aiosmtplib
from email_validator import ValidatedEmail

from service.aio.egress import certificates
from service.channels import TIMEOUT_SECONDS, BadDSN, Blame, Message, Outcome, Result, mail
from service.channels.dsn import DSN
from service.channels.failures import why
from service.channels.recipients import parse
from service.channels.smtp_replies import result_of

_PORTS = {"smtp": 587, "smtps": 465}
_STARTTLS = {"required": True, "auto": None, "never": False}
_START_INPUT = 354


class SMTP:
    """One account and sender; one connection per message."""

    def __init__(self, dsn: str, timeout: float = TIMEOUT_SECONDS) -> None:
        """Takes `smtp://user:password@host:587?from=Name%20<shop@example.com>`.

        `smtps://` speaks TLS from the start. `starttls` is `required`, `auto` (where it is offered)
        or `never`; by default `required`, and `auto` when the host is this machine.

        Args:
            dsn: As above.
            timeout: Seconds for one delivery.

        Raises:
            BadDSN: See `DSN`; or `from` is not an address, or a password would go in the clear.
        """
        parsed = DSN(dsn, needs=("from",), takes=("user", "password", "starttls"))
        self.name = parsed.name
        self._timeout = timeout
        self._sender = mail.sender(parsed)
        implicit = self.name.startswith("smtps:")
        user, password = parsed.values.get("user"), parsed.values.get("password")
        starttls = parsed.values.get("starttls", "auto" if parsed.loopback else "required")
        if starttls not in _STARTTLS or (implicit and "starttls" in parsed.values):
            raise BadDSN(f"{self.name} takes starttls=required, auto or never; smtps takes none")
        if (user is None) != (password is None):
            raise BadDSN(f"{self.name} lacks {'user' if user is None else 'password'}")
        if password and starttls != "required" and not implicit and not parsed.loopback:
            raise BadDSN(f"{self.name} with a password needs starttls=required")
        self._client = functools.partial(
            aiosmtplib.SMTP,
            hostname=parsed.host,
            port=parsed.port or _PORTS["smtps" if implicit else "smtp"],
            username=user,
            password=password,
            local_hostname=self._sender.domain,
            timeout=timeout,
            use_tls=implicit,
            start_tls=False if implicit else _STARTTLS[starttls],
            tls_context=certificates(),
        )

    async def deliver(self, message: Message) -> Result:
        """Hands the message to the server once; see `Channel`."""
        try:
            to = parse(message.recipient)
            content = mail.compose(message, self._sender, to)
        except ValueError:
            return Result(Outcome.REFUSED, reason="cannot be written as email")
        client = self._client()
        ended = False  # whether the final dot may have reached the server
        slow = Blame.PROVIDER  # whom silence is about
        try:
            async with asyncio.timeout(self._timeout):
                await client.connect()
                options, recipient = await self._mail(client, to)
                slow = Blame.RECIPIENT  # some servers ask the recipient's before they reply
                await client.rcpt(recipient, **options)
                slow = Blame.PROVIDER
                writer = await _start_data(client)
                writer.write(content)
                await writer.drain()
                if writer.is_closing():
                    raise aiosmtplib.SMTPServerDisconnected("Connection lost")
                ended = True  # whatever broke before this certainly delivered nothing
                reply = await client.execute_command(b".")
            if not 200 <= reply.code < 300:
                raise aiosmtplib.SMTPDataError(reply.code, reply.message)
        except aiosmtplib.SMTPResponseException as error:
            return result_of(error, ended)
        except OSError as error:  # what aiosmtplib raises for connections and time is one
            outcome = Outcome.UNKNOWN if ended else Outcome.RETRY
            reason = f"{why(error)}, {'after' if ended else 'before'} the message's end"
            blames = slow if isinstance(error, TimeoutError) else Blame.PROVIDER
            return Result(outcome, reason=reason, blames=blames)
        except aiosmtplib.SMTPNotSupported:
            reason = "the server offers no SMTPUTF8, which the address needs"
            return Result(Outcome.REFUSED, reason=reason, blames=Blame.RECIPIENT)
        except aiosmtplib.SMTPException:
            reason = "the server offers no AUTH or STARTTLS"
            return Result(Outcome.REFUSED, reason=reason, blames=Blame.ACCOUNT)
        finally:
            _leave(client)
        return Result(Outcome.ACCEPTED, message_id=mail.message_id(message, self._sender))

    async def close(self) -> None:
        """Does nothing: no connection outlives its message."""

    async def _mail(
        self, client: aiosmtplib.SMTP, to: ValidatedEmail
    ) -> tuple[dict[str, Any], str]:
        """Names the sender; returns how the recipient is to be named."""
        if to.ascii_email:
            await client.mail(self._sender.addr_spec)
            return {}, to.ascii_email
        if client.is_ehlo_or_helo_needed:  # what the server supports is its answer
            await client.ehlo()
        if not client.supports_extension("smtputf8"):
            raise aiosmtplib.SMTPNotSupported("SMTPUTF8")
        await client.mail(self._sender.addr_spec, options=["SMTPUTF8"])
        return {"encoding": "utf-8"}, to.normalized


async def _start_data(client: aiosmtplib.SMTP) -> asyncio.StreamWriter:
    """Asks the server to take the message.

    Returns:
        Where to write the message. Once drained, none of it is buffered here.
    """
    reply = await client.execute_command(b"DATA")
    if reply.code != _START_INPUT:
        raise aiosmtplib.SMTPDataError(reply.code, reply.message)
    if client.protocol is None:
        raise aiosmtplib.SMTPServerDisconnected("Connection lost")
    transport = cast(asyncio.WriteTransport, client.transport)
    transport.set_write_buffer_limits(high=0)
    loop = asyncio.get_running_loop()
    return asyncio.StreamWriter(transport, client.protocol, None, loop)


def _leave(client: aiosmtplib.SMTP) -> None:
    """Closes at once, with the QUIT that is due but without waiting for its reply."""
    if client.protocol is not None and client.is_connected:
        client.protocol.write(b"QUIT\r\n")
        cast(asyncio.WriteTransport, client.transport).abort()
    client.close()
