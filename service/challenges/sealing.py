"""How a row keeps its challenge: only the service can read where a code goes."""

from __future__ import annotations

import uuid

from service.challenges.destinations import masked_address, masked_phone
from service.challenges.identities import identity
from service.challenges.methods import Fallback, Method
from service.keyring import Fingerprints, KeyRetired, KeyRing
from service.storage.rows import CODE_TYPES, NewChallenge, Payment, SessionRow
from service.telemetry import logs

_BETWEEN = "\x1f"  # in no destination and no site key
_MAY_BE_WEAKER = "weaker"


class Sealing:
    """Encrypts what a challenge's row keeps of its payer, and reads it again."""

    def __init__(self, ring: KeyRing, fingerprints: Fingerprints) -> None:
        """Reads nothing yet.

        Args:
            ring: Encrypts destinations.
            fingerprints: By which quotas and erasure know them.
        """
        self._ring = ring
        self._fingerprints = fingerprints

    def seal(
        self, method: Method, payment: Payment | None = None, fallback: Fallback | None = None
    ) -> NewChallenge:
        """Makes a challenge as its row keeps it.

        The fallback is kept within the destination: what forgets one forgets both.
        """
        challenge_id, key_id = uuid.uuid4().hex, self._ring.newest
        is_code = method.challenge_type in CODE_TYPES
        parts = [method.value if is_code else ""]
        if fallback is not None:
            parts += [*fallback.method, _MAY_BE_WEAKER if fallback.allow_weaker else ""]
        new = NewChallenge(
            challenge_id,
            method.challenge_type,
            site_key=None if is_code else method.value,
            fingerprint=self._fingerprint(method),
            delivery_hint=_hint(method),
            **(payment._asdict() if payment else {}),
            fallback_fingerprint=None if fallback is None else self._fingerprint(fallback.method),
        )
        if not any(parts):
            return new
        destination = self._ring.encrypt(key_id, _BETWEEN.join(parts), challenge_id)
        return new._replace(destination=destination, key_id=key_id)

    def fallback(self, row: SessionRow) -> Fallback | None:
        """Reads the fallback of a row's challenge; None where it has none."""
        try:
            _, *parts = _opened(self._ring, row) if row.destination is not None else ("",)
        except KeyRetired:
            logs.error("key_retired", session_id=row.session_id, key_id=row.key_id)
            return None
        if not parts:
            return None
        challenge_type, value, weaker = parts
        return Fallback(Method(challenge_type, value), weaker == _MAY_BE_WEAKER)

    def without_fallback(self, row: SessionRow) -> bytes | None:
        """Encrypts a row's destination anew, with no fallback within it."""
        try:
            (value, *_) = _opened(self._ring, row) if row.destination is not None else ("",)
        except KeyRetired:
            return None
        if not value:
            return None
        return self._ring.encrypt(str(row.key_id), value, str(row.challenge_id))

    def _fingerprint(self, method: Method) -> str | None:
        if method.challenge_type not in CODE_TYPES:
            return None
        return self._fingerprints.of(identity(*method))


def destination_of(ring: KeyRing, row: SessionRow) -> str:
    """Reads where a row's code goes.

    Raises:
        KeyRetired: The row's key has left the ring.
    """
    return _opened(ring, row)[0]


def _opened(ring: KeyRing, row: SessionRow) -> list[str]:
    assert row.key_id and row.challenge_id and row.destination is not None  # as sealed
    return ring.decrypt(row.key_id, row.destination, row.challenge_id).split(_BETWEEN)


def _hint(method: Method) -> str | None:
    match method.challenge_type:
        case "sms":
            return masked_phone(method.value)
        case "email":
            return masked_address(method.value)
        case _:
            return None
