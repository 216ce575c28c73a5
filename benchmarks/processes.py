"""The processes of a run: started, asked what they have used, stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

ROOT = Path(__file__).parents[1]
_STOP_SECONDS = 20.0


class Usage:
    """The accounts of a process and its children."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)

    def cpu_seconds(self) -> float:
        """Gives the CPU time so far, user and system, in seconds."""
        total = 0.0
        for process in (self._process, *self._process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                total += sum(process.cpu_times()[:4])  # its own, and that of ended children
        return total

    def rss_mb(self) -> float:
        """Gives the resident memory in MB (10^6 bytes)."""
        processes = (self._process, *self._process.children(recursive=True))
        return sum(process.memory_info().rss for process in processes) / 1e6


class Server(NamedTuple):
    """A server that is running.

    Attributes:
        target: Its `host:port`.
        usage: Its accounts.
    """

    target: str
    usage: Usage


@contextmanager
def serving(
    module: str, environment: Mapping[str, str], cores: Sequence[int] = ()
) -> Iterator[Server]:
    """Runs a server that prints its port once it listens.

    Args:
        module: Its name below `benchmarks.servers`.
        environment: Variables beside this process's own.
        cores: The only cores that it may use; empty for any.
    """
    command = [sys.executable, "-m", f"benchmarks.servers.{module}"]
    with _child(command, environment, cores, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        if not port:
            raise RuntimeError(f"{module} did not start; run it by itself to see why")
        yield Server(f"127.0.0.1:{port}", Usage(process.pid))


class Loader:
    """The process that makes the calls."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, **job: Any) -> dict[str, Any]:
        """Has calls made; see `benchmarks.load`."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


@contextmanager
def loading() -> Iterator[Loader]:
    """Runs the load process."""
    command = [sys.executable, "-m", "benchmarks.load"]
    pipe = subprocess.PIPE
    with _child(command, {}, (), stdin=pipe, stdout=pipe, stderr=None) as process:
        yield Loader(process)


@contextmanager
def _child(
    command: Sequence[str], environment: Mapping[str, str], cores: Sequence[int], **pipes: Any
) -> Iterator[subprocess.Popen[str]]:
    # Logs are written as in production, and go nowhere.
    process = subprocess.Popen(  # noqa: S603
        command, cwd=ROOT, env={**os.environ, **environment}, text=True,
        **{"stderr": subprocess.DEVNULL, **pipes},
    )  # fmt: skip
    if cores:  # threads that it starts later inherit it
        psutil.Process(process.pid).cpu_affinity(list(cores))
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
