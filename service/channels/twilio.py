"""SMS by Twilio's Messages API."""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import quote, urlencode

from service.channels import Channel, Message, Outcome, Verdict
from service.channels.dsn import DSN
from service.channels.http import FORM, TIMEOUT_SECONDS, Client, identifier, judge
from service.channels.recipients import UNFIT, is_phone

_LONGEST_SENDER_NAME = 11
# https://www.twilio.com/docs/api/errors. Only what is surely the recipient's: another provider may
# reach a region that this account may not (21408), or a number that refuses this sender (21610).
_BAD_DESTINATIONS = frozenset(
    {
        21211,  # invalid number
        21214,  # cannot be reached
        21217,  # not a valid number
        21265,  # short code
        21614,  # not a mobile number
        21635,  # landline
        30005,  # unknown handset
        30006,  # landline or unreachable carrier
    }
)
_LATER = frozenset(
    {
        14107,  # rate of messages exceeded
        20429,  # too many requests
        21611,  # the sender's queue is full
        30001,  # queue overflow
    }
)
"""To be tried again, whatever the HTTP status."""


def connect(dsn: str) -> Channel:
    """Makes the channel of `twilio://SID:TOKEN@api.twilio.com?from=%2B15005550006`.

    `from` is a number, an alphanumeric sender or a messaging service, `MG…`. With an API key as
    user and password, `account` is the account's SID.

    Raises:
        BadDSN: See `DSN`.
    """
    return Twilio(dsn)


class Twilio:
    """One account and sender."""

    def __init__(self, dsn: str, timeout: float = TIMEOUT_SECONDS) -> None:
        """See `connect`; `timeout` is seconds for one delivery."""
        parsed = DSN(dsn, needs=("user", "password", "from"), takes=("account", "scheme"))
        values = parsed.values
        self.name = parsed.name
        account = quote(values.get("account", values["user"]), safe="")
        self._path = f"/2010-04-01/Accounts/{account}/Messages.json"
        sender = values["from"]
        service = sender.startswith("MG") and len(sender) > _LONGEST_SENDER_NAME
        self._sender = {"MessagingServiceSid" if service else "From": sender}
        basic = b64encode(f"{values['user']}:{values['password']}".encode()).decode("ascii")
        self._headers = {**FORM, "authorization": f"Basic {basic}"}
        self._client = Client(parsed, timeout)

    async def deliver(self, message: Message) -> Outcome:
        """Posts the message once; see `Channel`."""
        if not is_phone(message.recipient):
            return UNFIT
        form = {"To": message.recipient, **self._sender, "Body": message.text}
        reply = await self._client.post(self._path, urlencode(form).encode(), self._headers)
        if isinstance(reply, Outcome):
            return reply
        detail = reply.json()
        if reply.accepted:
            return Outcome(Verdict.ACCEPTED, message_id=identifier(detail.get("sid")))
        code = detail.get("code")
        code = code if isinstance(code, int) and 0 < code < 100_000 else None
        outcome = judge(reply, code)
        if code in _LATER:
            return outcome._replace(verdict=Verdict.RETRY, retry_after=reply.retry_after)
        if outcome.verdict is Verdict.REFUSED and code in _BAD_DESTINATIONS:
            return outcome._replace(verdict=Verdict.UNDELIVERABLE)
        return outcome

    async def close(self) -> None:
        """Lets go of connections."""
        await self._client.close()
