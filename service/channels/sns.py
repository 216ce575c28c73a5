"""SMS by Amazon SNS."""

from __future__ import annotations

import re

from service.aio.egress import FORM, encode_form
from service.channels import TIMEOUT_SECONDS, BadDSN, Blame, Message, Outcome, Result
from service.channels.dsn import DSN, library
from service.channels.http import Client, Reply, identifier, result_of

_MESSAGE_ID = re.compile(rb"<MessageId>([!-;=-~]{1,128})</MessageId>")
_ERROR_CODE = re.compile(rb"<Code>([A-Za-z.]{1,64})</Code>")
# https://docs.aws.amazon.com/sns/latest/api/CommonErrors.html, and botocore's model of Publish.
_THROTTLED = {"Throttled", "Throttling", "ThrottlingException", "RequestLimitExceeded"}
_ACCOUNT = {
    "AccessDenied", "AccessDeniedException", "AuthorizationError", "ExpiredToken",
    "ExpiredTokenException", "IncompleteSignature", "InvalidClientTokenId", "InvalidSecurity",
    "MissingAuthenticationToken", "NotAuthorized", "OptInRequired", "RequestExpired",
    "SignatureDoesNotMatch", "UnrecognizedClientException",
}  # fmt: skip
_INVALID = "InvalidParameter"
"""One code for every malformed parameter: only the text tells which. A number that has opted out
(OptedOut) refuses this account, and another provider may reach it."""


class SNS:
    """One access key, in one region."""

    def __init__(self, dsn: str, timeout: float = TIMEOUT_SECONDS) -> None:
        """Takes `sns://ACCESS_KEY:SECRET@sns.eu-central-1.amazonaws.com`.

        A secret's `/` and `+` are percent-encoded. `from` is a sender id, where the country has
        them; `region` is for hosts whose name does not tell it.

        Args:
            dsn: As above.
            timeout: Seconds for one delivery.

        Raises:
            BadDSN: See `DSN`; or the region is missing, or the extra `sns` is not installed.
        """
        parsed = DSN(dsn, needs=("user", "password"), takes=("from", "region", "scheme"))
        self.name = parsed.name
        in_host = re.match(r"sns\.([a-z0-9-]+)\.amazonaws\.com", parsed.host)
        region = parsed.values.get("region") or (in_host[1] if in_host else None)
        if not region:
            raise BadDSN(f"{self.name} lacks region")
        self._requests = library("botocore.awsrequest", "sns")
        key = library("botocore.credentials", "sns").Credentials(
            parsed.values["user"], parsed.values["password"]
        )
        self._signer = library("botocore.auth", "sns").SigV4Auth(key, "sns", region)
        self._form = {"Action": "Publish", "Version": "2010-03-31"}
        attributes = {"SMSType": "Transactional", "SenderID": parsed.values.get("from")}
        for place, (name, value) in enumerate(attributes.items(), start=1):
            if value:
                entry = f"MessageAttributes.entry.{place}"
                self._form[f"{entry}.Name"] = f"AWS.SNS.SMS.{name}"
                self._form[f"{entry}.Value.DataType"] = "String"
                self._form[f"{entry}.Value.StringValue"] = value
        self._client = Client(parsed, "/", timeout)

    async def deliver(self, message: Message) -> Result:
        """Publishes the message once; see `Channel`."""
        form = {**self._form, "PhoneNumber": message.recipient, "Message": message.text}
        body = encode_form(form)
        reply = await self._client.post(body, self._signed(body))
        if isinstance(reply, Result):
            return reply
        if reply.accepted:
            return Result(Outcome.ACCEPTED, message_id=identifier(_find(_MESSAGE_ID, reply)))
        return _result_of(reply)

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()

    def _signed(self, body: bytes) -> dict[str, str]:
        request = self._requests.AWSRequest("POST", str(self._client.url), FORM, body)
        self._signer.add_auth(request)
        return dict(request.headers.items())


def _result_of(reply: Reply) -> Result:
    code = _find(_ERROR_CODE, reply)
    result = result_of(reply, code)
    if code in _THROTTLED:
        return result._replace(outcome=Outcome.RETRY, blames=Blame.PROVIDER)
    if result.outcome is not Outcome.REFUSED or not code:
        return result
    if code == _INVALID and b"PhoneNumber" in reply.body:
        return result._replace(outcome=Outcome.UNDELIVERABLE, blames=Blame.RECIPIENT)
    return result._replace(blames=Blame.ACCOUNT if code in _ACCOUNT else Blame.MESSAGE)


def _find(pattern: re.Pattern[bytes], reply: Reply) -> str | None:
    found = pattern.search(reply.body)
    return found[1].decode("ascii") if found else None
