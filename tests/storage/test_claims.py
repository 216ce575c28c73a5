"""Claims whose worker has died, as the next sweep of another process takes them over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from service.settings import Settings
from service.storage.dispatches import Dispatches
from tests.harness.providers import Provider
from tests.harness.service import running
from tests.harness.tokens import Issuer

LEASE_MS = 10_000


async def test_a_try_that_died_with_its_worker_may_have_delivered(
    make_settings: Callable[..., Settings], provider: Provider, clock: Any, issuer: Issuer
) -> None:
    provider.gate.clear()  # the worker is with the provider for good
    async with running(make_settings(send_wait_seconds=0), provider, clock, issuer) as service:
        session = await service.challenged()
        await service.send(session)
        other = Dispatches(service.database)
        for deaths in (1, 2, 3):
            await clock.advance(LEASE_MS / 1000 + 1)
            (row,) = await other.reclaim_due(LEASE_MS, 10)
            assert (row.session_id, row.unknowns) == (session.session_id, deaths)
            assert row.code_unknown, "it can be answered"
        provider.gate.set()
