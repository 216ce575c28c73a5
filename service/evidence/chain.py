"""The chain of a session's events: pure rules, so that strangers can check what they say.

Each event names the SHA-256 of the one before; the first, of its session's id. A MAC runs along:
MAC(n) is over MAC(n-1) and SHA-256(n). Whoever writes to the database without its key can neither
change an event nor go on after a change, for what is appended later builds on the MAC before.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple, Self

import orjson


class Broken(Exception):
    """An event was changed, left out, added or moved.

    Args:
        seq: The first event that does not fit, from 1.
        problem: What is wrong with it.
    """

    def __init__(self, seq: int, problem: str) -> None:
        super().__init__(f"event {seq} {problem}")
        self.seq = seq
        self.problem = problem


class Chain(NamedTuple):
    """The end of a chain, as a session's row keeps it.

    Attributes:
        length: Number of events.
        head: SHA-256 of the last one, in hex; of the session's id before the first.
        mac: MAC over all of them, in hex.
    """

    length: int
    head: str
    mac: str

    @classmethod
    def parse(cls, text: str, session_id: str) -> Self:
        """Reads what `str` has written; empty for a chain that has not begun."""
        if not text:
            return cls(0, digest(session_id), "")
        length, head, mac = text.split(":")
        return cls(int(length), head, mac)

    def __str__(self) -> str:
        return f"{self.length}:{self.head}:{self.mac}"

    def append(self, key: bytes, event: Mapping[str, Any]) -> tuple[str, Self]:
        """Appends an event.

        Args:
            key: Of the MAC.
            event: What it says, but for its number and the event before.

        Returns:
            The event's text, and the end of the chain that it makes.
        """
        text = canonical({**event, "seq": self.length + 1, "previous": self.head})
        return text, self._after(key, text)

    def _after(self, key: bytes, text: str) -> Self:
        head = digest(text)
        mac = hmac.digest(key, f"{self.mac}{head}".encode(), "sha256").hex()
        return type(self)(self.length + 1, head, mac)


def canonical(event: Mapping[str, Any]) -> str:
    """Writes JSON as RFC 8785 does, of texts, whole numbers, booleans, lists and objects."""
    return orjson.dumps(event, option=orjson.OPT_SORT_KEYS).decode()


def moment(ms: int) -> str:
    """Writes a time as RFC 3339, in UTC."""
    seconds, ms = divmod(ms, 1000)
    return f"{_second(seconds)}.{ms:03}Z"


@lru_cache(4096)  # the events of one second name the same few
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def digest(text: str) -> str:
    """Computes SHA-256 of UTF-8, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def commitment(salt: str, value: str) -> str:
    """Computes what an event holds of a personal value: SHA-256 of salt and value.

    With a salt of 128 random bits that is erased it tells nothing of the value.
    """
    return digest(salt + value)


def recomputed(key: bytes, session_id: str, texts: Iterable[str]) -> Chain:
    """Computes the chain of events from the first on.

    Raises:
        Broken: One does not follow on the one before.
    """
    chain = Chain.parse("", session_id)
    for seq, text in enumerate(texts, start=1):
        try:
            event = orjson.loads(text)
        except orjson.JSONDecodeError:
            raise Broken(seq, "is not JSON") from None
        require_next(chain.head, seq, event)
        chain = chain._after(key, text)
    return chain


def require_next(head: str, seq: int, event: Any) -> None:
    """Checks that an event follows.

    Args:
        head: SHA-256 of the event before.
        seq: The number that it must have.
        event: What it says.

    Raises:
        Broken: It does not.
    """
    if not isinstance(event, dict) or event.get("seq") != seq:
        raise Broken(seq, "is missing, or not in its place")
    if event.get("previous") != head:
        raise Broken(seq, "does not follow on the one before")
