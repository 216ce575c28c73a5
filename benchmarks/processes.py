"""The processes of a run: their start, the CPU and memory they use, their end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
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
        """Returns the CPU time so far, user and system, in seconds."""
        total = 0.0
        for process in (self._process, *self._process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess, OSError):
                # The clock that clock_getcpuclockid(3) names: `cpu_times` counts in 10 ms.
                total += time.clock_gettime(~process.pid << 3 | 2)
                times = process.cpu_times()
                total += times.children_user + times.children_system
        return total

    def rss_mb(self) -> float:
        """Returns the resident memory in MB (10^6 bytes)."""
        processes = (self._process, *self._process.children(recursive=True))
        return sum(process.memory_info().rss for process in processes) / 1e6

    def stay_on(self, cores: Collection[int]) -> None:
        """Keeps every thread on these cores, and those that it starts."""
        for process in (self._process, *self._process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess, ProcessLookupError):  # it has ended meanwhile
                for thread in process.threads():
                    os.sched_setaffinity(thread.id, cores)


@contextmanager
def apart(servers: Collection[Usage], others: Collection[Usage]) -> Iterator[None]:
    """Puts the servers on a core whose caches none of the others fills, where there are two."""
    every = os.sched_getaffinity(0)
    last = {max(every)}
    try:
        for usage in servers:
            usage.stay_on(last)
        for usage in others:
            usage.stay_on(every - last or every)
        yield
    finally:
        for usage in (*servers, *others):
            usage.stay_on(every)


class Server(NamedTuple):
    """A server that is running.

    Attributes:
        target: Its `host:port`.
        usage: Its accounts.
    """

    target: str
    usage: Usage


@contextmanager
def serving(module: str, environment: Mapping[str, str]) -> Iterator[Server]:
    """Runs a server that prints its port once it listens.

    Args:
        module: Its name below `benchmarks.servers`.
        environment: Variables beside this process's own.
    """
    command = [sys.executable, "-m", f"benchmarks.servers.{module}"]
    with _child(command, environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        if not port:
            raise RuntimeError(f"{module} did not start; run it by itself to see why")
        process.stdout.close()  # nobody reads it: a server that went on writing would wait
        yield Server(f"127.0.0.1:{port}", Usage(process.pid))


class Loader:
    """The process that makes the calls."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.usage = Usage(process.pid)

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
    forks = {"GRPC_ENABLE_FORK_SUPPORT": "0"}  # otherwise gRPC warns at the start of each h2load
    with _child(command, forks, stdin=pipe, stdout=pipe, stderr=None) as process:
        yield Loader(process)


@contextmanager
def _child(
    command: Sequence[str], environment: Mapping[str, str], **pipes: Any
) -> Iterator[subprocess.Popen[str]]:
    # Logs are written as in production, and go nowhere.
    process = subprocess.Popen(  # noqa: S603
        command, cwd=ROOT, env={**os.environ, **environment}, text=True,
        **{"stderr": subprocess.DEVNULL, **pipes},
    )  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
