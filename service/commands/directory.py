"""The data directory of `challenge dev`: keys, database, inbox, the ports that it listens on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from service.errors import BadSetting, CannotProceed
from service.keyring import Fingerprints, KeyRing, random_key

DEVELOPMENT_ISSUER = "https://challenge.invalid/development"
"""`iss` of the tokens that `challenge dev` accepts."""
_ARGUMENT = "--data-dir"
_OURS = {
    ".gitignore", "envoy-admin.sock", "envoy.yaml", "fingerprint-key", "inbox", "jwks.json", "keys",
    "running.json", "signing-key.pem",
    *(f"challenge.db{end}" for end in ("", "-wal", "-shm", "-journal")),
}  # fmt: skip
_LONGEST_SOCKET = 107  # bytes, as Linux has it


def prepare(data: Path) -> dict[str, str]:
    """Makes what development needs and keeps what is there already.

    Returns:
        The settings, by environment variable, that use it.

    Raises:
        BadSetting: The directory cannot be used, or something in it is corrupt.
    """
    _make(data)
    ring, signing_key, jwks = data / "keys", data / "signing-key.pem", data / "jwks.json"
    fingerprint_key = data / "fingerprint-key"
    if not ring.exists():
        _write_secret(ring, f"dev1:{random_key()}")
    if not fingerprint_key.exists():
        _write_secret(fingerprint_key, random_key())
    if not (signing_key.exists() and jwks.exists()):
        key = ec.generate_private_key(ec.SECP256R1())
        public = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        jwks.write_text(
            json.dumps({"keys": [{**public, "kid": "development", "alg": "ES256", "use": "sig"}]})
        )
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        _write_secret(signing_key, pem.decode("ascii"))
    inbox = f"inbox://{data}/inbox"
    return {
        "CHALLENGE_ENVIRONMENT": "development",
        "CHALLENGE_DATABASE_URL": f"sqlite:///{data}/challenge.db",
        "CHALLENGE_KEYS": _read(ring, KeyRing.parse),
        "CHALLENGE_FINGERPRINT_KEY": _read(fingerprint_key, Fingerprints.parse),
        "CHALLENGE_JWKS": str(jwks),
        "CHALLENGE_JWT_ISSUER": DEVELOPMENT_ISSUER,
        "CHALLENGE_SMS_CHANNELS": inbox,
        "CHALLENGE_EMAIL_CHANNELS": inbox,
        "CHALLENGE_DRAIN_SECONDS": "0",
    }


def running(data: Path) -> dict[str, str]:
    """Reads where `challenge dev` listens; nothing where it does not run.

    Raises:
        BadSetting: The file is not one that `challenge dev` writes.
    """
    file = data / "running.json"
    try:
        where = json.loads(file.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError):
        where = None
    if not isinstance(where, dict) or not all(isinstance(value, str) for value in where.values()):
        raise BadSetting(_ARGUMENT, f"{file} is corrupt; remove it")
    return where


def signing_key(data: Path) -> str:
    """Reads the key of development's tokens.

    Raises:
        CannotProceed: There is none.
    """
    file = data / "signing-key.pem"
    try:
        return file.read_text("ascii")
    except (OSError, ValueError):
        raise CannotProceed(
            f"{file} cannot be read; run: make run, or set CHALLENGE_TOKEN"
        ) from None


def _make(data: Path) -> None:
    """Makes the directory, which git ignores.

    Raises:
        BadSetting: It is a file, holds files that are not ours, or its path is malformed.
    """
    if len(os.fsencode(data / "envoy-admin.sock")) > _LONGEST_SOCKET:
        raise BadSetting(_ARGUMENT, "is too long: the path of a socket in it may have 107 bytes")
    if not str(data).isprintable() or "," in str(data):  # which would end a DSN
        raise BadSetting(_ARGUMENT, "must be a path of printable characters without a comma")
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        foreign = sorted({entry.name for entry in data.iterdir()} - _OURS)
        if foreign:
            raise BadSetting(
                _ARGUMENT, f"{data} holds {foreign[0]}, which is not ours; name an empty directory"
            )
        (data / ".gitignore").write_text("*\n")
    except OSError as error:
        raise BadSetting(_ARGUMENT, f"cannot use {data}: {error.strerror}") from None


def _read(file: Path, parse: Callable[[str], object]) -> str:
    try:
        text = file.read_text("ascii")
        parse(text)
    except (OSError, ValueError):
        raise BadSetting(_ARGUMENT, f"{file} is corrupt; remove it to have new keys") from None
    return text


def _write_secret(path: Path, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
