"""The heartbeat that keeps a claim alive while a provider takes its time."""

from __future__ import annotations

import asyncio
from typing import Self

import structlog

from service.errors import StoreUnavailable
from service.rows import SessionRow
from service.store import Store

_log = structlog.get_logger()


class Heartbeat:
    """Prolongs a lease every third of it, for as long as the block runs."""

    def __init__(self, store: Store, claimed: SessionRow, lease_ms: int) -> None:
        self._store = store
        self._claimed = claimed
        self._lease_ms = lease_ms
        self._beat: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        self._schedule()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        if self._beat is not None:
            self._beat.cancel()

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._lease_ms / 3000, self._start)

    def _start(self) -> None:
        self._beat = asyncio.create_task(self._extend())

    async def _extend(self) -> None:
        try:
            if not await self._store.extend(self._claimed, self._lease_ms):
                _log.warning("lease_lost", session_id=self._claimed.session_id)
                return
        except StoreUnavailable as error:
            _log.warning("heartbeat_failed", error=str(error))
        self._schedule()
