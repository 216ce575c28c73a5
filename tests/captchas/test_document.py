"""docs/verification.md lists every reason with its verdict."""

from __future__ import annotations

from pathlib import Path

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
