"""How long payers wait while internal callers do their worst.

`PYTHONPATH=gen:. python -m tests.rest.capacity [FLOOD …]`.

Service, Envoy and flood are processes of their own. Prints the 99th percentile of first Sends, at
an even pace, in turns without and with each flood; what part of a processor Envoy and the service
take meanwhile; and how many calls Envoy held back. It is a measurement, so no test: a busy machine
has a say. test_capacity.py holds what makes it so.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import psutil

from service.storage.migrating import migrate
from tests.harness.service import Session
from tests.rest.edge import ROOT, Edge, running
from tests.rest.flood import CONNECTIONS, FLOODS, STREAMS
from tests.telemetry import process

ROUNDS, SENDS, PACE_SECONDS = 3, 350, 0.02  # longer than calls over the rate wait
_LOOK_SECONDS = 0.1
_REACHED = 0.9 * CONNECTIONS * STREAMS
"""Calls under way where the listener's limit is reached."""
_ANY_RATE = (  # all Sends come from one address
    "{max_tokens: 600, tokens_per_fill: 10, fill_interval: 1s}",
    "{max_tokens: 6000, tokens_per_fill: 100, fill_interval: 1s}",
)


async def _send(edge: Edge, session: Session) -> tuple[float, int]:
    began = time.perf_counter()
    answer = await edge.send(session)
    return time.perf_counter() - began, answer.status_code


async def _p99(edge: Edge, sessions: list[Session]) -> tuple[float, set[int]]:
    """Sends at an even pace, whether or not those before are answered; in milliseconds."""
    sends = []
    for session in sessions:
        sends.append(asyncio.create_task(_send(edge, session)))
        await asyncio.sleep(PACE_SECONDS)
    done = await asyncio.gather(*sends)
    times = sorted(seconds for seconds, _ in done)
    return times[len(times) * 99 // 100] * 1e3, {status for _, status in done}


def _used(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def _envoy() -> int:
    children = psutil.Process().children(recursive=True)
    return next(child.pid for child in children if "envoy" in child.name())


async def measure(name: str, directory: Path) -> str:
    """Runs all that is needed, and gives a line of the table."""
    database = directory / "migrated.db"
    migrate(f"sqlite:///{database}")
    async with (
        process.running(directory, database) as served,
        running(directory, int(served.service.target.rpartition(":")[2]), _ANY_RATE) as edge,
    ):
        sessions = [
            await served.service.challenged(f"+1415{2_000_000 + number}")
            for number in range(2 * ROUNDS * SENDS)
        ]
        await edge.http.get("/")  # connected
        flooder = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.rest.flooding", name, str(edge.internal_port),
            cwd=ROOT, stdin=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert flooder.stdin
        pids, used, lasted = (_envoy(), served.replica.pid), [0.0, 0.0], 0.0
        before, during, statuses = [], [], set()
        for _ in range(ROUNDS):
            quiet, _ = await _p99(edge, [sessions.pop() for _ in range(SENDS)])
            flooder.stdin.write(b"\n")
            while await edge.stat("http.internal.downstream_rq_active") < _REACHED:  # noqa: ASYNC110
                await asyncio.sleep(_LOOK_SECONDS)
            began, at = time.perf_counter(), [_used(pid) for pid in pids]
            flooded, seen = await _p99(edge, [sessions.pop() for _ in range(SENDS)])
            lasted += time.perf_counter() - began
            used = [sum_ + _used(pid) - was for sum_, pid, was in zip(used, pids, at, strict=True)]
            flooder.stdin.write(b"\n")
            while await edge.stat("http.internal.downstream_rq_active"):  # noqa: ASYNC110
                await asyncio.sleep(_LOOK_SECONDS)
            before.append(quiet)
            during.append(flooded)
            statuses |= seen
        flooder.terminate()
        await flooder.wait()
        held = await edge.stat("http.internal.fault.delays_injected")
    quiet, flooded = median(before), median(during)
    envoy, service = (round(100 * seconds / lasted) for seconds in used)
    return (
        f"{name:18} {quiet:7.1f} ms {flooded:7.1f} ms {flooded / quiet:6.2f}x "
        f"{envoy:4} % {service:4} % {held:7} {statuses}"
    )


async def main(names: list[str]) -> None:
    """Measures each flood, or those whose names are given."""
    print(f"{'flood':18} {'before':>10} {'during':>10} {'':7} {'Envoy':>6} {'service':>6}    held")
    for name in names or FLOODS:
        with tempfile.TemporaryDirectory() as directory:
            print(await measure(name, Path(directory)), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
