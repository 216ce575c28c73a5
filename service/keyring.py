"""The service's secret keys, and what is derived from them.

Every derived key has one purpose (HKDF-SHA-256, RFC 5869, with the purpose as `info`), so that a
key is never used for two things.
"""

from __future__ import annotations

import base64
import hmac
import os
from collections.abc import Mapping
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12  # NIST SP 800-38D


class KeyRetired(Exception):
    """The row was written under a key that has left the ring."""


class KeyRing:
    """Keys by id, the newest first: new rows use the newest, old rows the key that they name."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._keys = dict(keys)
        self.newest = next(iter(self._keys))
        self._ciphers = {
            key_id: AESGCM(self.derive(key_id, b"destination")) for key_id in self._keys
        }

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `ID:BASE64,ID:BASE64`.

        Raises:
            ValueError: Malformed, an id twice, or a key of fewer than 32 bytes; the text never
                holds key material.
        """
        keys: dict[str, bytes] = {}
        for position, entry in enumerate(text.split(","), start=1):
            key_id, colon, encoded = entry.strip().partition(":")
            if not (key_id and colon):
                raise ValueError(f"key {position} is not of the form ID:BASE64")
            if key_id in keys:
                raise ValueError(f"key {position} repeats the id of another")
            keys[key_id] = _decoded(encoded, f"key {position}")
        return cls(keys)

    def derive(self, key_id: str, purpose: bytes) -> bytes:
        """Derives 32 bytes for one purpose.

        Raises:
            KeyRetired: `key_id` is not in the ring.
        """
        key = self._keys.get(key_id)
        if key is None:
            raise KeyRetired(key_id)
        return _derived(key, purpose)

    def encrypt(self, key_id: str, plaintext: str, context: str) -> bytes:
        """Encrypts with AES-256-GCM under a random nonce; only `context` can read it again.

        Returns:
            The nonce, 12 bytes, then the ciphertext.
        """
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._ciphers[key_id].encrypt(nonce, plaintext.encode(), context.encode())

    def decrypt(self, key_id: str, ciphertext: bytes, context: str) -> str:
        """Reverses `encrypt`.

        Raises:
            KeyRetired: The key is gone, or the bytes are not of this key and context.
        """
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise KeyRetired(key_id)
        try:
            nonce, sealed = ciphertext[:_NONCE_BYTES], ciphertext[_NONCE_BYTES:]
            return cipher.decrypt(nonce, sealed, context.encode()).decode()
        except InvalidTag:
            raise KeyRetired(key_id) from None


class Fingerprints:
    """Keyed hashes of destinations, tokens and requests, the same after every rotation.

    Their key stands apart from the ring: a fingerprint must be the same before and after a
    rotation, or each rotation would give every destination its quotas anew.
    """

    def __init__(self, key: bytes) -> None:
        self._key = _derived(key, b"fingerprint")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads BASE64.

        Raises:
            ValueError: Malformed, or of fewer than 32 bytes; the text never holds key material.
        """
        return cls(_decoded(text, "the key"))

    def of(self, identity: str) -> str:
        """Computes the fingerprint of an identity: HMAC-SHA-256, 32 hex digits."""
        return hmac.digest(self._key, identity.encode(), "sha256").hex()[:32]


class EvidenceKeys:
    """What evidence is held together by; both outlive every rotation of the ring.

    Attributes:
        mac: Key of the MAC over a session's events.
        signature: Seed of the Ed25519 key that signs exports.
    """

    def __init__(self, key: bytes) -> None:
        self.mac = _derived(key, b"evidence mac")
        self.signature = _derived(key, b"evidence signature")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads CHALLENGE_FINGERPRINT_KEY, BASE64.

        Raises:
            ValueError: Malformed, or of fewer than 32 bytes; the text never holds key material.
        """
        return cls(_decoded(text, "the key"))


def random_key() -> str:
    """Makes a key, BASE64 of 32 bytes."""
    return base64.b64encode(os.urandom(32)).decode()


def _decoded(text: str, which: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except ValueError:
        raise ValueError(f"{which} is not valid base64") from None
    if len(key) < 32:
        raise ValueError(f"{which} has {len(key)} bytes, at least 32 are needed")
    return key


def _derived(key: bytes, purpose: bytes) -> bytes:
    # HKDF-Expand of 32 bytes is one HMAC (RFC 5869, 2.3); the library's makes three objects for it.
    return hmac.digest(key, purpose + b"\x01", "sha256")
