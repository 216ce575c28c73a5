"""Deadlines that share one timer behave as `asyncio.timeout` does."""

from __future__ import annotations

import asyncio

import pytest

from service.aio.deadlines import Deadlines


async def test_a_block_that_takes_too_long_ends_in_timeout_error() -> None:
    deadlines = Deadlines()
    with pytest.raises(TimeoutError), deadlines.within(0.01):
        await asyncio.Event().wait()
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


async def test_a_block_in_time_is_left_alone() -> None:
    deadlines = Deadlines()
    with deadlines.within(0.01):
        pass
    with deadlines.within(5):
        await asyncio.sleep(0.07)  # past the first one's time


async def test_each_block_has_its_own_time() -> None:
    deadlines = Deadlines()

    async def take(seconds: float) -> str:
        try:
            with deadlines.within(seconds):
                await asyncio.sleep(0.09)
        except TimeoutError:
            return "late"
        return "in time"

    assert await asyncio.gather(take(0.01), take(5), take(0.02)) == ["late", "in time", "late"]


async def test_a_cancellation_from_outside_stays_one() -> None:
    deadlines = Deadlines()

    async def wait() -> None:
        with deadlines.within(5):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_inner_of_two_ends_alone() -> None:
    deadlines = Deadlines()
    with deadlines.within(5):
        with pytest.raises(TimeoutError), deadlines.within(0.01):
            await asyncio.Event().wait()
        await asyncio.sleep(0)


async def test_an_error_of_the_block_passes() -> None:
    with pytest.raises(ValueError, match="mine"), Deadlines().within(5):
        raise ValueError("mine")


async def test_a_block_that_ends_at_once_is_in_time() -> None:
    with Deadlines().within(0):
        pass
    await asyncio.sleep(0)  # nothing was cancelled
