"""Reads requests into values of the domain: what each field must look like."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from google.protobuf.duration_pb2 import Duration
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2
from govifi.challenge.v1 import challenge_pb2

from service.api.bad_fields import BadFields
from service.challenges.currencies import minor_units
from service.challenges.destinations import normal_address, normal_phone
from service.challenges.judging import Response
from service.challenges.numbers import NumberRules
from service.challenges.verifying import Question
from service.channels.gsm7 import spelt
from service.errors import InvalidRequest
from service.storage.rows import NewSession, Payment

_SESSION_ID = re.compile(r"cs_[A-Za-z0-9]{1,125}", re.ASCII)
_ACCOUNT_UID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
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
_ADDRESS = re.compile(r"://|\bwww\.|\S@\S|\S\.\w{2,}/", re.IGNORECASE)
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)
_SITE_KEY = re.compile(r"[!-~]{1,128}", re.ASCII)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{0,64}", re.ASCII)
_PAGE_TOKEN = re.compile(r"[0-9a-f]{1,15}", re.ASCII)
_PAGE_SIZE, _LARGEST_PAGE = 50, 100
_MAX_ORIGINS = 20
_DEFAULT_LIFE_SECONDS, _LONGEST_LIFE_SECONDS = 30 * 60, 24 * 3600
CAPTCHAS = ("hcaptcha", "turnstile")
"""Challenge types that are met in a widget."""
_SCOPES = {
    admin_pb2.OpenSessionRequest.SCOPE_UNSPECIFIED: "payment",
    admin_pb2.OpenSessionRequest.SCOPE_PAYMENT: "payment",
    admin_pb2.OpenSessionRequest.SCOPE_WALLET: "wallet",
}


def session_id(text: str) -> str:
    """Checks a session id.

    Raises:
        InvalidRequest: It does not match `^cs_[A-Za-z0-9]+$`, or has over 128 characters.
    """
    if not _SESSION_ID.fullmatch(text):
        raise InvalidRequest("session_id", "must match ^cs_[A-Za-z0-9]+$, at most 128 characters")
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


def new_session(request: admin_pb2.OpenSessionRequest) -> NewSession:
    """Reads what an owner registers.

    Raises:
        InvalidRequest: A field is malformed.
    """
    bad = BadFields()
    known_form = bad.read(session_id, request.session_id)
    account = _ACCOUNT_UID.fullmatch(request.account_uid)
    bad.require(account, "account_uid", "must be 1 to 64 characters of A-Za-z0-9_-")
    secret = request.client_secret_sha256
    bad.require(len(secret) == 32, "client_secret_sha256", "must be 32 bytes")
    bad.require(request.scope in _SCOPES, "scope", "is not known")
    origins = bad.read(_origins, request.allowed_origins)
    language = _LOCALE.fullmatch(request.locale or "en")
    bad.require(language, "locale", "must be a BCP 47 tag, such as en")
    merchant = bad.read(_name, "merchant_display_name", request.merchant_display_name)
    life = bad.read(_life_ms, request.expires_in if request.HasField("expires_in") else None)
    bad.refuse()
    return NewSession(
        session_id=known_form,
        account_uid=request.account_uid,
        secret_sha256=secret,
        scope=_SCOPES[request.scope],
        allowed_origins=origins,
        locale=request.locale.replace("_", "-") or "en",
        merchant_name=merchant,
        lifetime_ms=life,
        challenge_expected=request.challenge_expected,
    )


class Method(NamedTuple):
    """How a payer is to prove it.

    Attributes:
        kind: The challenge's type.
        value: Its site key, or its destination in normal form.
    """

    kind: str
    value: str


def method(request: admin_pb2.IssueChallengeRequest, numbers: NumberRules) -> Method:
    """Reads which challenge is to be issued.

    Raises:
        InvalidRequest: None is, or it is malformed, or cannot be bound to a payment.
    """
    kind = request.WhichOneof("method")
    if kind == "sms":
        return Method(kind, normal_phone(request.sms.phone_number, numbers))
    if kind == "email":
        return Method(kind, normal_address(request.email.address))
    if kind not in CAPTCHAS:
        raise InvalidRequest("method", "must be hcaptcha, turnstile, sms or email")
    bad = BadFields()
    key = bad.read(site_key, getattr(request, kind), kind)
    free = not request.HasField("payment")
    bad.require(free, "payment", "binds codes only: issue sms or email")
    bad.refuse()
    return Method(kind, key)


def site_key(captcha: admin_pb2.Captcha, field: str) -> str:
    """Reads a captcha's public key.

    Raises:
        InvalidRequest: It is not 1 to 128 printable ASCII characters.
    """
    if not _SITE_KEY.fullmatch(captcha.site_key):
        raise InvalidRequest(f"{field}.site_key", "must be 1 to 128 printable ASCII characters")
    return captcha.site_key


def payment(
    request: admin_pb2.IssueChallengeRequest | admin_pb2.VerifyChallengeRequest,
) -> Payment | None:
    """Reads the payment that a code is bound to, if there is one.

    Raises:
        InvalidRequest: A field of it is malformed.
    """
    if not request.HasField("payment"):
        return None
    given = request.payment
    bad = BadFields()
    bad.require(given.amount_minor >= 0, "payment.amount_minor", "must be 0 or more")
    currency = bad.read(_currency, given.currency)
    payee = bad.read(_name, "payment.payee", given.payee)
    bad.refuse()
    return Payment(given.amount_minor, currency, payee)


def question(request: admin_pb2.VerifyChallengeRequest) -> Question:
    """Reads what a caller asks before a payment. The response is for Verify to judge.

    Raises:
        InvalidRequest: A field is malformed.
    """
    bad = BadFields()
    paid = bad.read(payment, request)
    repeat = bad.read(request_id, request.request_id)
    known = request.type in challenge_pb2.Challenge.Type.values()
    bad.require(known, "type", "is not known")
    address = bad.read(_ip_address, request.remote_ip)
    bad.refuse()
    return Question(_response(request), paid, repeat, address)


def _response(request: admin_pb2.VerifyChallengeRequest) -> Response | None:
    kind = request.WhichOneof("response")
    if kind is None:
        return None
    named = challenge_pb2.Challenge.Type.Name(request.type) if request.type else kind
    return Response(named, request.code if kind == "code" else request.token)


def request_id(text: str) -> str:
    """Reads the id that a repeat is known by (AIP-155); empty for none.

    Raises:
        InvalidRequest: It has other characters, or more than 64.
    """
    if not _REQUEST_ID.fullmatch(text):
        raise InvalidRequest("request_id", "must be at most 64 characters of A-Za-z0-9._-")
    return text


def _ip_address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text)) if text else ""
    except ValueError:
        raise InvalidRequest("remote_ip", "must be an IPv4 or IPv6 address") from None


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


def _origins(given: Sequence[str]) -> str:
    bad = BadFields()
    bad.require(len(given) <= _MAX_ORIGINS, "allowed_origins", f"must be at most {_MAX_ORIGINS}")
    origins = list(filter(None, map(normal_origin, given)))
    like = "must be like https://shop.example: scheme, host in lower case, port"
    bad.require(len(origins) == len(given), "allowed_origins", like)
    bad.refuse()
    return " ".join(origins)


def _currency(code: str) -> str:
    if not _CURRENCY.fullmatch(code):
        raise InvalidRequest("payment.currency", "must be an ISO 4217 code, such as EUR")
    try:
        minor_units(code)
    except ValueError:
        problem = "is not a currency of ISO 4217 with minor units"
        raise InvalidRequest("payment.currency", problem) from None
    return code


def _name(field: str, text: str) -> str:
    """Reads a name that payers see, in Unicode's composed form (NFC), as both spellings are one."""
    text = unicodedata.normalize("NFC", text)
    printable = all(
        char in _JOINERS or unicodedata.category(char) not in _UNPRINTABLE for char in text
    )
    # A line break would end an SMS's text or a header early; bidi controls reorder what is read.
    if not (1 <= len(text) <= 64 and printable and text.strip(_JOINERS + "\u00a0\u3000 ")):
        raise InvalidRequest(field, "must be 1 to 64 printable characters")
    if _ADDRESS.search(text) or _ADDRESS.search(spelt(text)):  # an SMS may show it spelt
        raise InvalidRequest(field, "must not hold a web or email address")
    return text


def _life_ms(life: Duration | None) -> int:
    if life is None:
        return _DEFAULT_LIFE_SECONDS * 1000
    if not 1 <= life.seconds <= _LONGEST_LIFE_SECONDS or life.nanos < 0:
        raise InvalidRequest("expires_in", f"must be 1 to {_LONGEST_LIFE_SECONDS} seconds")
    return life.seconds * 1000
