"""After an outage of the database nothing is taken over until what is known is written down."""

from __future__ import annotations

from typing import Any, cast

from service.delivery.sweep import Sweep
from service.errors import StoreUnavailable


class Flaky:
    """A store that can be written to or not; it can always be read, as a standby can."""

    def __init__(self) -> None:
        self.up = True
        self.reclaims = 0

    async def read(self, session_id: str) -> None:
        return None

    async def reclaim_due(self, lease_ms: int, limit: int, *_: object) -> list[Any]:
        if not self.up:
            raise StoreUnavailable("down")
        self.reclaims += limit > 0
        return []


class Idle:
    """A dispatcher with nothing in hand."""

    room = 512
    in_hand = ()


async def test_an_outage_while_sweeps_wait_for_the_end_of_another_is_noticed() -> None:
    now = 0.0
    store = Flaky()
    sweep = Sweep(cast(Any, store), cast(Any, Idle()), 3000, monotonic=lambda: now)
    await sweep.once()
    assert store.reclaims == 1
    for up in (False, True, False, True):
        store.up = up
        pause = await sweep.once()
        assert pause <= 1.5, "it looks often enough to see an outage longer than that"
        now += 3.9
        await sweep.once()
        assert store.reclaims == 1, "not until four seconds after the last outage that it saw"
    now += 6.1
    await sweep.once()
    assert store.reclaims == 2
