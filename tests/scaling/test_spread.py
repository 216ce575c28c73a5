"""deploy/workers.yaml: Envoy opens enough connections for several workers to have some."""

from __future__ import annotations

import asyncio
import subprocess
import sys

from tests.faults.edge import Edge
from tests.faults.lab import Lab
from tests.faults.processes import ROOT, Replica, until
from tests.harness.ports import free_port
from tests.scaling.test_workers import served_by, workers_of

CALLS, CALLS_PER_CONNECTION = 30, 16
HEALTH_CHECKS = 1
"""Connections that Envoy checks the service's health over."""


def overlaid(edge: Edge) -> Edge:
    """Lays the overlay onto what the edge is about to start with."""
    command = [sys.executable, "deploy/merge.py", edge.config, "deploy/workers.yaml"]
    merged = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    edge.config.write_text(merged.stdout, "utf-8")
    return edge


def connections(replica: Replica) -> int:
    return sum(served_by(worker, replica) for worker in workers_of(replica))


async def test_many_calls_at_once_come_over_several_connections(lab: Lab) -> None:
    port = free_port()
    replica = await lab.replica(workers=2, grpc_listen=f"127.0.0.1:{port}")
    edge = await overlaid(Edge(lab.directory, [port])).start()
    try:
        door = lab.door_to(f"127.0.0.1:{edge.port}")
        cases = await door.cases(CALLS)
        for case in cases:
            lab.sms.plan("hold", to=case.destination)
        calls = [asyncio.create_task(door.send(case)) for case in cases]
        least = CALLS // CALLS_PER_CONNECTION + HEALTH_CHECKS
        await until(lambda: connections(replica) > least, 10.0, "Envoy opens connections")
        lab.sms.release()
        assert all(answer.ok for answer in await asyncio.gather(*calls))
    finally:
        edge.end()
    await replica.stop()
