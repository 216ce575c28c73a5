"""Site keys: their secrets, and how their widgets bind tokens, as the settings say."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

from pydantic import SecretStr

# https://docs.hcaptcha.com/#integration-testing-test-keys and
# https://developers.cloudflare.com/turnstile/troubleshooting/testing/
DUMMY_SECRETS = frozenset(
    {
        "0x0000000000000000000000000000000000000000",
        "1x0000000000000000000000000000000AA",
        "2x0000000000000000000000000000000AA",
        "3x0000000000000000000000000000000AA",
    }
)
"""Published for tests: anybody has tokens that these accept."""

_SITE_KEY = re.compile(r"[!-~]{1,128}", re.ASCII)
_SECRET = re.compile(r"[!-~]{1,256}", re.ASCII)
_ACTION = re.compile(r"[A-Za-z0-9_-]{1,32}", re.ASCII)
_SECRETS_AT_ONCE = 2  # the present one, and its successor or predecessor


class Policy(StrEnum):
    """Whether a token must name its session and action; only the owner's widget can set them."""

    REQUIRE = "require"
    IF_PRESENT = "if-present"
    OFF = "off"


class Binding(NamedTuple):
    """What a widget's `action` and `cdata` are held to; `cdata` is the session's id."""

    policy: Policy = Policy.IF_PRESENT
    action: str = "challenge"


def read_secrets(text: str, *, production: bool) -> Mapping[str, tuple[SecretStr, ...]]:
    """Reads `SITEKEY=SECRET` separated by commas, `|` between two secrets during a rotation.

    Args:
        text: The above.
        production: Refuses the secrets that are published for tests.

    Returns:
        By site key, its secrets in the order to try them.

    Raises:
        ValueError: Malformed; the text says how, and shows nothing of it.
    """
    return {key: _secrets(value, where, production) for where, key, value in _entries(text)}


def read_bindings(text: str, known: Collection[str]) -> Mapping[str, Binding]:
    """Reads `SITEKEY=POLICY` or `SITEKEY=POLICY:ACTION` separated by commas.

    Args:
        text: The above.
        known: Site keys that have a secret.

    Raises:
        ValueError: Malformed, or of a site key that has none.
    """
    bindings = {}
    for where, key, value in _entries(text):
        if key not in known:
            raise ValueError(f"{where} is of a site key that has no secret")
        bindings[key] = _binding(value, where)
    return bindings


def _entries(text: str) -> Iterator[tuple[str, str, str]]:
    seen = set()
    for number, entry in enumerate(filter(None, map(str.strip, text.split(","))), 1):
        where = f"entry {number}"
        key, equals, value = entry.partition("=")
        if not equals or not _SITE_KEY.fullmatch(key):
            raise ValueError(f"{where} must begin with a site key and an equals sign")
        if key in seen:
            raise ValueError(f"{where} repeats a site key")
        seen.add(key)
        yield where, key, value


def _secrets(text: str, where: str, production: bool) -> tuple[SecretStr, ...]:
    secrets = text.split("|")
    if not all(map(_SECRET.fullmatch, secrets)):
        raise ValueError(f"{where} lacks a secret, or has one that is not printable ASCII")
    if len(secrets) > _SECRETS_AT_ONCE:
        raise ValueError(f"{where} has more than {_SECRETS_AT_ONCE} secrets")
    if production and not DUMMY_SECRETS.isdisjoint(secrets):
        raise ValueError(f"{where} has a secret that is published for tests: not in production")
    return tuple(map(SecretStr, secrets))


def _binding(text: str, where: str) -> Binding:
    policy, colon, action = text.partition(":")
    if policy not in set(Policy):
        raise ValueError(f"{where} must be {', '.join(Policy)}")
    if not colon:
        return Binding(Policy(policy))
    if not _ACTION.fullmatch(action):
        raise ValueError(f"{where} needs an action of 1 to 32 characters of A-Za-z0-9_-")
    return Binding(Policy(policy), action)
