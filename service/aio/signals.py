"""Signals that stop a process, and waiting for them beside something else."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable


def stop_event(*more: signal.Signals) -> asyncio.Event:
    """Makes an event that SIGTERM, SIGINT and `more` set, instead of ending the process."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, *more):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def until(stop: asyncio.Event, work: Awaitable[object]) -> None:
    """Waits for the end of the work, and cancels it when it is time to stop."""
    stopping, working = asyncio.create_task(stop.wait()), asyncio.ensure_future(work)
    await asyncio.wait((stopping, working), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working
