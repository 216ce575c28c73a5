"""Send, over gRPC, on both databases."""

from __future__ import annotations

import asyncio

from govifi.challenge.v1 import challenge_pb2

from tests.harness.service import Service


async def test_a_code_is_sent_and_accepted_once(service: Service) -> None:
    session = await service.challenged()
    answer = await service.send(session)
    assert answer == challenge_pb2.Challenge(
        type=challenge_pb2.Challenge.sms, delivery_hint="--0123", code_sent=True
    )
    assert len(service.provider.accepted) == 1
    await service.verify(session, service.provider.code())
    assert await service.get(session) is None
    assert await service.send(session) == challenge_pb2.Challenge()


async def test_fifty_at_once_are_one_delivery(service: Service) -> None:
    session = await service.challenged()
    answers = await asyncio.gather(*(service.send(session) for _ in range(50)))
    assert len(service.provider.calls) == 1
    assert {answer.SerializeToString() for answer in answers} == {answers[0].SerializeToString()}
    assert answers[0].code_sent
