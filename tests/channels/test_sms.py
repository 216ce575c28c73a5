"""What each SMS provider says in a way of its own."""

from __future__ import annotations

import json

import pytest

from service.channels import Channels, Outcome
from service.channels.sns import SNS
from service.channels.twilio import Twilio
from service.channels.vonage import Vonage
from tests.channels.http_provider import Answer, http_provider
from tests.channels.kits import SMS

_SERVICE = "MG" + "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("sender", "fields"),
    [
        (_SERVICE, {"MessagingServiceSid": _SERVICE}),
        ("MGM", {"From": "MGM"}),
        ("%2B15005550006", {"From": "+15005550006"}),
        ("Shop", {"From": "Shop"}),
    ],
)
async def test_the_senders_of_twilio(sender: str, fields: dict[str, str]) -> None:
    async with http_provider(Answer(201)) as provider:
        dsn = f"twilio://SK1:token@{provider.address}?from={sender}&account=AC1&scheme=http"
        channel = Twilio(dsn)
        await channel.deliver(SMS)
        await channel.close()
    [request] = provider.requests
    assert request.target == "/2010-04-01/Accounts/AC1/Messages.json"
    form = request.form()
    assert form.pop("ValidityPeriod") == "600"
    assert form == {"To": SMS.recipient, "Body": SMS.text, **fields}


@pytest.mark.parametrize(
    ("left", "seconds", "milliseconds"),
    [(599, "599", "599000"), (7, "7", "20000"), (0, "1", "20000")],
)
async def test_no_message_is_kept_for_longer_than_its_code(
    left: int, seconds: str, milliseconds: str
) -> None:
    async with http_provider(Answer(201)) as provider:
        dsns = (
            f"{scheme}://user:secret@{provider.address}?from=Shop&scheme=http"
            for scheme in ("twilio", "vonage")
        )
        for channel in Channels().connect("sms", ",".join(dsns)):
            await channel.deliver(SMS._replace(expires_in=left))
            await channel.close()
    twilio, vonage = (request.form() for request in provider.requests)
    assert twilio["ValidityPeriod"] == seconds  # 1 to 36,000
    assert vonage["ttl"] == milliseconds  # from 20 s


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (400, {"code": 21211}, Outcome.UNDELIVERABLE),
        (400, {"code": 21408}, Outcome.REFUSED),
        (400, {"code": 21610}, Outcome.REFUSED),
        (400, {"code": 21612}, Outcome.REFUSED),
        (400, {"code": 21611}, Outcome.RETRY),
        (400, {"code": 20429}, Outcome.RETRY),
        (400, {"code": 14107}, Outcome.RETRY),
        (400, {"code": 30001}, Outcome.RETRY),
        (400, {"code": 21635}, Outcome.UNDELIVERABLE),
        (403, {"code": 21408}, Outcome.REFUSED),
        (503, {"code": 21211}, Outcome.RETRY),
        (429, {"code": 20429}, Outcome.RETRY),
        (400, {"code": 21606}, Outcome.REFUSED),
        (400, {"code": [21211]}, Outcome.REFUSED),
        (400, {"code": "21211"}, Outcome.REFUSED),
        (400, {"code": 10**30}, Outcome.REFUSED),
        (400, [21211], Outcome.REFUSED),
    ],
)
async def test_the_codes_of_twilio(status: int, body: object, outcome: Outcome) -> None:
    async with http_provider(Answer(status, json.dumps(body).encode())) as provider:
        channel = Twilio(f"twilio://AC1:token@{provider.address}?from=Shop&scheme=http")
        result = await channel.deliver(SMS)
        await channel.close()
    assert result.outcome is outcome
    assert result.reason and len(result.reason) < 40


@pytest.mark.parametrize(
    ("statuses", "outcome", "wait"),
    [
        (["0", "0"], Outcome.ACCEPTED, None),
        (["0", "1"], Outcome.UNKNOWN, None),
        (["1"], Outcome.RETRY, 1),
        (["5"], Outcome.RETRY, None),
        (["6"], Outcome.REFUSED, None),
        (["33"], Outcome.UNDELIVERABLE, None),
        (["3"], Outcome.REFUSED, None),
        (["4"], Outcome.REFUSED, None),
        (["15"], Outcome.REFUSED, None),
        (["+14155550123"], Outcome.REFUSED, None),
        ([{}], Outcome.REFUSED, None),
        ([], Outcome.UNKNOWN, None),
    ],
)
async def test_the_statuses_of_vonage(
    statuses: list[object], outcome: Outcome, wait: float | None
) -> None:
    body = json.dumps({"messages": [{"status": status} for status in statuses]})
    async with http_provider(Answer(200, body.encode())) as provider:
        channel = Vonage(f"vonage://key:secret@{provider.address}?from=Shop&scheme=http")
        result = await channel.deliver(SMS)
        await channel.close()
    assert (result.outcome, result.retry_after) == (outcome, wait)
    assert "4155550123" not in str(result)


@pytest.mark.parametrize(
    ("text", "kind"), [("{é€~}\n@shop.example #1", "text"), ("ç", "unicode"), ("код", "unicode")]
)
async def test_the_alphabets_of_vonage(text: str, kind: str) -> None:
    async with http_provider(Answer(200)) as provider:
        channel = Vonage(f"vonage://key:secret@{provider.address}?from=Shop&scheme=http")
        await channel.deliver(SMS._replace(text=text))
        await channel.close()
    assert provider.requests[0].form()["type"] == kind
    assert provider.requests[0].form()["text"] == text


@pytest.mark.parametrize(
    ("status", "code", "outcome"),
    [
        (400, "OptedOut", Outcome.REFUSED),
        (400, "InvalidParameter", Outcome.REFUSED),
        (400, "ThrottlingException", Outcome.RETRY),
        (403, "SignatureDoesNotMatch", Outcome.REFUSED),
        (500, "OptedOut", Outcome.RETRY),
    ],
)
async def test_the_codes_of_sns(status: int, code: str, outcome: Outcome) -> None:
    body = f"<ErrorResponse><Error><Code>{code}</Code></Error></ErrorResponse>".encode()
    async with http_provider(Answer(status, body)) as provider:
        channel = SNS(f"sns://key:secret@{provider.address}?region=eu-west-1&scheme=http")
        result = await channel.deliver(SMS)
        await channel.close()
    assert result.outcome is outcome


async def test_the_sender_of_sns() -> None:
    async with http_provider(Answer(200)) as provider:
        dsn = f"sns://key:secret@{provider.address}?region=eu-west-1&from=Shop&scheme=http"
        channel = SNS(dsn)
        await channel.deliver(SMS)
        await channel.close()
    form = provider.requests[0].form()
    assert form["MessageAttributes.entry.2.Name"] == "AWS.SNS.SMS.SenderID"
    assert form["MessageAttributes.entry.2.Value.StringValue"] == "Shop"
