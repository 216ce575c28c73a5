"""Judge: asks a provider, again where that is safe, and holds its answer to the session."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from pydantic import SecretStr

from service.aio.backoff import backoff
from service.captchas import Judgement, Question, Verdict
from service.captchas.sites import DUMMY_SECRETS, Binding
from service.captchas.siteverify import Answer, Client, Failure
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


class Provider(Protocol):
    """What tells one provider from another."""

    name: str
    longest_token: int
    repeatable: bool
    """Whether a question that may have been judged can be asked again."""
    wrong_secret: frozenset[str]
    """Codes that say that nothing was judged under this secret."""
    codes: Mapping[str, Verdict]
    """Every code that is published, and what it means."""

    def form(self, question: Question) -> Mapping[str, str]:
        """Returns what is sent beside secret, token and address."""

    def check(self, answer: Answer, question: Question, binding: Binding) -> Judgement:
        """Judges a token that the provider vouches for."""


class Judge:
    """Judges the tokens of one provider."""

    def __init__(
        self,
        provider: Provider,
        url: str,
        secrets: Mapping[str, Sequence[SecretStr]],
        bindings: Mapping[str, Binding],
        pauses: Callable[[], Iterator[float]] = lambda: backoff(0.5, 2.0),
    ) -> None:
        """Opens no connection yet.

        Args:
            provider: Whose tokens.
            url: Its siteverify.
            secrets: By site key, in the order to try them.
            bindings: By site key, where it is not the usual one.
            pauses: Between tries, in seconds; where they end, so do the tries.

        Raises:
            ValueError: The URL cannot be used.
        """
        self._provider = provider
        self._client = Client(url)
        self._secrets = secrets
        self._bindings = bindings
        self._pauses = pauses
        if secrets:
            metrics.begin_captchas(provider.name, Verdict, provider.codes)

    @property
    def site_keys(self) -> Sequence[str]:
        """Those that have a secret: a token of another is judged by nobody here."""
        return tuple(self._secrets)

    async def judge(self, question: Question) -> Judgement:
        """Judges a token within 5 s; never raises for what a provider does."""
        began = time.monotonic()
        judgement = await self._judge(question)
        self._tell(question, judgement, time.monotonic() - began)
        return judgement

    async def close(self) -> None:
        """Lets go of connections."""
        await self._client.close()

    async def _judge(self, question: Question) -> Judgement:
        token = question.token
        if len(token) > self._provider.longest_token or not _TOKEN.fullmatch(token):
            return Judgement(Verdict.MALFORMED, "token-form")
        judgement = Judgement(Verdict.MISCONFIGURED, "no-secret")
        until = asyncio.get_running_loop().time() + _SECONDS
        for secret in self._secrets.get(question.site_key, ()):
            judgement = await self._ask(question, secret.get_secret_value(), until)
            if judgement.reason not in self._provider.wrong_secret:
                break
        return judgement

    async def _ask(self, question: Question, secret: str, until: float) -> Judgement:
        """Asks under one secret, as often as is safe until the time is over."""
        form = {"secret": secret, "response": question.token, **self._provider.form(question)}
        if question.remote_ip:
            form["remoteip"] = question.remote_ip
        loop = asyncio.get_running_loop()
        longest = _TRY_SECONDS if self._provider.repeatable else _SECONDS
        pauses = self._pauses()
        answered: Answer | None = None
        while True:
            said = await self._client.post(form, min(longest, until - loop.time()))
            answered = said if isinstance(said, Answer) else answered
            pause = next(pauses, math.inf)
            if not self._may_repeat(said) or loop.time() + pause >= until:
                # Silence after an answer is no outage: the token may be why.
                return self._conclude(answered or said, question, secret)
            await asyncio.sleep(pause)

    def _may_repeat(self, said: Answer | Failure) -> bool:
        if isinstance(said, Failure):
            # Only what fails for all of the time is an outage: a single failure may be the token's.
            return said.judgement.verdict is Verdict.UNREACHABLE
        return self._provider.repeatable and "internal-error" in said.codes

    def _conclude(self, said: Answer | Failure, question: Question, secret: str) -> Judgement:
        if isinstance(said, Failure):
            return said.judgement
        if not said.success or said.codes:
            return self._refusal(said.codes)
        if secret in DUMMY_SECRETS:
            return Judgement(Verdict.PASSED, "dummy-secret")  # its answers name no page
        binding = self._bindings.get(question.site_key, Binding())
        return self._provider.check(said, question, binding)

    def _refusal(self, codes: Sequence[str]) -> Judgement:
        if not codes:
            return Judgement(Verdict.REFUSED, "no-code")
        table = self._provider.codes
        known = [Judgement(table[code], code) for code in codes if code in table]
        if len(known) < len(codes):
            names = [_printable(code) for code in codes if code not in table][:_CODES_LOGGED]
            logs.warning("captcha_codes_unknown", provider=self._provider.name, codes=names)
        unknown = Judgement(Verdict.INCONCLUSIVE, "unknown-code")
        return min(known, key=lambda judgement: _ORDER.index(judgement.verdict), default=unknown)

    def _tell(self, question: Question, judgement: Judgement, seconds: float) -> None:
        name, (verdict, reason) = self._provider.name, judgement
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
            session_id=question.session_id,
            provider=name,
            site_key=question.site_key,
            verdict=verdict.value,
            reason=reason,
        )


def _printable(code: str) -> str:
    return code[:_CODE_CHARACTERS].encode("unicode_escape").decode("ascii")
