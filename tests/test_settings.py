"""Settings: what is missing or malformed is named in one line, and no secret with it."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from phonenumbers import PhoneNumberType
from pydantic import ValidationError

from service import settings
from service.app import App
from service.errors import BadSetting, CannotProceed
from service.serving.server import Server
from service.settings import Settings
from service.storage.migrating import migrate
from tests.harness.logs import Logs
from tests.harness.marks import one_database
from tests.harness.providers import Provider
from tests.harness.service import running
from tests.harness.tokens import Issuer

SERVICE = Path(settings.__file__).parent
GONE_BY = {
    name
    for file in SERVICE.rglob("*.py")
    if file.name != "settings.py"
    for name in re.findall(r"\b_?settings\.(\w+)", file.read_text("utf-8"))
}
"""The settings that code reads."""
SECRET = "hunter2hunter2"
KEY = f"k1:{base64.b64encode(bytes(range(32))).decode()}"
NEEDED = {
    "CHALLENGE_KEYS": KEY,
    "CHALLENGE_FINGERPRINT_KEY": KEY.partition(":")[2],
    "CHALLENGE_JWKS": "jwks.json",
    "CHALLENGE_JWT_ISSUER": "https://issuer.test",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment with what is needed and nothing else."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"CHALLENGE_{name.upper()}", raising=False)
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def complaint(environment: pytest.MonkeyPatch, name: str, value: str | None) -> str:
    """What is said of one bad setting."""
    if value is None:
        environment.delenv(name)
    else:
        environment.setenv(name, value)
    with pytest.raises(BadSetting) as raised:
        settings.load()
    return str(raised.value)


@pytest.mark.usefixtures("environment")
def test_what_is_needed_is_enough() -> None:
    loaded = settings.load()
    assert loaded.database_url.get_secret_value() == "sqlite:///.data/challenge.db"
    assert loaded.grpc_listen == "127.0.0.1:50051"
    assert (loaded.environment, loaded.code_digits, loaded.code_ttl_seconds) == (
        "production", 6, 600,
    )  # fmt: skip


@pytest.mark.parametrize("value", [None, ""])
@pytest.mark.parametrize("name", NEEDED)
def test_a_missing_setting_is_named(
    environment: pytest.MonkeyPatch, name: str, value: str | None
) -> None:
    assert complaint(environment, name, value) == f"{name}: must be set"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CHALLENGE_KEYS", SECRET),
        ("CHALLENGE_KEYS", f"k1:{SECRET}!"),
        ("CHALLENGE_KEYS", f"k1:{base64.b64encode(SECRET.encode()).decode()}"),
        ("CHALLENGE_KEYS", f"{KEY},{KEY}"),
        ("CHALLENGE_KEYS", f"\udcff{KEY}"),
        ("CHALLENGE_KEYS", f"\N{SNOWMAN}{KEY}"),
        ("CHALLENGE_FINGERPRINT_KEY", SECRET),
        ("CHALLENGE_FINGERPRINT_KEY", f"{SECRET}!"),
        ("CHALLENGE_FINGERPRINT_KEY", f"{SECRET}\u2603"),
        ("CHALLENGE_FINGERPRINT_KEY", base64.b64encode(SECRET.encode()).decode()),
        ("CHALLENGE_FINGERPRINT_KEY", KEY),
        ("CHALLENGE_SMS_NUMBER_TYPES", ""),
        ("CHALLENGE_SMS_NUMBER_TYPES", "mobile"),
        ("CHALLENGE_SMS_NUMBER_TYPES", "MOBILE,"),
        ("CHALLENGE_SMS_NUMBER_TYPES", "MOBILE VOIP"),
        ("CHALLENGE_SMS_NUMBER_TYPES", "UNKNOWN"),
        ("CHALLENGE_SMS_COUNTRIES", "de"),
        ("CHALLENGE_SMS_COUNTRIES", "DE,"),
        ("CHALLENGE_SMS_COUNTRIES", ",,"),
        ("CHALLENGE_SMS_COUNTRIES", "!"),
        ("CHALLENGE_SMS_COUNTRIES", "!!DE"),
        ("CHALLENGE_SMS_COUNTRIES", "DE,!AT"),
        ("CHALLENGE_SMS_COUNTRIES", "UK"),
        ("CHALLENGE_SMS_COUNTRIES", "\u2603\n" * 10_000),
    ],
)
def test_a_malformed_setting_is_named_in_one_line(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    said = complaint(environment, name, value)
    assert said.startswith(f"{name}: ")
    assert "\n" not in said
    assert SECRET not in said
    assert KEY.partition(":")[2] not in said


@pytest.mark.parametrize(
    ("text", "countries"),
    [("", ()), (" ", ()), ("DE", ("DE",)), ("DE, AT", ("DE", "AT")), ("!RU,!BY", ("!RU", "!BY"))],
)
def test_countries_are_allowed_or_denied(
    environment: pytest.MonkeyPatch, text: str, countries: tuple[str, ...]
) -> None:
    environment.setenv("CHALLENGE_SMS_COUNTRIES", text)
    assert settings.load().sms_countries == countries


def test_every_type_of_number_can_be_named(environment: pytest.MonkeyPatch) -> None:
    names = [PhoneNumberType.to_string(kind) for kind in PhoneNumberType.values()]
    names.remove("UNKNOWN")
    environment.setenv("CHALLENGE_SMS_NUMBER_TYPES", ", ".join(names))
    assert settings.load().sms_number_types == tuple(names)


GARBAGE = (
    "", " ", "x", "-1", "-1e9", "nan", "inf", "-inf", "1e400", "9" * 30, "9" * 10_000, "0x10",
    "\N{FULLWIDTH DIGIT SIX}", "\N{ARABIC-INDIC DIGIT SIX}", "6\n6", "null", "[6]", "\udcff",
)  # fmt: skip
NUMBERS = [
    name for name, field in Settings.model_fields.items() if field.annotation in (int, float)
]
CHOICES = {"environment": "production, development", "log_level": "debug, info, warning, error",
           "log_format": "json, otlp"}  # fmt: skip
ADDRESSES = (
    *GARBAGE, "127.0.0.1", ":50051", "127.0.0.1:", "127.0.0.1:99999", "127.0.0.1:-1", "::1:50051",
    "[::1]", "a b:50051", "http://127.0.0.1:50051", "127.0.0.1:\N{FULLWIDTH DIGIT SIX}",
)  # fmt: skip


def test_the_walk_leaves_out_no_setting() -> None:
    tried = {
        "grpc_listen",
        "metrics_listen",
        "keys",
        "fingerprint_key",
        "jwks",
        "jwt_issuer",
        "jwt_audience",
    }
    tried |= {"sms_number_types", "sms_countries"}
    when_used = {"database_url", "sms_channels", "email_channels"}  # by App.build, below
    when_used |= {
        name for name in Settings.model_fields if "captcha" in name or "turnstile" in name
    }
    assert set(Settings.model_fields) <= {*NUMBERS, *CHOICES, *tried, *when_used}


@pytest.mark.parametrize("value", GARBAGE, ids=ascii)
@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_out_of_bounds_is_told_its_bounds(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    variable = f"CHALLENGE_{name.upper()}"
    bounds = rf"{variable}: must be (a whole number|a number) from [0-9.]+ to [0-9.]+"
    assert re.fullmatch(bounds, complaint(environment, variable, value))


@pytest.mark.parametrize("value", GARBAGE, ids=ascii)
@pytest.mark.parametrize("name", CHOICES)
def test_what_is_no_choice_is_told_the_choices(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    variable = f"CHALLENGE_{name.upper()}"
    assert complaint(environment, variable, value) == f"{variable}: must be one of {CHOICES[name]}"


@pytest.mark.parametrize("value", ADDRESSES, ids=ascii)
@pytest.mark.parametrize("variable", ["CHALLENGE_GRPC_LISTEN", "CHALLENGE_METRICS_LISTEN"])
def test_what_is_no_address_is_refused(
    environment: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    if (variable, value) == ("CHALLENGE_METRICS_LISTEN", ""):
        return  # off
    said = complaint(environment, variable, value)
    assert said.startswith(f"{variable}: must be ") or value == "\udcff"
    assert said.startswith(f"{variable}: ")


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::]:65535", "svc.example:50051", "unix:a"])
def test_an_address_is_kept_as_it_is(environment: pytest.MonkeyPatch, listen: str) -> None:
    environment.setenv("CHALLENGE_GRPC_LISTEN", listen)
    assert settings.load().grpc_listen == listen


@pytest.mark.parametrize("variable", ["CHALLENGE_JWT_AUDIENCE", *NEEDED])
@pytest.mark.parametrize("value", ["", "\udcff"], ids=ascii)
def test_what_is_no_text_is_named(
    environment: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    assert complaint(environment, variable, value).startswith(f"{variable}: ")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"CHALLENGE_KEYS=\xff"])
def test_a_file_that_is_no_text_is_named(environment: pytest.MonkeyPatch, content: bytes) -> None:
    Path(".env").write_bytes(content)
    assert complaint(environment, "CHALLENGE_CODE_DIGITS", "6").startswith(".env: must be ")


def test_settings_come_from_a_file_too(environment: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("CHALLENGE_CODE_DIGITS=7\nCHALLENGE_LOG_LEVEL=error\n")
    environment.setenv("CHALLENGE_CODE_DIGITS", "8")
    loaded = settings.load()
    assert (loaded.code_digits, loaded.log_level) == (8, "error")


def test_evidence_is_not_deleted_before_its_session(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("CHALLENGE_RETENTION_DAYS", "600")
    assert complaint(environment, "CHALLENGE_EVIDENCE_DAYS", "599") == (
        "CHALLENGE_EVIDENCE_DAYS: must be at least CHALLENGE_RETENTION_DAYS, 600"
    )
    environment.setenv("CHALLENGE_EVIDENCE_DAYS", "600")
    assert settings.load().evidence_days == 600


@pytest.mark.usefixtures("environment")
def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        settings.load().code_digits = 8  # type: ignore[misc]


def test_settings_show_no_secret(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("CHALLENGE_DATABASE_URL", f"postgresql://user:{SECRET}@host/db")
    environment.setenv("CHALLENGE_SMS_CHANNELS", f"twilio://SID:{SECRET}@api.twilio.com")
    environment.setenv("CHALLENGE_EMAIL_CHANNELS", f"smtp://user:{SECRET}@host:587")
    shown = repr(settings.load()) + str(settings.load())
    assert SECRET not in shown
    assert KEY.partition(":")[2] not in shown


@one_database
@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, ["CHALLENGE_SMS_CHANNELS", "CHALLENGE_EMAIL_CHANNELS"]),
        ({"email_channels": "inbox://unused"}, ["CHALLENGE_SMS_CHANNELS"]),
        ({"email_channels": "inbox://unused", "sms_channels": "inbox://unused"}, []),
    ],
)
async def test_a_start_without_a_channel_for_a_kind_says_so(
    make_settings: Callable[..., Settings], provider: Provider, clock: Any, issuer: Issuer,
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], missing: list[str],
) -> None:  # fmt: skip
    configured = make_settings(**given)
    logged = Logs(monkeypatch, configured)
    async with running(configured, provider, clock, issuer):
        assert [line["setting"] for line in logged.lines("no_channel")] == missing


@one_database
async def test_the_start_says_whose_tokens_can_be_judged(
    make_settings: Callable[..., Settings], provider: Provider, clock: Any, issuer: Issuer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    configured = make_settings(hcaptcha_secrets=f"one={SECRET},two={SECRET}")
    logged = Logs(monkeypatch, configured)
    async with running(configured, provider, clock, issuer):
        [line] = logged.lines("serving")
        assert line["site_keys"] == {"hcaptcha": ["one", "two"], "turnstile": []}


# What is found out only when it is used.


@one_database
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sms_channels", f"carrier-pigeon://user:{SECRET}@host"),
        ("sms_channels", f"smtp://user:{SECRET}@host?from=a@shop.example"),
        ("email_channels", f"twilio://SID:{SECRET}@api.twilio.com?from=Shop"),
        ("email_channels", f"carrier-pigeon://user:{SECRET}@host"),
        ("sms_channels", SECRET),
        ("jwks", "/nowhere/jwks.json"),
        ("database_url", SECRET),
        ("database_url", f"mysql://user:{SECRET}@host/db"),
        ("database_url", "sqlite:////nowhere/challenge.db"),
        ("database_url", f"postgresql://user:{SECRET}@127.0.0.1:1/db"),
        ("database_url", f"postgresql://user:{SECRET}@127.0.0.1:port/db"),
        ("database_url", f"postgresql://user:{SECRET}/db"),
    ],
)
async def test_what_cannot_be_used_is_named_in_one_line(
    make_settings: Callable[..., Settings], name: str, value: str
) -> None:
    with pytest.raises(CannotProceed) as raised:
        await App.build(make_settings(**{name: value}))
    said = str(raised.value)
    assert said.startswith(f"CHALLENGE_{name.upper()}: ")
    assert "\n" not in said
    assert SECRET not in said


@one_database
@pytest.mark.parametrize("text", ["", "null", "[]", '{"keys": []}'])
async def test_a_key_set_without_keys_is_named(
    make_settings: Callable[..., Settings], tmp_path: Path, text: str
) -> None:
    (tmp_path / "empty.json").write_text(text)
    with pytest.raises(CannotProceed, match=r"^CHALLENGE_JWKS: "):
        await App.build(make_settings(jwks=str(tmp_path / "empty.json")))


@one_database
@pytest.mark.parametrize("listen", ["192.0.2.1:50051", "nowhere.invalid:1", "unix:/nowhere/a"])
async def test_an_address_that_cannot_be_listened_on_is_named(
    make_settings: Callable[..., Settings], listen: str
) -> None:
    configured = make_settings(grpc_listen=listen)
    app = await App.build(configured)
    with pytest.raises(CannotProceed, match=r"^CHALLENGE_GRPC_LISTEN: "):
        Server(app, configured)
    app.start()
    await app.stop(0)


@pytest.mark.parametrize(
    "url",
    [
        SECRET,
        f"mysql://user:{SECRET}@127.0.0.1:1/db",
        f"postgresql://user:{SECRET}@127.0.0.1:1/db",
        f"postgresql://user:{SECRET}@127.0.0.1:port/db",
        f"postgresql://user:{SECRET}/db",
        "sqlite:////dev/null/challenge.db",
    ],
)
def test_a_database_that_cannot_be_migrated_is_named_in_one_line(url: str) -> None:
    with pytest.raises(CannotProceed) as raised:
        migrate(url)
    said = str(raised.value)
    assert said.startswith("CHALLENGE_DATABASE_URL: ")
    assert "\n" not in said
    assert SECRET not in said


@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_setting_is_gone_by_somewhere(name: str) -> None:
    assert name in GONE_BY
