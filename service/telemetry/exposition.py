"""The metrics over HTTP, for Prometheus to scrape.

One process serves its own. With worker processes their supervisor serves them all: it starts each
worker with `worker_environment(directory)` in its environment, calls `serve(listen, directory)`
once, and `forget(pid, directory)` whenever a worker has ended. `directory` is a new, empty one.
"""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import REGISTRY, CollectorRegistry, make_wsgi_app
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from service.errors import NotReady
from service.telemetry import logs

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Read by prometheus_client when it is imported; metrics then live in files of that directory."""
_READ_SECONDS = 5.0


def serve(listen: str, directory: Path | None = None) -> WSGIServer:
    """Begins to answer, in a thread of its own, one request after the other.

    Args:
        listen: `host:port`, the value of CHALLENGE_METRICS_LISTEN.
        directory: Where workers keep their metrics; None for those of this process.

    Raises:
        NotReady: The address is taken or malformed.
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
        raise NotReady(
            f"CHALLENGE_METRICS_LISTEN: cannot listen on {listen}: "
            "the address is malformed or taken by another process"
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
    timeout = _READ_SECONDS  # a silent client would block the next one

    def log_message(self, format: str, *args: object) -> None:
        """Logs nothing."""


class _Server(WSGIServer):
    allow_reuse_port = False  # a second process must fail, not share it


class _Server6(_Server):
    address_family = socket.AF_INET6
