"""Protections of captchas: what a token is held to, whom a failure stops, which secrets count."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_CAPTCHA, _SITES = "service/captchas/judge.py", "service/captchas/sites.py"
_SITEVERIFY, _TURNSTILE = "service/captchas/siteverify.py", "service/captchas/turnstile.py"

CAPTCHAS = (
    Mutation(
        "token: of a page of the session", _SITEVERIFY,
        'if reply.hostname.lower().strip("[]") in hosts:', "if True:",
        "test_a_page_that_is_none_of_the_sessions",
    ),
    Mutation(
        "token: of the site key that was issued", "service/captchas/hcaptcha.py",
        'return {"sitekey": token.site_key}', "return {}",
        "test_what_is_sent or test_the_token_of_another_site_key",
    ),
    Mutation(
        "token: of the payer's address", _CAPTCHA,
        "if token.remote_ip:", "if False:",
        "test_what_is_sent",
    ),
    Mutation(
        "token: of this session and action, where they are named", _TURNSTILE,
        'if binding.policy is not Policy.OFF and value not in ("", right):', "if False:",
        "test_turnstile_binds_to_action_and_session",
    ),
    Mutation(
        "token: of a session and action, where they must be named", _TURNSTILE,
        "if binding.policy is Policy.REQUIRE and not value:", "if False:",
        "test_turnstile_binds_to_action_and_session",
    ),
    Mutation(
        "token: its length", _CAPTCHA,
        "is_long = len(token.text) > self._vendor.longest_token", "is_long = False",
        "test_the_longest_token",
    ),
    Mutation(
        "token: the same question has the same key", _TURNSTILE,
        'return {"idempotency_key": str(token.idempotency_key)}', "return {}",
        "test_turnstile_is_asked_again or test_what_is_sent",
    ),
    Mutation(
        "token: hCaptcha is not asked again while it may judge one", _CAPTCHA,
        "longest = _TRY_SECONDS if self._vendor.repeatable else _SECONDS", "longest = _TRY_SECONDS",
        "test_hcaptcha_has_all_of_the_five_seconds",
    ),
    Mutation(
        "reply: success with a code is none", _CAPTCHA,
        "if not said.success or said.codes:", "if not said.success:",
        "test_success_with_a_code_is_none",
    ),
    Mutation(
        "reply: a code that is not known decides nothing", _CAPTCHA,
        'Judgement(Verdict.INCONCLUSIVE, "unknown-code")',
        'Judgement(Verdict.PASSED, "unknown-code")',
        "test_code or test_an_unknown_code_is_logged_by_name or test_of_several",
    ),
    Mutation(
        "reply: a redirect is not followed", _SITEVERIFY,
        "allow_redirects=False", "allow_redirects=True",
        "test_hcaptcha_is_asked_once or test_turnstile_is_not_asked_again",
    ),
    Mutation(
        "reply: one that is too large is no outage", _SITEVERIFY,
        "return _TOO_LARGE", "return _SERVER_ERROR",
        "test_hcaptcha_is_asked_once",
    ),
    Mutation(
        "outage: silence after a reply is none", _CAPTCHA,
        "return self._conclude(replied or said, token, secret)",
        "return self._conclude(said, token, secret)",
        "test_silence_after_an_answer_is_no_outage",
    ),
    Mutation(
        "outage: five seconds", _CAPTCHA,
        "if not self._may_repeat(said) or loop.time() + pause >= until:",
        "if not self._may_repeat(said) or loop.time() >= until:",
        "test_no_try_begins_after_five_seconds or test_turnstile_has_five_seconds",
    ),
    Mutation(
        "secret: none that is published in production", _SITES,
        "if production and not DUMMY_SECRETS.isdisjoint(secrets):", "if False:",
        "test_a_published_secret_is_for_development",
    ),
    Mutation(
        "secret: the other one is tried under a wrong one only", _CAPTCHA,
        "if not is_ours or judgement.reason not in self._vendor.wrong_secret:", "if False:",
        "test_a_right_secret_is_the_last_that_is_tried",
    ),
    Mutation(
        "secret: nobody's token makes a good one ours to mend", _CAPTCHA,
        "self._vouched.add(pair)", "pass",
        "test_a_secret_that_has_vouched",
    ),
    Mutation(
        "secret: until one has vouched it may be wrong", _CAPTCHA,
        "self._vendor.foreign_token and pair in self._vouched", "self._vendor.foreign_token",
        "test_a_secret_that_has_vouched",
    ),
)  # fmt: skip
