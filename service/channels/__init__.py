"""Ways to reach a payer: one provider a file, behind one protocol."""

from __future__ import annotations

from enum import StrEnum
from importlib import import_module
from typing import NamedTuple, Protocol


class Message(NamedTuple):
    """One message, ready to be handed to a provider.

    Attributes:
        id: Stays the same over every try of one dispatch; the provider's idempotency key.
        recipient: E.164 phone number, or email address.
        text: Plain text; all of an SMS.
        subject: Email only.
        html: Email only.
    """

    id: str
    recipient: str
    text: str
    subject: str | None = None
    html: str | None = None


class Verdict(StrEnum):
    """What a provider made of a message, as far as we can tell."""

    ACCEPTED = "accepted"
    """It answered that it has the message."""
    RETRY = "retry"
    """It certainly has not, and may take it later or by another way: a 5xx, no connection."""
    REFUSED = "refused"
    """It certainly has not and will not: a bad credential, a number that refuses this sender."""
    UNDELIVERABLE = "undeliverable"
    """It is surely the destination that is refused, for good: invalid, unroutable, barred."""
    UNKNOWN = "unknown"
    """It may or may not have: the connection broke, or time ran out, after the message had left."""


class Blame(StrEnum):
    """What a failure says something of: what other messages may expect of the same provider."""

    PROVIDER = "provider"
    """It is down, busy, or not there: other messages fail too."""
    ACCOUNT = "account"
    """It surely refuses us, whatever the message: a bad credential, no balance."""
    MESSAGE = "message"
    """This message, or there is no telling: other messages may fare better."""
    RECIPIENT = "recipient"
    """This destination, with this provider."""


class Outcome(NamedTuple):
    """How an attempt ended.

    Attributes:
        verdict: What the provider made of it.
        message_id: The provider's id of the message, when accepted.
        reason: Why not, in a few words of ours: no destination, code or credential.
        retry_after: Seconds that the provider asked us to wait.
        blames: What the failure is about.
    """

    verdict: Verdict
    message_id: str | None = None
    reason: str | None = None
    retry_after: float | None = None
    blames: Blame = Blame.MESSAGE


class Channel(Protocol):
    """One provider's way of taking messages."""

    name: str
    """Scheme and host of its DSN, `twilio://api.twilio.com`: for logs and the ledger."""

    async def deliver(self, message: Message) -> Outcome:
        """Hands over one message, once, within the channel's own deadline.

        Never raises for what a provider does: every failure has a verdict. An exception is a bug.
        """

    async def close(self) -> None:
        """Closes the connections."""


class BadDSN(ValueError):
    """A channel's DSN is malformed; the text says how, without its secrets."""


SCHEMES = {
    "inbox": "service.channels.inbox",
    "smtp": "service.channels.smtp",
    "smtps": "service.channels.smtp",
    "twilio": "service.channels.twilio",
    "vonage": "service.channels.vonage",
    "sns": "service.channels.sns",
    "webhook": "service.channels.webhook",
    "apprise+": "service.channels.apprise",
}
"""The module of each scheme."""


def connect(dsns: str) -> tuple[Channel, ...]:
    """Makes the channels of a comma-separated list of DSNs, in its order.

    Raises:
        BadDSN: One is malformed or of a scheme that we lack.
    """
    return tuple(_connect(dsn.strip()) for dsn in dsns.split(",") if dsn.strip())


def _connect(dsn: str) -> Channel:
    scheme = dsn.partition("://")[0]
    if scheme.startswith("apprise+"):
        scheme = "apprise+"  # a scheme of Apprise's follows
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise BadDSN(f"a channel's DSN starts with one of {known}")
    channel: Channel = import_module(SCHEMES[scheme]).connect(dsn)
    return channel
