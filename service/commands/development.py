"""`challenge dev`: service, Envoy and inbox on this machine, in the foreground."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any

import click
import grpc
import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from dotenv import dotenv_values
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.aio.signals import stop_event
from service.commands import edge
from service.commands.client import DEVELOPMENT_ISSUER
from service.errors import NotReady
from service.keyring import random_key
from service.storage.schema import migrate

_START_SECONDS = 30.0
_STOP_SECONDS = 10.0


def run(data: Path, rest_port: int, grpc_port: int) -> None:
    """Prepares `data`, starts everything, and stops it all on SIGINT, SIGTERM or SIGHUP.

    Args:
        data: Directory for keys, database and inbox.
        rest_port: Port of Envoy's public listener.
        grpc_port: Port of the service; Envoy's internal listener takes the next one.

    Raises:
        NotReady: A port is taken, or something does not start.
    """
    for setting, port in (
        ("REST_PORT", rest_port),
        ("GRPC_PORT", grpc_port),
        ("GRPC_PORT + 1, the proxy's internal listener,", grpc_port + 1),
    ):
        _require_free(setting, port)
    environment = {**prepare(data), **_dotenv(), **os.environ}
    environment["CHALLENGE_GRPC_LISTEN"] = f"127.0.0.1:{grpc_port}"
    migrate(environment["CHALLENGE_DATABASE_URL"])
    config = data / "envoy.yaml"
    admin = data / "envoy-admin.sock"
    config.write_text(edge.render(rest_port, grpc_port + 1, grpc_port, admin), "utf-8")
    asyncio.run(_supervise(data, environment, config, rest_port, grpc_port))


def prepare(data: Path) -> dict[str, str]:
    """Makes what development needs and keeps what is there already.

    Returns:
        The settings, by environment variable, that use it.
    """
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    ring, signing_key, jwks = data / "keys", data / "signing-key.pem", data / "jwks.json"
    fingerprint_key = data / "fingerprint-key"
    if not ring.exists():
        _write_secret(ring, f"dev1:{random_key()}")
    if not fingerprint_key.exists():
        _write_secret(fingerprint_key, random_key())
    if not (signing_key.exists() and jwks.exists()):
        key = ec.generate_private_key(ec.SECP256R1())
        public = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        jwks.write_text(
            json.dumps({"keys": [{**public, "kid": "development", "alg": "ES256", "use": "sig"}]})
        )
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        _write_secret(signing_key, pem.decode("ascii"))
    return {
        "CHALLENGE_ENVIRONMENT": "development",
        "CHALLENGE_DATABASE_URL": f"sqlite:///{data}/challenge.db",
        "CHALLENGE_KEYS": ring.read_text("ascii"),
        "CHALLENGE_FINGERPRINT_KEY": fingerprint_key.read_text("ascii"),
        "CHALLENGE_JWKS": str(jwks),
        "CHALLENGE_JWT_ISSUER": DEVELOPMENT_ISSUER,
        "CHALLENGE_SMS_CHANNELS": f"inbox://{data}/inbox",
        "CHALLENGE_EMAIL_CHANNELS": f"inbox://{data}/inbox",
        "CHALLENGE_DRAIN_SECONDS": "0",
    }


async def _supervise(
    data: Path, environment: Mapping[str, str], config: Path, rest_port: int, grpc_port: int
) -> None:
    stop = stop_event(signal.SIGHUP)
    running = data / "running.json"
    children: dict[str, Process] = {}
    try:
        serve = (sys.executable, "-m", "service", "serve")
        children["the service"] = await _spawn(serve, environment)
        children["envoy"] = await _spawn(edge.command(config), environment)
        if await _first(stop, children, _until_ready(rest_port, grpc_port)):
            where = {"grpc_target": f"127.0.0.1:{grpc_port}", "rest_port": str(rest_port)}
            running.write_text(json.dumps(where), "utf-8")
            click.echo(_welcome(data, rest_port, grpc_port))
            await _first(stop, children)
    finally:
        running.unlink(missing_ok=True)
        await edge.drain(config)
        await _end(children.values())
    click.echo("stopped")


async def _first(
    stop: asyncio.Event,
    children: Mapping[str, Process],
    ready: Coroutine[Any, Any, None] | None = None,
) -> bool:
    """Waits until everything is ready, or is to stop.

    Returns:
        Whether it is ready.

    Raises:
        NotReady: A child ended by itself, or it takes too long.
    """
    ends = {asyncio.create_task(child.wait()): name for name, child in children.items()}
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
        raise NotReady(f"not ready within {_START_SECONDS:.0f} s")
    for task, name in ends.items():
        if task in done and stopping not in done:
            raise NotReady(f"{name} ended with status {task.result()}; its last words are above")
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


async def _spawn(command: tuple[str, ...], environment: Mapping[str, str]) -> Process:
    # Out of the terminal's process group: Ctrl-C comes to us, and we end the children in order.
    return await asyncio.create_subprocess_exec(*command, env=environment, start_new_session=True)


async def _end(children: Iterable[Process]) -> None:
    living = [child for child in children if child.returncode is None]
    for child in living:
        child.terminate()
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            for child in living:
                await child.wait()
    except TimeoutError:
        for child in living:
            with contextlib.suppress(ProcessLookupError):
                child.kill()


def _require_free(setting: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            raise NotReady(f"port {port} ({setting}) is taken; choose another") from None


def _dotenv() -> dict[str, str]:
    return {name: value for name, value in dotenv_values(".env").items() if value is not None}


def _write_secret(path: Path, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


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
