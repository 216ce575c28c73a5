"""Deadlines that share one timer.

`asyncio.timeout` under uvloop makes a libuv timer per use, 5 µs each; a call needs three. One timer
that looks every 50 ms costs less, and none of these deadlines needs to be more exact.
"""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Self

_TICK_SECONDS = 0.05


class Deadlines:
    """Ends the blocks whose time is over, by one timer for all of them."""

    def __init__(self) -> None:
        self.running: dict[Deadline, float] = {}
        self.ticking = False
        self.loop: asyncio.AbstractEventLoop | None = None  # to look it up is a system call

    def within(self, seconds: float) -> Deadline:
        """Makes a context manager that raises TimeoutError when its block takes longer.

        Args:
            seconds: The block's time; it may run up to 50 ms over.
        """
        return Deadline(self, seconds)

    def tick_later(self) -> None:
        """Starts the timer; it ticks for as long as a block is under way."""
        self.ticking = True
        self.loop = asyncio.get_running_loop()
        self.loop.call_later(_TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        now = time.monotonic()
        for deadline in [running for running, at in self.running.items() if at <= now]:
            del self.running[deadline]
            deadline.expire()
        self.ticking = False
        if self.running:
            self.tick_later()


class Deadline:
    """One block; like `asyncio.timeout`, it cancels the task and turns that into TimeoutError."""

    __slots__ = ("_all", "_cancelling", "_expired", "_seconds", "_task")

    def __init__(self, deadlines: Deadlines, seconds: float) -> None:
        self._all = deadlines
        self._seconds = seconds
        self._expired = False

    def __enter__(self) -> Self:
        task = asyncio.current_task(self._all.loop)
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._all.running[self] = time.monotonic() + self._seconds
        if not self._all.ticking:
            self._all.tick_later()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._all.running.pop(self, None)
        ours_alone = self._expired and self._task.uncancel() <= self._cancelling
        if ours_alone and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def expire(self) -> None:
        """Cancels the block's task."""
        self._expired = True
        self._task.cancel()
