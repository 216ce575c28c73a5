"""Turnstile's side: https://developers.cloudflare.com/turnstile/get-started/server-side-validation/.

A secret is of one widget, so that the token of another site key is an invalid one.
"""

from __future__ import annotations

from collections.abc import Mapping

from service.captchas import CaptchaToken, Judgement, Verdict
from service.captchas.sites import Binding, Policy
from service.captchas.siteverify import Reply, judge_page


class Turnstile:
    """The idempotency key lets the same question be asked again."""

    name = "turnstile"
    longest_token = 2048
    """Published, on the page that the top of this file names."""
    repeatable = True
    wrong_secret = frozenset({"invalid-input-secret"})
    foreign_token: frozenset[str] = frozenset()
    codes: Mapping[str, Verdict] = {
        "missing-input-secret": Verdict.MISCONFIGURED,
        "invalid-input-secret": Verdict.MISCONFIGURED,
        "missing-input-response": Verdict.MISCONFIGURED,
        "invalid-input-response": Verdict.REFUSED,
        "bad-request": Verdict.MISCONFIGURED,
        "timeout-or-duplicate": Verdict.EXPIRED_OR_DUPLICATE,
        "internal-error": Verdict.INCONCLUSIVE,
    }

    def form(self, token: CaptchaToken) -> Mapping[str, str]:
        """Returns what is sent beside secret, token and address."""
        return {"idempotency_key": str(token.idempotency_key)}

    def check(self, reply: Reply, token: CaptchaToken, binding: Binding) -> Judgement:
        """Judges a token that Turnstile vouches for: is it of this session and its page?"""
        for name, value, right in (
            ("action", reply.action, binding.action),
            ("cdata", reply.cdata, token.session_id),
        ):
            if binding.policy is Policy.REQUIRE and not value:
                return Judgement(Verdict.REFUSED, f"{name}-missing")
            if binding.policy is not Policy.OFF and value not in ("", right):
                return Judgement(Verdict.REFUSED, f"{name}-mismatch")
        return judge_page(reply, token)
