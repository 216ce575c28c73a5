"""Services that are broken, each in the way that some alerts are for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import asyncpg
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2

from examples.siteverify import HCAPTCHA_PATH, StandIn, serving
from tests.channels.http_provider import Answer, Break
from tests.faults.clusters import Cluster
from tests.harness.timing import eventually, holds
from tests.telemetry.process import Running, running, samples, scraped

_SECONDS = 30.0
_SITE_KEY = "site-1"


class Broken:
    """A process in trouble, and its database."""

    def __init__(self, process: Running, cluster: Cluster, url: str, stack: AsyncExitStack) -> None:
        self.process = process
        self.cluster = cluster
        self.url = url
        self._stack = stack

    async def shows(self, name: str, above: float = 0.0, **labels: str) -> None:
        """Waits until its metrics show the trouble."""

        async def shown() -> bool:
            found = samples(await scraped(self.process.metrics_url()))
            return any(
                value > above and labels.items() <= dict(had).items()
                for (metric, had), value in found.items()
                if metric == name
            )

        await eventually(shown, _SECONDS)

    async def sends(self, count: int = 1) -> None:
        """Has so many payers ask for a code, whatever they are told."""
        service = self.process.service
        numbers = (f"+141555501{number:02}" for number in range(count))
        sessions = await asyncio.gather(*(service.challenged(number) for number in numbers))
        await quietly(*(service.send(session) for session in sessions))

    async def other(self, sql: str) -> None:
        """Has another client of the database run something, and stay."""
        connection = await asyncpg.connect(self.url)
        self._stack.push_async_callback(connection.close)
        await connection.execute(sql)

    async def go_on(self, call: Callable[[], Awaitable[object]]) -> None:
        """Makes a call again and again, until the end."""

        async def repeat() -> None:
            while True:
                await quietly(call())

        self._stack.callback(asyncio.create_task(repeat()).cancel)


async def quietly(*calls: Awaitable[object]) -> None:
    """Makes calls that may fail."""
    await asyncio.gather(*calls, return_exceptions=True)


async def _killed(broken: Broken) -> None:
    await broken.process.replica.kill()


async def _provider_refuses_us(broken: Broken) -> None:
    broken.process.provider.answer = Answer(401)
    await broken.sends()
    await broken.shows("challenge_provider_failures_total", blames="account")


async def _provider_fails(broken: Broken) -> None:
    broken.process.provider.answer = Answer(503)
    await broken.sends(6)
    await broken.shows("challenge_provider_breaker_open")


async def _nobody_is_reached(broken: Broken) -> None:
    broken.process.provider.answer = Answer(422, b'{"undeliverable": true}')
    await broken.sends(3)
    await broken.shows("challenge_dispatch_duration_seconds_count", outcome="dead")


async def _provider_is_slow(broken: Broken) -> None:
    broken.process.provider.answer = Break.HELD
    for _ in range(4):  # those that wait do so for a while only
        await broken.go_on(lambda: broken.sends(25))
    await broken.shows("challenge_provider_calls_waiting")


async def _quota_is_spent(broken: Broken) -> None:
    await broken.sends(3)


async def _database_is_gone(broken: Broken) -> None:
    session = await broken.process.service.challenged()
    await broken.cluster.stop()
    await broken.go_on(lambda: broken.process.service.send(session))
    await broken.shows("challenge_call_duration_seconds_count", rpc="Send", code="UNAVAILABLE")
    told = partial(broken.process.replica.events, "not_ready")
    await eventually(holds(lambda: bool(told())), _SECONDS)


async def _sweep_is_stuck(broken: Broken) -> None:
    broken.process.provider.answer = Answer(503)
    await broken.sends()
    await broken.other("BEGIN; SELECT 1 FROM hosted_session FOR UPDATE")
    await broken.shows("challenge_queue_oldest_due_seconds")


async def _schema_was_changed(broken: Broken) -> None:
    session = await broken.process.service.challenged()
    await broken.other("ALTER TABLE attempt RENAME TO attempted")
    request = admin_pb2.ListAttemptsRequest(session_id=session.session_id)
    await quietly(broken.process.service.admin("ListAttempts", request))


async def _database_is_busy(broken: Broken) -> None:
    session = await broken.process.service.challenged()
    await broken.other("BEGIN; LOCK TABLE hosted_session")
    for _ in range(3):
        await broken.go_on(lambda: broken.process.service.send(session))
    await broken.shows("challenge_database_statements", above=1.0)


async def _captcha_fails(broken: Broken) -> None:
    """By a wrong secret, or since nobody answers, as the settings have it."""
    service = broken.process.service
    session = await service.open()
    await service.issue(session, hcaptcha=admin_pb2.Captcha(site_key=_SITE_KEY))
    request = admin_pb2.VerifyChallengeRequest(session_id=session.session_id, token="P1_token")
    await quietly(service.admin("VerifyChallenge", request))
    told = partial(broken.process.replica.events, "captcha_judged")
    await eventually(holds(lambda: bool(told())), _SECONDS)


Settings = Mapping[str, str]


class Fault(NamedTuple):
    """What breaks a service, and the settings that it has."""

    trouble: Callable[[Broken], Awaitable[None]]
    settings: Callable[[AsyncExitStack], Settings] = lambda _: {}


def _captcha(origin: str) -> Settings:
    return {"hcaptcha_secrets": f"{_SITE_KEY}=wrong", "hcaptcha_url": f"{origin}{HCAPTCHA_PATH}"}


def _with_stand_in(stack: AsyncExitStack) -> Settings:
    return _captcha(stack.enter_context(serving(StandIn({_SITE_KEY: ["right"]}))))


FAULTS = {
    "killed": Fault(_killed),
    "provider refuses us": Fault(_provider_refuses_us),
    "provider fails": Fault(_provider_fails),
    "nobody is reached": Fault(_nobody_is_reached),
    "provider is slow": Fault(_provider_is_slow),
    "quota is spent": Fault(_quota_is_spent, lambda _: {"account_sends_per_hour": "1"}),
    "database is gone": Fault(_database_is_gone),
    "database is busy": Fault(_database_is_busy, lambda _: {"database_pool_size": "1"}),
    "sweep is stuck": Fault(_sweep_is_stuck),
    "schema was changed": Fault(_schema_was_changed),
    "captcha is misconfigured": Fault(_captcha_fails, _with_stand_in),
    "captcha is down": Fault(_captcha_fails, lambda _: _captcha("http://127.0.0.1:1")),
}


@asynccontextmanager
async def broken(name: str, directory: Path, cluster: Cluster, url: str) -> AsyncIterator[Broken]:
    """Runs a service on a database of the cluster, and breaks it."""
    fault = FAULTS[name]
    async with AsyncExitStack() as stack:
        settings = {"metrics_listen": "127.0.0.1:0", **fault.settings(stack)}
        process = await stack.enter_async_context(running(directory, url, **settings))
        trouble = Broken(process, cluster, url, stack)
        await fault.trouble(trouble)
        yield trouble
