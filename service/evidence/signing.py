"""Signatures of exports: Ed25519 as a JWS (RFC 8037), and the key that strangers check it with."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from service.evidence.chain import canonical
from service.keyring import EvidenceKeys

_ALGORITHM = "EdDSA"
TYPE = "challenge-evidence+jwt"
"""`typ` of the JWS, so that nothing else that one key may ever sign is taken for it."""


class Signer:
    """Signs, with a key that every replica derives alike."""

    def __init__(self, keys: EvidenceKeys) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(keys.signature)
        raw = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        x = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
        public = {"kty": "OKP", "crv": "Ed25519", "x": x}
        self.thumbprint = thumbprint(public)
        self.jwk = {**public, "kid": self.thumbprint, "alg": _ALGORITHM, "use": "sig"}

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Signs claims as a compact JWS."""
        headers = {"kid": self.thumbprint, "typ": TYPE}
        return jwt.encode(dict(claims), self._key, algorithm=_ALGORITHM, headers=headers)


def thumbprint(jwk: Mapping[str, str]) -> str:
    """Computes a key's fingerprint, by RFC 7638: for pinning."""
    required = canonical({name: jwk[name] for name in ("crv", "kty", "x")})
    return base64.urlsafe_b64encode(hashlib.sha256(required.encode()).digest()).decode().rstrip("=")


def signed_claims(token: str, jwk: Mapping[str, str]) -> dict[str, Any]:
    """Checks a JWS and returns what it says.

    Raises:
        ValueError: It was not signed with the key.
    """
    try:
        x = base64.urlsafe_b64decode(jwk["x"] + "=" * (-len(jwk["x"]) % 4))
        decoded = jwt.api_jwt.decode_complete(
            token,
            Ed25519PublicKey.from_public_bytes(x),
            algorithms=[_ALGORITHM],
        )
    except (jwt.PyJWTError, KeyError, TypeError, ValueError, RecursionError):
        raise ValueError("the signature is not the key's") from None
    if decoded["header"].get("typ") != TYPE:
        raise ValueError("the signature is of something else")
    claims: dict[str, Any] = decoded["payload"]
    return claims
