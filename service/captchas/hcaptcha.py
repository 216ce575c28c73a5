"""hCaptcha's side of siteverify: https://docs.hcaptcha.com/#verify-the-user-response-server-side."""

from __future__ import annotations

from collections.abc import Mapping

from service.captchas import CaptchaToken, Judgement, Verdict
from service.captchas.sites import Binding
from service.captchas.siteverify import Reply, judge_page

_NO_HOSTNAME = "not-provided"
"""What stands for the hostname while traffic is unusually high. Refused, it would let whoever makes
such traffic shut all payers out; the site key is still checked."""


class HCaptcha:
    """A token is judged once, and no key tells a repeated question from a second one."""

    name = "hcaptcha"
    longest_token = 8192
    """None is published. 2,532 characters were met by AdguardTeam/ReportsWebApp (issue 429), over
    4,000 by firstmoversadvantage/hcaptcha (pull request 2): 2048 would shut payers out."""
    repeatable = False
    wrong_secret = frozenset({"invalid-input-secret", "sitekey-secret-mismatch"})
    foreign_token = frozenset({"sitekey-secret-mismatch"})
    codes: Mapping[str, Verdict] = {
        # https://docs.hcaptcha.com/#siteverify-error-codes-table
        "missing-input-secret": Verdict.MISCONFIGURED,
        "invalid-input-secret": Verdict.MISCONFIGURED,
        "missing-input-response": Verdict.MISCONFIGURED,
        "invalid-input-response": Verdict.REFUSED,
        "expired-input-response": Verdict.EXPIRED_OR_DUPLICATE,
        "already-seen-response": Verdict.EXPIRED_OR_DUPLICATE,
        "bad-request": Verdict.MISCONFIGURED,
        "missing-remoteip": Verdict.MISCONFIGURED,
        "invalid-remoteip": Verdict.MISCONFIGURED,
        "not-using-dummy-passcode": Verdict.MISCONFIGURED,  # a dummy key; a token cannot cause it
        "sitekey-secret-mismatch": Verdict.MISCONFIGURED,  # see `foreign_token`
        # In earlier editions of that table:
        "invalid-or-already-seen-response": Verdict.EXPIRED_OR_DUPLICATE,
        # In none, but met:
        "not-using-dummy-secret": Verdict.REFUSED,  # a dummy token, which anybody can send
        "invalid-sitekey": Verdict.MISCONFIGURED,
    }

    def form(self, token: CaptchaToken) -> Mapping[str, str]:
        """Returns what is sent beside secret, token and address."""
        return {"sitekey": token.site_key}

    def check(self, reply: Reply, token: CaptchaToken, _: Binding) -> Judgement:
        """Judges a token that hCaptcha vouches for: is it of this session's page?"""
        if reply.hostname == _NO_HOSTNAME:
            return Judgement(Verdict.PASSED, "hostname-not-provided")
        return judge_page(reply, token)
