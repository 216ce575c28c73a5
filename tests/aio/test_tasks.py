"""Loops: stopped means ended."""

from __future__ import annotations

import asyncio

from service.aio.tasks import Loop


class Endless(Loop):
    """It takes a while to let go."""

    def __init__(self) -> None:
        self.ended = False
        self.began = asyncio.Event()

    async def run(self) -> None:
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.ended = True


async def test_a_loop_has_ended_once_it_is_stopped() -> None:
    loop = Endless()
    loop.start()
    await loop.began.wait()
    await loop.stop()
    assert loop.ended
    await loop.stop()  # again


async def test_one_that_failed_is_stopped_all_the_same() -> None:
    class Failed(Loop):
        async def run(self) -> None:
            raise RuntimeError

    loop = Failed()
    loop.start()
    await loop.stop()
