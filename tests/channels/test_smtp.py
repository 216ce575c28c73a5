"""SMTP line by line: what each reply means, and where a broken connection leaves the message."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from service.channels import Blame, Outcome, mail
from service.channels.smtp import SMTP
from tests.channels.certificates import server_tls
from tests.channels.kits import EMAIL, MAIL
from tests.channels.smtp_provider import Break, mailbox, scripted_server


def _channel(address: str, more: str = "", scheme: str = "smtp") -> SMTP:
    sender = "Caf%C3%A9%20Shop%20<pay@shop.example>"
    return SMTP(f"{scheme}://{address}?from={sender}{more}")


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        ({"connect": "421 4.3.2 shutting down"}, Outcome.RETRY),
        ({"connect": "554 no service here"}, Outcome.REFUSED),
        ({"connect": "hello"}, Outcome.RETRY),
        ({"mail": "421 too many"}, Outcome.RETRY),
        ({"mail": "553 5.1.8 unknown sender"}, Outcome.REFUSED),
        ({"rcpt": "421 4.7.0 slow down"}, Outcome.RETRY),
        ({"rcpt": "450 4.2.1 greylisted"}, Outcome.RETRY),
        ({"rcpt": "451 4.3.0 later"}, Outcome.RETRY),
        ({"rcpt": "452 4.2.2 full"}, Outcome.RETRY),
        ({"rcpt": "550 5.1.1 no such user"}, Outcome.UNDELIVERABLE),
        ({"rcpt": "550 no such user"}, Outcome.REFUSED),
        ({"rcpt": "550 relay not permitted"}, Outcome.REFUSED),
        ({"rcpt": "551 not local"}, Outcome.REFUSED),
        ({"rcpt": "553 not allowed"}, Outcome.REFUSED),
        ({"rcpt": "554 192.0.2.1 blocked using rbl.example"}, Outcome.REFUSED),
        ({"rcpt": "550 5.4.5 daily quota exceeded"}, Outcome.REFUSED),
        ({"mail": "550 5.1.1 who are you?"}, Outcome.REFUSED),
        ({"rcpt": "556 5.1.10 domain takes no mail"}, Outcome.UNDELIVERABLE),
        ({"rcpt": "550-5.1.1 no such\r\n550 5.1.1 user"}, Outcome.UNDELIVERABLE),
        ({"rcpt": "554 5.7.1 relay access denied"}, Outcome.REFUSED),
        ({"rcpt": "550 5.1.8 sender's domain not found"}, Outcome.REFUSED),
        ({"rcpt": "503 5.5.1 in this order?"}, Outcome.REFUSED),
        ({"data": "451 4.3.0 later"}, Outcome.RETRY),
        ({"data": "554 5.5.1 no recipients"}, Outcome.REFUSED),
        ({"dot": "451 4.3.0 later"}, Outcome.RETRY),
        ({"dot": "421 4.3.2 shutting down"}, Outcome.RETRY),
        ({"dot": "554 5.7.1 spam"}, Outcome.REFUSED),
        ({"dot": "550 5.1.1 no such user"}, Outcome.UNDELIVERABLE),
        ({"dot": "nonsense"}, Outcome.UNKNOWN),
        ({"dot": "251 elsewhere"}, Outcome.ACCEPTED),
    ],
)
async def test_reply(script: dict[str, str], outcome: Outcome) -> None:
    async with scripted_server(**script) as server:
        result = await _channel(server.address).deliver(MAIL)
    assert result.outcome is outcome, result


@pytest.mark.parametrize("step", ["connect", "ehlo", "mail", "rcpt", "data"])
@pytest.mark.parametrize("how", [Break.SILENCE, Break.HANG_UP, Break.RESET])
async def test_broken_before_the_message(step: str, how: Break) -> None:
    async with scripted_server(**{step: how}) as server:
        result = await _channel(server.address).deliver(MAIL)
    assert result.outcome is Outcome.RETRY, result


@pytest.mark.parametrize(
    ("step", "blames"),
    [("ehlo", Blame.PROVIDER), ("mail", Blame.PROVIDER), ("rcpt", Blame.RECIPIENT),
     ("data", Blame.PROVIDER), ("dot", Blame.PROVIDER)],
)  # fmt: skip
async def test_silence_after_a_recipient_says_nothing_of_the_server(
    step: str, blames: Blame
) -> None:
    async with scripted_server(**{step: Break.SILENCE}) as server:
        result = await _channel(server.address).deliver(MAIL)
    assert result.blames is blames, result


@pytest.mark.parametrize("how", [Break.SILENCE, Break.HANG_UP, Break.RESET])
async def test_broken_amid_the_message(how: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    too_much_to_send_at_once = b"0123456789\r\n" * 2**19
    monkeypatch.setattr(mail, "compose", lambda *_: too_much_to_send_at_once)
    async with scripted_server(content=how) as server:
        result = await _channel(server.address).deliver(MAIL)
    assert result.outcome is Outcome.RETRY, result


@pytest.mark.parametrize("how", [Break.SILENCE, Break.HANG_UP, Break.RESET])
async def test_broken_after_the_final_dot(how: Break) -> None:
    async with scripted_server(dot=how) as server:
        result = await _channel(server.address).deliver(MAIL)
    assert result.outcome is Outcome.UNKNOWN, result
    assert server.lines[-1].endswith(b"\r\n.\r\n")


async def test_a_tarpit_holds_up_nobody_else() -> None:
    async with scripted_server(rcpt=Break.TARPIT) as tarpit, mailbox() as server:
        stuck = asyncio.create_task(_channel(tarpit.address).deliver(MAIL))
        result = await _channel(server.address).deliver(MAIL)
        assert not stuck.done()
    assert (await stuck).outcome is Outcome.RETRY
    assert result.outcome is Outcome.ACCEPTED


async def test_it_says_quit() -> None:
    async with scripted_server() as server:
        result = await _channel(server.address).deliver(MAIL)
        await server.left.wait()
    assert result.outcome is Outcome.ACCEPTED
    assert server.lines[-1] == b"QUIT\r\n"


async def test_headers() -> None:
    async with mailbox() as server:
        await _channel(server.address).deliver(MAIL)
    received = server.mail()
    assert server.sessions[0].host_name == "shop.example"
    assert received["From"] == "Café Shop <pay@shop.example>"
    assert received["To"] == EMAIL
    assert received["Subject"] == MAIL.subject
    assert received["Message-ID"] == "<chal_1-1@shop.example>"
    assert received["Auto-Submitted"] == "auto-generated"
    age = datetime.datetime.now(datetime.UTC) - parsedate_to_datetime(received["Date"])
    assert age < datetime.timedelta(minutes=1)


@pytest.mark.parametrize("end", ["", "a" * 3000, "ä" * 3000])
async def test_the_wire_carries_short_lines_of_ascii(end: str) -> None:
    text = f".\n..\n.dot\nlone\rreturns\r\n.\r\nQUIT\r\n\0{end}"
    async with mailbox() as server:
        message = MAIL._replace(text=text, html=f"<p>{text}</p>")
        result = await _channel(server.address).deliver(message)
    assert result.outcome is Outcome.ACCEPTED
    content = server.envelopes[0].original_content
    assert content and content.isascii() and b"\0" not in content
    lines = content.split(b"\r\n")
    assert max(map(len, lines)) <= 78
    assert not any(b"\r" in line or b"\n" in line for line in lines)
    plain = server.mail().get_body(("plain",))
    assert plain and plain.get_content().splitlines() == text.splitlines()


@pytest.mark.parametrize(
    "subject", ["a\r\nBcc: evil@example.com", "a\n", "a\0b", "a\u2028b", "a\x85b", "\ud800"]
)
async def test_a_poisoned_subject_never_leaves(subject: str) -> None:
    async with mailbox() as server:
        result = await _channel(server.address).deliver(MAIL._replace(subject=subject))
    assert result.outcome is Outcome.REFUSED
    assert not server.envelopes


@pytest.mark.parametrize(
    ("recipient", "on_the_wire"),
    [
        ("payer@bücher.example", "payer@xn--bcher-kva.example"),
        ("zahlerín@example.com", "zahlerín@example.com"),
    ],
)
@pytest.mark.parametrize("more", ["", "&starttls=never"])
async def test_an_international_address(recipient: str, on_the_wire: str, more: str) -> None:
    async with mailbox() as server:
        channel = _channel(server.address, more)
        result = await channel.deliver(MAIL._replace(recipient=recipient))
    assert result.outcome is Outcome.ACCEPTED
    assert server.envelopes[0].rcpt_tos == [on_the_wire]
    assert server.envelopes[0].smtp_utf8 is not on_the_wire.isascii()
    assert server.mail()["Subject"] == MAIL.subject


@pytest.fixture
def certified(tmp_path: Path, trust: Callable[[], None]) -> ssl.SSLContext:
    """A server's TLS, by an authority that we trust."""
    context = server_tls(tmp_path)
    trust()
    return context


async def test_starttls_then_login(certified: ssl.SSLContext) -> None:
    async with mailbox(tls_context=certified, require_starttls=True) as server:
        result = await _channel(f"us%40er:p%2Fw@{server.address}", "&starttls=required").deliver(
            MAIL
        )
    assert result.outcome is Outcome.ACCEPTED
    assert server.sessions[0].ssl
    assert server.logins == [(b"us@er", b"p/w")]


async def test_tls_from_the_first_byte(certified: ssl.SSLContext) -> None:
    async with mailbox(tls=certified) as server:
        result = await _channel(server.address, scheme="smtps").deliver(MAIL)
    assert result.outcome is Outcome.ACCEPTED


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
async def test_a_server_that_nobody_certifies(scheme: str, tmp_path: Path) -> None:
    tls = server_tls(tmp_path)
    options = {"tls": tls} if scheme == "smtps" else {"tls_context": tls}
    async with mailbox(**options) as server:
        result = await _channel(server.address, scheme=scheme).deliver(MAIL)
    assert result.outcome is Outcome.RETRY
    assert result.reason == "certificate: self-signed certificate, before the message's end"
    assert not server.envelopes


async def test_a_certificate_of_another_host(tmp_path: Path, trust: Callable[[], None]) -> None:
    tls = server_tls(tmp_path, "elsewhere.example")
    trust()
    async with mailbox(tls=tls) as server:
        result = await _channel(server.address, scheme="smtps").deliver(MAIL)
    assert result.outcome is Outcome.RETRY
    assert result.reason and result.reason.startswith("certificate: IP address mismatch")


async def test_a_server_without_tls() -> None:
    async with mailbox() as server:
        result = await _channel(server.address, scheme="smtps").deliver(MAIL)
    assert result.outcome is Outcome.RETRY
    assert result.reason == "TLS: WRONG_VERSION_NUMBER, before the message's end"


async def test_a_closed_port_is_named() -> None:
    async with mailbox() as server:
        address = server.address
    result = await _channel(address).deliver(MAIL)
    assert result.reason == "connection refused, before the message's end"


async def test_an_address_that_the_server_cannot_take_blames_nobody_else() -> None:
    async with scripted_server(mail="555 5.5.4 unsupported option") as server:
        message = MAIL._replace(recipient="zahlerín@example.com")
        result = await _channel(server.address).deliver(message)
    assert (result.outcome, result.blames) == (Outcome.REFUSED, Blame.RECIPIENT)


async def test_required_starttls_that_is_not_offered() -> None:
    async with mailbox() as server:
        channel = _channel(f"user:password@{server.address}", "&starttls=required")
        result = await channel.deliver(MAIL)
    assert result.outcome is Outcome.REFUSED
    assert not server.envelopes
    assert not server.logins


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        ("535 5.7.8 wrong", Outcome.REFUSED),
        ("454 4.7.0 try later", Outcome.RETRY),
    ],
)
async def test_login_refused(reply: str, outcome: Outcome) -> None:
    greeting = "250-mx.example.com\r\n250 AUTH PLAIN"
    async with scripted_server(ehlo=greeting, auth=reply) as server:
        result = await _channel(f"user:password@{server.address}").deliver(MAIL)
    assert result.outcome is outcome
