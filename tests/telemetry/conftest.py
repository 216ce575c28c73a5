"""What a service process shows after a known sequence of calls."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.channels.http_provider import Answer
from tests.harness import programs
from tests.harness.refusals import refused
from tests.harness.timing import eventually
from tests.telemetry.process import Running, Samples, running, samples, scraped, value

collect_ignore = programs.left_out("telemetry")
PHONE = "+14155550142"


class Played(NamedTuple):
    """The exposition after the sequence, and what must not be in it."""

    text: str
    secrets: list[str]

    @property
    def samples(self) -> Samples:
        return samples(self.text)


async def play(process: Running) -> Played:
    """Makes calls that end well and badly, until each metric has moved."""
    service, provider = process.service, process.provider
    first = await service.challenged(PHONE)
    await service.send(first)
    await service.send(first)  # a repeat
    code = process.code()
    await refused(service.verify(first, "00000000"))
    await service.verify(first, code)

    provider.answer = Answer(422, b'{"undeliverable": true}')
    second = await service.challenged(PHONE)
    await refused(service.send(second))
    third = await service.challenged("+14155550144")
    provider.answer = Answer(503)
    await service.send(third)
    await refused(service.send(fourth := await service.challenged("+14155550145")))

    async def settled() -> bool:
        found = samples(await scraped(process.metrics_url()))
        due = value(found, "challenge_queue_dispatches", state="due") or 0
        waiting = value(found, "challenge_queue_dispatches", state="waiting") or 0
        return due + waiting == 1

    await eventually(settled, 20)
    secrets = [code, PHONE[1:]]
    for session in (first, second, third, fourth):
        secrets += [session.session_id, session.secret.partition("_secret_")[2]]
    return Played(await scraped(process.metrics_url()), secrets)


@pytest.fixture(scope="session")
def played(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """A process that has been called, as Prometheus sees it."""

    async def run() -> Played:
        directory = tmp_path_factory.mktemp("played")
        settings = {
            "metrics_listen": "127.0.0.1:0", "account_sends_per_hour": "3",
            "turnstile_secrets": "key=0x4AAA",
        }  # fmt: skip
        async with running(directory, migrated_sqlite, **settings) as process:
            return await play(process)

    return asyncio.run(run())
