"""An issuer of internal tokens, with a key of its own."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

ISSUER = "https://issuer.test"
AUDIENCE = "challenge-service"


class Issuer:
    """Signs tokens that the service under test accepts."""

    def __init__(self, directory: Path) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.jwks = directory / "jwks.json"
        public = jwt.algorithms.ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        self.publish({**public, "kid": "test", "alg": "ES256"})

    def publish(self, *keys: dict[str, Any]) -> None:
        """Writes the JWKS anew."""
        self.jwks.write_text(json.dumps({"keys": keys}))

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        claims = {
            "iss": ISSUER, "aud": AUDIENCE, "sub": "tests",
            "scope": "challenge:admin challenge:admin:all",
            "iat": now, "nbf": now, "exp": now + 300,
        }  # fmt: skip
        return {name: value for name, value in {**claims, **changes}.items() if value is not None}

    def token(self, **changes: Any) -> str:
        return jwt.encode(
            self.claims(**changes), self.key, algorithm="ES256", headers={"kid": "test"}
        )
