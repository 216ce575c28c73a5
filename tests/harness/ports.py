"""Free ports for what cannot be told to choose its own.

They are below those that the system hands out: nothing that asks it for one, outgoing connections
among them, takes one of these before its user has it. Each of pytest's workers has ports of its
own, and hands out none a second time before all others.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator

_FIRST, _WORKERS, _EACH = 10_000, 16, 1_300


def _pairs() -> Iterator[int]:
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % _WORKERS
    begin = _FIRST + worker * _EACH
    pairs = list(range(begin, begin + _EACH, 2))
    random.SystemRandom().shuffle(pairs)
    while True:
        yield from pairs


_PAIRS = _pairs()


def free_port() -> int:
    return free_pair()


def free_pair() -> int:
    """Finds a port that is free, and whose successor is."""
    return next(first for first in _PAIRS if _is_free(first) and _is_free(first + 1))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
