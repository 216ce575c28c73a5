"""What is fuzzed: each target takes bytes, and lets through only what it must not raise."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import tempfile
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import jwt
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2
from govifi.challenge.v1 import challenge_pb2

from service import channels
from service.api import challenge_requests, fields, session_requests
from service.api.bad_fields import BadFields
from service.api.credentials import BrowserAccess, TokenVerifier
from service.api.jwks import KeySet
from service.challenges import destinations
from service.challenges.numbers import NumberRules
from service.channels.dsn import DSN
from service.channels.http import retry_after
from service.errors import (
    InvalidRequest,
    MissingCredential,
    SessionNotFound,
    TokenInvalid,
    TokenScopeMissing,
)
from service.keyring import KeyRing
from tests.harness.tokens import AUDIENCE, ISSUER, Issuer

_MESSAGES = [
    GetMessageClass(message)
    for file in (challenge_pb2.DESCRIPTOR, admin_pb2.DESCRIPTOR)
    for message in file.message_types_by_name.values()
]
_BETWEEN_FIELDS = "\0"
_SECRET = "cs_1_secret_" + "a" * 32
_DIRECTORY = tempfile.TemporaryDirectory(prefix="challenge-fuzz-")
_ISSUER = Issuer(Path(_DIRECTORY.name))
_RUNNER = asyncio.Runner()
_NETWORKED = tuple(f"{scheme}://" for scheme in channels.SCHEMES.keys() - {"inbox", "apprise+"})
"""Schemes of the channels that touch nothing until they deliver."""
_VALUES = ("user", "password", "from", "account", "scheme", "path", "secret")


class Target(NamedTuple):
    """A parser.

    Attributes:
        run: Parses bytes.
        seeds: Where to begin.
    """

    run: Callable[[bytes], None]
    seeds: tuple[str, ...]


class _NoSessions:
    async def read(self, _session_id: str) -> None:
        return None


_NUMBERS = NumberRules(("MOBILE", "FIXED_LINE_OR_MOBILE"), ())
_ACCESS = BrowserAccess(_NoSessions())  # type: ignore[arg-type]
_KEYS = KeySet(str(_ISSUER.jwks))
_RUNNER.run(_KEYS.load())
_VERIFIER = TokenVerifier(_KEYS, ISSUER, AUDIENCE)


def text_of(data: bytes) -> str:
    """Any bytes as a text that a protobuf string can hold."""
    return data.decode("utf-8", "replace")


def fields_of(data: bytes, count: int) -> list[str]:
    """Any bytes as so many texts."""
    found = text_of(data).split(_BETWEEN_FIELDS, count - 1)
    return found + [""] * (count - len(found))


def number_of(text: str, bits: int) -> int:
    """Any text as a signed number that a field of so many bits can hold."""
    with contextlib.suppress(ValueError):
        return max(-(2 ** (bits - 1)), min(int(text), 2 ** (bits - 1) - 1))
    return len(text)


def session_id(data: bytes) -> None:
    with contextlib.suppress(InvalidRequest):
        request = challenge_pb2.SendRequest(session_id=text_of(data))
        BadFields.of(request).refuse()
        assert request.session_id.startswith("cs_")


def new_session(data: bytes) -> None:
    ident, account, secret, scope, origin, locale, name, seconds, nanos = fields_of(data, 9)
    request = admin_pb2.OpenSessionRequest(
        session_id=ident, account_uid=account, client_secret_sha256=secret.encode()[:32],
        scope=number_of(scope, 32), allowed_origins=origin.split("\x01") if origin else [],
        locale=locale, merchant_display_name=name,
        expires_in=Duration(seconds=number_of(seconds, 64), nanos=number_of(nanos, 32)),
    )  # fmt: skip
    with contextlib.suppress(InvalidRequest):
        BadFields.of(request).refuse()
        session = session_requests.new_session(request)
        assert session.lifetime_ms > 0
        origins = [fields.normal_origin(origin) for origin in request.allowed_origins]
        assert session.allowed_origins.split() == origins


def changes(data: bytes) -> None:
    mask, locale, name, seconds, nanos = fields_of(data, 5)
    request = admin_pb2.UpdateSessionRequest(
        session_id="cs_1", locale=locale, merchant_display_name=name,
        expire_time=Timestamp(seconds=number_of(seconds, 64), nanos=number_of(nanos, 32)),
        update_mask=FieldMask(paths=mask.split(",")),
    )  # fmt: skip
    with contextlib.suppress(InvalidRequest):
        named = session_requests.only_masked(request)
        BadFields.of(named).refuse()
        assert any(part is not None for part in session_requests.changes(named))


def payment(data: bytes) -> None:
    amount, currency, payee = fields_of(data, 3)
    bound = admin_pb2.Payment(amount_minor=number_of(amount, 64), currency=currency, payee=payee)
    with contextlib.suppress(InvalidRequest):
        BadFields.of(bound).refuse()
        assert challenge_requests.payment(admin_pb2.IssueChallengeRequest(payment=bound))


def page(data: bytes) -> None:
    size, token = fields_of(data, 2)
    request = admin_pb2.ListAttemptsRequest(page_size=number_of(size, 32), page_token=token)
    with contextlib.suppress(InvalidRequest):
        request.session_id = "cs_1"
        BadFields.of(request).refuse()
        follows, most = fields.page(request)
        assert 0 <= follows < 2**63
        assert 1 <= most <= 100


def site_key(data: bytes) -> None:
    with contextlib.suppress(InvalidRequest):
        captcha = admin_pb2.Captcha(site_key=text_of(data))
        BadFields.of(captcha).refuse()
        assert captcha.site_key.isascii()


def rules(data: bytes) -> None:
    for message in _MESSAGES:
        with contextlib.suppress(DecodeError, InvalidRequest):
            BadFields.of(message.FromString(data)).refuse()


def phone(data: bytes) -> None:
    with contextlib.suppress(InvalidRequest):
        number = destinations.normal_phone(text_of(data), _NUMBERS)
        assert destinations.normal_phone(number, _NUMBERS) == number
        assert len(destinations.masked_phone(number)) <= 6


def address(data: bytes) -> None:
    with contextlib.suppress(InvalidRequest):
        normal = destinations.normal_address(text_of(data))
        assert destinations.normal_address(normal) == normal
        assert destinations.masked_address(normal).endswith(normal[normal.rindex("@") :])


def bearer(data: bytes) -> None:
    authorization, origin = fields_of(data, 2)
    metadata = [("authorization", authorization), ("origin", origin)]
    with contextlib.suppress(MissingCredential, SessionNotFound):
        _RUNNER.run(_ACCESS.admit("cs_1", metadata))
        raise AssertionError("there is no session to be let through to")


def token(data: bytes) -> None:
    with contextlib.suppress(TokenInvalid, TokenScopeMissing):
        _RUNNER.run(_VERIFIER.verify([("authorization", f"Bearer {text_of(data)}")]))


def token_header(data: bytes) -> None:
    _verify(f"{urlsafe_b64encode(data).decode().rstrip('=')}.e30.AAAA")


def claims(data: bytes) -> None:
    _verify(jwt.PyJWS().encode(data, _ISSUER.key, "ES256", {"kid": "test"}))


def _verify(encoded: str) -> None:
    with contextlib.suppress(TokenInvalid, TokenScopeMissing):
        _RUNNER.run(_VERIFIER.verify([("authorization", f"Bearer {encoded}")]))


def jwks(data: bytes) -> None:
    path = Path(_DIRECTORY.name) / "fuzzed.json"
    path.write_bytes(data)
    with contextlib.suppress(OSError, httpx.HTTPError, ValueError, jwt.PyJWTError):
        _RUNNER.run(KeySet(str(path)).load())


def dsn(data: bytes) -> None:
    with contextlib.suppress(channels.BadDSN):
        found = DSN(text_of(data), takes=_VALUES)
        assert found.host
        assert all(found.values.values())


def channel(data: bytes) -> None:
    text = text_of(data)
    if text.startswith(_NETWORKED) and "," not in text:
        with contextlib.suppress(channels.BadDSN):
            for kind in ("sms", "email"):
                for connected in channels.Channels().connect(kind, text):
                    _RUNNER.run(connected.close())


def wait(data: bytes) -> None:
    seconds = retry_after(data.decode("latin-1"))
    assert seconds is None or (math.isfinite(seconds) and 0 <= seconds <= 600)


def keys(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        KeyRing.parse(text_of(data))


def _session(**changes: str) -> str:
    values = {
        "id": "cs_1", "account": "acct_1", "secret": "a" * 32, "scope": "1",
        "origin": "https://shop.example", "locale": "en-GB", "name": "Acme", "seconds": "60",
        "nanos": "0",
    }  # fmt: skip
    return _BETWEEN_FIELDS.join({**values, **changes}.values())


def _claims(**changes: Any) -> str:
    return json.dumps(_ISSUER.claims(**changes))


_JWKS = _ISSUER.jwks.read_text("utf-8")
_DEEP = '{"a":' * 1200

TARGETS: dict[str, Target] = {
    "session_id": Target(session_id, ("cs_1", "cs_", "cs_a\n")),
    "new_session": Target(
        new_session,
        (
            _session(),
            _session(origin="https://a.example\x01http://b:80", seconds=str(2**63), nanos="-1"),
            _session(scope="2", name="\u2028", locale="sr-Latn-RS"),
        ),
    ),
    "changes": Target(
        changes,
        ("locale,expire_time\0de\0\x002000000000\x000", "merchant_display_name\0\0a\0\0", "*"),
    ),
    "payment": Target(payment, ("1999\0EUR\0Acme", "-1\0eur\0\n")),
    "page": Target(page, ("50\x00ff", "-1\0", "0\0fffffffffffffff")),
    "rules": Target(rules, ("\n\x04cs_1", "\n\x04cs_12\x04acct", "\x12\x00\x1a\x00")),
    "site_key": Target(site_key, ("10000000-ffff-ffff-ffff-000000000001", " ")),
    "phone": Target(phone, ("+14155550123", "+44 20 7946 0018;ext=1", "+1-800-FLOWERS", "+٤٩٣٠")),
    "address": Target(
        address, ("jane@example.com", '"a b"@example.com', "é@[127.0.0.1]", "a@xn--p1ai", "a@b@c")
    ),
    "bearer": Target(
        bearer, (f"Bearer {_SECRET}\0https://shop.example", "Basic YTpi\0null", "bearer  x\0")
    ),
    "token": Target(token, (_ISSUER.token(), _ISSUER.token(scope="other"), "a.b.c")),
    "token_header": Target(
        token_header, ('{"alg":"ES256","kid":"test"}', '{"alg":"none","kid":[]}', "[]", _DEEP)
    ),
    "claims": Target(
        claims,
        (
            _claims(),
            _claims(exp="soon", nbf=None, scope=[], account_uid=1, aud=[1]),
            _claims(exp=[], iat={}, nbf="x", iss=[]),
            _claims(exp=float("inf")),
            _DEEP,
            "[]",
        ),
    ),
    "jwks": Target(
        jwks,
        (
            _JWKS,
            '{"keys":[{"kty":"oct","k":"AAAA","kid":"a"}]}',
            '{"keys":[1,null,{"kty":"RSA","n":"AQ","e":1}]}',
            '{"keys":{"kty":[]}}',
            _DEEP,
        ),
    ),
    "dsn": Target(
        dsn,
        (
            "twilio://SID:TOKEN@api.twilio.com:443?from=%2B14155550100&account=AC1",
            "smtp://[::1]:25/path#x",
            "smtps://a@[v1.x]:99999?from=%00",
        ),
    ),
    "channel": Target(
        channel,
        (
            "smtp://user:password@host:587?from=codes@example.com",
            "twilio://SID:TOKEN@127.0.0.1:1?from=%2B14155550100&scheme=http",
            "vonage://KEY:SECRET@127.0.0.1:1?from=Acme&scheme=http",
            "sns://KEY:SECRET@sns.eu-west-1.amazonaws.com?region=eu-west-1",
            "webhook://127.0.0.1:1/path?scheme=http&secret=whsec_" + "A" * 32,
        ),
    ),
    "wait": Target(
        wait, ("120", "Wed, 21 Oct 2015 07:28:00 GMT", "9" * 400, "Fri, 31 Dec 9999 23:59:59 -9999")
    ),
    "keys": Target(keys, ("k1:" + "A" * 43 + "=", "k1:A,k1:", "k:é")),
}  # fmt: skip
