"""How long the service takes from its command to its first answer."""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import subprocess
import sys
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.plan import Plan
from benchmarks.progress import say
from benchmarks.world import World

_SECONDS = 30.0


def start_times(world: World, plan: Plan) -> dict[str, float]:
    """Returns the median seconds from `serve` to SERVING, for each database."""
    urls = {"sqlite": f"sqlite:///{world.sqlite_path()}", "postgres": world.postgres_url()}
    found: dict[str, list[float]] = {name: [] for name in urls}
    for turn in range(plan.starts + 1):
        say(f"start, round {turn} of {plan.starts}")
        for name, url in urls.items():
            found[name].append(asyncio.run(_start(world, url)))
    # The first round warms the file cache.
    return {name: round(statistics.median(several[1:]), 3) for name, several in found.items()}


async def _start(world: World, url: str) -> float:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{probe.getsockname()[1]}"
    changes = {
        "CHALLENGE_GRPC_LISTEN": target,
        "CHALLENGE_DRAIN_SECONDS": "0",
        "CHALLENGE_SMS_CHANNELS": f"inbox://{world.directory}/inbox",  # `serve` has no null://
    }
    environment = {**os.environ, **world.settings(url), **changes}
    started = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "service", "serve",
        cwd=world.directory, env=environment, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_SECONDS):
            await _until_serving(target)
        return time.perf_counter() - started
    finally:
        process.terminate()
        await process.wait()


async def _until_serving(target: str) -> None:
    host, _, port = target.rpartition(":")
    while True:  # gRPC's own retries are a second apart
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except ConnectionRefusedError:
            await asyncio.sleep(0.005)
            continue
        writer.close()
        break
    async with grpc.aio.insecure_channel(target) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        serving = health_pb2.HealthCheckResponse.SERVING
        while True:
            answer = await health.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True)
            if answer.status == serving:
                return
            await asyncio.sleep(0.005)
