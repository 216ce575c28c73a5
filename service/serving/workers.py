"""`challenge serve --workers N`: processes that share a port, and the one that keeps them running.

Each worker is `challenge serve` with a lifeline to its supervisor.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import tempfile
import time
from asyncio.subprocess import Process
from collections.abc import Mapping
from pathlib import Path

from service.aio import children
from service.aio.backoff import backoff
from service.aio.signals import stop_event, until
from service.errors import BadSetting, CannotProceed
from service.serving import lifeline
from service.settings import Settings
from service.storage.opening import sqlite_path
from service.telemetry import exposition, logs

_START_SECONDS = 30.0
_RESTART_SECONDS = (0.1, 30.0)
"""The first and the longest pause before a dead worker is replaced."""
_LASTING_SECONDS = 60.0
"""After a worker that lived for longer the pauses begin with the first again."""
_MARGIN_SECONDS = 10.0
"""What a worker's end takes beside its two drains: the notice to proxies, closing the database."""


class _Worker:
    """A worker process, and those that replace it."""

    def __init__(self, number: int, environment: Mapping[str, str], metrics: Path) -> None:
        self._number = number
        self._environment = environment
        self._metrics = metrics
        self._lifeline: socket.socket | None = None
        self._process: Process | None = None
        self._started = 0.0

    async def start(self) -> None:
        """Starts the worker and waits until it serves.

        Raises:
            CannotProceed: It does not serve; its own message says why.
        """
        if self._lifeline is not None:
            self._lifeline.close()
        self._lifeline, theirs = socket.socketpair()
        self._lifeline.setblocking(False)
        self._started = time.monotonic()
        with theirs:
            self._process = await children.spawn(
                sys.executable, "-m", "service", "serve",
                env={**self._environment, lifeline.VARIABLE: str(theirs.fileno())},
                pass_fds=(theirs.fileno(),),
            )  # fmt: skip
        try:
            async with asyncio.timeout(_START_SECONDS):
                said = await asyncio.get_running_loop().sock_recv(self._lifeline, 1)
        except TimeoutError:
            self._process.kill()
            said = b""
        if said != lifeline.READY:
            raise CannotProceed(
                f"worker {self._number} ended with status {await self._process.wait()} "
                "before it served; its own message is above"
            )

    async def keep(self) -> None:
        """Replaces the worker whenever it has died, until cancelled."""
        pauses = backoff(*_RESTART_SECONDS)
        while True:
            assert self._process is not None
            status = await self._process.wait()
            exposition.forget(self._process.pid, self._metrics)
            logs.error("worker_died", worker=self._number, pid=self._process.pid, status=status)
            if time.monotonic() - self._started > _LASTING_SECONDS:
                pauses = backoff(*_RESTART_SECONDS)
            await asyncio.sleep(next(pauses))
            try:
                await self.start()
            except (CannotProceed, OSError) as error:  # the database may be down: tried again
                logs.warning("worker_not_started", worker=self._number, error=str(error))
            else:
                logs.info("worker_replaced", worker=self._number, pid=self._process.pid)

    async def end(self, seconds: float) -> bool:
        """Drains the worker, or kills it when that takes too long; returns whether it drained."""
        if self._process is None or self._process.returncode is not None:
            return True
        status = await children.end(self._process, seconds)
        return status in (0, -signal.SIGTERM)  # the latter while it was starting


async def supervise(settings: Settings, count: int) -> bool:
    """Serves with so many workers until SIGTERM or SIGINT, then drains them all at once.

    Returns:
        Whether all have drained within their time.

    Raises:
        CannotProceed: It cannot start; this text, or the worker's own before it, names the setting.
    """
    if sqlite_path(settings.database_url.get_secret_value()):
        raise BadSetting(
            "CHALLENGE_DATABASE_URL",
            "SQLite is for one process; "
            f"name a postgresql:// database, or leave out --workers {count}",
        )
    stop = stop_event()
    with (
        _reserve(settings.grpc_listen) as reserved,
        tempfile.TemporaryDirectory(prefix="challenge-metrics-") as directory,
    ):
        metrics = Path(directory)
        port = reserved.getsockname()[1]
        environment = {
            **os.environ,
            "CHALLENGE_GRPC_LISTEN": f"{settings.grpc_listen.rpartition(':')[0]}:{port}",
            **exposition.worker_environment(metrics),
        }
        if settings.metrics_listen:
            exposition.serve(settings.metrics_listen, metrics)
        workers = [_Worker(number, environment, metrics) for number in range(1, count + 1)]
        try:
            # The first one alone, so that an error that all would have is reported once.
            await until(stop, workers[0].start())
            await until(stop, asyncio.gather(*(worker.start() for worker in workers[1:])))
            if not stop.is_set():
                for setting in settings.without_channel():
                    logs.warning("no_channel", setting=setting)
                logs.info("serving", port=port, workers=count)
                await until(stop, asyncio.gather(*(worker.keep() for worker in workers)))
        finally:
            seconds = 2 * settings.drain_seconds + _MARGIN_SECONDS
            drained = await asyncio.gather(*(worker.end(seconds) for worker in workers))
    logs.info("stopped", workers=count, killed=drained.count(False))
    return all(drained)


def _reserve(listen: str) -> socket.socket:
    """Binds the port that the workers share, without listening on it.

    Raises:
        CannotProceed: The address is malformed or taken.
    """
    if listen.startswith("unix:"):
        raise BadSetting(
            "CHALLENGE_GRPC_LISTEN", "several workers share a host:port, not a unix: path"
        )
    host, _, port = listen.rpartition(":")
    try:
        [(family, kind, _, _, (resolved, _, *scope)), *_] = socket.getaddrinfo(
            host.strip("[]"), None, type=socket.SOCK_STREAM
        )
        address = (resolved, int(port), *scope)
        with socket.socket(family, kind) as alone:  # SO_REUSEPORT would join another process
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(address)
        reserved = socket.socket(family, kind)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(address)
    except (OSError, OverflowError, ValueError) as error:
        raise CannotProceed(
            "CHALLENGE_GRPC_LISTEN", f"cannot listen on {listen}: {error}"
        ) from None
    return reserved
