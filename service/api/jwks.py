"""The keys that sign internal callers' tokens."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import httpx
import jwt
import orjson

from service.telemetry import logs

_FETCH_SECONDS = 3.0
_MAX_AGE_SECONDS = 300.0
_MIN_AGE_SECONDS = 10.0
_MAX_JWKS_BYTES = 256 * 1024
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class KeySet:
    """The JWKS of a file or URL, read again when old, or when a key is not found in it."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._keys: dict[str, jwt.PyJWK] = {}
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def load(self) -> None:
        """Reads the keys.

        Raises:
            OSError, httpx.HTTPError: The source does not answer.
            ValueError, jwt.PyJWTError: It holds no key set.
        """
        found = orjson.loads(await self._fetch())
        if not isinstance(found, dict):
            raise ValueError("the key set is not a JSON object")
        try:
            keys = jwt.PyJWKSet.from_dict(found).keys
        except (LookupError, TypeError, AttributeError) as error:  # as PyJWT lets some through
            raise ValueError(f"malformed key: {type(error).__name__}") from None
        self._keys = {str(key.key_id): key for key in keys if key.key_id}
        self._read_at = time.monotonic()

    async def find(self, key_id: str | None) -> jwt.PyJWK:
        """Finds a key.

        Raises:
            jwt.PyJWKSetError: There is none of that id.
        """
        key = self._keys.get(key_id or "")
        age = time.monotonic() - self._read_at
        missed_while_read = key is None and self._reading.locked()
        if age > (_MAX_AGE_SECONDS if key else _MIN_AGE_SECONDS) or missed_while_read:
            await self._refresh()
            key = self._keys.get(key_id or "")
        if key is None:
            raise jwt.PyJWKSetError("unknown key")
        return key

    async def _refresh(self) -> None:
        async with self._reading:
            if time.monotonic() - self._read_at < _MIN_AGE_SECONDS:
                return  # another call has just done it
            self._read_at = time.monotonic()  # a source that is down is not asked at every call
            try:
                await self.load()
            except (OSError, httpx.HTTPError, ValueError, jwt.PyJWTError) as error:
                logs.error("jwks_unreadable", error=type(error).__name__)

    async def _fetch(self) -> str:
        if "://" not in self._source:
            return await asyncio.to_thread(Path(self._source).read_text, "utf-8")
        url = httpx.URL(self._source)
        if url.scheme != "https" and not (url.scheme == "http" and url.host in _LOOPBACK):
            raise ValueError("a key set comes by https; by http from this machine only")
        async with (
            asyncio.timeout(_FETCH_SECONDS),
            httpx.AsyncClient(timeout=_FETCH_SECONDS, follow_redirects=False) as client,
            client.stream("GET", self._source) as response,
        ):
            response.raise_for_status()
            body = b""
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > _MAX_JWKS_BYTES:
                    raise ValueError("the key set is too large")
            return body.decode()
