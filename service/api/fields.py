"""Reads single fields of requests, whose form the rules of `proto/` have seen to."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2

from service.api.bad_fields import BadFields
from service.challenges.currencies import minor_units
from service.channels.gsm7 import spelt
from service.errors import InvalidRequest
from service.storage.rows import Payment

_DEFAULT_PORTS = {"https": ":443", "http": ":80"}
# A name may end like one (`name.tld`): merchants are called so. With more it is an address.
_ADDRESS = re.compile(
    r"//|\bwww\.|\S@\S|\S\.\w{2,}[/:?#]|\b\d{1,3}(?:\.\d{1,3}){3}\b"
    r"|\b(?:https?|ftp|tel|sms|mailto):\S",
    re.IGNORECASE,
)
_PAGE_SIZE, _LARGEST_PAGE = 50, 100


def normal_origin(origin: str) -> str:
    """Returns an origin without its scheme's default port."""
    return origin.removesuffix(_DEFAULT_PORTS.get(origin.partition("://")[0], ""))


def origins(given: Iterable[str]) -> str:
    """Reads `allowed_origins`, separated by spaces."""
    return " ".join(map(normal_origin, given))


def locale(text: str) -> str:
    """Reads `locale`, a BCP 47 tag or its POSIX spelling; English where it is empty."""
    return text.replace("_", "-") or "en"


def name(field: str, text: str) -> str:
    """Reads a name that payers see, in Unicode's composed form (NFC), as both spellings are one.

    Raises:
        InvalidRequest: So composed it is too long, or an SMS would show it as an address.
    """
    text = unicodedata.normalize("NFC", text)
    if len(text) > 64:
        raise InvalidRequest(field, "must be 1 to 64 printable characters")
    if _ADDRESS.search(spelt(text)):
        raise InvalidRequest(field, "must not hold a web or email address")
    return text


def payment(given: admin_pb2.Payment) -> Payment:
    """Reads a payment.

    Raises:
        InvalidRequest: There is no such currency, or its payee's name cannot be shown.
    """
    bad = BadFields()
    currency = bad.read(_currency, given.currency)
    payee = bad.read(name, "payment.payee", given.payee)
    bad.refuse()
    return Payment(given.amount_minor, currency, payee)


def page(request: admin_pb2.ListAttemptsRequest) -> tuple[int, int]:
    """Reads which page is wanted (AIP-158).

    Returns:
        The fence of the attempt that it follows, and how many there may be.
    """
    size = min(request.page_size or _PAGE_SIZE, _LARGEST_PAGE)
    return int(request.page_token or "0", 16), size


def page_token(fence: int) -> str:
    """Makes the token of the page that follows an attempt."""
    return f"{fence:x}"


def _currency(code: str) -> str:
    try:
        minor_units(code)
    except ValueError:
        problem = "is not a currency of ISO 4217 with minor units"
        raise InvalidRequest("payment.currency", problem) from None
    return code
