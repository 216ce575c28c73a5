"""Repeats: a request that was carried out is known by its id, and changes nothing again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from service.errors import InvalidRequest
from service.keyring import Fingerprints
from service.storage.rows import Handled, RequestKey, Rpc, SessionRow
from service.storage.store import Store


def content_of(fingerprints: Fingerprints, *said: object) -> str:
    """Returns a keyed hash of what a request asks for, in which nobody finds a code again."""
    return fingerprints.of(json.dumps([str(each) for each in said]))


class Repeats:
    """Knows the repeats of one rpc's requests (AIP-155)."""

    def __init__(self, store: Store, fingerprints: Fingerprints, rpc: Rpc) -> None:
        """Knows nothing yet.

        Args:
            store: Where carried-out requests are kept.
            fingerprints: What hashes their content.
            rpc: Whose requests they are.
        """
        self._store = store
        self._fingerprints = fingerprints
        self._rpc = rpc
        self._under_way: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    def key(self, request_id: str, *said: object) -> RequestKey:
        """Returns the key of a request: its id, and a hash of its content.

        Without an id the key is empty: the request is carried out each time.
        """
        if not request_id:
            return RequestKey()
        return RequestKey(request_id, content_of(self._fingerprints, *said))

    @asynccontextmanager
    async def in_turn(self, session_id: str, request_id: str) -> AsyncIterator[None]:
        """Has a repeat wait for the request that it overlaps, if that is under way in this process.

        Without an id nothing waits.
        """
        if not request_id:
            yield
            return
        lock = self._under_way.setdefault((session_id, request_id), asyncio.Lock())
        async with lock:
            yield

    async def find(self, row: SessionRow, key: RequestKey) -> Handled | None:
        """Reads how a request ended, if one of this id was carried out.

        Raises:
            InvalidRequest: That one asked for something else.
        """
        if not key.request_id:
            return None
        handled = await self._store.handled(row.session_id, self._rpc, key.request_id)
        if handled is not None and handled.content != key.content:
            raise InvalidRequest("request_id", "was used to ask for something else")
        return handled
