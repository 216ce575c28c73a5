"""Free ports for what cannot be told to choose its own.

They are below those that the system hands out: nothing that asks it for one, outgoing connections
among them, takes one of these before its user has it.
"""

from __future__ import annotations

import random
import socket

_RANGE = (10_000, 32_000)


def free_port() -> int:
    return _free(1)


def free_pair() -> int:
    """Finds a port whose successor is free too."""
    return _free(2)


def _free(count: int) -> int:
    while True:
        first = random.SystemRandom().randrange(*_RANGE)
        if all(_is_free(first + number) for number in range(count)):
            return first


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
