"""The settings of captchas: read, or refused in one line without their secrets."""

from __future__ import annotations

import pytest

from service.captchas.by_type import Captchas
from service.captchas.sites import DUMMY_SECRETS, Binding, Policy, read_bindings, read_secrets
from service.errors import CannotProceed
from service.keyring import random_key
from service.settings import Settings
from tests.harness.settings import GivenSettings

SECRET = "hunter2hunter2"
PRODUCTION = {"environment": "production"}


def settings(**values: object) -> Settings:
    needed = {
        "keys": f"k1:{random_key()}", "fingerprint_key": random_key(), "jwks": "jwks.json",
        "jwt_issuer": "https://issuer.test",
    }  # fmt: skip
    return GivenSettings(**{**needed, **values})


def revealed(text: str, *, production: bool = True) -> dict[str, list[str]]:
    read = read_secrets(text, production=production)
    return {key: [secret.get_secret_value() for secret in read[key]] for key in read}


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("", {}),
        (" , ", {}),
        ("key=secret", {"key": ["secret"]}),
        (" a=1 ,b=2,", {"a": ["1"], "b": ["2"]}),
        ("a=new|old", {"a": ["new", "old"]}),
        ("a=ES_5f=", {"a": ["ES_5f="]}),
        ("1000-ffff=0x4AAA-_.", {"1000-ffff": ["0x4AAA-_."]}),
    ],
)
def test_secrets(text: str, read: dict[str, list[str]]) -> None:
    assert revealed(text) == read


MALFORMED_SECRETS = [
    SECRET,
    f"={SECRET}",
    f"a b={SECRET}",
    f"{'k' * 129}={SECRET}",
    "a=",
    f"a={SECRET}|",
    f"a=|{SECRET}",
    f"a={SECRET}|{SECRET}1|{SECRET}2",
    f"a={SECRET} {SECRET}",
    f"a={SECRET}é",
    f"a={SECRET}\nb",
    f"a={SECRET * 19}",
    f"a=1,a={SECRET}",
    f"a=1,{SECRET}",
]


@pytest.mark.parametrize("text", MALFORMED_SECRETS)
@pytest.mark.parametrize("name", ["hcaptcha_secrets", "turnstile_secrets"])
def test_malformed_secrets_are_named_in_one_line(name: str, text: str) -> None:
    said = refused(**{name: text})
    assert said.startswith(f"CHALLENGE_{name.upper()}: entry ")
    assert "\n" not in said
    assert SECRET not in said


@pytest.mark.parametrize("dummy", sorted(DUMMY_SECRETS))
@pytest.mark.parametrize("name", ["hcaptcha_secrets", "turnstile_secrets"])
@pytest.mark.parametrize("text", ["key={}", "key=0xreal|{}", "key=0xreal,other={}"])
def test_a_published_secret_is_for_development(name: str, dummy: str, text: str) -> None:
    said = refused(**{name: text.format(dummy)})
    assert said.startswith(f"CHALLENGE_{name.upper()}: entry ")
    assert said.endswith("has a secret that is published for tests: not in production")
    Captchas.connect(settings(environment="development", **{name: text.format(dummy)}))


@pytest.mark.parametrize(
    ("text", "binding"),
    [
        ("", None),
        ("a=require", Binding(Policy.REQUIRE)),
        ("a=if-present", Binding()),
        ("a=off", Binding(Policy.OFF)),
        ("a=require:pay_now-1", Binding(Policy.REQUIRE, "pay_now-1")),
    ],
)
def test_bindings(text: str, binding: Binding | None) -> None:
    assert read_bindings(text, {"a", "b"}).get("a") == binding


@pytest.mark.parametrize(
    "text",
    [
        "require", "a", "a=", "a=on", "a=REQUIRE", "a=require:", "a=require:pay now",
        f"a=require:{'x' * 33}", "a=off,a=require", "b=off",
    ],
)  # fmt: skip
def test_malformed_bindings_are_named_in_one_line(text: str) -> None:
    said = refused(turnstile_secrets=f"a={SECRET}", turnstile_bindings=text)
    assert said.startswith("CHALLENGE_TURNSTILE_BINDINGS: entry ")
    assert "\n" not in said


@pytest.mark.parametrize(
    "url",
    [
        "", "nonsense", "https://", "http://api.hcaptcha.com/siteverify", "ftp://127.0.0.1/",
        "http://localhost.evil.example/", "http://127.0.0.1:port/", "https://user@host/",
        "https://host/?secret=1", "https://host/#fragment", "http://0.0.0.0:1/", "//host/path",
        "http://[::1", "https://host:0/",
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["hcaptcha_url", "turnstile_url"])
def test_a_url_that_cannot_be_used_is_named(name: str, url: str) -> None:
    said = refused(**{name: url})
    assert said.startswith(f"CHALLENGE_{name.upper()}: ")
    assert "\n" not in said


@pytest.mark.parametrize(
    "url", ["https://proxy.internal/siteverify", "http://127.0.0.1:8071/", "http://[::1]:1/a",
            "http://localhost:8071/siteverify"],
)  # fmt: skip
def test_a_url_of_ones_own(url: str) -> None:
    Captchas.connect(settings(hcaptcha_url=url, turnstile_url=url))


def test_a_proxy_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", f"socks5://user:{SECRET}@127.0.0.1:1")
    said = refused(hcaptcha_secrets="a=b")
    assert said.startswith("CHALLENGE_HCAPTCHA_URL: HTTPS_PROXY")
    assert SECRET not in said


def test_no_captcha_need_be_set() -> None:
    Captchas.connect(settings())


def test_secrets_are_not_shown() -> None:
    text = f"a={SECRET}|{SECRET}2"
    shown = repr(settings(hcaptcha_secrets=text, turnstile_secrets=text))
    shown += repr(read_secrets(text, production=True))
    assert SECRET not in shown


def refused(**values: object) -> str:
    with pytest.raises(CannotProceed) as raised:
        Captchas.connect(settings(**values))
    return str(raised.value)
