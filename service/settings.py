"""Settings, from environment variables with the prefix CHALLENGE_ and from `.env`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.errors import BadSetting
from service.keyring import Fingerprints, KeyRing

_PREFIX, _FILE = "CHALLENGE_", ".env"
_HOST_PORT = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})", re.ASCII)


def _key_ring(text: SecretStr) -> SecretStr:
    value = text.get_secret_value()
    if not (value.isascii() and value.isprintable()):  # ids are written down, keys are base64
        raise ValueError("must be printable ASCII")
    if value:
        KeyRing.parse(value)
    return text


def _fingerprint_key(text: SecretStr) -> SecretStr:
    if text.get_secret_value():
        Fingerprints.parse(text.get_secret_value())
    return text


def _words(text: object) -> object:
    """Splits what is separated by commas."""
    return tuple(map(str.strip, text.split(","))) if isinstance(text, str) else text


def _countries(countries: tuple[str, ...]) -> tuple[str, ...]:
    from phonenumbers import SUPPORTED_REGIONS  # slow to load, and seldom needed

    if countries in ((), ("",)):
        return ()
    for position, country in enumerate(countries, start=1):
        if country.removeprefix("!") not in (*SUPPORTED_REGIONS, "001"):
            raise ValueError(f"entry {position} is not a country's ISO 3166 code, as DE or !DE")
    if len({country.startswith("!") for country in countries}) > 1:
        raise ValueError("name countries to allow, or with a ! each to deny, not both")
    return countries


_Words = (NoDecode, BeforeValidator(_words))
_NumberType = Literal[
    "FIXED_LINE", "MOBILE", "FIXED_LINE_OR_MOBILE", "TOLL_FREE", "PREMIUM_RATE", "SHARED_COST",
    "VOIP", "PERSONAL_NUMBER", "PAGER", "UAN", "VOICEMAIL",
]  # fmt: skip


def _host_port(text: str) -> str:
    match = _HOST_PORT.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        raise ValueError("must be host:port, the port from 0 to 65535")
    return text


def _printable(text: str) -> str:
    if not text.isprintable():  # bytes that are not UTF-8 are not, either
        raise ValueError("must be printable text")
    return text


def _address(text: str) -> str:
    return text if text.startswith("unix:") else _host_port(text)


class DatabaseSettings(BaseSettings):
    """What the commands need that work on the database alone."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_file=_FILE,
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    database_url: SecretStr = SecretStr("sqlite:///.data/challenge.db")
    """`sqlite:///PATH` or `postgresql://user:password@host:port,host:port/database`."""
    database_pool_size: Annotated[int, Field(ge=1, le=500)] = 10
    """Connections to PostgreSQL per process, beside one that checks it."""
    retention_days: Annotated[int, Field(ge=1, le=3650)] = 30
    """How long sessions are kept after their end, and attempts after their Send."""
    evidence_days: Annotated[int, Field(ge=1, le=3650)] = 540
    """How long evidence is kept, at least as long as sessions: chargebacks come later."""

    @model_validator(mode="after")
    def _evidence_outlives_sessions(self) -> Self:
        if self.evidence_days < self.retention_days:
            name, least = variable("evidence_days"), variable("retention_days")
            raise ValueError(f"{name}: must be at least {least}, {self.retention_days}")
        return self


class Settings(DatabaseSettings):
    """One frozen object, read once at start.

    Secrets: `keys`, `fingerprint_key`, those of captchas, and the DSNs of channels and database,
    which may hold passwords.
    """

    environment: Literal["production", "development"] = "production"
    """Development turns on reflection and human-readable logs."""
    grpc_listen: Annotated[str, AfterValidator(_address)] = "127.0.0.1:50051"
    """`host:port` or `unix:PATH`."""
    keys: Annotated[SecretStr, AfterValidator(_key_ring)] = SecretStr("")
    """Key ring, newest first: `ID:BASE64` of at least 32 bytes, separated by commas."""
    fingerprint_key: Annotated[SecretStr, AfterValidator(_fingerprint_key)] = SecretStr("")
    """Of quotas and evidence: BASE64 of at least 32 bytes, the same for good."""
    email_channels: SecretStr = SecretStr("")
    """DSNs separated by commas, in order of failover."""
    sms_channels: SecretStr = SecretStr("")
    """DSNs separated by commas, in order of failover."""
    sms_number_types: Annotated[tuple[_NumberType, ...], *_Words] = (
        "MOBILE",
        "FIXED_LINE_OR_MOBILE",
    )
    """Types of phone number that get codes, by libphonenumber's names, separated by commas."""
    sms_countries: Annotated[tuple[str, ...], AfterValidator(_countries), *_Words] = ()
    """Countries whose numbers get codes: `DE,AT` for only these, `!RU,!BY` for all but these."""
    hcaptcha_secrets: SecretStr = SecretStr("")
    """`SITEKEY=SECRET` separated by commas; a bar between two secrets while they change."""
    turnstile_secrets: SecretStr = SecretStr("")
    """Likewise."""
    turnstile_bindings: str = ""
    """`SITEKEY=POLICY` or `SITEKEY=POLICY:ACTION`: see docs/verification.md."""
    hcaptcha_url: str = "https://api.hcaptcha.com/siteverify"
    """Where hCaptcha's tokens are checked; http for loopback only."""
    turnstile_url: str = "https://challenges.cloudflare.com/turnstile/v0/siteverify"
    """Where Turnstile's tokens are checked; http for loopback only."""
    jwks: Annotated[str, AfterValidator(_printable)] = ""
    """File or https URL of the keys that sign internal callers' tokens."""
    jwt_issuer: Annotated[str, AfterValidator(_printable)] = ""
    """`iss` that internal tokens must carry."""
    jwt_audience: Annotated[str, AfterValidator(_printable)] = "challenge-service"
    """`aud` that internal tokens must carry."""
    code_digits: Annotated[int, Field(ge=6, le=8)] = 6
    """Digits of a code (NIST SP 800-63B-4: at least 6)."""
    code_ttl_seconds: Annotated[int, Field(ge=60, le=600)] = 600
    """Life of a code (NIST SP 800-63B-4: at most 10 minutes)."""
    send_window_seconds: Annotated[int, Field(ge=1, le=600)] = 30
    """Within it a repeated Send sends nothing."""
    send_wait_seconds: Annotated[float, Field(ge=0, le=8)] = 2.0
    """How long Send waits for a provider before it answers that the code is not sent yet."""
    account_sends_per_hour: Annotated[int, Field(ge=0, le=1_000_000_000)] = 10_000
    """Sends per account; 0 for no limit."""
    account_sessions_per_hour: Annotated[int, Field(ge=0, le=1_000_000_000)] = 20_000
    """Sessions that an account may open; 0 for no limit."""
    satisfaction_seconds: Annotated[int, Field(ge=60, le=86_400)] = 900
    """How long a satisfied challenge lets payments go on."""
    satisfaction_payments: Annotated[int, Field(ge=0, le=1_000_000)] = 10
    """Payments that one satisfied challenge lets go on; 0 for no limit."""
    lease_seconds: Annotated[float, Field(ge=1, le=300)] = 10.0
    """How long after a process dies its dispatches are taken over by another."""
    drain_seconds: Annotated[float, Field(ge=0, le=300)] = 10.0
    """After SIGTERM, how long calls may take to end, and then as long again for deliveries."""
    metrics_listen: Annotated[str, AfterValidator(lambda text: text and _host_port(text))] = ""
    """`host:port` where Prometheus scrapes, as `127.0.0.1:9464`; keep it off the internet."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is logged."""
    log_format: Literal["json", "otlp"] = "json"
    """In production: our own JSON, or OTLP's for an OpenTelemetry collector."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for name in ("keys", "fingerprint_key", "jwks", "jwt_issuer", "jwt_audience"):
            value = getattr(self, name)
            if not (value.get_secret_value() if isinstance(value, SecretStr) else value):
                raise ValueError(f"{variable(name)}: must be set")
        return self

    def without_channel(self) -> tuple[str, ...]:
        """Returns the variables of the kinds of codes that can reach nobody."""
        fields = ("sms_channels", "email_channels")
        return tuple(
            variable(name) for name in fields if not getattr(self, name).get_secret_value()
        )


def variable(field: str) -> str:
    """Returns the environment variable of a field."""
    return f"{_PREFIX}{field.upper()}"


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """Reads the settings.

    Args:
        environment: Where from; the process's environment and `.env` by default.

    Raises:
        BadSetting: The first one that is missing or malformed.
    """
    if environment is None:
        return _load(Settings)
    given = {name: environment.get(variable(name)) for name in Settings.model_fields}
    return _load(
        Settings, _env_file=None, **{name: value for name, value in given.items() if value}
    )


def load_database() -> DatabaseSettings:
    """Reads what the commands need that work on the database alone.

    Raises:
        BadSetting: The first one that is malformed.
    """
    return _load(DatabaseSettings)


def _dotenv() -> dict[str, str]:
    """Reads what `.env` sets.

    Raises:
        BadSetting: It cannot be read.
    """
    try:
        return {name: value for name, value in dotenv_values(_FILE).items() if value is not None}
    except (OSError, UnicodeDecodeError):
        raise BadSetting(_FILE, "must be a readable file of UTF-8 text") from None


def variables() -> dict[str, str]:
    """Returns what the environment sets, and what `.env` sets beside it.

    A variable that is empty counts as not set, as those of a copied `.env.example`.

    Raises:
        BadSetting: `.env` cannot be read.
    """
    return {name: value for name, value in {**_dotenv(), **os.environ}.items() if value}


_Model = TypeVar("_Model", bound=DatabaseSettings)


def _load(model: type[_Model], **values: Any) -> _Model:
    _dotenv()
    try:
        return model(**values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        said = first["msg"].removeprefix("Value error, ")
        if not first["loc"]:
            raise BadSetting(*said.split(": ", 1)) from None
        name = str(first["loc"][0])
        raise BadSetting(variable(name), _bounds(model.model_fields[name]) or said) from None


def _bounds(field: FieldInfo) -> str | None:
    """Returns what a number or a choice must be; None for texts, whose validators say it."""
    if choices := [value for value in get_args(field.annotation) if isinstance(value, str)]:
        return f"must be one of {', '.join(choices)}"
    limits = {
        kind: getattr(limit, kind)
        for limit in field.metadata
        for kind in ("ge", "le")
        if hasattr(limit, kind)
    }
    if len(limits) < 2:
        return None
    number = "a whole number" if field.annotation is int else "a number"
    return f"must be {number} from {limits['ge']} to {limits['le']}"
