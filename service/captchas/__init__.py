"""What hCaptcha and Turnstile make of a payer's token, one provider a file; counts no answers."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class Verdict(StrEnum):
    """What became of a token. Only PASSED lets a payment go on."""

    PASSED = "passed"
    """The provider vouches for it, and it is this session's as far as the reply tells."""
    REFUSED = "refused"
    """No proof: the payer may try again, and the try counts."""
    EXPIRED_OR_DUPLICATE = "expired_or_duplicate"
    """Too old, or judged before: the payer may try again, and the try does not count."""
    MALFORMED = "malformed"
    """No token by its form; nobody was asked."""
    MISCONFIGURED = "misconfigured"
    """Ours to mend: a secret, a site key, an address."""
    INCONCLUSIVE = "inconclusive"
    """The provider replied, but did not judge. A token may bring this about, so it does not
    count as an outage."""
    UNREACHABLE = "unreachable"
    """No connection, no reply in time, or a 5xx: an outage, whatever the token."""


class Judgement(NamedTuple):
    """A verdict and why.

    Attributes:
        verdict: What became of the token.
        reason: The provider's code, or a word of ours; one of a closed set.
    """

    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class CaptchaToken:
    """A token and what it must fit.

    Attributes:
        site_key: The one that was issued to this session.
        text: What the widget gave the payer's page.
        session_id: `cdata` of the widget, where the page has set it.
        origins: The session's; the page that the token was made on has one of their hosts.
        idempotency_key: The same for every try of one VerifyChallenge, also by another process.
        remote_ip: The payer's address, if it is known.
    """

    site_key: str
    text: str = field(repr=False)
    session_id: str
    origins: Collection[str]
    idempotency_key: uuid.UUID
    remote_ip: str = field(default="", repr=False)
