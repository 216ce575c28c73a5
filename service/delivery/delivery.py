"""A dispatch under way, as the Sends see it that wait for it."""

from __future__ import annotations

import asyncio
import contextlib
from enum import Enum, auto

from service.aio.deadlines import Deadline


class Progress(Enum):
    """What a Send learns of its dispatch."""

    SENT = auto()
    REFUSED = auto()
    PENDING = auto()


class Delivery:
    """A dispatch under way in this process."""

    def __init__(self) -> None:
        self._progress = Progress.PENDING
        self._reported = asyncio.Event()

    def report(self, progress: Progress) -> None:
        """Tells whoever waits; the first report counts."""
        if not self._reported.is_set():
            self._progress = progress
            self._reported.set()

    async def wait(self, deadline: Deadline) -> Progress:
        """Waits for a report; PENDING when there is none in time."""
        if not self._reported.is_set():
            with contextlib.suppress(TimeoutError), deadline:
                await self._reported.wait()
        return self._progress
