"""Texts that fit GSM-7: over Unicode's Latin letters, all currencies, and merchants' names."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from iso4217 import Currency

from service.channels.gsm7 import fitted, is_gsm7, segments
from service.storage.rows import Payment
from tests.delivery.test_messages import GSM_7, GSM_7_EXTENSION, composed, septets

CURRENCIES = [currency.code for currency in Currency if currency.exponent is not None]
LANGUAGES = ("en", "de", "es", "fr")
NAMES = (
    "Acme", "Café Zoë", "Łódzka Księgarnia", "Škoda Plzeň", "Çiğdem’in Çarşısı",
    "L’Œuvre – Crêperie", "Dvořák & Söhne", "Nº 1 Tapas “España”", "Đức Thịnh Co.", "Þór ehf.",
)  # fmt: skip
LINE = "\n\n@shop.example #123456"


def test_the_alphabet_is_that_of_the_standard() -> None:
    of_bmp = {char for char in map(chr, range(0x10000)) if is_gsm7(char)}
    assert of_bmp == GSM_7 | GSM_7_EXTENSION
    assert len(of_bmp) == 127 + 10  # all but the escape itself


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("€" * 80, 1),
        ("€" * 80 + "a", 2),
        ("ë" * 70, 1),
        ("ë" * 71, 2),
        ("ë" * 134, 2),
        ("ë" * 135, 3),
        ("🍕" * 35, 1),
        ("🍕" * 36, 2),
    ],
)
def test_segments_are_counted_as_they_are_billed(text: str, count: int) -> None:
    assert segments(text) == count


@pytest.mark.parametrize(
    ("name", "spelt"),
    [
        ("Café Zoë", "Café Zoe"),
        ("Zoe\u0308", "Zoe"),
        ("Cafe\u0301 Zoë", "Café Zoe"),
        ("Łódź", "Lodz"),
        ("Çarşı", "Çarsi"),
        ("L’Œuvre – “Été”…", 'L\'Oeuvre - "Été"...'),
        ("Acme™ Co\u00a0Ltd", "AcmeTM Co Ltd"),
        ("a`b", "a'b"),
    ],
)
def test_what_gsm_7_lacks_is_spelt_where_that_keeps_one_segment(name: str, spelt: str) -> None:
    filler = "x" * 60
    assert fitted(name + filler + LINE) == spelt + filler + LINE
    assert segments(spelt + filler + LINE) == 1


@pytest.mark.parametrize(
    "name", ["日本語", "Ελλάδα", "Москва", "नमस्ते", "متجر", "Pizza 🍕", "Coffee ☕", "Zoë 東京"]
)
def test_other_scripts_and_emoji_stay_as_they_are(name: str) -> None:
    assert fitted(name + "x" * 60 + LINE) == name + "x" * 60 + LINE


def test_nothing_is_changed_where_that_saves_nothing() -> None:
    short = "Zoë: 123456"
    assert fitted(short) == short


def test_every_latin_letter_has_a_spelling() -> None:
    every = map(chr, range(0x80, sys.maxunicode + 1))
    letters = [
        char for char in every
        if unicodedata.category(char)[0] == "L" and "LATIN" in unicodedata.name(char, "")
    ]  # fmt: skip
    assert len(letters) > 500
    left = [char for char in letters if not is_gsm7(fitted(char + "x" * 100))]
    assert left == []


@given(text=st.text(max_size=200))
def test_a_text_never_takes_more_segments_and_is_changed_to_gsm_7_only(text: str) -> None:
    result = fitted(text)
    assert segments(result) <= segments(text)
    assert result == text or is_gsm7(result)


@pytest.mark.parametrize("locale", LANGUAGES)
def test_every_currency_and_typical_names_fit_one_segment(locale: str) -> None:
    assert len(CURRENCIES) >= 165
    for number, currency in enumerate(CURRENCIES):
        name = NAMES[number % len(NAMES)]
        payment = Payment(1_234_567, currency, name)
        text = composed(payment=payment, locale=locale, merchant=name).text
        assert septets(text) <= 160, (currency, name, text)


@pytest.mark.parametrize("locale", LANGUAGES)
@pytest.mark.parametrize("name", NAMES)
def test_every_name_fits_one_segment(locale: str, name: str) -> None:
    rupees = Payment(123_456_789, "INR", name)
    text = composed(payment=rupees, locale=locale, merchant=name).text
    assert septets(text) <= 160, text
    assert "INR" in text


def test_an_email_keeps_names_and_signs() -> None:
    rupees = Payment(199_900, "INR", "Café Zoë")
    text = composed("email", payment=rupees, merchant="Łódź").text
    assert "₹1,999.00" in text
    assert "Café Zoë" in text
    assert "Łódź" in text
