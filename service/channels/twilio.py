"""SMS by Twilio's Messages API."""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import quote

from service.aio.egress import FORM, encode_form
from service.channels import TIMEOUT_SECONDS, Blame, Message, Outcome, Result
from service.channels.dsn import DSN
from service.channels.http import Client, Reply, identifier, result_of

_LONGEST_SENDER_NAME = 11
# https://www.twilio.com/docs/api/errors/twilio-error-codes.json
_BAD_RECIPIENT = frozenset(
    {
        21211,  # invalid number
        21217,  # not a valid number
        21614,  # not a mobile number
        21635,  # landline
        30005,  # unknown handset
    }
)
"""Surely the recipient, whoever sends. Another provider may reach a region that this account may
not (21408), a number that refuses this sender (21610), or a carrier that is out of reach here."""
_LATER = frozenset(
    {
        14107,  # rate of messages exceeded
        20429,  # too many requests
        20500,  # internal error
        20503,  # unavailable
        21611,  # the sender's queue is full
        21730,  # maintenance
        30001,  # queue overflow
        30022,  # rate of a campaign exceeded
    }
)
"""To be tried again, whatever the HTTP status."""
_ACCOUNT = frozenset(
    {
        20003,  # authentication failed
        20005, 20006, 20010,  # account not active, denied, disabled
        21470, 21471, 21472,  # no such account, or not active
        21603,  # no sender
        21660, 21661,  # the sender is another account's, or can send no SMS
        21701, 21702, 21704, 21705,  # the messaging service is unusable
        30002,  # account suspended
    }
)  # fmt: skip
"""Whatever the message."""


class Twilio:
    """One account and sender."""

    def __init__(self, dsn: str, timeout: float = TIMEOUT_SECONDS) -> None:
        """Takes `twilio://SID:TOKEN@api.twilio.com?from=%2B15005550006`.

        `from` is a number, an alphanumeric sender or a messaging service, `MG…`. With an API key as
        user and password, `account` is the account's SID.

        Args:
            dsn: As above.
            timeout: Seconds for one delivery.

        Raises:
            BadDSN: See `DSN`.
        """
        parsed = DSN(dsn, needs=("user", "password", "from"), takes=("account", "scheme"))
        values = parsed.values
        self.name = parsed.name
        account = quote(values.get("account", values["user"]), safe="")
        sender = values["from"]
        service = sender.startswith("MG") and len(sender) > _LONGEST_SENDER_NAME
        self._sender = {"MessagingServiceSid" if service else "From": sender}
        basic = b64encode(f"{values['user']}:{values['password']}".encode()).decode("ascii")
        self._headers = {**FORM, "authorization": f"Basic {basic}"}
        path = f"/2010-04-01/Accounts/{account}/Messages.json"
        self._client = Client(parsed, path, timeout)

    async def deliver(self, message: Message) -> Result:
        """Posts the message once; see `Channel`."""
        form = {
            "To": message.recipient,
            **self._sender,
            "Body": message.text,
            "ValidityPeriod": str(max(1, message.expires_in)),
        }
        reply = await self._client.post(encode_form(form), self._headers)
        if isinstance(reply, Result):
            return reply
        detail = reply.json()
        if reply.accepted:
            return Result(Outcome.ACCEPTED, message_id=identifier(detail.get("sid")))
        code = detail.get("code")
        return _result_of(reply, code if isinstance(code, int) and 0 < code < 100_000 else None)

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()


def _result_of(reply: Reply, code: int | None) -> Result:
    result = result_of(reply, code)
    if code in _LATER:
        return result._replace(outcome=Outcome.RETRY, blames=Blame.PROVIDER)
    if result.outcome is not Outcome.REFUSED or code is None:
        return result
    if code in _BAD_RECIPIENT:
        return result._replace(outcome=Outcome.UNDELIVERABLE, blames=Blame.RECIPIENT)
    return result._replace(blames=Blame.ACCOUNT if code in _ACCOUNT else Blame.MESSAGE)
