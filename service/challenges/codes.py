"""The codes: pure functions of key, challenge, payment and counter, so that none is stored."""

from __future__ import annotations

import hmac

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.hotp import HOTP

from service.keyring import KeyRing
from service.storage.rows import Payment


def code_for(
    ring: KeyRing,
    key_id: str,
    challenge_id: str,
    payment: Payment | None,
    counter: int,
    digits: int,
) -> str:
    """Computes the code, RFC 4226 HOTP with a 256-bit key.

    HMAC-SHA-1 is what RFC 4226 prescribes; its collisions do not weaken HMAC.

    Raises:
        KeyRetired: `key_id` has left the ring.
    """
    bound = (
        "" if payment is None else f"\0{payment.amount_minor}\0{payment.currency}\0{payment.payee}"
    )
    key = ring.derive(key_id, f"code\0{challenge_id}{bound}".encode())
    return HOTP(key, digits, SHA1()).generate(counter).decode()  # noqa: S303


def matches(answer: str, expected: str) -> bool:
    """Compares in constant time what the payer typed, spaces and dashes aside."""
    typed = answer.replace(" ", "").replace("-", "")
    return hmac.compare_digest(typed.encode(), expected.encode())
