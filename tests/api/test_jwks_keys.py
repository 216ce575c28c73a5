"""Which keys of a set may check tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from service.api.jwks import KeySet
from tests.api.test_jwks import has, key_set

PUBLIC = {
    "rsa": lambda bits: rsa.generate_private_key(65537, bits),
    "ec": lambda _: ec.generate_private_key(ec.SECP256R1()),
    "okp": lambda _: ed25519.Ed25519PrivateKey.generate(),
}
ALGORITHMS = {
    "rsa": jwt.algorithms.RSAAlgorithm, "ec": jwt.algorithms.ECAlgorithm,
    "okp": jwt.algorithms.OKPAlgorithm,
}  # fmt: skip


def listed(kind: str = "ec", bits: int = 2048, private: bool = False, **more: Any) -> str:
    """A JWKS of the key `k` and a good one."""
    key: Any = PUBLIC[kind](bits)  # type: ignore[no-untyped-call]
    found = ALGORITHMS[kind].to_jwk(key if private else key.public_key(), as_dict=True)
    good = json.loads(key_set("good"))["keys"]
    return json.dumps({"keys": [{**found, "kid": "k", **more}, *good]})


@pytest.mark.parametrize(
    "text",
    [
        listed("rsa", 1024), listed("rsa", 2047 // 8 * 8), listed(use="enc"), listed(use=5),
        listed(use=["sig"]), listed(key_ops=["encrypt"]), listed(key_ops="verify"),
        listed(private=True), listed("rsa", private=True), listed(kty="EX"), listed(crv="P-0"),
        listed(x=5), listed(x="AA"), listed("rsa", n=""), listed("rsa", e=[]),
        listed(kty="oct", k="A" * 43),
    ],
)  # fmt: skip
async def test_a_key_that_may_not_check_a_token_is_left_out_alone(
    tmp_path: Path, text: str
) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(text)
    keys = KeySet(str(file))
    await keys.load()
    assert not await has(keys, "k")
    assert await has(keys, "good")


@pytest.mark.parametrize(
    "text",
    [
        listed("rsa"), listed("ec"), listed("okp"), listed(use="sig", key_ops=["verify", "sign"]),
        listed("rsa", alg="RS256"),
    ],
)  # fmt: skip
async def test_a_key_of_each_kind_is_found(tmp_path: Path, text: str) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(text)
    keys = KeySet(str(file))
    await keys.load()
    assert await has(keys, "k")
