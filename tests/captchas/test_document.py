"""docs/verification.md lists every reason with its verdict."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from service.captchas.hcaptcha import HCaptcha
from service.captchas.siteverify import FAILURES
from service.captchas.turnstile import Turnstile

DOCUMENT = (Path(__file__).parents[2] / "docs/verification.md").read_text("utf-8")
PROVIDERS = (HCaptcha.codes, Turnstile.codes)


def codes() -> list[str]:
    """The rows of the providers' codes."""
    names = dict.fromkeys(code for codes in PROVIDERS for code in codes)
    return [
        f"| `{name}` | "
        + " | ".join(f"`{c[name]}`" if name in c else "–" for c in PROVIDERS)
        + " |"
        for name in names
    ]


def failures() -> list[str]:
    """The rows of what is said where there is no answer."""
    return [f"| `{reason}` | `{verdict}` |" for ((verdict, reason),) in FAILURES]


def test_every_code_is_listed() -> None:
    assert "|---|---|---|\n" + "\n".join(codes()) + "\n\n" in DOCUMENT


def test_every_failure_is_listed() -> None:
    assert "|---|---|\n" + "\n".join(failures()) + "\n" in DOCUMENT


def test_the_longest_tokens_are_those_of_the_code() -> None:
    lengths = f"| {HCaptcha.longest_token} characters | {Turnstile.longest_token} characters |"
    assert lengths in DOCUMENT


# As the providers publish them: https://docs.hcaptcha.com/#content-security-policy-settings and
# https://developers.cloudflare.com/turnstile/reference/content-security-policy/
HCAPTCHA = ("https://hcaptcha.com", "https://*.hcaptcha.com")
TURNSTILE = ("https://challenges.cloudflare.com",)
POLICIES = [
    {"script-src": HCAPTCHA, "frame-src": HCAPTCHA, "style-src": HCAPTCHA, "connect-src": HCAPTCHA},
    {"script-src": TURNSTILE, "frame-src": TURNSTILE},
]


def test_the_policies_are_those_that_the_providers_publish() -> None:
    blocks = re.findall(r"```\n +(script-src .*?)```", DOCUMENT, re.DOTALL)
    policies = [[line.split() for line in block.split(";")] for block in blocks]
    assert [{name: tuple(hosts) for name, *hosts in policy} for policy in policies] == POLICIES


def test_the_policies_let_the_widgets_scripts_load() -> None:
    scripts = re.findall(r'<script src="([^"]+)"', DOCUMENT)
    assert len(scripts) == len(POLICIES)
    for script, policy in zip(scripts, POLICIES, strict=True):
        host = urlsplit(script).hostname or ""
        allowed = [urlsplit(source).hostname or "" for source in policy["script-src"]]
        assert any(host == one or (one[0] == "*" and host.endswith(one[1:])) for one in allowed)
