"""Settings, from environment variables with the prefix CHALLENGE_ and from `.env`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.errors import NotReady
from service.keyring import Fingerprints, KeyRing


class SettingsError(NotReady):
    """A setting is missing or malformed; the text names its variable and is one line."""


def _key_ring(text: SecretStr) -> SecretStr:
    if text.get_secret_value():
        KeyRing.parse(text.get_secret_value())
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


class DatabaseSettings(BaseSettings):
    """What the commands need that work on the database alone."""

    model_config = SettingsConfigDict(
        env_prefix="CHALLENGE_",
        env_file=".env",
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    database_url: SecretStr = SecretStr("sqlite:///.data/challenge.db")
    """`sqlite:///PATH` or `postgresql://user:password@host:port/database`."""
    database_pool_size: Annotated[int, Field(ge=1, le=500)] = 10
    """Connections to PostgreSQL per process."""
    retention_days: Annotated[int, Field(ge=1, le=3650)] = 30
    """How long sessions are kept after their end, and attempts after their Send."""


class Settings(DatabaseSettings):
    """One frozen object, read once at start.

    Secrets: `keys`, `fingerprint_key`, those of captchas, and the DSNs of channels and database,
    which may hold passwords.
    """

    environment: Literal["production", "development"] = "production"
    """Development turns on reflection and human-readable logs."""
    grpc_listen: str = "127.0.0.1:50051"
    """`host:port` or `unix:PATH`."""
    keys: Annotated[SecretStr, AfterValidator(_key_ring)] = SecretStr("")
    """Key ring, newest first: `ID:BASE64` of at least 32 bytes, separated by commas."""
    fingerprint_key: Annotated[SecretStr, AfterValidator(_fingerprint_key)] = SecretStr("")
    """What quotas know destinations by: BASE64 of at least 32 bytes, the same for good."""
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
    jwks: str = ""
    """File or https URL of the keys that sign internal callers' tokens."""
    jwt_issuer: str = ""
    """`iss` that internal tokens must carry."""
    jwt_audience: str = "challenge-service"
    """`aud` that internal tokens must carry."""
    code_digits: Annotated[int, Field(ge=6, le=8)] = 6
    """Digits of a code (NIST SP 800-63B-4: at least 6)."""
    code_ttl_seconds: Annotated[int, Field(ge=60, le=600)] = 600
    """Life of a code (NIST SP 800-63B-4: at most 10 minutes)."""
    send_window_seconds: Annotated[int, Field(ge=1, le=600)] = 30
    """Within it a repeated Send sends nothing."""
    send_wait_seconds: Annotated[float, Field(ge=0, le=8)] = 2.0
    """How long Send waits for a provider before it answers that the code is not sent yet."""
    account_sends_per_hour: Annotated[int, Field(ge=0)] = 10_000
    """Sends per account; 0 for no limit."""
    account_sessions_per_hour: Annotated[int, Field(ge=0)] = 20_000
    """Sessions that an account may open; 0 for no limit."""
    lease_seconds: Annotated[float, Field(ge=1, le=300)] = 10.0
    """How long after a process dies its dispatches are taken over by another."""
    drain_seconds: Annotated[float, Field(ge=0, le=300)] = 10.0
    """After SIGTERM, how long calls may take to end, and then as long again for deliveries."""
    metrics_listen: str = ""
    """`host:port` where Prometheus scrapes, as `127.0.0.1:9464`; keep it off the internet."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is logged."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for name in ("keys", "fingerprint_key", "jwks", "jwt_issuer"):
            value = getattr(self, name)
            if not (value.get_secret_value() if isinstance(value, SecretStr) else value):
                raise ValueError(f"CHALLENGE_{name.upper()} is not set")
        return self


def load() -> Settings:
    """Reads the settings.

    Raises:
        SettingsError: The first one that is missing or malformed, by the name of its variable.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = f"CHALLENGE_{str(first['loc'][0]).upper()}: " if first["loc"] else ""
        raise SettingsError(where + first["msg"].removeprefix("Value error, ")) from None
