"""What `challenge serve --workers N` refuses, in one line, and a worker that will not end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.errors import CannotProceed
from service.serving import workers
from service.settings import Settings
from tests.faults.processes import ROOT
from tests.harness.logs import Logs
from tests.harness.timing import eventually

KEYS = "k1:" + "A" * 43 + "="


@pytest.fixture
def database_url(postgres_url: str) -> str:
    return postgres_url


@pytest.fixture
def environment(make_settings: Callable[..., Settings]) -> dict[str, str]:
    settings = make_settings()
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("CHALLENGE_")},
        "CHALLENGE_DATABASE_URL": settings.database_url.get_secret_value(),
        "CHALLENGE_GRPC_LISTEN": "127.0.0.1:0",
        "CHALLENGE_KEYS": KEYS,
        "CHALLENGE_FINGERPRINT_KEY": KEYS.partition(":")[2],
        "CHALLENGE_JWKS": settings.jwks,
        "CHALLENGE_JWT_ISSUER": settings.jwt_issuer,
        "CHALLENGE_DRAIN_SECONDS": "0",
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "gen"))),
    }


async def refusal(
    environment: dict[str, str], directory: Path, status: int = 2, **changes: str
) -> list[str]:
    """Starts two workers, which must end by itself; returns what it says.

    Status 2 is that of a bad setting, 1 of what may work another time.
    """
    done = await asyncio.to_thread(
        subprocess.run, (sys.executable, "-m", "service", "serve", "--workers", "2"),
        cwd=directory, env={**environment, **changes}, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.stdout == ""
    assert done.returncode == status
    return done.stderr.splitlines()


class Supervised(NamedTuple):
    """Two workers that serve, under a supervisor in this process."""

    port: int
    logs: Logs
    end: asyncio.Task[bool]


@pytest.fixture
async def supervised(
    environment: dict[str, str],
    make_settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Callable[..., Awaitable[Supervised]]]:
    started: list[asyncio.Task[bool]] = []

    async def start(**changes: str) -> Supervised:
        environment.update(changes)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        settings = make_settings(grpc_listen=environment["CHALLENGE_GRPC_LISTEN"])
        logs = Logs(monkeypatch, settings)
        started.append(asyncio.create_task(workers.supervise(settings, 2)))

        async def serve() -> bool:
            return started[0].done() or bool(logs.lines("serving"))

        await eventually(serve, seconds=30)
        return Supervised(logs.lines("serving")[0]["port"], logs, started[0])

    yield start
    for task in started:
        task.cancel()
        await asyncio.wait([task])


@contextmanager
def taken(*options: int) -> Iterator[str]:
    """Listens on a port, as somebody else does."""
    with socket.socket() as somebody:
        for option in options:
            somebody.setsockopt(socket.SOL_SOCKET, option, 1)
        somebody.bind(("127.0.0.1", 0))
        somebody.listen()
        yield f"127.0.0.1:{somebody.getsockname()[1]}"


async def test_sqlite_is_refused(environment: dict[str, str], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/challenge.db"
    assert await refusal(environment, tmp_path, CHALLENGE_DATABASE_URL=url) == [
        "challenge: CHALLENGE_DATABASE_URL: SQLite is for one process; "
        "name a postgresql:// database, or leave out --workers 2"
    ]


async def test_a_path_is_refused(environment: dict[str, str], tmp_path: Path) -> None:
    listen = f"unix:{tmp_path}/socket"
    assert await refusal(environment, tmp_path, CHALLENGE_GRPC_LISTEN=listen) == [
        "challenge: CHALLENGE_GRPC_LISTEN: several workers share a host:port, not a unix: path"
    ]


@pytest.mark.parametrize("options", [(), (socket.SO_REUSEPORT,)], ids=["alone", "shared"])
async def test_a_taken_port_is_refused(
    environment: dict[str, str], tmp_path: Path, options: tuple[int, ...]
) -> None:
    with taken(*options) as listen:
        [said] = await refusal(environment, tmp_path, 1, CHALLENGE_GRPC_LISTEN=listen)
    assert said.startswith(f"challenge: CHALLENGE_GRPC_LISTEN: cannot listen on {listen}: ")
    assert said.endswith("Address already in use")


async def test_a_host_that_is_nowhere_is_refused(make_settings: Callable[..., Settings]) -> None:
    listen = "no.such.host.invalid:1"
    with pytest.raises(CannotProceed, match=f"^CHALLENGE_GRPC_LISTEN: cannot listen on {listen}: "):
        await workers.supervise(make_settings(grpc_listen=listen), 2)


async def test_workers_share_an_ipv6_address(
    supervised: Callable[..., Awaitable[Supervised]],
) -> None:
    running = await supervised(CHALLENGE_GRPC_LISTEN="[::1]:0")
    async with grpc.aio.insecure_channel(f"[::1]:{running.port}") as channel:
        request = health_pb2.HealthCheckRequest()
        answer = await health_pb2_grpc.HealthStub(channel).Check(request, wait_for_ready=True)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    signal.raise_signal(signal.SIGTERM)
    assert await running.end


async def test_what_no_worker_can_use_is_said_once(
    environment: dict[str, str], tmp_path: Path
) -> None:
    said = await refusal(environment, tmp_path, 1, CHALLENGE_JWKS="none.json")
    words = [line for line in said if line.startswith("challenge: ")]
    assert words[0].startswith("challenge: CHALLENGE_JWKS: cannot be read: ")
    assert words[1:] == [
        "challenge: worker 1 ended with status 1 before it served; its own message is above"
    ]


async def test_a_worker_that_will_not_end_is_killed(
    supervised: Callable[..., Awaitable[Supervised]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_MARGIN_SECONDS", 0.2)
    running = await supervised()
    stuck, _ = psutil.Process().children()
    stuck.suspend()
    signal.raise_signal(signal.SIGTERM)
    assert not await running.end
    assert running.logs.lines("stopped")[-1]["killed"] == 1
    assert not psutil.Process().children()
