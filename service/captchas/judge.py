"""The judge of a captcha: asks its provider, again where that is safe, about a payer's token."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from pydantic import SecretStr

from service.aio.backoff import backoff
from service.captchas import CaptchaToken, Judgement, Verdict
from service.captchas.sites import DUMMY_SECRETS, Binding
from service.captchas.siteverify import Client, Failure, Reply
from service.telemetry import logs, metrics

_SECONDS = 5.0
"""Of one judgement, whatever its tries and secrets."""
_TRY_SECONDS = 2.5
"""Of a try that can be repeated."""
_TOKEN = re.compile(r"[!-~]+", re.ASCII)
# Of several codes: what is ours to mend comes first, and what we do not know last. A try that may
# have been a repeat is not counted.
_ORDER = (
    Verdict.MISCONFIGURED, Verdict.EXPIRED_OR_DUPLICATE, Verdict.REFUSED, Verdict.INCONCLUSIVE,
)  # fmt: skip
_CODE_CHARACTERS, _CODES_LOGGED = 64, 5


class Vendor(Protocol):
    """What tells one provider from another."""

    name: str
    longest_token: int
    repeatable: bool
    """Whether it can be asked again about a token that it may have judged."""
    wrong_secret: frozenset[str]
    """Codes that say that nothing was judged under this secret."""
    foreign_token: frozenset[str]
    """Codes that say that token and secret are of different site keys: the token's fault once the
    secret has vouched for one of its site key, ours until then."""
    codes: Mapping[str, Verdict]
    """Every code that is published, and what it means."""

    def form(self, token: CaptchaToken) -> Mapping[str, str]:
        """Returns what is sent beside secret, token and address."""

    def check(self, reply: Reply, token: CaptchaToken, binding: Binding) -> Judgement:
        """Judges a token that the provider vouches for."""


class CaptchaJudge:
    """Judges the tokens of one provider."""

    def __init__(
        self,
        vendor: Vendor,
        url: str,
        secrets: Mapping[str, Sequence[SecretStr]],
        bindings: Mapping[str, Binding],
        pauses: Callable[[], Iterator[float]] = lambda: backoff(0.5, 2.0),
    ) -> None:
        """Opens no connection yet.

        Args:
            vendor: Whose tokens.
            url: Its siteverify.
            secrets: By site key, in the order to try them.
            bindings: By site key, where it is not the usual one.
            pauses: Between tries, in seconds; where they end, so do the tries.

        Raises:
            ValueError: The URL cannot be used.
        """
        self._vendor = vendor
        self._client = Client(url)
        self._secrets = secrets
        self._bindings = bindings
        self._pauses = pauses
        self._vouched: set[tuple[str, str]] = set()  # site keys and their secrets
        if secrets:
            metrics.begin_captchas(vendor.name, Verdict, vendor.codes)

    @property
    def site_keys(self) -> Sequence[str]:
        """Those that have a secret: a token of another is judged by nobody here."""
        return tuple(self._secrets)

    async def judge(self, token: CaptchaToken) -> Judgement:
        """Judges a token within 5 s; never raises for what a provider does."""
        began = time.monotonic()
        judgement = await self._judge(token)
        self._tell(token, judgement, time.monotonic() - began)
        return judgement

    async def close(self) -> None:
        """Lets go of connections."""
        await self._client.close()

    async def _judge(self, token: CaptchaToken) -> Judgement:
        is_long = len(token.text) > self._vendor.longest_token
        if is_long or not _TOKEN.fullmatch(token.text):
            return Judgement(Verdict.MALFORMED, "token-form")
        judgement = Judgement(Verdict.MISCONFIGURED, "no-secret")
        until = asyncio.get_running_loop().time() + _SECONDS
        for secret in self._secrets.get(token.site_key, ()):
            judgement = await self._ask(token, secret.get_secret_value(), until)
            is_ours = judgement.verdict is Verdict.MISCONFIGURED
            if not is_ours or judgement.reason not in self._vendor.wrong_secret:
                break
        return judgement

    async def _ask(self, token: CaptchaToken, secret: str, until: float) -> Judgement:
        """Asks under one secret, as often as is safe until the time is over."""
        form = {"secret": secret, "response": token.text, **self._vendor.form(token)}
        if token.remote_ip:
            form["remoteip"] = token.remote_ip
        loop = asyncio.get_running_loop()
        longest = _TRY_SECONDS if self._vendor.repeatable else _SECONDS
        pauses = self._pauses()
        replied: Reply | None = None
        while True:
            said = await self._client.post(form, min(longest, until - loop.time()))
            replied = said if isinstance(said, Reply) else replied
            pause = next(pauses, math.inf)
            if not self._may_repeat(said) or loop.time() + pause >= until:
                # Silence after a reply is no outage: the token may be why.
                return self._conclude(replied or said, token, secret)
            await asyncio.sleep(pause)

    def _may_repeat(self, said: Reply | Failure) -> bool:
        if isinstance(said, Failure):
            # Only what fails for all of the time is an outage: a single failure may be the token's.
            return said.judgement.verdict is Verdict.UNREACHABLE
        return self._vendor.repeatable and "internal-error" in said.codes

    def _conclude(self, said: Reply | Failure, token: CaptchaToken, secret: str) -> Judgement:
        if isinstance(said, Failure):
            return said.judgement
        pair = token.site_key, secret
        if not said.success or said.codes:
            refusal = self._refusal(said.codes)
            is_foreign = refusal.reason in self._vendor.foreign_token and pair in self._vouched
            return refusal._replace(verdict=Verdict.REFUSED) if is_foreign else refusal
        self._vouched.add(pair)
        if secret in DUMMY_SECRETS:
            return Judgement(Verdict.PASSED, "dummy-secret")  # its replies name no page
        binding = self._bindings.get(token.site_key, Binding())
        return self._vendor.check(said, token, binding)

    def _refusal(self, codes: Sequence[str]) -> Judgement:
        if not codes:
            return Judgement(Verdict.REFUSED, "no-code")
        table = self._vendor.codes
        known = [Judgement(table[code], code) for code in codes if code in table]
        if len(known) < len(codes):
            names = [_printable(code) for code in codes if code not in table][:_CODES_LOGGED]
            logs.warning("captcha_codes_unknown", provider=self._vendor.name, codes=names)
        unknown = Judgement(Verdict.INCONCLUSIVE, "unknown-code")
        return min(known, key=lambda judgement: _ORDER.index(judgement.verdict), default=unknown)

    def _tell(self, token: CaptchaToken, judgement: Judgement, seconds: float) -> None:
        name, (verdict, reason) = self._vendor.name, judgement
        metrics.CAPTCHA_JUDGEMENTS.labels(name, verdict, reason).inc()
        metrics.CAPTCHA_DURATION.labels(name, verdict).observe(seconds)
        match verdict:
            case Verdict.MISCONFIGURED:
                log = logs.error
            case Verdict.INCONCLUSIVE | Verdict.UNREACHABLE:
                log = logs.warning
            case _:
                log = logs.info
        log(
            "captcha_judged",
            session_id=token.session_id,
            provider=name,
            site_key=token.site_key,
            verdict=verdict.value,
            reason=reason,
        )


def _printable(code: str) -> str:
    return code[:_CODE_CHARACTERS].encode("unicode_escape").decode("ascii")
