"""The providers' published tables of codes, walked: who is told what, and whom a reply blames."""

from __future__ import annotations

import gzip
import json
from importlib.resources import files
from typing import Any

import pytest
from aiosmtplib import SMTPDataError, SMTPRecipientRefused, SMTPSenderRefused

from service.channels import Blame, Outcome, Result
from service.channels.smtp_replies import result_of
from service.channels.sns import SNS
from service.channels.twilio import Twilio
from service.channels.vonage import Vonage
from tests.channels.http_provider import Answer, http_provider
from tests.channels.kits import SMS

# Of https://www.twilio.com/docs/api/errors/twilio-error-codes.json: the API's and messages' codes.
_TWILIO = """
14101 14107 14111 20001-20012 20020-20021 20023 20101-20107 20151-20157 20159-20162 20403-20404
20409-20410 20413 20422-20423 20426 20429 20500 20503 21200-21245 21247-21249 21251-21268
21401-21409 21420-21422 21449-21458 21470-21481 21601-21624 21626-21631 21634-21635 21644-21661
21701-21705 21708-21715 21717 21719-21730 21900-21902 21910 30001-30035 30100-30125 30127-30133
30400 30404 30409-30410 30436 30440-30450
"""
# https://developer.vonage.com/en/api-errors/sms
_VONAGE = "0-12 14-15 22-23 29 32-33"
# RFC 3463, section 3, and what IANA has registered since: the last detail of each subject.
_LAST_DETAILS = {0: 0, 1: 10, 2: 4, 3: 6, 4: 7, 5: 6, 6: 10, 7: 30}


def _numbers(text: str) -> list[int]:
    ranges = [(first, last or first) for first, _, last in (r.partition("-") for r in text.split())]
    return [number for first, last in ranges for number in range(int(first), int(last) + 1)]


def _by(results: dict[Any, Result], outcome: Outcome, blames: Blame) -> set[Any]:
    return {code for code, result in results.items() if result[0::4] == (outcome, blames)}


async def test_twilio() -> None:
    results = {}
    async with http_provider(Answer(400)) as provider:
        channel = Twilio(f"twilio://AC1:token@{provider.address}?from=Shop&scheme=http")
        for code in _numbers(_TWILIO):
            provider.answer = Answer(400, json.dumps({"code": code}).encode())
            results[code] = await channel.deliver(SMS)
        await channel.close()
    surely = _by(results, Outcome.UNDELIVERABLE, Blame.RECIPIENT)
    later = _by(results, Outcome.RETRY, Blame.PROVIDER)
    account = _by(results, Outcome.REFUSED, Blame.ACCOUNT)
    assert surely == {21211, 21217, 21614, 21635, 30005}
    assert later == {14107, 20429, 20500, 20503, 21611, 21730, 30001, 30022}
    assert account == set(
        _numbers(
            "20003 20005-20006 20010 21470-21472 21603 21660-21661 21701-21702 21704-21705 30002"
        )
    )
    others = _by(results, Outcome.REFUSED, Blame.MESSAGE)
    assert len(results) == len(surely | later | account | others)
    assert {21408, 21610, 21612, 21608, 21265, 30006} <= others  # another provider may reach them


async def test_vonage() -> None:
    results = {}
    async with http_provider(Answer(200)) as provider:
        channel = Vonage(f"vonage://key:secret@{provider.address}?from=Shop&scheme=http")
        for status in _numbers(_VONAGE):
            body = json.dumps({"messages": [{"status": str(status)}]}).encode()
            provider.answer = Answer(200, body)
            results[status] = await channel.deliver(SMS)
        await channel.close()
    assert results.pop(0).outcome is Outcome.ACCEPTED
    assert _by(results, Outcome.UNDELIVERABLE, Blame.RECIPIENT) == {7, 33}
    assert _by(results, Outcome.RETRY, Blame.PROVIDER) == {1, 5, 10}
    assert _by(results, Outcome.REFUSED, Blame.ACCOUNT) == {4, 8, 9, 11, 14, 32}
    assert _by(results, Outcome.REFUSED, Blame.MESSAGE) == {2, 3, 6, 12, 15, 22, 23, 29}


async def test_sns() -> None:
    model = json.loads(
        gzip.decompress(
            files("botocore").joinpath("data/sns/2010-03-31/service-2.json.gz").read_bytes()
        )
    )
    errors = {
        shape["error"]["code"]: shape["error"]["httpStatusCode"]
        for shape in model["shapes"].values()
        if "code" in shape.get("error", {})
    }
    results = {}
    async with http_provider(Answer(400)) as provider:
        channel = SNS(f"sns://key:secret@{provider.address}?region=eu-west-1&scheme=http")
        for code, status in errors.items():
            body = f"<ErrorResponse><Error><Code>{code}</Code></Error></ErrorResponse>".encode()
            provider.answer = Answer(status, body)
            results[code] = await channel.deliver(SMS)
        await channel.close()
    assert len(errors) > 20
    assert {"InvalidParameter", "OptedOut", "InternalError"} <= errors.keys()
    assert not _by(results, Outcome.UNDELIVERABLE, Blame.RECIPIENT)  # without the parameter's name
    assert (
        _by(results, Outcome.RETRY, Blame.PROVIDER)
        == {code for code, status in errors.items() if status >= 429}
        | {"Throttled"} & errors.keys()
    )
    assert _by(results, Outcome.REFUSED, Blame.ACCOUNT) == {
        "AuthorizationError",
        "InvalidSecurity",
    }


_ENHANCED = [
    (subject, detail) for subject, last in _LAST_DETAILS.items() for detail in range(last + 1)
]


@pytest.mark.parametrize("to", [SMTPSenderRefused, SMTPRecipientRefused, SMTPDataError])
@pytest.mark.parametrize("temporary", [False, True])
def test_smtp(to: type[Any], temporary: bool) -> None:
    digit = 4 if temporary else 5
    results = {
        (subject, detail): result_of(
            to(digit * 100 + 50, f"{digit}.{subject}.{detail} text", "a@example.com")
            if to is not SMTPDataError
            else to(digit * 100 + 50, f"{digit}.{subject}.{detail} text"),
            ended=to is SMTPDataError,
        )
        for subject, detail in _ENHANCED
    }
    mail_system = {(3, detail) for detail in (0, 1, 2, 3, 5, 6)}
    our_address = {(1, 7), (1, 8)}
    everything = set(_ENHANCED)
    surely, provider, account = set(), mail_system | our_address, set()
    if to is SMTPSenderRefused:  # nothing has been said of a recipient
        provider, account = (everything, set()) if temporary else (provider, everything - provider)
    elif not temporary:
        surely = {(1, 1), (1, 2), (1, 3), (1, 4), (1, 6), (1, 10), (2, 1)}
    refused = Outcome.RETRY if temporary else Outcome.REFUSED
    assert _by(results, Outcome.UNDELIVERABLE, Blame.RECIPIENT) == surely
    assert _by(results, refused, Blame.PROVIDER) == provider
    assert _by(results, refused, Blame.ACCOUNT) == account
    whose = Blame.RECIPIENT if to is SMTPRecipientRefused else Blame.MESSAGE
    assert _by(results, refused, whose) == everything - surely - provider - account
