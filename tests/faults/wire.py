"""The oracle's log: what providers accepted, on disk before they say so."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

_CODE = re.compile(r"(?<!\d)\d{6}(?!\d)")


class Accepted(NamedTuple):
    """One message that a provider has taken; the payer will get it.

    Attributes:
        at: When, seconds of time.monotonic.
        to: Destination.
        code: The first six digits that stand alone in its text.
        text: All of it.
    """

    at: float
    to: str
    code: str
    text: str


class WireLog:
    """Appends, with fsync, before an acceptance is answered."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab")
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._waiting: deque[bytes] = deque()
        self.accepted: list[Accepted] = []

    async def append(self, to: str, text: str) -> None:
        found = _CODE.search(text)
        message = Accepted(time.monotonic(), to, found[0] if found else "", text)
        self._waiting.append(json.dumps(message).encode() + b"\n")
        await asyncio.get_running_loop().run_in_executor(self._thread, self._flush)
        self.accepted.append(message)

    def read(self) -> list[Accepted]:
        """Reads the log back, as the reconciliation does: what is not on disk does not count."""
        return [Accepted(*json.loads(line)) for line in self.path.read_bytes().splitlines()]

    def to(self, destination: str) -> list[Accepted]:
        return [message for message in self.accepted if message.to == destination]

    def close(self) -> None:
        self._thread.shutdown()
        self._file.close()

    def _flush(self) -> None:
        batch = []
        while self._waiting:  # several wait for one fsync
            batch.append(self._waiting.popleft())
        if batch:
            self._file.write(b"".join(batch))
            self._file.flush()
            os.fsync(self._file.fileno())


class Behaviours:
    """What a provider does: by destination, else for all; each list is used up from its front."""

    def __init__(self) -> None:
        self.default: object = "accept"
        self._of: dict[str, list[object]] = {}
        self._next: list[object] = []
        self._held: list[asyncio.Event] = []
        self.holding = 0

    def plan(self, *behaviours: object, to: str | None = None) -> None:
        if to is None:
            self._next.extend(behaviours)
        else:
            self._of.setdefault(to, []).extend(behaviours)

    def take(self, to: str) -> object:
        if queue := self._of.get(to):
            return queue.pop(0)
        return self._next.pop(0) if self._next else self.default

    async def hold(self, gone: Callable[[], bool]) -> bool:
        """Waits until released; False when the caller has gone before."""
        released = asyncio.Event()
        self._held.append(released)
        self.holding += 1
        try:
            while not released.is_set():
                if gone():
                    return False
                await asyncio.sleep(0.01)
            return not gone()
        finally:
            self.holding -= 1

    def release(self, first: int | None = None) -> None:
        """Lets go of what is held now, or of so many that are held longest."""
        held = self._held[:first]
        del self._held[:first]
        for released in held:
            released.set()
