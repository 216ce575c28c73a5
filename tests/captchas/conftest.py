"""Each captcha, before a stand-in of its provider over real HTTP."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from examples.siteverify import HCAPTCHA_PATH, TURNSTILE_PATH, StandIn, Token
from service.captchas import CaptchaToken, Judgement
from service.captchas.hcaptcha import HCaptcha
from service.captchas.judge import CaptchaJudge
from service.captchas.sites import Binding
from service.captchas.turnstile import Turnstile
from service.settings import Settings
from tests.harness.logs import Logs

SITE_KEY, SECRET, SESSION = "site-1", "0x4AAAAAAA-s3cret", "cs_1"
ORIGINS = ("https://shop.example", "https://pay.shop.example:8443", "capacitor://localhost")
KEY = uuid.UUID(int=7)


class Bench:
    """One captcha and its stand-in."""

    def __init__(
        self, kind: str, stand_in: StandIn, runner: web.AppRunner, stack: AsyncExitStack
    ) -> None:
        self.kind = kind
        self.stand_in = stand_in
        self.runner = runner
        self.vendor = HCaptcha() if kind == "hcaptcha" else Turnstile()
        self.path = HCAPTCHA_PATH if kind == "hcaptcha" else TURNSTILE_PATH
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}{self.path}"
        self._stack = stack

    def captcha(
        self,
        *secrets: str,
        binding: Binding | None = None,
        url: str | None = None,
        pauses: Any = lambda: itertools.repeat(0.0, 3),
    ) -> CaptchaJudge:
        """Makes one that is closed when the test ends."""
        held = {SITE_KEY: [SecretStr(secret) for secret in secrets or (SECRET,)]}
        bindings = {} if binding is None else {SITE_KEY: binding}
        captcha = CaptchaJudge(self.vendor, url or self.url, held, bindings, pauses)
        self._stack.push_async_callback(captcha.close)
        return captcha

    def token(self, **values: Any) -> str:
        """A token of the session's own widget."""
        return self.stand_in.solve(
            Token(**{"site_key": SITE_KEY, "hostname": "shop.example", **values})
        )

    async def ask(self, token: str | None = None, **values: Any) -> Judgement:
        """Judges a token, a good one unless told otherwise."""
        return await self.captcha().judge(presented(token or self.token(), **values))


def presented(text: str, **values: Any) -> CaptchaToken:
    """What the service would ask of a token."""
    usual: dict[str, Any] = {
        "site_key": SITE_KEY, "text": text, "session_id": SESSION, "origins": ORIGINS,
        "idempotency_key": KEY, "remote_ip": "203.0.113.7",
    }  # fmt: skip
    return CaptchaToken(**{**usual, **values})


@pytest.fixture(params=["hcaptcha", "turnstile"])
def kind(request: pytest.FixtureRequest) -> str:
    """The challenge's type."""
    return str(request.param)


@pytest.fixture
async def bench(kind: str) -> AsyncIterator[Bench]:
    """A captcha and its stand-in."""
    stand_in = StandIn({SITE_KEY: [SECRET], "site-2": ["secret-2"]})
    runner = web.AppRunner(stand_in.application, handler_cancellation=True, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with AsyncExitStack() as stack:
        yield Bench(kind, stand_in, runner, stack)
    vars(asyncio.get_running_loop()).pop("time", None)  # where a test has made it stand still
    await runner.cleanup()


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Logs:
    """What production would log."""
    settings = Settings.model_construct(environment="production", log_level="debug")
    return Logs(monkeypatch, settings)
