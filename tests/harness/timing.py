"""Being at the right moment, without sleeping until it has come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 60.0) -> None:
    """Waits for what others do in their own time, such as the sweep."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110  (databases signal nothing)
            await asyncio.sleep(0.01)


def holds(condition: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    """Makes what `eventually` takes of a condition that nobody has to be asked about."""

    async def check() -> bool:
        return condition()

    return check


class Pause:
    """Holds every call of one method, just before it begins, until resumed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: type, method: str) -> None:
        self._entered = asyncio.Event()
        self._resumed = asyncio.Event()
        original = getattr(owner, method)

        async def paused(*args: Any, **kwargs: Any) -> Any:
            self._entered.set()
            await self._resumed.wait()
            return await original(*args, **kwargs)

        monkeypatch.setattr(owner, method, paused)

    async def reached(self) -> None:
        """Waits for the first call."""
        async with asyncio.timeout(60):
            await self._entered.wait()

    def resume(self) -> None:
        """Lets all calls go on."""
        self._resumed.set()
