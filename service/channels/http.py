"""What channels over HTTP share: a bounded client, and what replies and failures mean."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import aiohttp
import orjson
from yarl import URL

from service.aio.egress import NEVER_SENT, open_client, proxy_for
from service.channels import BadDSN, Blame, Outcome, Result
from service.channels.dsn import DSN
from service.channels.failures import why

_LARGEST_BODY = 64 * 1024
_LONGEST_WAIT_SECONDS = 600.0  # no code lives longer
_IDENTIFIER = re.compile(r"[!-~]{1,128}")
_MAY_HAVE_IT = {502, 504, 520, 524}
"""A gateway, or Cloudflare, lost a server that had the request."""


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
            value = orjson.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


class Client:
    """Posts to one provider: bounded in connections, time and size, following no redirect."""

    def __init__(self, dsn: DSN, path: str, timeout: float) -> None:
        """Opens no connection yet.

        Args:
            dsn: Where to; `scheme=http` among its values turns TLS off, to this machine only.
            path: On that host, percent-encoded.
            timeout: Seconds for one delivery.

        Raises:
            BadDSN: TLS is turned off towards another machine; or the host or its proxy is none.
        """
        host = f"{dsn.values.get('scheme', 'https')}://{dsn.name.partition('://')[2]}"
        try:
            self._proxy = proxy_for(host)
            URL(host)  # as aiohttp will read it
        except ValueError as error:
            raise BadDSN(f"{dsn.name}: {error}") from None
        self.url = URL(host + path, encoded=True)
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    async def post(self, body: bytes, headers: Mapping[str, str]) -> Reply | Result:
        """Posts once.

        Returns:
            The reply; without one, the result that its lack means.
        """
        self._session = self._session or open_client(
            connect_seconds=self._timeout / 2,  # which leaves time for the reply
            seconds=self._timeout,
        )
        try:
            async with self._session.post(
                self.url, data=body, headers=headers, allow_redirects=False, proxy=self._proxy
            ) as response:
                wait = retry_after(response.headers.get("retry-after", ""))
                return Reply(response.status, await _beginning(response.content), wait)
        except NEVER_SENT as error:
            reason = f"not connected: {why(error)}"
            return Result(Outcome.RETRY, reason=reason, blames=Blame.PROVIDER)
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = f"no reply: {why(error)}"
            return Result(Outcome.UNKNOWN, reason=reason, blames=Blame.PROVIDER)

    async def close(self) -> None:
        """Lets go of connections."""
        if self._session:
            await self._session.close()


async def _beginning(content: aiohttp.StreamReader) -> bytes:
    """Reads as much of a body as is needed, or as comes before it breaks off.

    The status says what became of the message, even then.
    """
    received = bytearray()
    with contextlib.suppress(aiohttp.ClientError, TimeoutError):
        while len(received) < _LARGEST_BODY and (chunk := await content.readany()):
            received += chunk
    return bytes(received[:_LARGEST_BODY])


def result_of(reply: Reply, code: object = None) -> Result:
    """Reads the result from a reply by its status alone.

    Args:
        reply: The reply.
        code: The provider's own code, for the reason.
    """
    reason = f"HTTP {reply.status}" + ("" if code is None else f", code {code}")
    outcome, blames = Outcome.REFUSED, Blame.MESSAGE
    match reply.status:
        case status if 200 <= status < 300:
            return Result(Outcome.ACCEPTED)
        case 408 | 425 | 429:
            outcome, blames = Outcome.RETRY, Blame.PROVIDER
        case status if status in _MAY_HAVE_IT:
            outcome, blames = Outcome.UNKNOWN, Blame.PROVIDER
        case status if status >= 500:
            outcome, blames = Outcome.RETRY, Blame.PROVIDER
        case 401 | 402 | 403 | 407:
            blames = Blame.ACCOUNT
        case status if status < 400 or status in (404, 405, 410):  # the API is not at that address
            blames = Blame.PROVIDER
    return Result(outcome, None, reason, reply.retry_after, blames)


def identifier(value: object) -> str | None:
    """Returns a provider's id of a message, if it is one that the ledger can hold."""
    return value if isinstance(value, str) and _IDENTIFIER.fullmatch(value) else None


def retry_after(value: str) -> float | None:
    """Reads a Retry-After header: seconds or a date; never longer than a code lives.

    Returns:
        Seconds from now, or None when there is no telling.
    """
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return min(float(value), _LONGEST_WAIT_SECONDS)
    try:
        seconds = parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(seconds, 0.0), _LONGEST_WAIT_SECONDS)
