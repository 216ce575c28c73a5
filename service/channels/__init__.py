"""Ways to reach a payer, one provider a file behind one protocol; no second try, no failover."""

from __future__ import annotations

from enum import StrEnum
from pkgutil import resolve_name
from typing import NamedTuple, Protocol

TIMEOUT_SECONDS = 8.0
"""Seconds of one delivery, from the look-up of the host to the last byte of the reply."""


class Message(NamedTuple):
    """One message, ready to be handed to a provider.

    Attributes:
        id: Stays the same over every try of one dispatch; the provider's idempotency key.
        recipient: E.164 phone number, or email address.
        text: Plain text; all of an SMS.
        subject: Email only.
        html: Email only.
        expires_in: Seconds that its code has left: nobody wants it later.
    """

    id: str
    recipient: str
    text: str
    subject: str | None = None
    html: str | None = None
    expires_in: int = 600


class Outcome(StrEnum):
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


class Result(NamedTuple):
    """How an attempt ended.

    Attributes:
        outcome: What the provider made of it.
        message_id: The provider's id of the message, when accepted.
        reason: Why not, in a few words of ours: no destination, code or credential.
        retry_after: Seconds that the provider asked us to wait.
        blames: What the failure is about.
    """

    outcome: Outcome
    message_id: str | None = None
    reason: str | None = None
    retry_after: float | None = None
    blames: Blame = Blame.MESSAGE


class Channel(Protocol):
    """One provider's way of taking messages."""

    name: str
    """Scheme and host of its DSN, `twilio://api.twilio.com`: for logs, metrics and the ledger."""

    async def deliver(self, message: Message) -> Result:
        """Hands over one message, once, within the channel's own deadline.

        Its recipient is fit to be written to a wire: see `recipients.is_fit`.

        Never raises for what a provider does: every failure has an outcome. An exception is a bug.
        """

    async def close(self) -> None:
        """Closes the connections."""


class BadDSN(ValueError):
    """A channel's DSN is malformed; the text says how, without its secrets."""


class Scheme(NamedTuple):
    """A scheme of DSNs.

    Attributes:
        channel: The class, imported where it is used: some need libraries of their own.
        challenge_types: The challenges that it can reach a payer for.
    """

    channel: str
    challenge_types: tuple[str, ...]


SCHEMES = {
    "inbox": Scheme("service.channels.inbox:Inbox", ("sms", "email")),
    "smtp": Scheme("service.channels.smtp:SMTP", ("email",)),
    "smtps": Scheme("service.channels.smtp:SMTP", ("email",)),
    "twilio": Scheme("service.channels.twilio:Twilio", ("sms",)),
    "vonage": Scheme("service.channels.vonage:Vonage", ("sms",)),
    "sns": Scheme("service.channels.sns:SNS", ("sms",)),
    "webhook": Scheme("service.channels.webhook:Webhook", ("sms", "email")),
    "apprise+": Scheme("service.channels.apprise:Apprise", ("sms", "email")),
}


class Channels:
    """Makes channels of DSNs.

    A DSN is one channel, however many lists name it; two DSNs of one host have two names, the later
    one's with `#2`.
    """

    def __init__(self) -> None:
        self._made: dict[str, Channel] = {}

    def connect(self, challenge_type: str, dsns: str) -> tuple[Channel, ...]:
        """Makes the channels of a comma-separated list, in its order.

        Args:
            challenge_type: What they are for, `sms` or `email`.
            dsns: The list.

        Raises:
            BadDSN: One is malformed, of a scheme that we lack, or of one for another type.
        """
        listed = (dsn.strip() for dsn in dsns.split(","))
        return tuple(self._connect(challenge_type, dsn) for dsn in dict.fromkeys(listed) if dsn)

    def _connect(self, challenge_type: str, dsn: str) -> Channel:
        found = _scheme(dsn)
        if challenge_type not in found.challenge_types:
            raise BadDSN(
                f"{dsn.partition('://')[0]}:// is for {' and '.join(found.challenge_types)} only"
            )
        if dsn not in self._made:
            channel: Channel = resolve_name(found.channel)(dsn)
            same = [name for name in self._names() if name.partition("#")[0] == channel.name]
            if same:
                channel.name = f"{channel.name}#{len(same) + 1}"
            self._made[dsn] = channel
        return self._made[dsn]

    def _names(self) -> list[str]:
        return [channel.name for channel in self._made.values()]


def _scheme(dsn: str) -> Scheme:
    name = dsn.partition("://")[0]
    if name.startswith("apprise+"):
        name = "apprise+"  # a scheme of Apprise's follows
    if name not in SCHEMES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise BadDSN(f"a channel's DSN starts with one of {known}")
    return SCHEMES[name]
