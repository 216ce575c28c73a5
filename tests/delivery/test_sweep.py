"""After an outage of the database nothing is taken over until what is known is written down."""

from __future__ import annotations

from typing import Any, cast

import pytest

from service.challenges.quotas import Limits
from service.delivery import dispatch
from service.delivery.dispatch import Dispatcher
from service.errors import StoreUnavailable


class Flaky:
    """A store that is there or not."""

    def __init__(self) -> None:
        self.up = True
        self.reclaims = 0

    async def read(self, session_id: str) -> None:
        if not self.up:
            raise StoreUnavailable("down")

    async def reclaim_due(self, *_: object) -> list[Any]:
        await self.read("")
        self.reclaims += 1
        return []


async def test_an_outage_while_sweeps_wait_for_the_end_of_another_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatch, "_AFTER_OUTAGE_SECONDS", (5.0, 5.0))
    store = Flaky()
    sweeper = Dispatcher(cast(Any, store), cast(Any, None), {}, Limits(account_hour=0), 3000)
    await sweeper._sweep_once()
    assert store.reclaims == 1
    for up in (False, True, False, True):
        before, store.up = sweeper._quiet_until, up
        pause = await sweeper._sweep_once()
        assert pause <= 1.5, "it looks often enough to see an outage longer than that"
        assert (sweeper._quiet_until > before) == (not up)
    assert store.reclaims == 1
    sweeper._quiet_until = 0.0  # as when the time is over
    await sweeper._sweep_once()
    assert store.reclaims == 2
