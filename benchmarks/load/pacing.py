"""How calls follow each other: as fast as they are answered, or at a rate of their own."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

Call = Callable[[], Awaitable[str | None]]
"""Makes one call; returns what was wrong with it."""


class Measured:
    """The latencies and errors of a run of calls."""

    def __init__(self) -> None:
        self._latencies: list[float] = []
        self._errors: Counter[str] = Counter()
        self._started = time.perf_counter()

    async def make(self, call: Call) -> None:
        """Makes one call and keeps how it went."""
        started = time.perf_counter()
        try:
            wrong = await call()
        except Exception as error:  # any failure makes the run invalid, and is named
            code = getattr(error, "code", None)
            wrong = code().name if callable(code) else f"{type(error).__name__}: {error}"
        self._latencies.append(time.perf_counter() - started)
        if wrong is not None:
            self._errors[wrong] += 1

    def summary(self) -> dict[str, Any]:
        """Returns requests per second, latencies in ms, and the errors by kind."""
        seconds = time.perf_counter() - self._started
        return {
            "per_s": len(self._latencies) / seconds,
            "latencies_ms": [round(latency * 1000, 3) for latency in self._latencies],
            "errors": dict(self._errors),
        }


async def closed_loop(calls: Sequence[Call], concurrency: int) -> dict[str, Any]:
    """Makes the calls, always so many at once."""
    measured, remaining = Measured(), iter(calls)

    async def work() -> None:
        for call in remaining:
            await measured.make(call)

    await asyncio.gather(*(work() for _ in range(concurrency)))
    return measured.summary()


async def open_loop(calls: Sequence[Call], per_second: float) -> dict[str, Any]:
    """Makes the calls at a rate that no slow answer lowers."""
    measured, loop = Measured(), asyncio.get_running_loop()
    started, tasks = loop.time(), []
    for number, call in enumerate(calls):
        due = started + number / per_second
        if (wait := due - loop.time()) > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(measured.make(call)))
    await asyncio.gather(*tasks)
    return measured.summary()
