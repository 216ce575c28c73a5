"""Email on the wire, byte by byte: nothing decodes what a caller gave.

`email` decodes encoded words in addresses and subjects: commas become recipients (cpython#121284),
and, before Python 3.11.10 and 3.12.5, line breaks become headers (cpython#121650).
"""

from __future__ import annotations

from email.header import decode_header, make_header

import pytest

from service.channels import BadDSN, Outcome
from service.channels.smtp import SMTP
from tests.channels.kits import MAIL
from tests.channels.smtp_provider import Mailbox, mailbox

_HEADERS = sorted(
    b"From To Subject Message-ID Date Auto-Submitted MIME-Version Content-Type".split()
)
_ATTACKS = [
    "=?utf-8?q?x=0D=0AReply-To=3Aevil=40evil.example?=",
    "=?utf-8?q?x=0D=0A=0D=0AA_body?=",
    "=?utf-8?b?eA0KUmVwbHktVG86ZXZpbEBldmlsLmV4YW1wbGU=?=",
    "=?us-ascii?Q?a=2Cevil=40evil.example?=",
    "=?utf-8?q?a?= =?utf-8?q?=2Cb?=",
    "=?iso-8859-1*en?q?=0A?=",
    "=?utf-7?q?+AA0ACg-?=",
    "Reply-To: evil@evil.example",
    'a, b <evil@evil.example>; (c) "d" \\e',
    "Müller =?utf-8?q?=0D=0A?= Söhne",
    "日本語の店" * 30,
    "Boutique\u00a0: Zoë",
    "全角\u3000空白の店",
    "می\u200cخواهم",
    "ශ්\u200dරී",
    "a " * 200,
    "=?" * 100,
]


def _channel(server: Mailbox, name: str = "") -> SMTP:
    return SMTP(f"smtp://{server.address}?from={name}<pay@shop.example>")


def _header(server: Mailbox) -> list[tuple[bytes, bytes]]:
    """Takes the header apart as RFC 5322 has it, and decodes nothing."""
    content = server.envelopes[-1].original_content
    assert content
    block = content.partition(b"\r\n\r\n")[0]
    lines = block.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ").split(b"\r\n")
    assert block.isascii() or server.envelopes[-1].smtp_utf8
    assert max(map(len, block.split(b"\r\n"))) <= 78
    return [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]


@pytest.mark.parametrize("name", _ATTACKS)
async def test_a_name_in_the_subject_stays_what_it_is(name: str) -> None:
    async with mailbox() as server:
        message = MAIL._replace(subject=f"482913 is your code for {name}")
        result = await _channel(server).deliver(message)
    assert result.outcome is Outcome.ACCEPTED
    header = _header(server)
    assert sorted(field for field, _ in header) == _HEADERS
    assert header[1][1] == b"<payer@example.com>"
    read = str(make_header(decode_header(dict(header)[b"Subject"].decode())))
    assert read == message.subject


@pytest.mark.parametrize("word", [attack for attack in _ATTACKS if "=?" in attack])
async def test_an_address_that_could_be_decoded_never_leaves(word: str) -> None:
    async with mailbox() as server:
        for address in (f"{word}@catchall.example", f'"{word}"@catchall.example'):
            result = await _channel(server).deliver(MAIL._replace(recipient=address))
            assert result.outcome is Outcome.REFUSED
    assert not server.envelopes


@pytest.mark.parametrize(
    "address",
    [
        "a=2Cevil=40evil.example@example.com",
        "=0D=0A@example.com",
        "?=@example.com",
        "{a|b}@example.com",
    ],
)
async def test_an_odd_address_is_written_as_it_is(address: str) -> None:
    async with mailbox() as server:
        result = await _channel(server).deliver(MAIL._replace(recipient=address))
    assert result.outcome is Outcome.ACCEPTED
    assert server.envelopes[0].rcpt_tos == [address]
    header = _header(server)
    assert sorted(field for field, _ in header) == _HEADERS
    assert header[1][1] == f"<{address}>".encode()


@pytest.mark.parametrize(
    ("name", "phrase"),
    [
        ("", ""),
        ('Shop, "x" Inc ', '"Shop, \\"x\\" Inc"'),
        ("Caf%C3%A9%20", "Café"),
        ("=?utf-8?q?=0D=0A?=%20", "=?utf-8?q?=0D=0A?="),
    ],
)
async def test_the_sender(name: str, phrase: str) -> None:
    async with mailbox() as server:
        await _channel(server, name).deliver(MAIL)
    field, value = _header(server)[0]
    encoded, _, address = value.decode().rpartition("<pay@shop.example>")
    assert (field, address) == (b"From", "")
    assert str(make_header(decode_header(encoded.strip()))) == phrase


@pytest.mark.parametrize("control", ["%0D%0A", "%0A", "%0D", "%00", "%7F"])
def test_no_control_character_in_the_sender(control: str) -> None:
    with pytest.raises(BadDSN):
        SMTP(f"smtp://mx.example.com?from=Shop{control}Bcc: x <pay@shop.example>")
