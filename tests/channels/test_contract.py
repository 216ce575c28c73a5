"""What every channel does alike, each with a provider of its own kind."""

from __future__ import annotations

import pytest

from service.channels import Blame, Outcome
from tests.channels.kits import (
    CODE,
    EMAIL,
    KITS,
    OUTCOMES,
    PHONE,
    Case,
    InboxKit,
    Kit,
    SMTPKit,
    WebhookKit,
)

_CASES = [
    pytest.param(kit, case, id=f"{kit.name}-{case}")
    for kit in KITS
    for case in OUTCOMES
    if case in kit.cases
]
_REMOTE = [pytest.param(kit, id=kit.name) for kit in KITS if kit is not InboxKit]
_FOR_EMAIL = [pytest.param(kit, id=kit.name) for kit in (InboxKit, SMTPKit, WebhookKit)]


@pytest.mark.parametrize(("kit", "case"), _CASES, indirect=["kit"])
async def test_outcome(kit: Kit, case: str, log: pytest.LogCaptureFixture) -> None:
    async with kit.provider(case) as provider:
        channel = kit.channel(provider.address)
        result = await channel.deliver(kit.message)
        await channel.close()

    assert result.outcome is kit.outcomes[case], result
    assert result.blames is kit.blames.get(case, Blame.MESSAGE)
    assert kit.requests(provider) == 1
    if case == Case.THROTTLED:
        assert result.retry_after == 37
    if case == Case.THROTTLED_UNTIL:
        assert result.retry_after == 600  # no code lives longer, however long the tests take
    assert bool(result.reason) is (result.outcome is not Outcome.ACCEPTED)

    shown = f"{result} {channel.name} {channel!r} {log.text}"
    for hidden in (CODE, PHONE, PHONE[1:], EMAIL, *kit.hides):
        assert hidden not in shown


async def test_message_in_the_form_that_the_provider_publishes(kit: Kit) -> None:
    async with kit.provider(Case.ACCEPTED) as provider:
        channel = kit.channel(provider.address)
        result = await channel.deliver(kit.message)
        await channel.close()
        kit.check(provider, kit.message)
    assert result.outcome is Outcome.ACCEPTED


async def test_the_providers_id_is_kept(kit: Kit) -> None:
    async with kit.provider(Case.ACCEPTED) as provider:
        channel = kit.channel(provider.address)
        result = await channel.deliver(kit.message)
        await channel.close()
    assert kit.message_id is None or result.message_id == kit.message_id


@pytest.mark.parametrize("kit", _FOR_EMAIL, indirect=True)
async def test_an_odd_address_stays_as_it_is(kit: Kit) -> None:
    message = kit.message._replace(recipient="o'dd/one?to=a%40b&c#+d@example.com")
    async with kit.provider(Case.ACCEPTED) as provider:
        channel = kit.channel(provider.address)
        result = await channel.deliver(message)
        await channel.close()
        kit.check(provider, message)
    assert result.outcome is Outcome.ACCEPTED


async def test_a_poisoned_text_arrives_as_text(kit: Kit) -> None:
    text = "a\n.\nMAIL FROM:<evil@example.com>\n&To=%2B15005550009\x00</Message>"
    async with kit.provider(Case.ACCEPTED) as provider:
        channel = kit.channel(provider.address)
        message = kit.message._replace(text=text)
        result = await channel.deliver(message)
        await channel.close()
        kit.check(provider, message)
    assert result.outcome is Outcome.ACCEPTED


@pytest.mark.parametrize("kit", _REMOTE, indirect=True)
async def test_nobody_listens(kit: Kit) -> None:
    async with kit.provider(Case.ACCEPTED) as provider:
        address = provider.address
    channel = kit.channel(address)
    result = await channel.deliver(kit.message)
    await channel.close()
    assert result.outcome is kit.outcomes[Case.DOWN]


@pytest.mark.parametrize("kit", _REMOTE, indirect=True)
async def test_a_channel_goes_on_after_its_provider_hung_up(kit: Kit) -> None:
    async with kit.provider(Case.HUNG_UP) as provider:
        channel = kit.channel(provider.address)
        first = await channel.deliver(kit.message)
        second = await channel.deliver(kit.message)
        await channel.close()
    assert first.outcome is second.outcome is kit.outcomes[Case.HUNG_UP]
    assert kit.requests(provider) == 2
