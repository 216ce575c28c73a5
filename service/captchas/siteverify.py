"""One POST to a provider's siteverify, bounded in time and size, and what came back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

import aiohttp
import orjson

from service.aio.egress import FORM, NEVER_SENT, encode_form, open_client, proxy_for, read_at_most
from service.captchas import CaptchaToken, Judgement, Verdict

_CONNECT_SECONDS = 2.0
_LARGEST_REPLY = 64 * 1024
_HEADERS = {**FORM, "accept": "application/json"}


class Reply(NamedTuple):
    """What siteverify says.

    Attributes:
        success: Whether it vouches for the token.
        codes: Its error codes.
        hostname: Of the page that the token was made on.
        action: Turnstile only, as the widget had it; empty when it had none.
        cdata: Likewise.
    """

    success: bool
    codes: tuple[str, ...] = ()
    hostname: str = ""
    action: str = ""
    cdata: str = ""


class Failure(NamedTuple):
    """Why there is no reply.

    Attributes:
        judgement: What that makes of the token.
    """

    judgement: Judgement


_NO_REPLY = Failure(Judgement(Verdict.UNREACHABLE, "no-reply"))
_NOT_CONNECTED = Failure(Judgement(Verdict.UNREACHABLE, "not-connected"))
_CONNECTION_LOST = Failure(Judgement(Verdict.UNREACHABLE, "connection-lost"))
_SERVER_ERROR = Failure(Judgement(Verdict.UNREACHABLE, "http-5xx"))
_THROTTLED = Failure(Judgement(Verdict.INCONCLUSIVE, "http-429"))
_TOO_LARGE = Failure(Judgement(Verdict.INCONCLUSIVE, "reply-too-large"))
_UNREADABLE = Failure(Judgement(Verdict.INCONCLUSIVE, "reply-unreadable"))
_REDIRECTED = Failure(Judgement(Verdict.MISCONFIGURED, "redirected"))
_NOT_SITEVERIFY = Failure(Judgement(Verdict.MISCONFIGURED, "http-4xx"))
FAILURES = (
    _NO_REPLY, _NOT_CONNECTED, _CONNECTION_LOST, _SERVER_ERROR, _THROTTLED, _TOO_LARGE,
    _UNREADABLE, _REDIRECTED, _NOT_SITEVERIFY,
)  # fmt: skip


class Client:
    """Posts to one URL. It follows no redirect, keeps no cookie, and logs nothing."""

    def __init__(self, url: str) -> None:
        """Opens no connection yet.

        Raises:
            ValueError: The URL is not https (http is for this machine only), or its proxy is none.
        """
        self._proxy = proxy_for(url)
        self._url = url
        self._session: aiohttp.ClientSession | None = None

    async def post(self, form: Mapping[str, str], seconds: float) -> Reply | Failure:
        """Posts once; `seconds` is for everything from the look-up to the last byte."""
        try:
            async with asyncio.timeout(seconds):
                return await self._exchange(encode_form(form))
        except NEVER_SENT:
            return _NOT_CONNECTED
        except TimeoutError:
            return _NO_REPLY
        except aiohttp.ClientResponseError:  # no HTTP that can be read
            return _UNREADABLE
        except (aiohttp.ClientError, OSError):
            return _CONNECTION_LOST

    async def close(self) -> None:
        """Lets go of connections."""
        if self._session is not None:
            await self._session.close()

    async def _exchange(self, body: bytes) -> Reply | Failure:
        session = self._session = self._session or open_client(
            connect_seconds=_CONNECT_SECONDS, headers=_HEADERS
        )
        async with session.post(
            self._url, data=body, allow_redirects=False, proxy=self._proxy
        ) as response:
            if response.status >= 500:
                return _SERVER_ERROR
            if 300 <= response.status < 400:
                return _REDIRECTED
            return _read(response.status, await read_at_most(response.content, _LARGEST_REPLY))


def judge_page(reply: Reply, token: CaptchaToken) -> Judgement:
    """Judges by the page that a token was made on, which must be one of its session's."""
    hosts = {urlsplit(origin).hostname for origin in token.origins}
    if reply.hostname.lower().strip("[]") in hosts:  # brackets are an IPv6 address's
        return Judgement(Verdict.PASSED, "passed")
    return Judgement(Verdict.REFUSED, "hostname-mismatch")


def _read(status: int, body: bytes | None) -> Reply | Failure:
    if body is None:
        return _TOO_LARGE
    reply = _parsed(body)
    if status == 200 and reply is not None:
        return reply
    if status == 429:
        return _THROTTLED
    if 400 <= status < 500:
        return reply if reply and reply.codes and not reply.success else _NOT_SITEVERIFY
    return _UNREADABLE


def _parsed(body: bytes) -> Reply | None:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("success"), bool):
        return None
    codes = value.get("error-codes") or ()
    if not isinstance(codes, list | tuple) or not all(isinstance(code, str) for code in codes):
        return None
    texts = (value.get(name) for name in ("hostname", "action", "cdata"))
    said = (text if isinstance(text, str) else "" for text in texts)
    return Reply(value["success"], tuple(codes), *said)
