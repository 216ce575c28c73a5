"""SMTP line by line: what each reply means, and where a broken connection leaves the message."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from service.channels import Blame, Verdict, mail
from service.channels.smtp import SMTP
from tests.channels.certificates import server_tls
from tests.channels.kits import EMAIL, MAIL
from tests.channels.smtp_provider import Break, mailbox, scripted_server


def _channel(address: str, more: str = "", scheme: str = "smtp") -> SMTP:
    sender = "Caf%C3%A9%20Shop%20<pay@shop.example>"
    return SMTP(f"{scheme}://{address}?from={sender}{more}")


@pytest.mark.parametrize(
    ("script", "verdict"),
    [
        ({"connect": "421 4.3.2 shutting down"}, Verdict.RETRY),
        ({"connect": "554 no service here"}, Verdict.REFUSED),
        ({"connect": "hello"}, Verdict.RETRY),
        ({"mail": "421 too many"}, Verdict.RETRY),
        ({"mail": "553 5.1.8 unknown sender"}, Verdict.REFUSED),
        ({"rcpt": "421 4.7.0 slow down"}, Verdict.RETRY),
        ({"rcpt": "450 4.2.1 greylisted"}, Verdict.RETRY),
        ({"rcpt": "451 4.3.0 later"}, Verdict.RETRY),
        ({"rcpt": "452 4.2.2 full"}, Verdict.RETRY),
        ({"rcpt": "550 5.1.1 no such user"}, Verdict.UNDELIVERABLE),
        ({"rcpt": "550 no such user"}, Verdict.REFUSED),
        ({"rcpt": "550 relay not permitted"}, Verdict.REFUSED),
        ({"rcpt": "551 not local"}, Verdict.REFUSED),
        ({"rcpt": "553 not allowed"}, Verdict.REFUSED),
        ({"rcpt": "554 192.0.2.1 blocked using rbl.example"}, Verdict.REFUSED),
        ({"rcpt": "550 5.4.5 daily quota exceeded"}, Verdict.REFUSED),
        ({"mail": "550 5.1.1 who are you?"}, Verdict.REFUSED),
        ({"rcpt": "556 5.1.10 domain takes no mail"}, Verdict.UNDELIVERABLE),
        ({"rcpt": "550-5.1.1 no such\r\n550 5.1.1 user"}, Verdict.UNDELIVERABLE),
        ({"rcpt": "554 5.7.1 relay access denied"}, Verdict.REFUSED),
        ({"rcpt": "550 5.1.8 sender's domain not found"}, Verdict.REFUSED),
        ({"rcpt": "503 5.5.1 in this order?"}, Verdict.REFUSED),
        ({"data": "451 4.3.0 later"}, Verdict.RETRY),
        ({"data": "554 5.5.1 no recipients"}, Verdict.REFUSED),
        ({"dot": "451 4.3.0 later"}, Verdict.RETRY),
        ({"dot": "421 4.3.2 shutting down"}, Verdict.RETRY),
        ({"dot": "554 5.7.1 spam"}, Verdict.REFUSED),
        ({"dot": "550 5.1.1 no such user"}, Verdict.UNDELIVERABLE),
        ({"dot": "nonsense"}, Verdict.UNKNOWN),
        ({"dot": "251 elsewhere"}, Verdict.ACCEPTED),
    ],
)
async def test_reply(script: dict[str, str], verdict: Verdict) -> None:
    async with scripted_server(**script) as server:
        outcome = await _channel(server.address).deliver(MAIL)
    assert outcome.verdict is verdict, outcome


@pytest.mark.parametrize("step", ["connect", "ehlo", "mail", "rcpt", "data"])
@pytest.mark.parametrize("how", [Break.SILENCE, Break.HANG_UP, Break.RESET])
async def test_broken_before_the_message(step: str, how: Break) -> None:
    async with scripted_server(**{step: how}) as server:
        outcome = await _channel(server.address).deliver(MAIL)
    assert outcome.verdict is Verdict.RETRY, outcome


@pytest.mark.parametrize(
    ("step", "blames"),
    [("ehlo", Blame.PROVIDER), ("mail", Blame.PROVIDER), ("rcpt", Blame.RECIPIENT),
     ("data", Blame.PROVIDER), ("dot", Blame.PROVIDER)],
)  # fmt: skip
async def test_silence_after_a_recipient_says_nothing_of_the_server(
    step: str, blames: Blame
) -> None:
    async with scripted_server(**{step: Break.SILENCE}) as server:
        outcome = await _channel(server.address).deliver(MAIL)
    assert outcome.blames is blames, outcome


@pytest.mark.parametrize("how", [Break.SILENCE, Break.HANG_UP, Break.RESET])
async def test_broken_amid_the_message(how: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    too_much_to_send_at_once = b"0123456789\r\n" * 2**19
    monkeypatch.setattr(mail, "compose", lambda *_: too_much_to_send_at_once)
    async with scripted_server(content=how) as server:
        outcome = await _channel(server.address).deliver(MAIL)
    assert outcome.verdict is Verdict.RETRY, outcome


@pytest.mark.parametrize("how", [Break.SILENCE, Break.HANG_UP, Break.RESET])
async def test_broken_after_the_final_dot(how: Break) -> None:
    async with scripted_server(dot=how) as server:
        outcome = await _channel(server.address).deliver(MAIL)
    assert outcome.verdict is Verdict.UNKNOWN, outcome
    assert server.lines[-1].endswith(b"\r\n.\r\n")


async def test_a_tarpit_holds_up_nobody_else() -> None:
    async with scripted_server(rcpt=Break.TARPIT) as tarpit, mailbox() as server:
        stuck = asyncio.create_task(_channel(tarpit.address).deliver(MAIL))
        outcome = await _channel(server.address).deliver(MAIL)
        assert not stuck.done()
    assert (await stuck).verdict is Verdict.RETRY
    assert outcome.verdict is Verdict.ACCEPTED


async def test_it_says_quit() -> None:
    async with scripted_server() as server:
        outcome = await _channel(server.address).deliver(MAIL)
        await server.left.wait()
    assert outcome.verdict is Verdict.ACCEPTED
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
        outcome = await _channel(server.address).deliver(message)
    assert outcome.verdict is Verdict.ACCEPTED
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
        outcome = await _channel(server.address).deliver(MAIL._replace(subject=subject))
    assert outcome.verdict is Verdict.REFUSED
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
        outcome = await channel.deliver(MAIL._replace(recipient=recipient))
    assert outcome.verdict is Verdict.ACCEPTED
    assert server.envelopes[0].rcpt_tos == [on_the_wire]
    assert server.envelopes[0].smtp_utf8 is not on_the_wire.isascii()
    assert server.mail()["Subject"] == MAIL.subject


@pytest.fixture
def certified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's TLS, by an authority that we trust."""
    context = server_tls(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    return context


async def test_starttls_then_login(certified: ssl.SSLContext) -> None:
    async with mailbox(tls_context=certified, require_starttls=True) as server:
        outcome = await _channel(f"us%40er:p%2Fw@{server.address}", "&starttls=required").deliver(
            MAIL
        )
    assert outcome.verdict is Verdict.ACCEPTED
    assert server.sessions[0].ssl
    assert server.logins == [(b"us@er", b"p/w")]


async def test_tls_from_the_first_byte(certified: ssl.SSLContext) -> None:
    async with mailbox(tls=certified) as server:
        outcome = await _channel(server.address, scheme="smtps").deliver(MAIL)
    assert outcome.verdict is Verdict.ACCEPTED


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
async def test_a_server_that_nobody_certifies(scheme: str, tmp_path: Path) -> None:
    tls = server_tls(tmp_path)
    options = {"tls": tls} if scheme == "smtps" else {"tls_context": tls}
    async with mailbox(**options) as server:
        outcome = await _channel(server.address, scheme=scheme).deliver(MAIL)
    assert outcome.verdict is Verdict.RETRY
    assert outcome.reason == "certificate: self-signed certificate, before the message's end"
    assert not server.envelopes


async def test_a_certificate_of_another_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = server_tls(tmp_path, "elsewhere.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    async with mailbox(tls=tls) as server:
        outcome = await _channel(server.address, scheme="smtps").deliver(MAIL)
    assert outcome.verdict is Verdict.RETRY
    assert outcome.reason and outcome.reason.startswith("certificate: IP address mismatch")


async def test_a_server_without_tls() -> None:
    async with mailbox() as server:
        outcome = await _channel(server.address, scheme="smtps").deliver(MAIL)
    assert outcome.verdict is Verdict.RETRY
    assert outcome.reason == "TLS: WRONG_VERSION_NUMBER, before the message's end"


async def test_a_closed_port_is_named() -> None:
    async with mailbox() as server:
        address = server.address
    outcome = await _channel(address).deliver(MAIL)
    assert outcome.reason == "connection refused, before the message's end"


async def test_an_address_that_the_server_cannot_take_blames_nobody_else() -> None:
    async with scripted_server(mail="555 5.5.4 unsupported option") as server:
        message = MAIL._replace(recipient="zahlerín@example.com")
        outcome = await _channel(server.address).deliver(message)
    assert (outcome.verdict, outcome.blames) == (Verdict.REFUSED, Blame.RECIPIENT)


async def test_required_starttls_that_is_not_offered() -> None:
    async with mailbox() as server:
        channel = _channel(f"user:password@{server.address}", "&starttls=required")
        outcome = await channel.deliver(MAIL)
    assert outcome.verdict is Verdict.REFUSED
    assert not server.envelopes
    assert not server.logins


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("535 5.7.8 wrong", Verdict.REFUSED),
        ("454 4.7.0 try later", Verdict.RETRY),
    ],
)
async def test_login_refused(reply: str, verdict: Verdict) -> None:
    greeting = "250-mx.example.com\r\n250 AUTH PLAIN"
    async with scripted_server(ehlo=greeting, auth=reply) as server:
        outcome = await _channel(f"user:password@{server.address}").deliver(MAIL)
    assert outcome.verdict is verdict
