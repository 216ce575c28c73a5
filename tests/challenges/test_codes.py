"""Codes: pure functions, held to RFC 4226."""

from __future__ import annotations

import hmac
import unicodedata
from collections import Counter

import pytest

from service.challenges.codes import code_for, matches, typed
from service.keyring import KeyRetired, KeyRing
from service.storage.rows import Payment

RING = KeyRing({"k1": bytes(range(32)), "k2": bytes(32)})
PAYMENT = Payment(1999, "EUR", "Acme")
VECTORS = ("755224", "287082", "359152", "969429", "338314",
           "254676", "287922", "162583", "399871", "520489")  # fmt: skip
"""RFC 4226, appendix D: counters 0 to 9 under the key `12345678901234567890`."""


def hotp(key: bytes, counter: int, digits: int) -> str:
    """Computes RFC 4226, section 5.3, as it is written there."""
    digest = hmac.digest(key, counter.to_bytes(8, "big"), "sha1")
    offset = digest[-1] & 0x0F
    truncated = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
    return str(truncated % 10**digits).zfill(digits)


def made(
    challenge: str = "c1", payment: Payment | None = None, counter: int = 1, digits: int = 8
) -> str:
    return code_for(RING, "k1", challenge, payment, counter, digits)


@pytest.mark.parametrize("counter", range(10))
def test_the_oracle_meets_the_vectors_of_rfc_4226(counter: int) -> None:
    assert hotp(b"12345678901234567890", counter, 6) == VECTORS[counter]


@pytest.mark.parametrize("digits", [6, 7, 8])
@pytest.mark.parametrize("payment", [None, PAYMENT], ids=["unbound", "bound"])
def test_a_code_is_hotp_under_a_derived_key(payment: Payment | None, digits: int) -> None:
    bound = "\0" + "\0".join(map(str, payment)) if payment else ""
    key = RING.derive("k1", f"code\0c1{bound}".encode())
    for counter in range(1, 200):
        assert made("c1", payment, counter, digits) == hotp(key, counter, digits)


@pytest.mark.parametrize("digits", [6, 7, 8])
def test_a_code_has_all_its_digits_leading_zeros_too(digits: int) -> None:
    codes = [made(counter=counter, digits=digits) for counter in range(1, 200)]
    assert {len(one) for one in codes} == {digits}
    assert any(one.startswith("0") for one in codes)


@pytest.mark.slow
def test_codes_are_uniform() -> None:
    """Pearson's chi-squared over a million challenges; by chance off once in 30,000 keys."""
    first, last = Counter[str](), Counter[str]()
    for number in range(1_000_000):
        code = made(str(number), digits=6)
        first[code[:3]] += 1
        last[code[3:]] += 1
    for counts in (first, last):
        assert len(counts) == 1000, "000 among them"
        assert abs(chi_squared(counts) - 999) < 4 * (2 * 999) ** 0.5
        for place in range(3):  # one digit that is rarer stands out more here
            digits = Counter[str]()
            for code, count in counts.items():
                digits[code[place]] += count
            assert chi_squared(digits) < 45


def chi_squared(counts: Counter[str]) -> float:
    expected = counts.total() / len(counts)
    return sum((count - expected) ** 2 / expected for count in counts.values())


def test_the_same_circumstances_give_the_same_code() -> None:
    assert made("c1", PAYMENT, 1) == made("c1", PAYMENT, 1)


def test_any_other_circumstance_gives_another_code() -> None:
    codes = [
        made(),
        made(challenge="c2"),
        made(counter=2),
        code_for(RING, "k2", "c1", None, 1, 8),
        made(payment=PAYMENT),
        made(payment=PAYMENT._replace(amount_minor=2000)),
        made(payment=PAYMENT._replace(currency="USD")),
        made(payment=PAYMENT._replace(payee="Acme Ltd")),
    ]
    assert len(set(codes)) == len(codes)


def test_fields_do_not_run_into_each_other() -> None:
    assert made(payment=Payment(1, "2EUR", "A")) != made(payment=Payment(12, "EUR", "A"))
    assert made(payment=Payment(1, "EUR", "A")) != made(payment=Payment(1, "EU", "RA"))
    assert made("c1", Payment(1, "EUR", "A")) != made("c11", Payment(1, "EUR", "A"))


def test_a_key_that_left_the_ring_makes_no_code() -> None:
    with pytest.raises(KeyRetired):
        code_for(RING, "k0", "c1", None, 1, 6)


@pytest.mark.parametrize(
    "said",
    [
        "012345",
        " 012345 ",
        "012 345",
        "012-345",
        "0-1-2 3 4 5",
        "012345\n",
        "\r\n012345\t",
        "012\u00a0345",
        "012\u202f345",
        "012\u3000345",
        "\u200b012345\ufeff",
        "\u2066012345\u2069",
        "012\u2013345",
        "012\u2212345",
        "012\u00ad345",
        "0\ufe0f\u20e312345",
        "٠١٢٣٤٥",
        "０１２３４５",
    ],
)
def test_what_is_the_code_but_for_what_typing_adds(said: str) -> None:
    assert matches(typed(said), "012345")


@pytest.mark.parametrize(
    "said",
    ["", "12345", "01234", "0123456", "012346", "0123450", "012.345", "0x12345", "٠١٢٣٤٦",
     "０１２３４", "012345\0", "9" * 10_000],
)  # fmt: skip
def test_what_is_not_the_code(said: str) -> None:
    assert not matches(typed(said), "012345")


def test_digits_of_every_script_are_digits() -> None:
    zeros = [
        char for char in map(chr, range(0x110000))
        if unicodedata.category(char) == "Nd" and unicodedata.decimal(char) == 0
    ]  # fmt: skip
    assert len(zeros) > 50
    for zero in zeros:
        assert matches(typed("".join(chr(ord(zero) + digit) for digit in range(6))), "012345")


OTHERS = "\u2053\u207b\u208b\u2212\u2043\u115f\u1160\u3164\uffa0\u2800"
"""The rest of Unicode's property Dash, a bullet, and what has no ink."""


@pytest.mark.slow
def test_no_invisible_character_makes_a_code_wrong() -> None:
    for char in map(chr, range(0x110000)):
        if (
            unicodedata.category(char) in ("Zs", "Zl", "Zp", "Cf", "Pd", "Mn", "Me")
            or char in OTHERS
        ):
            assert matches(typed(f"012{char}345"), "012345"), f"{ord(char):04x}"
