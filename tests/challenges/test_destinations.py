"""Destinations: normalised on the way in, masked on the way out."""

from __future__ import annotations

import pytest

from service.challenges.destinations import (
    masked_address,
    masked_phone,
    normal_address,
    normal_phone,
)
from service.challenges.numbers import NumberRules
from service.errors import InvalidRequest

NUMBERS = NumberRules(("MOBILE", "FIXED_LINE_OR_MOBILE"), ())


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("+14155550123", "+14155550123"),
        ("+1 (415) 555-0123", "+14155550123"),
        ("+1.415.555.0123", "+14155550123"),
        ("+49 170 1234567", "+491701234567"),
        ("+44 (0) 7911 123456", "+447911123456"),
        ("+86 138 0013 8000", "+8613800138000"),
    ],
)
def test_a_phone_number_becomes_e164(text: str, normal: str) -> None:
    assert normal_phone(text, NUMBERS) == normal


@pytest.mark.parametrize(
    "text",
    [
        "",
        "+",
        "+1",
        "4155550123",
        "0014155550123",
        "tel:+14155550123",
        "+1415555012",
        "+141555501234",
        "+999123456789",
        "+1415555abcd" * 2,
        "+1" + "4" * 40,
        "phone",
        "+\0",
        "+15550123",
        "+4915112345678901",
        "+14155550123;ext=5",
        "+14155550123;isub=1",
        "+1415555FLOW",
        "+1415555ＦＬＯＷ",
    ],
)
def test_what_no_numbering_plan_knows_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        normal_phone(text, NUMBERS)
    assert [field for field, _ in raised.value.violations] == ["sms.phone_number"]


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("jane@example.com", "jane@example.com"),
        ("Jane.Doe+tag@EXAMPLE.com", "Jane.Doe+tag@example.com"),
        ("jane@bücher.example", "jane@bücher.example"),
        ("jane@payer.test", "jane@payer.test"),
    ],
)
def test_an_address_keeps_its_local_part_and_lowers_its_domain(text: str, normal: str) -> None:
    assert normal_address(text) == normal


@pytest.mark.parametrize(
    "text",
    [
        "",
        "jane",
        "jane@",
        "@example.com",
        "jane@@example.com",
        "jane doe@example.com",
        "jane@example",
        "jane@example..com",
        "jane@-example.com",
        "jane@[127.0.0.1]",
        "Jane <jane@example.com>",
        "jane@example.com,john@example.com",
        "jane@example.com\r\nBcc: all@example.com",
        "jane\r\n@example.com",
        "jane\0@example.com",
        "jane@example.com\n",
        "\tjane@example.com",
        "j" * 65 + "@example.com",
        "jane@" + "a" * 250 + ".com",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        normal_address(text)
    assert [field for field, _ in raised.value.violations] == ["email.address"]


def test_a_phone_number_shows_its_last_four_digits() -> None:
    assert masked_phone("+14155550123") == "--0123"


@pytest.mark.parametrize(
    ("address", "hint"),
    [("jane@example.com", "j--@example.com"), ("j@example.com", "j--@example.com")],
)
def test_an_address_shows_its_first_letter_and_its_domain(address: str, hint: str) -> None:
    assert masked_address(address) == hint
