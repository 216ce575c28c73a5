"""What ties a worker process to its supervisor: a socket pair, one end each.

The worker says there that it serves, and drains when the other end is closed, so that none outlives
its supervisor.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from typing import Self

from service.errors import BadSetting

VARIABLE = "CHALLENGE_WORKER_LIFELINE"
"""Holds the descriptor of the worker's end; set by the supervisor alone."""
READY = b"+"


class Lifeline:
    """A worker's end."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.set_inheritable(False)
        asyncio.get_running_loop().add_reader(self._socket, self._closed)

    @classmethod
    def of_this_process(cls) -> Self | None:
        """Finds the lifeline; None where no supervisor started this process.

        Raises:
            BadSetting: Somebody else has set the variable.
        """
        descriptor = os.environ.get(VARIABLE)
        try:
            return None if descriptor is None else cls(int(descriptor))
        except (ValueError, OverflowError, OSError):
            raise BadSetting(VARIABLE, "must be left to the supervisor") from None

    def say_ready(self) -> None:
        """Tells the supervisor that this worker serves."""
        self._socket.send(READY)

    def _closed(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        signal.raise_signal(signal.SIGTERM)
