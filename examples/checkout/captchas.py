"""The demonstration's captchas: stand-ins of the widgets and of siteverify."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from examples.siteverify import (
    HCAPTCHA_PATH,
    TURNSTILE_PATH,
    StandIn,
    Token,
    Trouble,
    serving,
)

HCAPTCHA_SITE_KEY, TURNSTILE_SITE_KEY = "demo-hcaptcha", "demo-turnstile"
_SITE_KEYS = {"hcaptcha": HCAPTCHA_SITE_KEY, "turnstile": TURNSTILE_SITE_KEY}
_SOLVED: dict[str, dict[str, bool | Trouble]] = {
    "human": {},
    "machine": {"human": False},
    "late": {"expired": True},
    "down": {"trouble": Trouble.SERVER_ERROR},
}
"""What the page can choose to happen to its token."""


class Captchas:
    """The two providers' stand-in.

    Attributes:
        settings: What the service needs to know of it, by environment variable.
    """

    def __init__(self, stand_in: StandIn, settings: dict[str, str]) -> None:
        """See `running`."""
        self._stand_in = stand_in
        self.settings = settings

    def solve(self, kind: str, solved: str, origin: str, session_id: str) -> str:
        """Makes a token, as the widget on a page would.

        Args:
            kind: `hcaptcha` or `turnstile`.
            solved: By whom, or how: one of `_SOLVED`.
            origin: The page's.
            session_id: The session's, which the page gives its widget.

        Raises:
            KeyError: No such type, or no such way.
        """
        return self._stand_in.solve(
            Token(
                _SITE_KEYS[kind],
                urlsplit(origin).hostname or "",
                action="challenge",
                cdata=session_id,
                **_SOLVED[solved],  # type: ignore[arg-type]
            )
        )


@contextmanager
def running() -> Iterator[Captchas]:
    """Runs the stand-in in this process."""
    pairs = {key: secrets.token_hex(16) for key in _SITE_KEYS.values()}
    stand_in = StandIn({key: [secret] for key, secret in pairs.items()})
    with serving(stand_in) as address:
        settings = {
            "CHALLENGE_HCAPTCHA_SECRETS": f"{HCAPTCHA_SITE_KEY}={pairs[HCAPTCHA_SITE_KEY]}",
            "CHALLENGE_TURNSTILE_SECRETS": f"{TURNSTILE_SITE_KEY}={pairs[TURNSTILE_SITE_KEY]}",
            "CHALLENGE_TURNSTILE_BINDINGS": f"{TURNSTILE_SITE_KEY}=require",
            "CHALLENGE_HCAPTCHA_URL": address + HCAPTCHA_PATH,
            "CHALLENGE_TURNSTILE_URL": address + TURNSTILE_PATH,
        }
        yield Captchas(stand_in, settings)
