"""After an outage of the database nothing is taken over until what is known is written down."""

from __future__ import annotations

from typing import Any, cast

from service.delivery.sweep import Sweep
from service.errors import StoreUnavailable


class Flaky:
    """A database that can be written to or not, as a standby cannot."""

    def __init__(self) -> None:
        self.up = True
        self.reclaims = 0

    async def check_writable(self) -> None:
        if not self.up:
            raise StoreUnavailable("is read-only")

    async def reclaim_due(self, lease_ms: int, limit: int, **_: object) -> list[Any]:
        if not self.up:
            raise StoreUnavailable("down")
        self.reclaims += 1
        return []


class Full:
    """A dispatcher that has no room for more."""

    room = 0
    delivering = ()


class Idle:
    """A dispatcher that delivers nothing."""

    room = 512
    delivering = ()


async def test_an_outage_while_sweeps_wait_for_the_end_of_another_is_noticed() -> None:
    now = 0.0
    database: Any = Flaky()
    sweep = Sweep(database, database, cast(Any, Idle()), 3000, monotonic=lambda: now)
    await sweep.once()
    assert database.reclaims == 1
    for up in (False, True, False, True):
        database.up = up
        pause = await sweep.once()
        assert pause <= 1.5, "it looks often enough to see an outage longer than that"
        now += 3.9
        await sweep.once()
        assert database.reclaims == 1, "not until four seconds after the last outage that it saw"
    now += 6.1
    await sweep.once()
    assert database.reclaims == 2


async def test_without_room_nothing_is_claimed_and_an_outage_is_noticed() -> None:
    now = 0.0
    database: Any = Flaky()
    dispatcher: Any = Full()
    sweep = Sweep(database, database, dispatcher, 3000, monotonic=lambda: now)
    database.up = False
    await sweep.once()
    database.up = True
    dispatcher.room = 1
    await sweep.once()
    assert database.reclaims == 0
    now += 6.1
    await sweep.once()
    assert database.reclaims == 1
