"""What grows with time: the tables under a first Send, the memory of a worker."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import asyncpg

from benchmarks import bulk, sessions
from benchmarks.measuring import Bench, Line, Sample, errors
from benchmarks.plan import Plan
from benchmarks.processes import Server, serving
from benchmarks.progress import say
from benchmarks.sessions import Session
from benchmarks.world import World

SMALL = 1_000
"""Sessions in the small table."""
_CHUNK = 1_000


def grow(world: World, bench: Bench, plan: Plan) -> dict[str, Any]:
    """Measures first Sends on a small and a large table, then memory over many calls."""
    small_url, large_url = world.postgres_url(), world.postgres_url()
    asyncio.run(bulk.fill(large_url, world.ring, plan.sessions))
    with (
        serving("service", world.settings(small_url)) as small,
        serving("service", world.settings(large_url)) as large,
    ):
        found = _first_sends(world, bench, plan, {small_url: small, large_url: large})
    with serving("service", world.settings(large_url)) as worker:
        return {**found, "memory": _memory(bench, plan, worker)}


def _first_sends(
    world: World, bench: Bench, plan: Plan, servers: dict[str, Server]
) -> dict[str, Any]:
    samples: dict[str, list[Sample]] = {url: [] for url in servers}
    small_url = next(iter(servers))
    for turn in range(plan.scale_rounds + 1):
        # Neither always comes after the other.
        for url, server in sorted(servers.items(), reverse=turn % 2 == 1):
            name = f"{SMALL:,}" if url == small_url else f"{plan.sessions:,}"
            say(f"first Send at {name} sessions, round {turn} of {plan.scale_rounds}")
            if url == small_url:
                asyncio.run(_empty(url))
            fresh = [sessions.make(world.ring, sent=False) for _ in range(SMALL)]
            asyncio.run(sessions.write_postgres(url, (row for _, row in fresh)))
            supply = (session for session, _ in fresh)
            line = Line("scale", "first Send", "send", server, server, supply)
            samples[url].append(bench.measure(line, SMALL))
    # The first round warms up.
    small, large = (several[1:] for several in samples.values())
    return {
        "sessions": {"small": SMALL, "large": plan.sessions},
        "rounds": [
            {"small": round(_cost(one), 1), "large": round(_cost(other), 1)}
            for one, other in zip(small, large, strict=True)
        ],
        "errors": errors(itertools.chain(*samples.values())),
    }


def _cost(sample: Sample) -> float:
    """Returns the CPU of service and database, µs: the table's size shows in the latter."""
    return sample.cpu_us + sample.database_us


async def _empty(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("TRUNCATE hosted_session, quota, attempt")
    finally:
        await connection.close()


def _memory(bench: Bench, plan: Plan, worker: Server) -> dict[str, Any]:
    """Reads a worker's memory early and late; half of the calls are first Sends, half repeats."""
    line = Line("memory", "calls", "send", worker, worker, _twice(bulk.sessions_from(1)))
    early, late = plan.memory_calls
    samples: list[Sample] = []
    rss: dict[int, float] = {}
    for made in range(2 * _CHUNK, late + 1, 2 * _CHUNK):
        samples.append(bench.measure(line, 2 * _CHUNK))
        if made in plan.memory_calls:
            rss[made] = round(samples[-1].rss_mb, 1)
        if made % (late // 10) == 0:
            say(f"memory: {made:,} of {late:,} calls, {samples[-1].rss_mb:.1f} MB")
    return {
        "calls": [early, late],
        "rss_mb": [rss[early], rss[late]],
        "errors": errors(samples),
    }


def _twice(supply: Iterator[Session]) -> Iterator[Session]:
    """Repeats sessions, but not so soon that the first call is still under way."""
    while chunk := list(itertools.islice(supply, _CHUNK)):
        yield from chunk
        yield from chunk
