"""Reads what an owner says of a session: OpenSession and UpdateSession."""

from __future__ import annotations

from typing import Final

from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2

from service.api import fields
from service.api.bad_fields import BadFields
from service.storage.rows import NewSession, SessionChanges

_DEFAULT_LIFE_SECONDS = 30 * 60
_CHANGEABLE: Final = (
    "allowed_origins", "expire_time", "expires_in", "locale", "merchant_display_name", "payment",
)  # fmt: skip


def new_session(request: admin_pb2.OpenSessionRequest) -> NewSession:
    """Reads what an owner registers.

    Raises:
        InvalidRequest: The merchant's name is not as `fields.name` wants it.
    """
    life = request.expires_in.seconds if request.HasField("expires_in") else _DEFAULT_LIFE_SECONDS
    wallet = request.scope == admin_pb2.OpenSessionRequest.SCOPE_WALLET
    return NewSession(
        session_id=request.session_id,
        account_uid=request.account_uid,
        secret_sha256=request.client_secret_sha256,
        scope="wallet" if wallet else "payment",
        allowed_origins=fields.origins(request.allowed_origins),
        locale=fields.locale(request.locale),
        merchant_name=fields.name("merchant_display_name", request.merchant_display_name),
        lifetime_ms=life * 1000,
        challenge_expected=request.challenge_expected,
    )


def only_masked(request: admin_pb2.UpdateSessionRequest) -> admin_pb2.UpdateSessionRequest:
    """Returns a request without what its mask does not name: nothing looks at that (AIP-134)."""
    only = admin_pb2.UpdateSessionRequest()
    only.CopyFrom(request)
    for field in _CHANGEABLE:
        if field not in request.update_mask.paths:
            only.ClearField(field)
    return only


def changes(request: admin_pb2.UpdateSessionRequest) -> SessionChanges:
    """Reads what of a session changes: the fields that the mask names, and no other.

    Raises:
        InvalidRequest: A name or a payment is not as `fields` wants it.
    """
    mask = request.update_mask.paths
    bad = BadFields()
    origins = locale = merchant = payment = expires_at = expires_in_ms = None
    if "allowed_origins" in mask:
        origins = fields.origins(request.allowed_origins)
    if "locale" in mask:
        locale = fields.locale(request.locale)
    if "merchant_display_name" in mask:
        merchant = bad.read(fields.name, "merchant_display_name", request.merchant_display_name)
    if "payment" in mask and request.HasField("payment"):
        payment = bad.read(fields.payment, request.payment)
    if "expire_time" in mask:
        expires_at = request.expire_time.seconds * 1000 + request.expire_time.nanos // 1_000_000
    if "expires_in" in mask:
        expires_in_ms = request.expires_in.seconds * 1000
    bad.refuse()
    return SessionChanges(origins, locale, merchant, expires_at, expires_in_ms, payment)
