"""What a provider may be given as a destination."""

from __future__ import annotations

import pytest

from service.channels import recipients


@pytest.mark.parametrize("text", ["+14155550123", "+4915112345678", "+123456789012345"])
def test_phone(text: str) -> None:
    assert recipients.is_phone(text)


@pytest.mark.parametrize(
    "text", ["", "+", "14155550123", "+0123", "+1234567890123456", "+1 415", "+٣٤٥", "+1\n"]
)
def test_no_phone(text: str) -> None:
    assert not recipients.is_phone(text)


@pytest.mark.parametrize("text", ["a@example.com", "ä@bücher.example", "a+b@x.test"])
def test_mailbox(text: str) -> None:
    assert recipients.mailbox(text)


@pytest.mark.parametrize(
    "text", ["", "a", "@example.com", "A <a@example.com>", "a@example.com,b@example.com", "a@\n"]
)
def test_no_mailbox(text: str) -> None:
    assert recipients.mailbox(text) is None


def test_what_is_huge_is_not_even_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipients, "validate_email", pytest.fail)
    assert recipients.mailbox("a" * 2**20 + "@example.com") is None
