"""The keys that sign internal callers' tokens, from a file or a URL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp
import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from service.aio.egress import open_client, proxy_for, read_at_most
from service.errors import text_of
from service.telemetry import logs

_FETCH_SECONDS = 3.0
_MAX_AGE_SECONDS = 300.0
_MIN_AGE_SECONDS = 10.0
_LIFE_SECONDS = 3600.0
"""Keys end when their source has not been readable for so long: one may have been withdrawn."""
_MAX_JWKS_BYTES = 256 * 1024
_RSA_BITS = 2048  # RFC 7518, section 3.3


class KeySet:
    """The JWKS of a file or URL, read again when old, or when a key is not found in it."""

    def __init__(self, source: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._monotonic = monotonic
        self._keys: dict[str, jwt.PyJWK] = {}
        self._read_at = self._tried_at = float("-inf")
        self._reading = asyncio.Lock()

    async def load(self) -> None:
        """Reads the keys.

        Raises:
            ValueError: The set cannot be read, or it holds no key; the text says why.
        """
        await self._read()
        if not self._keys:
            raise ValueError("holds no key that can check a token")

    async def find(self, key_id: object) -> jwt.PyJWK:
        """Finds a key.

        Raises:
            jwt.PyJWKSetError: There is none of that id.
        """
        key = self._known(key_id)
        age = self._monotonic() - self._tried_at
        missed_while_read = key is None and self._reading.locked()
        if age > (_MAX_AGE_SECONDS if key else _MIN_AGE_SECONDS) or missed_while_read:
            await self._refresh()
            key = self._known(key_id)
        if key is None:
            raise jwt.PyJWKSetError("unknown key")
        return key

    def _known(self, key_id: object) -> jwt.PyJWK | None:
        if not isinstance(key_id, str) or self._monotonic() - self._read_at > _LIFE_SECONDS:
            return None
        return self._keys.get(key_id)

    async def _refresh(self) -> None:
        async with self._reading:
            if self._monotonic() - self._tried_at < _MIN_AGE_SECONDS:
                return  # another call has just done it
            try:
                await self._read()
            except ValueError as error:
                left = max(0.0, _LIFE_SECONDS - (self._monotonic() - self._read_at))
                logs.error("jwks_unreadable", error=str(error), keys_end_in_seconds=round(left))

    async def _read(self) -> None:
        """Reads the set; one that says that there are no keys leaves none.

        Raises:
            ValueError: It cannot be read, or nothing in it is a key; those known stay.
        """
        self._tried_at = self._monotonic()  # a source that is down is not asked at every call
        try:
            found = orjson.loads(await self._fetch())
        except (OSError, aiohttp.ClientError, ValueError) as error:
            raise ValueError(f"cannot be read: {text_of(error)}") from None
        listed = found.get("keys") if isinstance(found, dict) else None
        if not isinstance(listed, list):
            raise ValueError("is no JSON object with a list of keys")
        keys = dict(filter(None, map(_usable, listed)))
        if listed and not keys:
            raise ValueError("holds no key that can check a token")
        self._keys, self._read_at = keys, self._monotonic()

    async def _fetch(self) -> bytes:
        if "://" not in self._source:
            return await asyncio.to_thread(self._read_file)
        proxy = proxy_for(self._source)
        async with (
            open_client(connect_seconds=_FETCH_SECONDS, seconds=_FETCH_SECONDS) as client,
            client.get(self._source, allow_redirects=False, proxy=proxy) as response,
        ):
            if response.status != 200:
                raise ValueError(f"status {response.status}")
            return _bounded(await read_at_most(response.content, _MAX_JWKS_BYTES))

    def _read_file(self) -> bytes:
        with Path(self._source).open("rb") as file:
            body = file.read(_MAX_JWKS_BYTES + 1)
        return _bounded(body if len(body) <= _MAX_JWKS_BYTES else None)


def _bounded(body: bytes | None) -> bytes:
    if body is None:
        raise ValueError(f"the key set is too large: over {_MAX_JWKS_BYTES} bytes")
    return body


def _usable(listed: object) -> tuple[str, jwt.PyJWK] | None:
    """Returns a key that may check signatures, by its id; None for what is none."""
    if not isinstance(listed, dict) or listed.get("use", "sig") != "sig":
        return None
    operations = listed.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    try:
        key = jwt.PyJWK.from_dict(listed)
    except (jwt.PyJWTError, LookupError, TypeError, AttributeError, ValueError):
        return None  # as PyJWT lets some through
    if not (isinstance(key.key_id, str) and key.key_id):
        return None
    # A private key is of another class: whoever published it has given it away.
    strong = isinstance(key.key, RSAPublicKey) and key.key.key_size >= _RSA_BITS
    if strong or isinstance(key.key, (EllipticCurvePublicKey, Ed25519PublicKey)):
        return key.key_id, key
    return None
