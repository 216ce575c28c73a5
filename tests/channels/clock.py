"""Time that passes when a provider says so."""

from __future__ import annotations

import asyncio


async def pass_time(seconds: float = 60) -> None:
    """Moves the running loop's clock on: whatever waits for a timeout has it, without waiting."""
    for _ in range(10):  # until the other side waits
        await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    time = loop.time
    loop.time = lambda: time() + seconds  # type: ignore[method-assign]
