"""`challenge dev`: service, Envoy and inbox on this machine, in the foreground."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

import click
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service import settings
from service.aio import children
from service.aio.signals import stop_event
from service.commands import edge
from service.commands.directory import prepare
from service.errors import BadSetting, CannotProceed
from service.storage.migrating import migrate

_START_SECONDS = 30.0
_STOP_SECONDS = 10.0


def run(data: Path, rest_port: int, grpc_port: int) -> None:
    """Prepares `data`, starts everything, and stops it all on SIGINT, SIGTERM or SIGHUP.

    Args:
        data: Directory for keys, database and inbox.
        rest_port: Port of Envoy's public listener.
        grpc_port: Port of the service; Envoy's internal listener takes the next one.

    Raises:
        CannotProceed: A port is taken, or something does not start.
    """
    if rest_port in (grpc_port, grpc_port + 1):
        raise BadSetting("REST_PORT", "must be neither GRPC_PORT nor GRPC_PORT + 1")
    for setting, port in (
        ("REST_PORT", rest_port),
        ("GRPC_PORT", grpc_port),
        ("GRPC_PORT + 1, the proxy's internal listener", grpc_port + 1),
    ):
        _require_free(setting, port)
    environment = _environment(data, grpc_port)
    loaded = settings.load(environment)
    migrate(loaded.database_url.get_secret_value())
    config = data / "envoy.yaml"
    config.write_text(edge.render(rest_port, grpc_port + 1, grpc_port, _admin(data)), "utf-8")
    asyncio.run(_supervise(data, environment, config, rest_port, grpc_port))


def _environment(data: Path, grpc_port: int) -> dict[str, str]:
    """Returns the service's environment: what is set, then what development needs."""
    listen = {"CHALLENGE_GRPC_LISTEN": f"127.0.0.1:{grpc_port}"}
    return {**prepare(data), **settings.variables(), **listen}


def _admin(data: Path) -> Path:
    return data / "envoy-admin.sock"


async def _supervise(
    data: Path, environment: Mapping[str, str], config: Path, rest_port: int, grpc_port: int
) -> None:
    stop = stop_event(signal.SIGHUP)
    running = data / "running.json"
    started: dict[str, Process] = {}
    try:
        serve = (sys.executable, "-m", "service", "serve")
        started["the service"] = await children.spawn(*serve, env=environment)
        started["envoy"] = await children.spawn(*edge.command(config), env=environment)
        if await _wait(stop, started, _until_ready(rest_port, grpc_port)):
            where = {"grpc_target": f"127.0.0.1:{grpc_port}", "rest_port": str(rest_port)}
            running.write_text(json.dumps(where), "utf-8")
            click.echo(_welcome(data, rest_port, grpc_port))
            await _wait(stop, started)
    finally:
        try:
            running.unlink(missing_ok=True)
            if envoy := started.get("envoy"):
                await edge.end(envoy, _admin(data))
        finally:  # children end even if the directory is gone
            ends = (children.end(child, _STOP_SECONDS) for child in started.values())
            await asyncio.gather(*ends)
    click.echo("stopped")


async def _wait(
    stop: asyncio.Event,
    started: Mapping[str, Process],
    ready: Coroutine[Any, Any, None] | None = None,
) -> bool:
    """Waits until everything is ready, or a signal to stop comes.

    Returns:
        Whether it is ready.

    Raises:
        CannotProceed: A child ended by itself, or it takes too long.
    """
    ends = {asyncio.create_task(child.wait()): name for name, child in started.items()}
    becoming = asyncio.create_task(ready) if ready is not None else None
    stopping = asyncio.create_task(stop.wait())
    awaited = [task for task in (stopping, becoming, *ends) if task is not None]
    done, pending = await asyncio.wait(
        awaited,
        timeout=None if becoming is None else _START_SECONDS,
        return_when=asyncio.FIRST_COMPLETED,
    )
    for task in pending:
        task.cancel()
    if not done:
        raise CannotProceed(f"not ready within {_START_SECONDS:.0f} s")
    for task, name in ends.items():
        if task in done and stopping not in done:
            raise CannotProceed(
                f"{name} ended with status {task.result()}; its own message is above"
            )
    return becoming in done and stopping not in done


async def _until_ready(rest_port: int, grpc_port: int) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        await health.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True)
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", rest_port)
            writer.close()
            return
        await asyncio.sleep(0.05)


def _require_free(setting: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            raise CannotProceed(f"port {port} ({setting}) is taken; choose another") from None


def _welcome(data: Path, rest_port: int, grpc_port: int) -> str:
    challenge = f"{Path(sys.executable).parent}/challenge"
    with contextlib.suppress(ValueError):
        challenge = str(Path(challenge).relative_to(Path.cwd()))
    return (
        f"\nReady. REST http://127.0.0.1:{rest_port}, gRPC 127.0.0.1:{grpc_port}, "
        f"messages in {data}/inbox and below. Ctrl-C stops it.\n\n"
        "In another shell, open a session, then paste the curl that it prints:\n\n"
        f"  {challenge} open-session --sms +14155550123\n\n"
        "and check the code that arrives here:\n\n"
        f"  {challenge} verify SESSION_ID CODE\n"
    )
