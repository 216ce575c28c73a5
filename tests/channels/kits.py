"""What the contract suite needs to know of each channel: its provider, and how to check on it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar, Protocol
from urllib.parse import unquote

from standardwebhooks import Webhook as Verifier

from service.channels import Blame, Channel, Message, Outcome
from service.channels.apprise import Apprise
from service.channels.inbox import Inbox
from service.channels.smtp import SMTP
from service.channels.sns import SNS
from service.channels.twilio import Twilio
from service.channels.vonage import Vonage
from service.channels.webhook import Webhook
from tests.channels import smtp_provider
from tests.channels.http_provider import Answer, Break, HTTPProvider, Request, http_provider
from tests.channels.smtp_provider import Mailbox, ScriptedServer, mailbox, scripted_server

PHONE, EMAIL = "+14155550123", "payer@example.com"
CODE = "482913"
SECRETS = ("u5er-secret", "p4ss/w+rd-secret")
WEBHOOK_KEY = "whsec_" + base64.b64encode(b"a key of some twenty-four bytes").decode()

SMS = Message("chal_1-1", PHONE, f"{CODE} is your code for Shop & Söhne.\n\n@shop.example #{CODE}")
MAIL = Message(
    "chal_1-1",
    EMAIL,
    f"Dein Code – für Shop:\n\n    {CODE}\n.\n..\n",
    "Dein Bestätigungscode",
    f"<p>Dein Code: <b>{CODE}</b></p>",
)

_USER = f"{SECRETS[0]}:p4ss%2Fw%2Brd-secret"
_JSON = (("content-type", "application/json"),)
_TOMORROW = (datetime.now(UTC) + timedelta(days=1)).strftime("%a, %d %b %Y %H:%M:%S GMT")


class Case:
    """Names of what may befall a message."""

    ACCEPTED = "accepted"
    ODD_ACCEPTANCE = "accepted in an unreadable body"
    BROKEN_ACCEPTANCE = "accepted in a body that breaks off"
    DOWN = "down"
    THROTTLED = "throttled"
    THROTTLED_UNTIL = "throttled until a date"
    REFUSED = "refused"
    BAD_DESTINATION = "destination refused"
    REDIRECTED = "redirected"
    GATEWAY_TIMEOUT = "gateway timeout"
    SILENT = "silent after it has the message"
    HUNG_UP = "hung up after it has the message"


OUTCOMES: Mapping[str, Outcome] = {
    Case.ACCEPTED: Outcome.ACCEPTED,
    Case.ODD_ACCEPTANCE: Outcome.ACCEPTED,
    Case.BROKEN_ACCEPTANCE: Outcome.ACCEPTED,
    Case.DOWN: Outcome.RETRY,
    Case.THROTTLED: Outcome.RETRY,
    Case.THROTTLED_UNTIL: Outcome.RETRY,
    Case.REFUSED: Outcome.REFUSED,
    Case.BAD_DESTINATION: Outcome.UNDELIVERABLE,
    Case.REDIRECTED: Outcome.REFUSED,
    Case.GATEWAY_TIMEOUT: Outcome.UNKNOWN,
    Case.SILENT: Outcome.UNKNOWN,
    Case.HUNG_UP: Outcome.UNKNOWN,
}

BLAMES: Mapping[str, Blame] = {
    Case.DOWN: Blame.PROVIDER,
    Case.THROTTLED: Blame.PROVIDER,
    Case.THROTTLED_UNTIL: Blame.PROVIDER,
    Case.REFUSED: Blame.ACCOUNT,
    Case.BAD_DESTINATION: Blame.RECIPIENT,
    Case.REDIRECTED: Blame.PROVIDER,
    Case.GATEWAY_TIMEOUT: Blame.PROVIDER,
    Case.SILENT: Blame.PROVIDER,
    Case.HUNG_UP: Blame.PROVIDER,
}

_HTTP: Mapping[str, Answer | Break] = {
    Case.DOWN: Answer(503, b"{]"),
    Case.THROTTLED: Answer(429, b"", (("retry-after", "37"),)),
    Case.THROTTLED_UNTIL: Answer(429, b"", (("retry-after", _TOMORROW),)),
    Case.REFUSED: Answer(401, b"\xff not json"),
    Case.REDIRECTED: Answer(307, b"", (("location", "/elsewhere"),)),
    Case.GATEWAY_TIMEOUT: Answer(504),
    Case.BROKEN_ACCEPTANCE: Break.HALF_A_BODY,
    Case.SILENT: Break.SILENCE,
    Case.HUNG_UP: Break.HANG_UP,
}


class Provider(Protocol):
    """A fake provider that serves."""

    address: str


class Kit:
    """One channel's side of the contract.

    Attributes:
        name: Of the channel's scheme.
        message: A message that it can take.
        message_id: The provider's id of it.
        outcomes: How every case that can befall it ends.
        blames: What each is about, where it is a failure that can be read.
        hides: What must show nowhere, beside destination and code.
    """

    name: ClassVar[str]
    message: ClassVar[Message] = SMS
    message_id: ClassVar[str | None] = None
    cases: ClassVar[Mapping[str, Answer | Break | None]]
    outcomes: ClassVar[Mapping[str, Outcome]] = OUTCOMES
    blames: ClassVar[Mapping[str, Blame]] = BLAMES
    hides: ClassVar[tuple[str, ...]] = SECRETS

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @asynccontextmanager
    async def provider(self, case: str) -> AsyncIterator[Provider]:
        answer = self.cases[case]
        assert answer is not None
        async with http_provider(answer) as provider:
            yield provider

    def channel(self, address: str) -> Channel:
        raise NotImplementedError

    def requests(self, provider: Provider) -> int:
        """Counts what reached the provider."""
        assert isinstance(provider, HTTPProvider)
        return len(provider.requests)

    def check(self, provider: Provider, message: Message) -> None:
        """Checks that what came is the message in the form that the provider publishes."""
        assert isinstance(provider, HTTPProvider)
        [request] = provider.requests
        assert request.method == "POST"
        self.check_request(request, message)

    def check_request(self, request: Request, message: Message) -> None:
        raise NotImplementedError


class TwilioKit(Kit):
    name = "twilio"
    message_id = "SM0123456789abcdef"
    cases: ClassVar = {
        **_HTTP,
        Case.ACCEPTED: Answer(201, b'{"sid": "SM0123456789abcdef", "status": "queued"}', _JSON),
        Case.ODD_ACCEPTANCE: Answer(202, b'{"sid": ["SM"], "code": {}'),
        Case.BAD_DESTINATION: Answer(
            400, b'{"code": 21211, "message": "invalid +14155550123"}', _JSON
        ),
    }

    def channel(self, address: str) -> Channel:
        dsn = f"twilio://{_USER}@{address}?from=%2B15005550006&scheme=http"
        return Twilio(dsn)

    def check_request(self, request: Request, message: Message) -> None:
        assert request.target == f"/2010-04-01/Accounts/{SECRETS[0]}/Messages.json"
        basic = base64.b64encode(":".join(SECRETS).encode()).decode()
        assert request.headers["authorization"] == f"Basic {basic}"
        assert request.form() == {
            "To": message.recipient,
            "From": "+15005550006",
            "Body": message.text,
            "ValidityPeriod": "600",
        }


class VonageKit(Kit):
    name = "vonage"
    message_id = "0A0000000123ABCD1"
    cases: ClassVar = {
        **_HTTP,
        Case.ACCEPTED: Answer(
            200,
            b'{"message-count": "1", "messages": [{"to": "14155550123", "status": "0",'
            b' "message-id": "0A0000000123ABCD1"}]}',
            _JSON,
        ),
        Case.ODD_ACCEPTANCE: Answer(200, b'{"messages": [[]]}'),
        Case.BAD_DESTINATION: Answer(
            200, b'{"messages": [{"status": "7", "error-text": "barred 14155550123"}]}', _JSON
        ),
    }
    # It tells of refusals with HTTP 200 too: unread, that means nothing.
    outcomes: ClassVar = {
        **OUTCOMES,
        Case.ODD_ACCEPTANCE: Outcome.UNKNOWN,
        Case.BROKEN_ACCEPTANCE: Outcome.UNKNOWN,
    }

    def channel(self, address: str) -> Channel:
        return Vonage(f"vonage://{_USER}@{address}?from=Shop&scheme=http")

    def check_request(self, request: Request, message: Message) -> None:
        assert request.target == "/sms/json"
        assert request.form() == {
            "api_key": SECRETS[0],
            "api_secret": SECRETS[1],
            "from": "Shop",
            "to": message.recipient.removeprefix("+"),
            "text": message.text,
            "ttl": "600000",
            "type": "text" if message is SMS else "unicode",
        }


class SNSKit(Kit):
    name = "sns"
    message_id = "567910cd-659e-55d4-8ccb-5aaf14679dc0"
    cases: ClassVar = {
        **_HTTP,
        Case.ACCEPTED: Answer(
            200,
            b'<PublishResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><PublishResult>'
            b"<MessageId>567910cd-659e-55d4-8ccb-5aaf14679dc0</MessageId></PublishResult>"
            b"</PublishResponse>",
        ),
        Case.ODD_ACCEPTANCE: Answer(200, b"<MessageId>\x00</MessageId>"),
        Case.THROTTLED: Answer(
            400,
            b"<ErrorResponse><Error><Code>Throttling</Code></Error></ErrorResponse>",
            (("retry-after", "37"),),
        ),
        Case.BAD_DESTINATION: Answer(
            400,
            b"<ErrorResponse><Error><Type>Sender</Type><Code>InvalidParameter</Code><Message>"
            b"Invalid parameter: PhoneNumber Reason: +14155550123 is not valid to publish to"
            b"</Message></Error></ErrorResponse>",
        ),
    }

    def channel(self, address: str) -> Channel:
        return SNS(f"sns://{_USER}@{address}?region=eu-central-1&scheme=http")

    def check_request(self, request: Request, message: Message) -> None:
        assert request.target == "/"
        assert request.form() == {
            "Action": "Publish",
            "Version": "2010-03-31",
            "MessageAttributes.entry.1.Name": "AWS.SNS.SMS.SMSType",
            "MessageAttributes.entry.1.Value.DataType": "String",
            "MessageAttributes.entry.1.Value.StringValue": "Transactional",
            "PhoneNumber": message.recipient,
            "Message": message.text,
        }
        assert request.headers["authorization"] == _signature_version_4(request)


class WebhookKit(Kit):
    name = "webhook"
    message = MAIL
    cases: ClassVar = {
        **_HTTP,
        Case.ACCEPTED: Answer(204),
        Case.ODD_ACCEPTANCE: Answer(202, b"\x00"),
        Case.BAD_DESTINATION: Answer(422, b'{"undeliverable": true}', _JSON),
    }
    hides = (WEBHOOK_KEY, WEBHOOK_KEY.removeprefix("whsec_"), "hooks-path")

    def channel(self, address: str) -> Channel:
        return Webhook(f"webhook://{address}/hooks-path?secret={WEBHOOK_KEY}&scheme=http")

    def check_request(self, request: Request, message: Message) -> None:
        assert request.target == "/hooks-path"
        assert request.headers["webhook-id"] == MAIL.id
        event = Verifier(WEBHOOK_KEY).verify(request.body, request.headers)
        assert event["type"] == "challenge.message"
        assert datetime.fromisoformat(event["timestamp"]).tzinfo
        assert event["data"] == message._asdict()


class AppriseKit(Kit):
    name = "apprise+json"
    message = MAIL
    cases: ClassVar = {
        case: answer
        for case, answer in {**_HTTP, Case.ACCEPTED: Answer(200)}.items()
        if case not in (Case.THROTTLED, Case.THROTTLED_UNTIL, Case.BROKEN_ACCEPTANCE)
    }
    # It says of a message only whether it failed.
    outcomes: ClassVar = {
        **dict.fromkeys(OUTCOMES, Outcome.UNKNOWN),
        Case.ACCEPTED: Outcome.ACCEPTED,
    }
    blames: ClassVar = {Case.SILENT: Blame.PROVIDER}

    def channel(self, address: str) -> Channel:
        return Apprise(f"apprise+json://{_USER}@{address}/{{recipient}}")

    def check_request(self, request: Request, message: Message) -> None:
        assert unquote(request.target).strip("/") == message.recipient
        told = json.loads(request.body)
        assert (told["title"], told["message"]) == (message.subject, message.text.rstrip())


class SMTPKit(Kit):
    name = "smtp"
    message = MAIL
    message_id = "<chal_1-1@shop.example>"
    cases: ClassVar = dict.fromkeys(
        (Case.ACCEPTED, Case.DOWN, Case.REFUSED, Case.BAD_DESTINATION, Case.SILENT, Case.HUNG_UP)
    )

    @asynccontextmanager
    async def provider(self, case: str) -> AsyncIterator[Provider]:
        silence, hang_up = smtp_provider.Break.SILENCE, smtp_provider.Break.HANG_UP
        servers: dict[str, contextlib.AbstractAsyncContextManager[Mailbox | ScriptedServer]] = {
            Case.ACCEPTED: mailbox(auth_required=False),
            Case.DOWN: scripted_server(mail="451 4.3.0 payer@example.com must wait"),
            Case.REFUSED: scripted_server(mail="550 5.7.1 not you"),
            Case.BAD_DESTINATION: scripted_server(rcpt="550 5.1.1 payer@example.com unknown"),
            Case.SILENT: scripted_server(dot=silence),
            Case.HUNG_UP: scripted_server(dot=hang_up),
        }
        async with servers[case] as provider:
            yield provider

    def channel(self, address: str) -> Channel:
        return SMTP(f"smtp://{address}?from=Shop%20<pay@shop.example>")

    def requests(self, provider: Provider) -> int:
        if isinstance(provider, Mailbox):
            return len(provider.envelopes)
        assert isinstance(provider, ScriptedServer)
        return len([line for line in provider.lines if line.startswith(b"EHLO")])

    def check(self, provider: Provider, message: Message) -> None:
        assert isinstance(provider, Mailbox)
        [envelope] = provider.envelopes
        assert (envelope.mail_from, envelope.rcpt_tos) == ("pay@shop.example", [message.recipient])
        mail = provider.mail()
        assert mail.get_content_type() == "multipart/alternative"
        text, html = mail.get_body(("plain",)), mail.get_body(("html",))
        assert text and text.get_content().splitlines() == message.text.splitlines()
        assert html and html.get_content().rstrip() == message.html


class InboxKit(Kit):
    name = "inbox"
    message = MAIL
    cases: ClassVar = {Case.ACCEPTED: None}
    hides = ()

    @asynccontextmanager
    async def provider(self, case: str) -> AsyncIterator[Provider]:
        provider = HTTPProvider(Break.SILENCE)
        provider.address = str(self.directory / "inbox")
        yield provider

    def channel(self, address: str) -> Channel:
        return Inbox(f"inbox://{address}")

    def requests(self, provider: Provider) -> int:
        return len(list(Path(provider.address).iterdir()))

    def check(self, provider: Provider, message: Message) -> None:
        [kept] = Path(provider.address).glob("*.json")
        told = json.loads(kept.read_text("utf-8"))
        assert datetime.fromisoformat(told.pop("received_at")).tzinfo
        assert told == message._asdict()


KITS: tuple[type[Kit], ...] = (
    InboxKit, SMTPKit, TwilioKit, VonageKit, SNSKit, WebhookKit, AppriseKit,
)  # fmt: skip


def _signature_version_4(request: Request) -> str:
    """Signs a request anew, by AWS's description of Signature Version 4."""
    date = request.headers["x-amz-date"]
    assert abs(datetime.now(UTC) - datetime.strptime(date + "+0000", "%Y%m%dT%H%M%SZ%z")) < (
        timedelta(minutes=1)
    )
    names = ("content-type", "host", "x-amz-date")
    headers = "".join(f"{name}:{request.headers[name]}\n" for name in names)
    content = hashlib.sha256(request.body).hexdigest()
    canonical = f"POST\n/\n\n{headers}\n{';'.join(names)}\n{content}"
    scope = f"{date[:8]}/eu-central-1/sns/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{SECRETS[1]}".encode()
    for part in (*scope.split("/"), f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{digest}"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return (
        f"AWS4-HMAC-SHA256 Credential={SECRETS[0]}/{scope}, SignedHeaders={';'.join(names)}, "
        f"Signature={key.hex()}"
    )
