"""What payers read."""

from __future__ import annotations

import re

import pytest

from service.challenges.codes import code_for
from service.channels import Message
from service.delivery.messages import Composer
from service.keyring import KeyRetired, KeyRing
from service.storage.rows import Payment, SessionRow

RING = KeyRing({"k1": bytes(range(32))})
NOW = 1_700_000_000_000
MERCHANT = "Müller & Söhne, Köln"  # 20 characters
EUROS = Payment(1999, "EUR", "Acme")
GSM_7 = set(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
"""3GPP TS 23.038, default alphabet."""
GSM_7_EXTENSION = set("\f^{}\\[~]|€")
"""Its extension: two septets each."""
_ROW = SessionRow(*[None] * len(SessionRow._fields))._replace(  # type: ignore[arg-type]
    challenge_id="c1", key_id="k1", code_counter=1, claimed_at=NOW, now=NOW
)


def septets(text: str) -> int:
    """Counts the septets of an SMS, which must not need UCS-2."""
    assert set(text) <= GSM_7 | GSM_7_EXTENSION
    return len(text) + sum(character in GSM_7_EXTENSION for character in text)


def composed(
    kind: str = "sms",
    digits: int = 6,
    payment: Payment | None = None,
    origins: str = "https://shop.example",
    page: str | None = None,
    locale: str = "en",
    merchant: str = MERCHANT,
    minutes_left: float = 10,
    session_minutes_left: float = 30,
) -> Message:
    """Composes the message of a row as claimed."""
    recipient = "+14155550123" if kind == "sms" else "jane@example.com"
    row = _ROW._replace(
        allowed_origins=origins, page_origin=page, locale=locale, merchant_name=merchant,
        expires_at=NOW + int(session_minutes_left * 60_000), challenge_type=kind,
        destination=RING.encrypt("k1", recipient, "c1"),
        amount_minor=payment and payment.amount_minor,
        currency=payment and payment.currency, payee=payment and payment.payee,
        code_expires_at=NOW + int(minutes_left * 60_000),
    )  # fmt: skip
    return Composer(RING, digits).compose(row)


def the_code(payment: Payment | None = None, digits: int = 6) -> str:
    return code_for(RING, "k1", "c1", payment, 1, digits)


def test_an_sms_reads_like_this() -> None:
    assert composed(merchant="Acme").text == (
        f"Acme: {the_code()} is your code. Valid for 10 min.\n\n@shop.example #{the_code()}"
    )


def test_an_sms_goes_to_the_number() -> None:
    message = composed()
    assert (message.recipient, message.subject, message.html) == ("+14155550123", None, None)


@pytest.mark.parametrize("digits", [6, 7, 8])
def test_an_sms_in_english_is_one_segment_of_gsm_7(digits: int) -> None:
    text = composed(digits=digits, origins="https://checkout.shop.example:8443").text
    assert septets(text) <= 160


@pytest.mark.parametrize("locale", ["en", "de", "es", "fr"])
def test_an_sms_bound_to_a_payment_is_one_segment_of_gsm_7(locale: str) -> None:
    text = composed(payment=Payment(1_234_567, "EUR", MERCHANT), locale=locale).text
    assert septets(text) <= 160


@pytest.mark.parametrize("digits", [6, 7, 8])
def test_an_sms_ends_in_the_line_that_binds_it_to_its_origin(digits: int) -> None:
    origins = "https://pay.shop.example:8443 https://other.example"
    last = composed(digits=digits, origins=origins).text.splitlines()[-1]
    assert last == f"@pay.shop.example #{the_code(digits=digits)}"


@pytest.mark.parametrize(
    ("page", "host"),
    [
        (None, "pay.shop.example"),
        ("https://other.example:8443", "other.example"),
        ("https://pay.shop.example", "pay.shop.example"),
        ("http://localhost:3000", "localhost"),
        ("capacitor://localhost", "pay.shop.example"),  # a native app's web view has no host
    ],
)
def test_an_sms_is_bound_to_the_page_that_asked(page: str | None, host: str) -> None:
    origins = f"capacitor://localhost https://pay.shop.example {page or ''}"
    last = composed(origins=origins, page=page).text.splitlines()[-1]
    assert last == f"@{host} #{the_code()}"


def test_an_sms_without_an_origin_has_no_such_line() -> None:
    assert "@" not in composed(origins="").text


def test_an_email_reads_like_this() -> None:
    message = composed("email", merchant="Acme")
    assert message.recipient == "jane@example.com"
    assert message.subject == f"{the_code()} is your code for Acme"
    assert message.text == (
        "Enter this code to continue at Acme:\n\n"
        f"    {the_code()}\n\n"
        "It is valid for 10 min and can be used once.\n"
        "Nobody will ever ask you for it. If you did not expect this message, ignore it.\n"
    )


def test_an_email_shows_the_code_in_its_html_too() -> None:
    html = composed("email").html
    assert html is not None
    assert f">{the_code()}<" in html
    assert '<html lang="en">' in html


def test_names_are_escaped_in_html() -> None:
    payment = Payment(1, "EUR", "<b>Payee</b>")
    html = composed("email", merchant="<i>Shop</i>", payment=payment).html
    assert html is not None
    assert "<i>" not in html
    assert "<b>" not in html
    assert "&lt;i&gt;Shop" in html


@pytest.mark.parametrize("kind", ["sms", "email"])
@pytest.mark.parametrize(
    ("locale", "amount"),
    [("en", "€19.99"), ("de", "19,99 €"), ("es", "19,99 €"), ("fr", "19,99 €")],
)
def test_a_bound_message_shows_amount_and_payee(kind: str, locale: str, amount: str) -> None:
    text = composed(kind, payment=EUROS, locale=locale).text
    assert f"{amount} " in text
    assert "Acme" in text
    assert the_code(EUROS) in text


@pytest.mark.parametrize(
    ("payment", "amount"),
    [
        (Payment(0, "USD", "Acme"), "$0.00"),
        (Payment(5, "USD", "Acme"), "$0.05"),
        (Payment(123_456, "USD", "Acme"), "$1,234.56"),
        (Payment(1999, "JPY", "Acme"), "¥1,999"),
        (Payment(1999, "KWD", "Acme"), "KWD1.999"),
        (Payment(2**63 - 1, "USD", "Acme"), "$92,233,720,368,547,758.07"),
    ],
)
def test_an_amount_has_the_decimals_of_its_currency(payment: Payment, amount: str) -> None:
    assert f"to pay {amount} to Acme" in composed(payment=payment).text


@pytest.mark.parametrize(
    ("minutes_left", "shown"), [(10, "10 min"), (9.99, "9 min"), (1, "1 min"), (0.75, "45 s")]
)
def test_a_resent_code_shows_the_life_it_has_left(minutes_left: float, shown: str) -> None:
    assert f"Valid for {shown}." in composed(minutes_left=minutes_left).text
    assert composed(minutes_left=minutes_left).expires_in == int(minutes_left * 60)


@pytest.mark.parametrize("kind", ["sms", "email"])
@pytest.mark.parametrize("locale", ["en", "de", "es", "fr"])
def test_no_message_promises_more_than_its_session_has_left(kind: str, locale: str) -> None:
    message = composed(kind, locale=locale, session_minutes_left=2.5)
    assert re.search(r"\b2 min", message.text, re.IGNORECASE)
    assert message.expires_in == 150
    assert re.search(
        r"\b30 s", composed(kind, locale=locale, session_minutes_left=0.5).text, re.IGNORECASE
    )


@pytest.mark.parametrize(
    ("locale", "word"),
    [
        ("en", "is your code"),
        ("en-GB", "is your code"),
        ("de", "ist Ihr Code"),
        ("de-AT", "ist Ihr Code"),
        ("DE", "ist Ihr Code"),
        ("es", "es su clave"),
        ("fr", "est votre code"),
        ("ja", "is your code"),
        ("zh-Hant-TW", "is your code"),
    ],
)
def test_the_language_is_the_sessions_or_english(locale: str, word: str) -> None:
    assert word in composed(locale=locale).text


def test_braces_in_names_are_only_braces() -> None:
    text = composed(merchant="{code} {0}", payment=Payment(1, "EUR", "{merchant}")).text
    assert text.startswith("{code} {0}: ")
    assert "to {merchant}." in text


def test_the_id_tells_dispatches_apart_and_holds_no_code() -> None:
    assert composed().id == "c1-1700000000000"


def test_a_row_under_a_retired_key_makes_no_message() -> None:
    with pytest.raises(KeyRetired):
        Composer(KeyRing({"k2": bytes(32)}), 6).compose(
            SessionRow(
                **{name: None for name in SessionRow._fields}  # type: ignore[arg-type]
            )._replace(key_id="k1", challenge_id="c1", destination=b"", code_counter=1)
        )
