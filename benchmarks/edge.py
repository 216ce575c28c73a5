"""The real Envoy with the repository's configuration, but without its rate limits."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from benchmarks.processes import ROOT, Server, Usage
from service.commands import edge

_TOKENS = 1_000_000_000
_START_SECONDS = 20.0


@contextmanager
def proxying(directory: Path, service: Server) -> Iterator[Server]:
    """Runs Envoy in front of a service."""
    grpc_port = int(service.target.rpartition(":")[2])
    public, internal = _free_port(), _free_port()
    admin, template = directory / "envoy-admin.sock", ROOT / "envoy.yaml"
    tree = yaml.safe_load(edge.render(public, internal, grpc_port, admin, template))
    _raise_limits(tree)
    config = directory / "envoy.yaml"
    config.write_text(yaml.safe_dump(tree, sort_keys=False), "utf-8")
    process = subprocess.Popen(  # noqa: S603
        edge.command(config), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _await_listener(process, public)
        yield Server(f"127.0.0.1:{public}", Usage(process.pid))
    finally:
        process.terminate()
        process.wait()


def _raise_limits(tree: Any) -> None:
    """Fills every token bucket: one client here stands for all payers."""
    if isinstance(tree, dict):
        if bucket := tree.get("token_bucket"):
            bucket.update(max_tokens=_TOKENS, tokens_per_fill=_TOKENS)
        tree = list(tree.values())
    if isinstance(tree, list):
        for branch in tree:
            _raise_limits(branch)


def _await_listener(process: subprocess.Popen[bytes], port: int) -> None:
    ends = time.monotonic() + _START_SECONDS
    while time.monotonic() < ends and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            time.sleep(1)  # until its health checks have found the service
            return
    raise RuntimeError("Envoy does not start; make check says why")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
