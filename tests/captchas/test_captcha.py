"""What a captcha sends, and what it makes of each answer."""

from __future__ import annotations

import uuid

import pytest

from examples.siteverify import Token
from service.captchas import Judgement, Verdict
from service.captchas.sites import Binding, Policy
from tests.captchas.conftest import KEY, SECRET, SESSION, SITE_KEY, Bench, presented

PASSED = Judgement(Verdict.PASSED, "passed")
only_hcaptcha = pytest.mark.parametrize("kind", ["hcaptcha"], indirect=True)
only_turnstile = pytest.mark.parametrize("kind", ["turnstile"], indirect=True)


async def test_a_good_token_passes(bench: Bench) -> None:
    assert await bench.ask() == PASSED


async def test_what_is_sent(bench: Bench) -> None:
    token = bench.token()
    await bench.ask(token)
    own = {
        "hcaptcha": {"sitekey": SITE_KEY},
        "turnstile": {"idempotency_key": str(KEY)},
    }[bench.kind]
    assert bench.stand_in.asked == [
        {"secret": SECRET, "response": token, "remoteip": "203.0.113.7", **own}
    ]


async def test_an_unknown_address_is_not_sent(bench: Bench) -> None:
    assert await bench.ask(remote_ip="") == PASSED
    assert "remoteip" not in bench.stand_in.asked[0]


@pytest.mark.parametrize(
    "hostname", ["shop.example", "SHOP.example", "pay.shop.example", "localhost"]
)
async def test_a_page_of_the_session(bench: Bench, hostname: str) -> None:
    assert await bench.ask(bench.token(hostname=hostname)) == PASSED


@pytest.mark.parametrize(
    "hostname",
    [
        "",
        "evil.example",
        "shop.example.evil.example",
        "a.shop.example",
        "example",
        "shop.example:1",
    ],
)
async def test_a_page_that_is_none_of_the_sessions(bench: Bench, hostname: str) -> None:
    refused = Judgement(Verdict.REFUSED, "hostname-mismatch")
    assert await bench.ask(bench.token(hostname=hostname)) == refused


async def test_a_session_without_origins_has_no_page(bench: Bench) -> None:
    refused = Judgement(Verdict.REFUSED, "hostname-mismatch")
    assert await bench.ask(bench.token(hostname=""), origins=()) == refused


async def test_a_page_at_an_address(bench: Bench) -> None:
    assert await bench.ask(bench.token(hostname="[::1]"), origins=("http://[::1]:3000",)) == PASSED


@only_hcaptcha
async def test_hcaptcha_leaves_the_hostname_out_under_load(bench: Bench) -> None:
    said = await bench.ask(bench.token(hostname="not-provided"))
    assert said == Judgement(Verdict.PASSED, "hostname-not-provided")


@only_turnstile
async def test_turnstile_always_names_the_hostname(bench: Bench) -> None:
    said = await bench.ask(bench.token(hostname="not-provided"))
    assert said == Judgement(Verdict.REFUSED, "hostname-mismatch")


@only_turnstile
@pytest.mark.parametrize(
    ("policy", "action", "cdata", "reason"),
    [
        (Policy.IF_PRESENT, "", "", "passed"),
        (Policy.IF_PRESENT, "challenge", SESSION, "passed"),
        (Policy.IF_PRESENT, "login", SESSION, "action-mismatch"),
        (Policy.IF_PRESENT, "", "cs_2", "cdata-mismatch"),
        (Policy.REQUIRE, "challenge", SESSION, "passed"),
        (Policy.REQUIRE, "", SESSION, "action-missing"),
        (Policy.REQUIRE, "challenge", "", "cdata-missing"),
        (Policy.REQUIRE, "login", SESSION, "action-mismatch"),
        (Policy.REQUIRE, "challenge", "cs_2", "cdata-mismatch"),
        (Policy.OFF, "login", "cs_2", "passed"),
    ],
)
async def test_turnstile_binds_to_action_and_session(
    bench: Bench, policy: Policy, action: str, cdata: str, reason: str
) -> None:
    token = bench.token(action=action, cdata=cdata)
    said = await bench.captcha(binding=Binding(policy)).judge(presented(token))
    verdict = Verdict.PASSED if reason == "passed" else Verdict.REFUSED
    assert said == Judgement(verdict, reason)


@only_turnstile
async def test_turnstile_binds_to_the_action_that_is_set(bench: Bench) -> None:
    captcha = bench.captcha(binding=Binding(Policy.REQUIRE, "pay"))
    assert await captcha.judge(presented(bench.token(action="pay", cdata=SESSION))) == PASSED


async def test_the_token_of_another_site_key_is_refused(bench: Bench) -> None:
    said = await bench.ask(bench.stand_in.solve(Token("site-2", "shop.example")))
    assert (
        said
        == {
            "hcaptcha": Judgement(Verdict.MISCONFIGURED, "sitekey-secret-mismatch"),
            "turnstile": Judgement(Verdict.REFUSED, "invalid-input-response"),
        }[bench.kind]
    )


@only_hcaptcha
async def test_a_secret_that_has_vouched_is_not_to_blame_for_others_tokens(bench: Bench) -> None:
    captcha = bench.captcha(SECRET, "old-s3cret")

    async def said(site_key: str) -> Judgement:
        token = bench.stand_in.solve(Token(site_key, "shop.example"))
        return await captcha.judge(presented(token))

    assert (await said("site-2")).verdict is Verdict.MISCONFIGURED, "nobody knows the secret yet"
    assert await said(SITE_KEY) == PASSED
    assert await said("site-2") == Judgement(Verdict.REFUSED, "sitekey-secret-mismatch")


async def test_a_token_is_good_once(bench: Bench) -> None:
    token = bench.token()
    assert await bench.ask(token) == PASSED
    again = await bench.ask(token, idempotency_key=uuid.UUID(int=8))
    assert again.verdict is Verdict.EXPIRED_OR_DUPLICATE


async def test_an_expired_token(bench: Bench) -> None:
    said = await bench.ask(bench.token(expired=True))
    assert said.verdict is Verdict.EXPIRED_OR_DUPLICATE


async def test_the_token_of_a_machine(bench: Bench) -> None:
    said = await bench.ask(bench.token(human=False))
    assert said == Judgement(Verdict.REFUSED, "invalid-input-response")


@pytest.mark.parametrize("token", ["", " ", "a b", "a\n", "a\r\nb", "\u0000", "é", "a\u200b"])
async def test_what_is_no_token_is_not_sent(bench: Bench, token: str) -> None:
    said = await bench.captcha().judge(presented(token))
    assert said == Judgement(Verdict.MALFORMED, "token-form")
    assert bench.stand_in.asked == []


async def test_the_longest_token(bench: Bench) -> None:
    longest = {"hcaptcha": 8192, "turnstile": 2048}[bench.kind]
    assert (await bench.ask("a" * longest)).verdict is Verdict.REFUSED
    assert len(bench.stand_in.asked) == 1
    assert (await bench.ask("a" * (longest + 1))).verdict is Verdict.MALFORMED
    assert len(bench.stand_in.asked) == 1


async def test_a_site_key_without_a_secret_is_not_asked_about(bench: Bench) -> None:
    said = await bench.ask(site_key="site-3")
    assert said == Judgement(Verdict.MISCONFIGURED, "no-secret")
    assert bench.stand_in.asked == []


async def test_while_a_secret_changes_both_are_tried(bench: Bench) -> None:
    captcha = bench.captcha("next-s3cret", SECRET)
    assert await captcha.judge(presented(bench.token())) == PASSED
    assert [form["secret"] for form in bench.stand_in.asked] == ["next-s3cret", SECRET]
    await captcha.judge(presented(bench.token(human=False)))
    assert len(bench.stand_in.asked) == 4


async def test_a_right_secret_is_the_last_that_is_tried(bench: Bench) -> None:
    said = await bench.captcha(SECRET, "old-s3cret").judge(presented(bench.token(human=False)))
    assert said.verdict is Verdict.REFUSED
    assert len(bench.stand_in.asked) == 1


async def test_when_no_secret_is_right(bench: Bench) -> None:
    said = await bench.captcha("wr0ng", "wr0ng-too").judge(presented(bench.token()))
    assert said == Judgement(Verdict.MISCONFIGURED, "invalid-input-secret")
