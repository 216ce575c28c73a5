"""How long payers wait while internal callers do their worst.

`PYTHONPATH=gen:. python -m tests.rest.capacity [FLOOD …]`.

Service, Envoy and flood are processes of their own. Prints the 99th percentile of first Sends, at
an even pace, without a flood and with each. It is a measurement, so no test: a busy machine has a
say. test_capacity.py holds what makes it so.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
from pathlib import Path

from service.storage.migrating import migrate
from tests.harness.service import Session
from tests.rest.edge import ROOT, Edge, running
from tests.rest.flood import FLOODS, GRPC, Flood
from tests.rest.http2 import HTTP2
from tests.telemetry import process

SENDS, PER_SECOND = 250, 50
CONNECTIONS, STREAMS = 15, 100


async def flood(port: int, kind: Flood) -> None:
    """Keeps every stream that it may open busy, for good."""
    await asyncio.gather(*(_keep_busy(port, kind) for _ in range(CONNECTIONS)))


async def _keep_busy(port: int, kind: Flood) -> None:
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError, TimeoutError):
            client = HTTP2(reader, writer)
            for stream in range(1, 2 * STREAMS, 2):
                await client.post(stream, kind.path, GRPC, body=kind.body, ends=kind.ends)
            for _ in range(STREAMS):
                await client.frames_until_end()
        writer.close()


async def _send(edge: Edge, session: Session) -> tuple[float, int]:
    began = time.perf_counter()
    answer = await edge.send(session)
    return time.perf_counter() - began, answer.status_code


async def _p99(edge: Edge, sessions: list[Session]) -> tuple[float, set[int]]:
    """Sends at an even pace, whether or not those before are answered."""
    sends = []
    for session in sessions:
        sends.append(asyncio.create_task(_send(edge, session)))
        await asyncio.sleep(1 / PER_SECOND)
    done = await asyncio.gather(*sends)
    times = sorted(seconds for seconds, _ in done)
    return times[len(times) * 99 // 100], {status for _, status in done}


async def measure(name: str, directory: Path) -> str:
    """Runs all that is needed, and gives a line of the table."""
    database = directory / "migrated.db"
    migrate(f"sqlite:///{database}")
    async with (
        process.running(directory, database) as served,
        running(directory, int(served.service.target.rpartition(":")[2])) as edge,
    ):
        sessions = [
            await served.service.challenged(f"+1415{2_000_000 + number}")
            for number in range(2 * SENDS)
        ]
        await edge.http.get("/")  # connected
        before, _ = await _p99(edge, sessions[:SENDS])
        flooder = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.rest.capacity", name, str(edge.internal_port), cwd=ROOT
        )
        try:
            during, statuses = await _p99(edge, sessions[SENDS:])
        finally:
            assert flooder.returncode is None, "it ended by itself"
            flooder.terminate()
            await flooder.wait()
    ratio = during / before
    return f"{name:20} {before * 1e3:7.1f} ms {during * 1e3:7.1f} ms {ratio:6.2f}x {statuses}"


async def main(names: list[str]) -> None:
    """Measures each flood, or those whose names are given."""
    print(f"{'flood':20} {'before':>10} {'during':>10}")
    for name in names or FLOODS:
        with tempfile.TemporaryDirectory() as directory:
            print(await measure(name, Path(directory)), flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        if sys.argv[-1].isdigit():
            asyncio.run(flood(int(sys.argv[2]), FLOODS[sys.argv[1]]))
        else:
            asyncio.run(main(sys.argv[1:]))
