"""Reads what an owner says of a session: OpenSession and UpdateSession."""

from __future__ import annotations

import re
from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2

from service.api import fields
from service.api.bad_fields import BadFields
from service.errors import InvalidRequest
from service.storage.rows import NewSession, SessionChanges

_ACCOUNT_UID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_DEFAULT_LIFE_SECONDS, _LONGEST_LIFE_SECONDS = 30 * 60, 24 * 3600
_SCOPES = {
    admin_pb2.OpenSessionRequest.SCOPE_UNSPECIFIED: "payment",
    admin_pb2.OpenSessionRequest.SCOPE_PAYMENT: "payment",
    admin_pb2.OpenSessionRequest.SCOPE_WALLET: "wallet",
}
_CHANGEABLE = (
    "allowed_origins", "expire_time", "expires_in", "locale", "merchant_display_name", "payment",
)  # fmt: skip


def new_session(request: admin_pb2.OpenSessionRequest) -> NewSession:
    """Reads what an owner registers.

    Raises:
        InvalidRequest: A field is malformed.
    """
    bad = BadFields()
    known_form = bad.read(fields.session_id, request.session_id)
    account = _ACCOUNT_UID.fullmatch(request.account_uid)
    bad.require(account, "account_uid", "must be 1 to 64 characters of A-Za-z0-9_-")
    secret = request.client_secret_sha256
    bad.require(len(secret) == 32, "client_secret_sha256", "must be 32 bytes")
    bad.require(request.scope in _SCOPES, "scope", "is not known")
    origins = bad.read(fields.origins, request.allowed_origins)
    language = bad.read(fields.locale, request.locale)
    merchant = bad.read(fields.name, "merchant_display_name", request.merchant_display_name)
    given = request.HasField("expires_in")
    life = bad.read(_life_ms, request.expires_in) if given else _DEFAULT_LIFE_SECONDS * 1000
    bad.refuse()
    return NewSession(
        session_id=known_form,
        account_uid=request.account_uid,
        secret_sha256=secret,
        scope=_SCOPES[request.scope],
        allowed_origins=origins,
        locale=language,
        merchant_name=merchant,
        lifetime_ms=life,
        challenge_expected=request.challenge_expected,
    )


def changes(request: admin_pb2.UpdateSessionRequest) -> SessionChanges:
    """Reads what of a session changes: the fields that the mask names, and no other.

    Raises:
        InvalidRequest: The mask is empty or names something else, or a field is malformed.
    """
    mask = _mask(request.update_mask.paths)
    bad = BadFields()
    for name in ("expire_time", "expires_in", "payment"):
        given = name not in mask or request.HasField(name)
        bad.require(given, name, "must be given: it has no default")
    origins = locale = merchant = payment = expires_at = expires_in_ms = None
    if "allowed_origins" in mask:
        origins = bad.read(fields.origins, request.allowed_origins)
    if "locale" in mask:
        locale = bad.read(fields.locale, request.locale)
    if "merchant_display_name" in mask:
        merchant = bad.read(fields.name, "merchant_display_name", request.merchant_display_name)
    if "payment" in mask and request.HasField("payment"):
        payment = bad.read(fields.payment, request.payment)
    if "expire_time" in mask:
        expires_at = request.expire_time.seconds * 1000 + request.expire_time.nanos // 1_000_000
    if "expires_in" in mask and request.HasField("expires_in"):
        expires_in_ms = bad.read(_life_ms, request.expires_in)
    bad.refuse()
    return SessionChanges(origins, locale, merchant, expires_at, expires_in_ms, payment)


def _mask(paths: Sequence[str]) -> set[str]:
    if not paths or not set(paths) <= set(_CHANGEABLE):
        raise InvalidRequest("update_mask", f"must name one or more of {', '.join(_CHANGEABLE)}")
    return set(paths)


def _life_ms(life: Duration) -> int:
    if not 1 <= life.seconds <= _LONGEST_LIFE_SECONDS or life.nanos < 0:
        raise InvalidRequest("expires_in", f"must be 1 to {_LONGEST_LIFE_SECONDS} seconds")
    return life.seconds * 1000
