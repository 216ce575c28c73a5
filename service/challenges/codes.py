"""The codes: pure functions of key, challenge, payment and counter, so that none is stored."""

from __future__ import annotations

import hmac
import unicodedata

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


# Dashes and blanks that Unicode files elsewhere: swung dash, minus signs, hyphen bullet, Hangul
# fillers, Braille blank.
_ALSO_ADDED = frozenset("\u2053\u207b\u208b\u2212\u2043\u115f\u1160\u3164\uffa0\u2800")
_ADDED = frozenset(("Zs", "Zl", "Zp", "Cf", "Pd", "Mn", "Me"))


def typed(answer: str) -> str:
    """Returns a payer's answer without what typing and pasting adds.

    That is white space, dashes, marks and invisible characters; digits may be of any script.
    """
    return "".join(_digit(char) for char in answer if not _is_added(char))


def matches(answer: str, expected: str) -> bool:
    """Compares a code in constant time with what was `typed`."""
    return hmac.compare_digest(answer.encode(), expected.encode())


def _is_added(char: str) -> bool:
    return char.isspace() or unicodedata.category(char) in _ADDED or char in _ALSO_ADDED


def _digit(char: str) -> str:
    value = unicodedata.decimal(char, None)
    return char if value is None else str(value)
