"""The metrics over HTTP, for Prometheus to scrape.

One process serves its own. With worker processes their supervisor serves them all: it starts each
worker with `worker_environment(directory)` in its environment, calls `serve(listen, directory)`
once, and `forget(pid, directory)` whenever a worker has ended. `directory` is a new, empty one.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import REGISTRY, CollectorRegistry, make_wsgi_app
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from service.errors import CannotProceed
from service.telemetry import logs

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Read by prometheus_client when it is imported; metrics then live in files of that directory."""
_CONNECTIONS, _SECONDS = 16, 5.0
"""How many are served at once, and for how long each."""


def serve(listen: str, directory: Path | None = None) -> WSGIServer:
    """Begins to answer, in threads of its own.

    Args:
        listen: `host:port`, the value of CHALLENGE_METRICS_LISTEN.
        directory: Where workers keep their metrics; None for those of this process.

    Raises:
        CannotProceed: The address is taken or malformed.
    """
    registry = REGISTRY
    if directory is not None:
        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(directory))  # type: ignore[no-untyped-call]
    host, _, port = listen.rpartition(":")
    kind = _Server6 if ":" in host else _Server
    try:
        if not host:
            raise ValueError("would be every address")
        server = make_server(
            host.strip("[]"), int(port), make_wsgi_app(registry), kind, handler_class=_Handler
        )
    except (OSError, OverflowError, ValueError):
        raise CannotProceed(
            "CHALLENGE_METRICS_LISTEN",
            f"cannot listen on {listen}: the address is malformed or taken by another process",
        ) from None
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    logs.info("metrics_served", port=server.server_port)
    return server


def worker_environment(directory: Path) -> dict[str, str]:
    """Returns the variables that make a process keep its metrics in `directory`."""
    return {_VARIABLE: str(directory)}


def forget(pid: int, directory: Path) -> None:
    """Removes the gauges of a worker that has ended; its counters stay."""
    mark_process_dead(pid, str(directory))  # type: ignore[no-untyped-call]


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Logs nothing."""


class _Server(ThreadingMixIn, WSGIServer):
    """Serves 16 connections at most, each for 5 s: a silent client does not block the next one."""

    allow_reuse_port = False  # a second process must fail, not share it
    daemon_threads = True
    request_queue_size = 128  # with socketserver's 5, others would wait for a second

    def __init__(self, *args: Any, **more: Any) -> None:
        # By age, the oldest first. Threads remove their own entries: iterate over a copy.
        self._since: dict[socket.socket, float] = {}
        super().__init__(*args, **more)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serves a connection in a thread; when there are too many, the oldest is closed."""
        self._cut(list(self._since)[: 1 - _CONNECTIONS])
        self._since[request] = time.monotonic()
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """Closes, twice a second, the connections that are older than 5 s."""
        late = time.monotonic() - _SECONDS
        self._cut([each for each, since in list(self._since.items()) if since <= late])

    def _cut(self, connections: Iterable[socket.socket]) -> None:
        for connection in connections:
            self._since.pop(connection, None)
            with contextlib.suppress(OSError):  # it has ended by itself
                connection.shutdown(socket.SHUT_RDWR)

    def shutdown_request(self, request: Any) -> None:
        """Forgets a connection that has ended, in whichever thread."""
        self._since.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of a client that has gone or was cut off."""


class _Server6(_Server):
    address_family = socket.AF_INET6
