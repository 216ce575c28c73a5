"""Being at the right moment, without sleeping until it has come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 5.0) -> None:
    """Waits for what others do in their own time, such as the sweep."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.01)


class Pause:
    """Holds every call of one method, just before it begins, until resumed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: type, method: str) -> None:
        self.entered = asyncio.Event()
        self.resume = asyncio.Event()
        original = getattr(owner, method)

        async def paused(*args: Any, **kwargs: Any) -> Any:
            self.entered.set()
            await self.resume.wait()
            return await original(*args, **kwargs)

        monkeypatch.setattr(owner, method, paused)
