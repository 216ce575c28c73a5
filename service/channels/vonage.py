"""SMS by Vonage's SMS API, once Nexmo's."""

from __future__ import annotations

from service.aio.egress import FORM, encode_form
from service.channels import TIMEOUT_SECONDS, Blame, Message, Outcome, Result
from service.channels.dsn import DSN
from service.channels.gsm7 import is_gsm7
from service.channels.http import Client, identifier, result_of

# https://developer.vonage.com/en/api-errors/sms
_THROTTLED = {"1", "10"}
_INTERNAL_ERROR = "5"
_BAD_RECIPIENT = {
    "7",  # barred
    "33",  # de-activated
}
"""Surely the recipient. What is an unknown prefix here (6), or no number of a trial account's (29),
another provider may reach."""
_ACCOUNT = {
    "4",  # invalid credentials
    "8", "9",  # suspended, no credit
    "11",  # not enabled for this API
    "14", "32",  # signed wrongly, or signed where it should not be
}  # fmt: skip
_SHORTEST_TTL_MS = 20_000
_THROTTLED_SECONDS = 1.0  # the limit is one of messages per second


class Vonage:
    """One account and sender."""

    def __init__(self, dsn: str, timeout: float = TIMEOUT_SECONDS) -> None:
        """Takes `vonage://KEY:SECRET@rest.nexmo.com?from=Sender`.

        Args:
            dsn: As above.
            timeout: Seconds for one delivery.

        Raises:
            BadDSN: See `DSN`.
        """
        parsed = DSN(dsn, needs=("user", "password", "from"), takes=("scheme",))
        self.name = parsed.name
        self._account = {
            "api_key": parsed.values["user"],
            "api_secret": parsed.values["password"],
            "from": parsed.values["from"],
        }
        self._client = Client(parsed, "/sms/json", timeout)

    async def deliver(self, message: Message) -> Result:
        """Posts the message once; see `Channel`."""
        form = {
            **self._account,
            "to": message.recipient.removeprefix("+"),
            "text": message.text,
            "ttl": str(max(_SHORTEST_TTL_MS, message.expires_in * 1000)),
            # As plain text, whatever is not in the GSM alphabet would be lost.
            "type": "text" if is_gsm7(message.text) else "unicode",
        }
        reply = await self._client.post(encode_form(form), FORM)
        if isinstance(reply, Result):
            return reply
        return _parts(reply.json()) if reply.accepted else result_of(reply)

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()


def _parts(body: dict[str, object]) -> Result:
    """Reads the result from a message's parts: refusals too are told with HTTP 200."""
    listed = body.get("messages")
    parts = listed if isinstance(listed, list) else []
    if not parts or not all(isinstance(part, dict) and "status" in part for part in parts):
        return Result(Outcome.UNKNOWN, reason="the reply cannot be read")
    failed = [str(part["status"]) for part in parts if str(part["status"]) != "0"]
    if not failed:
        return Result(Outcome.ACCEPTED, message_id=identifier(parts[0].get("message-id")))
    if len(failed) < len(parts):
        return Result(Outcome.UNKNOWN, reason="accepted in part")
    return _result_of_status(failed[0])


def _result_of_status(status: str) -> Result:
    reason = f"status {status}" if status.isdecimal() and len(status) < 4 else "status not known"
    if status in _THROTTLED:
        return Result(Outcome.RETRY, None, reason, _THROTTLED_SECONDS, Blame.PROVIDER)
    if status == _INTERNAL_ERROR:
        return Result(Outcome.RETRY, reason=reason, blames=Blame.PROVIDER)
    if status in _BAD_RECIPIENT:
        return Result(Outcome.UNDELIVERABLE, reason=reason, blames=Blame.RECIPIENT)
    blames = Blame.ACCOUNT if status in _ACCOUNT else Blame.MESSAGE
    return Result(Outcome.REFUSED, reason=reason, blames=blames)
