"""One measurement: calls, and the CPU that they cost each process."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from benchmarks.processes import Loader, Server, Usage
from benchmarks.sessions import Session

_SETTLE_SECONDS = 0.3
"""Work that a server does after its answers belongs to their cost."""


class Line(NamedTuple):
    """One thing to measure.

    Attributes:
        key: Its name in the results.
        label: Its name for readers.
        kind: How the load process calls it: `send`, `verify` or `rest`.
        called: What answers the calls.
        server: Whose CPU and memory count; not `called` where a proxy stands between.
        sessions: What to call with; a session that can be used once comes once.
        weight: Calls, as a multiple of the plan's.
        repeats: Whether h2load may make the calls, all with one session.
    """

    key: str
    label: str
    kind: str
    called: Server
    server: Server
    sessions: Iterator[Session]
    weight: int = 1
    repeats: bool = False


class Sample(NamedTuple):
    """What one measurement showed.

    Attributes:
        per_s: Requests per second.
        cpu_us: CPU of the server per request, µs.
        database_us: CPU of PostgreSQL per request, µs, whoever used it meanwhile.
        proxy_us: CPU of the proxy per request, µs; 0 without one.
        latencies_ms: How long the calls took, ms; none where h2load made them.
        rss_mb: Memory of the server afterwards, MB.
        errors: How many calls failed, by kind.
    """

    per_s: float
    cpu_us: float
    database_us: float
    proxy_us: float
    latencies_ms: list[float]
    rss_mb: float
    errors: dict[str, int]

    @property
    def p50_ms(self) -> float:
        """The median latency."""
        return statistics.median(self.latencies_ms)


class Bench:
    """Makes measurements.

    Attributes:
        others: The accounts of what works beside every server: the load process, PostgreSQL and the
            provider.
    """

    def __init__(
        self, loader: Loader, database: Usage, provider: Usage, token: str, concurrency: int
    ) -> None:
        """Measures nothing yet.

        Args:
            loader: The load process.
            database: The accounts of PostgreSQL.
            provider: Those of the provider over HTTP.
            token: What internal calls carry.
            concurrency: Calls at once in a closed loop.
        """
        self.others = {loader.usage, database, provider}
        self._loader = loader
        self._database = database
        self._token = token
        self._concurrency = concurrency

    def measure(self, line: Line, calls: int, per_second: float = 0) -> Sample:
        """Makes so many calls: in a closed loop, or open at a rate."""
        pairs = [session.pair(line.kind) for session in itertools.islice(line.sessions, calls)]
        assert len(pairs) == calls, f"{line.key} ran out of sessions"
        accounts = (line.server.usage, self._database, line.called.usage)
        before = [account.cpu_seconds() for account in accounts]
        found = self._loader.run(
            kind=line.kind, target=line.called.target, pairs=pairs, token=self._token,
            concurrency=self._concurrency, per_second=per_second, repeats=line.repeats,
        )  # fmt: skip
        time.sleep(_SETTLE_SECONDS)
        server, database, proxy = (
            (account.cpu_seconds() - used) / calls * 1e6
            for account, used in zip(accounts, before, strict=True)
        )
        return Sample(
            found["per_s"], server, database, proxy if line.called is not line.server else 0.0,
            found["latencies_ms"], line.server.usage.rss_mb(), found["errors"],
        )  # fmt: skip


def median(samples: Iterable[Sample], field: str) -> float:
    """Returns the median of a field."""
    return statistics.median(getattr(sample, field) for sample in samples)


def errors(samples: Iterable[Sample]) -> dict[str, int]:
    """Adds up the errors."""
    total: dict[str, int] = {}
    for sample in samples:
        for kind, count in sample.errors.items():
            total[kind] = total.get(kind, 0) + count
    return total


def summary(
    line: Line, peak: Sequence[Sample], uncounted: Sequence[Sample], paced: Sequence[Sample]
) -> dict[str, Any]:
    """Sums up a line: medians over its rounds, and the 99th percentile of all latencies together.

    Args:
        line: The line.
        peak: Its rounds with the servers on a core of their own.
        uncounted: Those of which only the errors count.
        paced: Those at half of what everything reaches together.
    """
    waits = sorted(latency for sample in paced for latency in sample.latencies_ms)
    return {
        "label": line.label,
        "requests_per_s": round(median(peak, "per_s"), 1),
        "cpu_us": round(median(peak, "cpu_us"), 1),
        "paced_cpu_us": round(median(paced, "cpu_us"), 1),
        "database_cpu_us": round(median(peak, "database_us"), 1),
        "proxy_cpu_us": round(median(peak, "proxy_us"), 1),
        "p50_ms": round(median(paced, "p50_ms"), 3),
        "p99_ms": round(waits[len(waits) * 99 // 100], 3),
        "rss_mb": round(max(sample.rss_mb for sample in (*peak, *paced)), 1),
        "errors": errors((*peak, *uncounted, *paced)),
        "rounds": [{"cpu_us": round(sample.cpu_us, 1)} for sample in peak],
        "paced_rounds": [
            {"cpu_us": round(sample.cpu_us, 1), "p50_ms": round(sample.p50_ms, 3)}
            for sample in paced
        ],
    }
