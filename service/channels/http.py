"""What channels over HTTP share: a bounded client, and what replies and failures mean."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import httpx

from service.channels import BadDSN, Outcome, Verdict
from service.channels.dsn import DSN

TIMEOUT_SECONDS = 8.0
"""Of one delivery, from the first look-up to the last byte; a provider's own deadline is longer."""

FORM = {"content-type": "application/x-www-form-urlencoded"}

_CONNECTIONS = 64
_IDLE_CONNECTIONS = 16
_IDLE_SECONDS = 15.0
_LARGEST_BODY = 64 * 1024
_LONGEST_WAIT_SECONDS = 600.0  # no code lives longer
_IDENTIFIER = re.compile(r"[!-~]{1,128}")
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


class Reply(NamedTuple):
    """A provider's reply.

    Attributes:
        status: HTTP status.
        body: Its first 64 KiB, or what came of it before the connection broke.
        retry_after: Seconds that the provider asked us to wait.
    """

    status: int
    body: bytes
    retry_after: float | None

    @property
    def accepted(self) -> bool:
        """Any 2xx: a 202 is no failure, and an unreadable body takes nothing back."""
        return 200 <= self.status < 300

    def json(self) -> dict[str, Any]:
        """Reads the body as a JSON object; an empty one when it is anything else."""
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}


class Client:
    """Posts to one provider: bounded in connections, time and size, following no redirect."""

    def __init__(self, dsn: DSN, timeout: float, auth: httpx.Auth | None = None) -> None:
        """Opens no connection yet.

        Args:
            dsn: Where to; `scheme=http` among its values turns TLS off, to this machine only.
            timeout: Seconds for one delivery.
            auth: Signs every request.

        Raises:
            BadDSN: TLS is turned off towards another machine.
        """
        scheme = dsn.values.get("scheme", "https")
        if scheme != "https" and not (scheme == "http" and dsn.loopback):
            raise BadDSN(f"{dsn.name} is reached by https; http is for loopback hosts only")
        self.url = f"{scheme}://{dsn.name.partition('://')[2]}"
        try:
            httpx.URL(self.url)
        except httpx.InvalidURL:
            raise BadDSN(f"{dsn.name} is not a host") from None
        self._timeout = timeout
        self._http = httpx.AsyncClient(
            base_url=self.url,
            auth=auth,
            follow_redirects=False,
            # Connecting is TCP, then TLS: together they leave time for the reply.
            timeout=httpx.Timeout(timeout, connect=timeout / 3, pool=timeout / 4),
            limits=httpx.Limits(
                max_connections=_CONNECTIONS,
                max_keepalive_connections=_IDLE_CONNECTIONS,
                keepalive_expiry=_IDLE_SECONDS,
            ),
            trust_env=not dsn.loopback,  # no proxy leads to this machine
        )
        for name in ("httpx", "httpcore"):  # they log whole URLs and headers
            logging.getLogger(name).setLevel(logging.WARNING)

    async def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Reply | Outcome:
        """Posts once.

        Returns:
            The reply, or when there is none what that says of the message.
        """
        try:
            async with asyncio.timeout(self._timeout):
                return await self._exchange(path, body, headers)
        except _NEVER_SENT as error:
            return Outcome(Verdict.RETRY, reason=f"not connected: {type(error).__name__}")
        except (httpx.TransportError, TimeoutError) as error:
            return Outcome(Verdict.UNKNOWN, reason=f"no reply: {type(error).__name__}")

    async def close(self) -> None:
        """Lets go of connections."""
        await self._http.aclose()

    async def _exchange(self, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        async with self._http.stream("POST", path, content=body, headers=headers) as response:
            received = bytearray()
            # The status says what became of the message, even when the body breaks off.
            with contextlib.suppress(httpx.HTTPError):
                async for chunk in response.aiter_bytes():
                    received += chunk
                    if len(received) >= _LARGEST_BODY:
                        break
            wait = retry_after(response.headers.get("retry-after", ""))
            return Reply(response.status_code, bytes(received[:_LARGEST_BODY]), wait)


def judge(reply: Reply, code: int | None = None) -> Outcome:
    """Judges a reply by its status alone.

    Args:
        reply: The reply.
        code: The provider's own code, for the reason.
    """
    reason = f"HTTP {reply.status}" + ("" if code is None else f", code {code}")
    match reply.status:
        case status if 200 <= status < 300:
            return Outcome(Verdict.ACCEPTED)
        case 408 | 425 | 429:
            return Outcome(Verdict.RETRY, reason=reason, retry_after=reply.retry_after)
        case 504:  # a gateway lost patience with a server that had the request
            return Outcome(Verdict.UNKNOWN, reason=reason, retry_after=reply.retry_after)
        case status if status >= 500:
            return Outcome(Verdict.RETRY, reason=reason, retry_after=reply.retry_after)
    return Outcome(Verdict.REFUSED, reason=reason)


def identifier(value: object) -> str | None:
    """Returns a provider's id of a message, if it is one that the ledger can hold."""
    return value if isinstance(value, str) and _IDENTIFIER.fullmatch(value) else None


def retry_after(value: str) -> float | None:
    """Reads a Retry-After header: seconds or a date; never longer than a code lives.

    Returns:
        Seconds from now, or None when there is no telling.
    """
    if value.isascii() and value.isdigit():
        return min(float(value), _LONGEST_WAIT_SECONDS)
    try:
        seconds = parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(seconds, 0.0), _LONGEST_WAIT_SECONDS)
