"""What operators see of judgements: one line and one count each, and no secret."""

from __future__ import annotations

import itertools

import pytest
from prometheus_client import REGISTRY

from examples.siteverify import (
    HCAPTCHA_DUMMY_SECRET,
    HCAPTCHA_DUMMY_TOKENS,
    TURNSTILE_DUMMY_SECRETS,
    TURNSTILE_DUMMY_TOKEN,
    Trouble,
)
from service.captchas import Judgement, Verdict
from tests.captchas.conftest import SECRET, SESSION, SITE_KEY, Bench, presented
from tests.harness.logs import Logs


def counted(kind: str, verdict: str, reason: str) -> float:
    labels = {"provider": kind, "verdict": verdict, "reason": reason}
    return REGISTRY.get_sample_value("challenge_captcha_judgements_total", labels) or 0.0


def timed(kind: str, verdict: str) -> float:
    labels = {"provider": kind, "verdict": verdict}
    return REGISTRY.get_sample_value("challenge_captcha_duration_seconds_count", labels) or 0.0


@pytest.mark.parametrize(
    ("trouble", "human", "level", "verdict"),
    [
        (None, True, "info", "passed"),
        (None, False, "info", "refused"),
        (Trouble.NOT_FOUND, True, "error", "misconfigured"),
        (Trouble.THROTTLED, True, "warning", "inconclusive"),
        (Trouble.SERVER_ERROR, True, "warning", "unreachable"),
    ],
)
async def test_a_judgement_is_logged_and_counted(
    bench: Bench, logged: Logs, trouble: Trouble | None, human: bool, level: str, verdict: str
) -> None:
    bench.stand_in.troubles = itertools.repeat(trouble)
    token = bench.token(human=human)
    durations = timed(bench.kind, verdict)
    said = await bench.ask(token)
    (line,) = logged.lines("captcha_judged")
    assert line.items() >= {
        "level": level, "provider": bench.kind, "site_key": SITE_KEY, "session_id": SESSION,
        "verdict": verdict, "reason": said.reason,
    }.items()  # fmt: skip
    assert counted(bench.kind, verdict, said.reason) >= 1
    assert timed(bench.kind, verdict) == durations + 1
    for secret in (SECRET, token, "203.0.113.7"):
        assert secret not in logged.text


def test_a_token_is_not_shown() -> None:
    shown = repr(presented("t0ken"))
    assert "t0ken" not in shown
    assert "203.0.113.7" not in shown


@pytest.mark.parametrize("kind", ["turnstile"], indirect=True)
@pytest.mark.parametrize("secret", TURNSTILE_DUMMY_SECRETS)
async def test_turnstiles_dummy_secrets(bench: Bench, secret: str) -> None:
    said = await bench.captcha(secret).judge(presented(TURNSTILE_DUMMY_TOKEN))
    assert (
        said
        == {
            "1": Judgement(Verdict.PASSED, "dummy-secret"),
            "2": Judgement(Verdict.REFUSED, "invalid-input-response"),
            "3": Judgement(Verdict.EXPIRED_OR_DUPLICATE, "timeout-or-duplicate"),
        }[secret[0]]
    )
    real = await bench.captcha(secret).judge(presented(bench.token()))
    assert real == Judgement(Verdict.MISCONFIGURED, "invalid-input-secret")


@pytest.mark.parametrize("kind", ["hcaptcha"], indirect=True)
async def test_hcaptchas_dummy_secret(bench: Bench) -> None:
    captcha = bench.captcha(HCAPTCHA_DUMMY_SECRET)
    for token in HCAPTCHA_DUMMY_TOKENS:
        assert await captcha.judge(presented(token)) == Judgement(Verdict.PASSED, "dummy-secret")
    real = await captcha.judge(presented(bench.token()))
    assert real == Judgement(Verdict.MISCONFIGURED, "not-using-dummy-passcode")


async def test_a_dummy_token_is_refused_by_real_secrets(bench: Bench) -> None:
    tokens = {"hcaptcha": min(HCAPTCHA_DUMMY_TOKENS), "turnstile": TURNSTILE_DUMMY_TOKEN}
    said = await bench.ask(tokens[bench.kind])
    assert said.verdict is Verdict.REFUSED
