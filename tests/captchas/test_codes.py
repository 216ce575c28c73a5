"""Every error code that the providers publish, and those that they do not."""

from __future__ import annotations

import pytest

from service.captchas import Judgement, Verdict
from tests.captchas.conftest import Bench
from tests.harness.logs import Logs

OURS, AGAIN, COUNTED = Verdict.MISCONFIGURED, Verdict.EXPIRED_OR_DUPLICATE, Verdict.REFUSED
UNKNOWN = Judgement(Verdict.INCONCLUSIVE, "unknown-code")
PUBLISHED = {
    # https://docs.hcaptcha.com/#siteverify-error-codes-table
    "hcaptcha": {
        "missing-input-secret": OURS,
        "invalid-input-secret": OURS,
        "missing-input-response": OURS,
        "invalid-input-response": COUNTED,
        "expired-input-response": AGAIN,
        "already-seen-response": AGAIN,
        "bad-request": OURS,
        "missing-remoteip": OURS,
        "invalid-remoteip": OURS,
        "not-using-dummy-passcode": OURS,
        "sitekey-secret-mismatch": OURS,
    },
    # https://developers.cloudflare.com/turnstile/get-started/server-side-validation/#error-codes
    "turnstile": {
        "missing-input-secret": OURS,
        "invalid-input-secret": OURS,
        "missing-input-response": OURS,
        "invalid-input-response": COUNTED,
        "bad-request": OURS,
        "timeout-or-duplicate": AGAIN,
        "internal-error": Verdict.INCONCLUSIVE,
    },
}
UNPUBLISHED = {
    "hcaptcha": {
        "invalid-or-already-seen-response": AGAIN,
        "not-using-dummy-secret": COUNTED,
        "invalid-sitekey": OURS,
    },
    "turnstile": {},
}
ROWS = [
    pytest.param(kind, code, verdict, id=f"{kind}-{code}")
    for table in (PUBLISHED, UNPUBLISHED)
    for kind, codes in table.items()
    for code, verdict in codes.items()
]


@pytest.mark.parametrize(("kind", "code", "verdict"), ROWS, indirect=["kind"])
async def test_code(bench: Bench, code: str, verdict: Verdict) -> None:
    bench.stand_in.says = {"success": False, "error-codes": [code]}
    assert await bench.ask() == Judgement(verdict, code)


def test_no_code_is_in_the_service_alone(bench: Bench) -> None:
    known = {**PUBLISHED[bench.kind], **UNPUBLISHED[bench.kind]}
    assert dict(bench.vendor.codes) == known


@pytest.mark.parametrize(
    ("codes", "verdict"),
    [
        (["invalid-input-response", "invalid-input-secret"], OURS),
        (["something-new", "invalid-input-response"], COUNTED),
        (["something-new", "bad-request"], OURS),
    ],
)
async def test_of_several_codes_the_weightiest(
    bench: Bench, codes: list[str], verdict: Verdict
) -> None:
    bench.stand_in.says = {"success": False, "error-codes": codes}
    assert (await bench.ask()).verdict is verdict


async def test_a_repeat_outweighs_a_refusal(bench: Bench) -> None:
    repeat = {"hcaptcha": "already-seen-response", "turnstile": "timeout-or-duplicate"}[bench.kind]
    bench.stand_in.says = {"success": False, "error-codes": ["invalid-input-response", repeat]}
    assert await bench.ask() == Judgement(AGAIN, repeat)


async def test_an_unknown_code_is_logged_by_name(bench: Bench, logged: Logs) -> None:
    codes = ["something-new", "a\nb\u2028\x1b[0m", "é" * 100, *"cdefgh"]
    bench.stand_in.says = {"success": False, "error-codes": codes}
    assert await bench.ask() == UNKNOWN
    (line,) = logged.lines("captcha_codes_unknown")
    assert line["provider"] == bench.kind
    assert line["codes"] == [
        "something-new", "a\\nb\\u2028\\x1b[0m", "\\xe9" * 64, "c", "d",
    ]  # fmt: skip


async def test_no_success_without_a_code_counts(bench: Bench) -> None:
    for said in ({"success": False}, {"success": False, "error-codes": []}):
        bench.stand_in.says = said
        assert await bench.ask() == Judgement(Verdict.REFUSED, "no-code")


async def test_success_with_a_code_is_none(bench: Bench) -> None:
    for code, judgement in (
        ("something-new", UNKNOWN),
        ("invalid-input-response", Judgement(COUNTED, "invalid-input-response")),
    ):
        said = {"success": True, "hostname": "shop.example", "error-codes": [code]}
        bench.stand_in.says = said
        assert await bench.ask() == judgement


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"success": "true", "hostname": "shop.example"},
        {"success": 1, "hostname": "shop.example"},
        {"success": True, "hostname": "shop.example", "error-codes": "none"},
        {"success": False, "error-codes": [{"code": 1}]},
        {"success": False, "error-codes": {"bad-request": 1}},
    ],
)
async def test_what_is_no_answer_of_siteverify(bench: Bench, said: dict[str, object]) -> None:
    bench.stand_in.says = said or {"ok": True}
    assert await bench.ask() == Judgement(Verdict.INCONCLUSIVE, "reply-unreadable")


@pytest.mark.parametrize("hostname", [None, 7, ["shop.example"]])
async def test_a_hostname_that_is_no_text_is_none(bench: Bench, hostname: object) -> None:
    bench.stand_in.says = {"success": True, "hostname": hostname}
    assert await bench.ask() == Judgement(Verdict.REFUSED, "hostname-mismatch")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413])
async def test_a_refusal_with_a_code_is_read_whatever_its_status(bench: Bench, status: int) -> None:
    bench.stand_in.status = status
    said = await bench.ask(bench.token(human=False))
    assert said == Judgement(COUNTED, "invalid-input-response")


@pytest.mark.parametrize(
    ("status", "judgement"),
    [
        (400, Judgement(OURS, "http-4xx")),
        (404, Judgement(OURS, "http-4xx")),
        (429, Judgement(Verdict.INCONCLUSIVE, "http-429")),
        (201, Judgement(Verdict.INCONCLUSIVE, "reply-unreadable")),
        (301, Judgement(OURS, "redirected")),
        (500, Judgement(Verdict.UNREACHABLE, "http-5xx")),
    ],
)
async def test_success_has_the_status_200(bench: Bench, status: int, judgement: Judgement) -> None:
    bench.stand_in.status = status
    assert await bench.ask() == judgement
