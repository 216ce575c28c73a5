"""A stand-in for hCaptcha and Turnstile: widgets that make tokens, and siteverify to judge them.

It answers as the two document it (see `service/captchas`), dummy keys included, and fails in the
ways that networks do. For demonstrations and tests; it listens where its user lets it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from aiohttp import web

HCAPTCHA_PATH, TURNSTILE_PATH = "/siteverify", "/turnstile/v0/siteverify"
HCAPTCHA_DUMMY_TOKENS = {f"{n}0000000-aaaa-bbbb-cccc-00000000000{n}" for n in (1, 2, 3)}
HCAPTCHA_DUMMY_SECRET = "0x" + 40 * "0"
TURNSTILE_DUMMY_TOKEN = "XXXX.DUMMY.TOKEN.XXXX"  # noqa: S105
TURNSTILE_DUMMY_SECRETS = {
    "1x0000000000000000000000000000000AA": [],
    "2x0000000000000000000000000000000AA": ["invalid-input-response"],
    "3x0000000000000000000000000000000AA": ["timeout-or-duplicate"],
}
_TIME = "2026-02-28T15:14:30.096Z"
_SECONDS = 10.0  # to start and to stop
_FORM = "application/x-www-form-urlencoded"
Said = dict[str, Any]


class Trouble(Enum):
    """Ways to fail. The token has been judged by then, which is the worst case."""

    SILENCE = auto()
    RESET = auto()
    HALF_A_BODY = auto()
    SLOW_BODY = auto()
    ENDLESS_BODY = auto()
    SERVER_ERROR = auto()
    THROTTLED = auto()
    NOT_FOUND = auto()
    REDIRECT = auto()
    NO_JSON = auto()
    NO_HTTP = auto()


@dataclass
class Token:
    """What a widget has made.

    Attributes:
        site_key: Of the widget.
        hostname: Of its page.
        action: As the page gave it.
        cdata: Likewise.
        human: Whether siteverify will vouch for it.
        expired: Whether its time is over.
        trouble: How every question about it fails, if they do.
        judged_by: The idempotency key that it was judged under, if it has been.
    """

    site_key: str
    hostname: str
    action: str = ""
    cdata: str = ""
    human: bool = True
    expired: bool = False
    trouble: Trouble | None = None
    judged_by: str | None = None


async def _forever() -> None:
    await asyncio.Event().wait()


class StandIn:
    """Both providers.

    Attributes:
        asked: The forms that siteverify was sent, the latest last.
        tokens: What its widgets have made.
        says: An answer to give whatever is asked, instead of judging.
        status: Of answers.
        troubles: How the next questions fail; None for one that does not.
        while_silent: Awaited where an answer is slow.
    """

    def __init__(self, site_keys: Mapping[str, Iterable[str]]) -> None:
        """Makes one that listens nowhere yet; `site_keys` have the secrets that are valid."""
        self.asked: list[dict[str, str]] = []
        self.tokens: dict[str, Token] = {}
        self.says: Said | None = None
        self.status = 200
        self.troubles: Iterator[Trouble | None] = iter(())
        self.while_silent: Callable[[], Awaitable[None]] = _forever
        self._secrets = {secret: key for key, several in site_keys.items() for secret in several}
        self.application = web.Application()
        self.application.router.add_post(HCAPTCHA_PATH, self._hcaptcha)
        self.application.router.add_post(TURNSTILE_PATH, self._turnstile)

    def solve(self, token: Token) -> str:
        """Makes a token as a widget does once its payer has done what it asks."""
        text = f"P1_{secrets.token_urlsafe(96)}"
        self.tokens[text] = token
        return text

    async def _hcaptcha(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, self._judge_hcaptcha)

    async def _turnstile(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, self._judge_turnstile)

    async def _answer(
        self, request: web.Request, judge: Callable[[dict[str, str]], Said]
    ) -> web.StreamResponse:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.asked.append(form)
        if request.content_type != _FORM:
            said = _no("bad-request")
        else:
            said = self.says or _lacks(form) or judge(form)
        token = self.tokens.get(form.get("response", ""))
        trouble = next(self.troubles, token and token.trouble)
        if trouble is not None:
            return await self._fail(request, trouble)
        return web.json_response(said, status=self.status)

    def _judge_hcaptcha(self, form: dict[str, str]) -> Said:
        text, secret = form["response"], form["secret"]
        if secret == HCAPTCHA_DUMMY_SECRET:
            dummy = text in HCAPTCHA_DUMMY_TOKENS
            return _yes("dummy-key-pass") if dummy else _no("not-using-dummy-passcode")
        if text in HCAPTCHA_DUMMY_TOKENS:
            return _no("not-using-dummy-secret")
        if secret not in self._secrets:
            return _no("invalid-input-secret")
        if "remoteip" in form and not _is_address(form["remoteip"]):
            return _no("invalid-remoteip")
        token = self.tokens.get(text)
        site_key = self._secrets[secret]
        if form.get("sitekey", site_key) != site_key or (token and token.site_key != site_key):
            return _no("sitekey-secret-mismatch")
        if token is None or not token.human:
            return _no("invalid-input-response")
        if token.expired:
            return _no("expired-input-response")
        if token.judged_by is not None:
            return _no("already-seen-response")
        token.judged_by = ""
        return {**_yes(token.hostname), "credit": False}

    def _judge_turnstile(self, form: dict[str, str]) -> Said:
        text, secret = form["response"], form["secret"]
        if secret in TURNSTILE_DUMMY_SECRETS:
            codes = TURNSTILE_DUMMY_SECRETS[secret]
            if text != TURNSTILE_DUMMY_TOKEN:
                codes = ["invalid-input-secret"]
            return _no(*codes) if codes else {**_yes("localhost"), **_widget("test", "test-data")}
        if secret not in self._secrets:
            return _no("invalid-input-secret")
        token = self.tokens.get(text)
        if token is None or token.site_key != self._secrets[secret] or not token.human:
            return _no("invalid-input-response")
        key = form.get("idempotency_key", "")
        if token.expired or (token.judged_by is not None and token.judged_by != (key or None)):
            return _no("timeout-or-duplicate")
        token.judged_by = key
        return {**_yes(token.hostname), **_widget(token.action, token.cdata)}

    async def _fail(self, request: web.Request, trouble: Trouble) -> web.StreamResponse:
        transport = request.transport
        assert transport is not None
        match trouble:
            case Trouble.SILENCE:
                await self.while_silent()
            case Trouble.RESET:
                transport.abort()
            case Trouble.HALF_A_BODY | Trouble.SLOW_BODY | Trouble.ENDLESS_BODY:
                response = web.StreamResponse(headers={"content-length": str(2**40)})
                await response.prepare(request)
                await response.write(b'{"success": tr')
                if trouble is Trouble.SLOW_BODY:
                    await self.while_silent()
                while trouble is Trouble.ENDLESS_BODY:
                    await response.write(b" " * 65536)
                transport.abort()
            case Trouble.SERVER_ERROR:
                return web.json_response(_yes("localhost"), status=503)
            case Trouble.THROTTLED:
                return web.Response(status=429)
            case Trouble.NOT_FOUND:
                return web.Response(status=404, text="<h1>Not found</h1>")
            case Trouble.REDIRECT:
                return web.Response(status=307, headers={"location": str(request.url)})
            case Trouble.NO_JSON:
                return web.Response(text='{"success": true')
            case Trouble.NO_HTTP:
                transport.write(b"220 mail.example ESMTP\r\n\r\n")
        return web.Response()


@contextmanager
def serving(stand_in: StandIn) -> Iterator[str]:
    """Serves a stand-in on loopback, in a thread of its own; yields its address."""
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(stand_in.application, handler_cancellation=True, shutdown_timeout=0.01)

    async def start() -> str:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(start(), loop).result(_SECONDS)
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _lacks(form: Mapping[str, str]) -> Said | None:
    if not form.get("secret"):
        return _no("missing-input-secret")
    return None if form.get("response") else _no("missing-input-response")


def _yes(hostname: str) -> Said:
    return {"success": True, "challenge_ts": _TIME, "hostname": hostname, "error-codes": []}


def _no(*codes: str) -> Said:
    return {"success": False, "error-codes": list(codes)}


def _widget(action: str, cdata: str) -> Said:
    return {"action": action, "cdata": cdata}


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
