"""What payers read: the message for a claimed row."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from html import escape
from importlib import resources
from string import Template
from urllib.parse import urlsplit

from service.challenges.codes import code_for
from service.challenges.currencies import minor_units
from service.challenges.sealing import destination_of
from service.channels import Message
from service.channels.gsm7 import fitted, is_gsm7
from service.keyring import KeyRing
from service.storage.rows import Payment, SessionRow

_EMAIL = ("subject", "lead", "life", "warn")
_TEMPLATES = resources.files("service.delivery") / "templates"


class Composer:
    """Makes the message that carries a row's code."""

    def __init__(self, ring: KeyRing, code_digits: int) -> None:
        self._ring = ring
        self._digits = code_digits
        self._texts = tomllib.loads((_TEMPLATES / "texts.toml").read_text("utf-8"))
        self._html = Template((_TEMPLATES / "email.html").read_text("utf-8"))

    def compose(self, row: SessionRow) -> Message:
        """Makes the message of a claimed row.

        Raises:
            KeyRetired: The row's key has left the ring.
        """
        assert row.key_id and row.challenge_id  # as claimed
        code = code_for(
            self._ring, row.key_id, row.challenge_id, row.payment, row.code_counter, self._digits
        )
        recipient = destination_of(self._ring, row)
        language = row.locale.partition("-")[0].lower()
        language = language if language in self._texts else "en"
        texts: dict[str, str] = self._texts[language]
        is_sms = row.challenge_type == "sms"
        values = _values(row, code, language, texts, septets=is_sms)
        message_id = f"{row.challenge_id}-{row.claimed_at}"  # not `sends`: a restore turns it back
        if is_sms:
            text = fitted(_sms(texts["code"].format_map(values), row, code))
            return Message(message_id, recipient, text, expires_in=_seconds_left(row))
        texts = {name: texts[name].format_map(values) for name in _EMAIL}
        plain = f"{texts['lead']}\n\n    {code}\n\n{texts['life']}\n{texts['warn']}\n"
        escaped = {name: escape(text) for name, text in texts.items()}
        html = self._html.substitute(escaped, locale=language, code=code)
        return Message(
            message_id, recipient, plain, texts["subject"], html, expires_in=_seconds_left(row)
        )


def _seconds_left(row: SessionRow) -> int:
    """Returns how long the code can be used, to the nearest second: no longer than its session.

    A code of 10 minutes is a few milliseconds old when its message is made.
    """
    return (min(row.code_expires_at, row.expires_at) - row.now + 500) // 1000


def _values(
    row: SessionRow, code: str, language: str, texts: dict[str, str], *, septets: bool
) -> dict[str, str]:
    """Returns what the texts are filled with."""
    minutes, seconds = divmod(_seconds_left(row), 60)
    life = texts["minutes"].format(minutes) if minutes else texts["seconds"].format(seconds)
    values = {
        "merchant": row.merchant_name,
        "code": code,
        "time": life,
        "payment": "",
    }
    if row.payment is not None:
        amount = _amount(row.payment, language, septets=septets)
        values["payment"] = texts["payment"].format(amount=amount, payee=row.payment.payee)
    return values


def _sms(text: str, row: SessionRow, code: str) -> str:
    """Adds the line that binds the code to the page's host, for browsers that fill it in.

    The format is WICG's origin-bound one-time codes: the last line, `@host #code`. The page is the
    one that asked, or the session's first.
    """
    pages = map(urlsplit, (row.page_origin or "", *row.allowed_origins.split()))
    host = next((page.hostname for page in pages if page.scheme in ("https", "http")), None)
    if host is None:  # a native app's web view has no host of its own
        return text
    return f"{text}\n\n@{host} #{code}"


def _amount(payment: Payment, language: str, *, septets: bool = False) -> str:
    """Writes an amount with the minor units of ISO 4217, in the look of the payer's language.

    CLDR's own digits are how prices are usually shown: none for RSD, which has two. In septets, a
    currency whose sign GSM-7 lacks is written as its code: INR for ₹.
    """
    # Loaded only for bound challenges: its data takes memory. NBSP is not in GSM-7.
    from babel import Locale
    from babel.numbers import get_currency_symbol, parse_pattern

    exponent = minor_units(payment.currency)
    amount = Decimal(payment.amount_minor).scaleb(-exponent)
    locale = Locale.parse(language)
    look = locale.currency_formats["standard"].pattern
    if septets and not is_gsm7(get_currency_symbol(payment.currency, locale)):
        look = look.replace("¤", "¤¤")  # in CLDR's patterns: the code, not the sign
    pattern = parse_pattern(look)
    pattern.frac_prec = (exponent, exponent)
    text: str = pattern.apply(amount, locale, currency=payment.currency, currency_digits=False)
    return text.replace("\u00a0", " ").replace("\u202f", " ")
