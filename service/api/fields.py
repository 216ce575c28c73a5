"""Reads the fields that several requests have: what each must look like."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2

from service.api.bad_fields import BadFields
from service.challenges.currencies import minor_units
from service.channels.gsm7 import spelt
from service.errors import InvalidRequest
from service.storage.rows import Payment

_SESSION_ID = re.compile(r"cs_[A-Za-z0-9]{1,125}", re.ASCII)
_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]{0,31})://"
    r"(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])(?P<port>:[0-9]{1,5})?",
    re.ASCII,
)
_NO_ORIGINS = ("ftp", "file", "data", "javascript", "blob", "about")
_DEFAULT_PORTS = {"https": ":443", "http": ":80"}
# BCP 47, and its POSIX spelling: language, then script, region, variants and extensions.
_LOCALE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{1,8}){0,8}", re.ASCII)
# Zero-width joiners write Persian and Sinhala; every other format character can deceive.
_JOINERS = "\u200c\u200d"
_UNPRINTABLE = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
# A name may end like one (`name.tld`): merchants are called so. With more it is an address.
_ADDRESS = re.compile(
    r"//|\bwww\.|\S@\S|\S\.\w{2,}[/:?#]|\b\d{1,3}(?:\.\d{1,3}){3}\b"
    r"|\b(?:https?|ftp|tel|sms|mailto):\S",
    re.IGNORECASE,
)
_BLANK = "\u00a0\u115f\u1160\u2800\u3000\u3164\uffa0 " + _JOINERS
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{0,64}", re.ASCII)
_PAGE_TOKEN = re.compile(r"[0-9a-f]{1,15}", re.ASCII)
_PAGE_SIZE, _LARGEST_PAGE = 50, 100
_MAX_ORIGINS = 20


def session_id(text: str) -> str:
    """Checks a session id.

    Raises:
        InvalidRequest: It does not match `^cs_[A-Za-z0-9]+$`, or has over 128 characters.
    """
    if not _SESSION_ID.fullmatch(text):
        raise InvalidRequest("session_id", "must match ^cs_[A-Za-z0-9]+$, at most 128 characters")
    return text


def request_id(text: str) -> str:
    """Reads the id that a repeat is known by (AIP-155); empty for none.

    Raises:
        InvalidRequest: It has other characters, or more than 64.
    """
    if not _REQUEST_ID.fullmatch(text):
        raise InvalidRequest("request_id", "must be at most 64 characters of A-Za-z0-9._-")
    return text


def normal_origin(text: str) -> str | None:
    """Returns an origin without its scheme's default port; None for what is no origin.

    Web views of native apps have origins too, such as `capacitor://localhost`.
    """
    match = _ORIGIN.fullmatch(text)
    if match is None or match["scheme"] in _NO_ORIGINS:
        return None
    port = match["port"] or ""
    return text.removesuffix(port) if port == _DEFAULT_PORTS.get(match["scheme"]) else text


def origins(given: Sequence[str]) -> str:
    """Reads `allowed_origins`, separated by spaces.

    Raises:
        InvalidRequest: One is no origin, or there are too many.
    """
    bad = BadFields()
    bad.require(len(given) <= _MAX_ORIGINS, "allowed_origins", f"must be at most {_MAX_ORIGINS}")
    found = list(filter(None, map(normal_origin, given)))
    like = "must be like https://shop.example: scheme, host in lower case, port"
    bad.require(len(found) == len(given), "allowed_origins", like)
    bad.refuse()
    return " ".join(found)


def locale(text: str) -> str:
    """Reads `locale`; English where it is empty.

    Raises:
        InvalidRequest: It is no BCP 47 tag.
    """
    if not _LOCALE.fullmatch(text or "en"):
        raise InvalidRequest("locale", "must be a BCP 47 tag, such as en")
    return text.replace("_", "-") or "en"


def name(field: str, text: str) -> str:
    """Reads a name that payers see, in Unicode's composed form (NFC), as both spellings are one.

    Raises:
        InvalidRequest: It is empty, too long, an address, or has what cannot be printed.
    """
    text = unicodedata.normalize("NFC", text)
    printable = all(
        char in _JOINERS or unicodedata.category(char) not in _UNPRINTABLE for char in text
    )
    # A line break would end an SMS's text or a header early; bidi controls reorder what is read.
    if not (1 <= len(text) <= 64 and printable and text.strip(_BLANK)):
        raise InvalidRequest(field, "must be 1 to 64 printable characters")
    if _ADDRESS.search(text) or _ADDRESS.search(spelt(text)):  # an SMS may show it spelt
        raise InvalidRequest(field, "must not hold a web or email address")
    return text


def payment(given: admin_pb2.Payment) -> Payment:
    """Reads a payment.

    Raises:
        InvalidRequest: A field of it is malformed.
    """
    bad = BadFields()
    bad.require(given.amount_minor >= 0, "payment.amount_minor", "must be 0 or more")
    currency = bad.read(_currency, given.currency)
    payee = bad.read(name, "payment.payee", given.payee)
    bad.refuse()
    return Payment(given.amount_minor, currency, payee)


def page(request: admin_pb2.ListAttemptsRequest) -> tuple[int, int]:
    """Reads which page is wanted (AIP-158).

    Returns:
        The fence of the attempt that it follows, and how many there may be.

    Raises:
        InvalidRequest: The token is none of ours, or the size is negative.
    """
    bad = BadFields()
    bad.require(request.page_size >= 0, "page_size", "must be 0 or more")
    token = _PAGE_TOKEN.fullmatch(request.page_token or "0")
    bad.require(token, "page_token", "must be a next_page_token")
    bad.refuse()
    size = min(request.page_size or _PAGE_SIZE, _LARGEST_PAGE)
    return int(request.page_token or "0", 16), size


def page_token(fence: int) -> str:
    """Makes the token of the page that follows an attempt."""
    return f"{fence:x}"


def _currency(code: str) -> str:
    if not _CURRENCY.fullmatch(code):
        raise InvalidRequest("payment.currency", "must be an ISO 4217 code, such as EUR")
    try:
        minor_units(code)
    except ValueError:
        problem = "is not a currency of ISO 4217 with minor units"
        raise InvalidRequest("payment.currency", problem) from None
    return code
