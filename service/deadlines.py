"""Deadlines that share one timer.

`asyncio.timeout` under uvloop makes a libuv timer per use, which costs a call about as much as a
third of what gRPC itself does; three of them cost more than the database read that they guard.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

_TICK_SECONDS = 0.05


class Deadlines:
    """Looks now and then which of the blocks under way have had their time."""

    def __init__(self) -> None:
        self._running: set[Deadline] = set()
        self._ticking = False

    def within(self, seconds: float) -> Deadline:
        """Makes a context manager that raises TimeoutError when its block takes longer.

        Args:
            seconds: The block's time; it may run up to 50 ms over.
        """
        return Deadline(self, seconds)

    def add(self, deadline: Deadline) -> None:
        """Begins to watch."""
        self._running.add(deadline)
        if not self._ticking:
            self._ticking = True
            deadline.loop.call_later(_TICK_SECONDS, self._tick, deadline.loop)

    def discard(self, deadline: Deadline) -> None:
        """Ceases to watch."""
        self._running.discard(deadline)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for deadline in [running for running in self._running if running.at <= now]:
            self._running.discard(deadline)
            deadline.expire()
        self._ticking = bool(self._running)
        if self._ticking:
            loop.call_later(_TICK_SECONDS, self._tick, loop)


class Deadline:
    """One block; like `asyncio.timeout`, it cancels the task and turns that into TimeoutError."""

    __slots__ = ("_all", "_cancelling", "_expired", "_seconds", "_task", "at", "loop")

    def __init__(self, deadlines: Deadlines, seconds: float) -> None:
        self._all = deadlines
        self._seconds = seconds
        self._expired = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self.loop = task.get_loop()
        self.at = self.loop.time() + self._seconds
        self._all.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._all.discard(self)
        ours_alone = self._expired and self._task.uncancel() <= self._cancelling
        if ours_alone and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def expire(self) -> None:
        """Cancels the block's task."""
        self._expired = True
        self._task.cancel()
