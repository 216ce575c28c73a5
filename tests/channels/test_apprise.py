"""The bridge to Apprise."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

import pytest

from service.channels import Outcome
from service.channels.apprise import Apprise
from tests.channels.http_provider import Answer, http_provider
from tests.channels.kits import MAIL, PHONE


@pytest.mark.parametrize("recipient", [PHONE, "payer+tag@example.com", "zahlerín@example.com"])
async def test_the_destination_takes_its_place(recipient: str) -> None:
    async with http_provider(Answer(200)) as provider:
        channel = Apprise(f"apprise+json://{provider.address}/to/{{recipient}}")
        result = await channel.deliver(MAIL._replace(recipient=recipient))
        await channel.close()
    assert result.outcome is Outcome.ACCEPTED
    assert unquote(provider.requests[0].target).strip("/") == f"to/{recipient}"


async def test_a_plus_stays_one_in_a_query() -> None:
    async with http_provider(Answer(200)) as provider:
        channel = Apprise(f"apprise+json://{provider.address}/?:to={{recipient}}")
        await channel.deliver(MAIL._replace(recipient=PHONE))
        await channel.close()
    assert json.loads(provider.requests[0].body)["to"] == PHONE


@pytest.mark.parametrize("recipient", ["a/b@example.com", "a?to=b@example.com", "a&b@example.com"])
async def test_a_destination_that_it_might_misread(recipient: str) -> None:
    async with http_provider(Answer(200)) as provider:
        channel = Apprise(f"apprise+json://{provider.address}/{{recipient}}")
        result = await channel.deliver(MAIL._replace(recipient=recipient))
        await channel.close()
    assert result.outcome is Outcome.REFUSED
    assert not provider.requests


async def test_nothing_in_a_title_can_be_decoded() -> None:
    async with http_provider(Answer(200)) as provider:
        channel = Apprise(f"apprise+json://{provider.address}/{{recipient}}")
        await channel.deliver(MAIL._replace(subject="Code for =?utf-8?q?x=0D=0A?="))
        await channel.close()
    assert json.loads(provider.requests[0].body)["title"] == "Code for = ?utf-8?q?x=0D=0A?="


async def test_a_plugin_that_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError(f"cannot reach {MAIL.recipient}")

    channel = Apprise("apprise+json://127.0.0.1:1/{recipient}")
    monkeypatch.setattr("apprise.Apprise.notify", fail)
    result = await channel.deliver(MAIL)
    await channel.close()
    assert result.outcome is Outcome.UNKNOWN
    assert MAIL.recipient not in str(result)


def test_its_name_holds_no_token() -> None:
    channel = Apprise("apprise+pover://0123456789@0123456789/{recipient}")
    assert channel.name == "apprise+pover://"
