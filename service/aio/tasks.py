"""Tasks that outlive their caller, and loops that run until they are stopped."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


class Tasks:
    """Tasks under way, held until they end: asyncio itself keeps only weak references."""

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        """Starts nothing.

        Args:
            failed: Called with what a task raised.
        """
        self._failed = failed
        self._running: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """Starts a task."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    async def stop(self, seconds: float) -> None:
        """Waits for the tasks under way, then cancels those that remain."""
        if self._running:
            await asyncio.wait(self._running, timeout=seconds)
        for task in self._running:
            task.cancel()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)


class Loop(ABC):
    """What runs in the background from its start until it is stopped."""

    @abstractmethod
    async def run(self) -> None:
        """Runs until cancelled."""

    def start(self) -> None:
        """Begins to run."""
        self._task = asyncio.create_task(self.run())

    async def stop(self) -> None:
        """Cancels it, and waits for its end."""
        self._task.cancel()
        await asyncio.wait((self._task,))
