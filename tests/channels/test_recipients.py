"""What may be given to a provider as a destination."""

from __future__ import annotations

import pytest

from service.channels import recipients
from service.channels.recipients import is_fit
from tests.channels.kits import EMAIL, MAIL, PHONE, SMS

_POISON = {
    "a header": "\r\nBcc: evil@example.com",
    "a command": "\r\nRCPT TO:<evil@example.com>",
    "a line end": "\n",
    "a NUL": "\0",
    "another recipient": ",evil@example.com",
    "a field": "&To=+15005550009",
    "a path": "/../evil",
    "an angle": "> SIZE=1",
    "a surrogate": "\ud800",
    "a megabyte": "1" * 2**20,
}


@pytest.mark.parametrize("poison", _POISON.values(), ids=_POISON.keys())
def test_no_poison_is_written_to_a_wire(poison: str) -> None:
    for recipient in (PHONE + poison, poison + PHONE, EMAIL + poison):
        assert not is_fit(SMS._replace(recipient=recipient))
        assert not is_fit(MAIL._replace(recipient=recipient))


@pytest.mark.parametrize("text", ["+14155550123", "+4915112345678", "+123456789012345"])
def test_phone(text: str) -> None:
    assert is_fit(SMS._replace(recipient=text))
    assert not is_fit(MAIL._replace(recipient=text))


@pytest.mark.parametrize(
    "text", ["", "+", "14155550123", "+0123", "+1234567890123456", "+1 415", "+٣٤٥", "+1\n"]
)
def test_no_phone(text: str) -> None:
    assert not is_fit(SMS._replace(recipient=text))


@pytest.mark.parametrize("text", ["a@example.com", "ä@bücher.example", "a+b@x.test"])
def test_mailbox(text: str) -> None:
    assert is_fit(MAIL._replace(recipient=text))
    assert not is_fit(SMS._replace(recipient=text))


@pytest.mark.parametrize(
    "text",
    [
        "", "a", "@example.com", "A <a@example.com>", "a@example.com,b@example.com", "a@\n",
        "=?utf-8?q?x=0D=0AReply-To=3Aevil=40evil.example?=@catchall.example",
    ],
)  # fmt: skip
def test_no_mailbox(text: str) -> None:
    assert not is_fit(MAIL._replace(recipient=text))


def test_what_is_huge_is_not_even_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipients, "validate_email", pytest.fail)
    assert not is_fit(MAIL._replace(recipient="a" * 2**20 + "@example.com"))
