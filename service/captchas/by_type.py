"""The captchas by challenge type, as the settings say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Self

from service.captchas import CaptchaToken, Judgement
from service.captchas.hcaptcha import HCaptcha
from service.captchas.judge import CaptchaJudge
from service.captchas.sites import read_bindings, read_secrets
from service.captchas.turnstile import Turnstile
from service.errors import BadSetting
from service.settings import Settings


class Captchas:
    """A judge for each type of challenge that is a captcha."""

    def __init__(self, by_type: Mapping[str, CaptchaJudge]) -> None:
        """Takes the judges by challenge type."""
        self._by_type = by_type

    @classmethod
    def connect(cls, settings: Settings) -> Self:
        """Makes the judges as the settings say; no connection is opened yet.

        Raises:
            BadSetting: A setting cannot be used; the text names it and shows no secret.
        """
        production = settings.environment == "production"
        with _setting("HCAPTCHA_SECRETS"):
            text = settings.hcaptcha_secrets.get_secret_value()
            hcaptcha_secrets = read_secrets(text, production=production)
        with _setting("TURNSTILE_SECRETS"):
            text = settings.turnstile_secrets.get_secret_value()
            turnstile_secrets = read_secrets(text, production=production)
        with _setting("TURNSTILE_BINDINGS"):
            bindings = read_bindings(settings.turnstile_bindings, turnstile_secrets)
        with _setting("HCAPTCHA_URL"):
            hcaptcha = CaptchaJudge(HCaptcha(), settings.hcaptcha_url, hcaptcha_secrets, {})
        with _setting("TURNSTILE_URL"):
            turnstile = CaptchaJudge(
                Turnstile(), settings.turnstile_url, turnstile_secrets, bindings
            )
        return cls({"hcaptcha": hcaptcha, "turnstile": turnstile})

    @property
    def site_keys(self) -> Mapping[str, Sequence[str]]:
        """By challenge type, the site keys whose tokens can be judged."""
        return {type_: captcha.site_keys for type_, captcha in self._by_type.items()}

    async def judge(self, challenge_type: str, token: CaptchaToken) -> Judgement:
        """Judges a token within 5 s; never raises for what a provider does.

        Args:
            challenge_type: `hcaptcha` or `turnstile`.
            token: The token and what it must fit.
        """
        return await self._by_type[challenge_type].judge(token)

    async def close(self) -> None:
        """Lets go of connections."""
        for captcha in self._by_type.values():
            await captcha.close()


@contextmanager
def _setting(name: str) -> Iterator[None]:
    """Turns what is wrong with a setting into one line that names it."""
    try:
        yield
    except ValueError as error:
        raise BadSetting(f"CHALLENGE_{name}", str(error)) from None
