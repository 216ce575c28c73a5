"""deploy/replicas.yaml: one replica of two is killed under load.

What a rolling restart and SIGTERM do is in tests/faults/rows_restarts.py.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest
import yaml
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2
from govifi.challenge.v1 import challenge_admin_pb2_grpc as admin_grpc

from service.settings import Settings
from tests.deploy.conftest import Overlaid
from tests.faults.processes import Replica, Skew, until
from tests.harness.service import Session
from tests.harness.tokens import Issuer
from tests.rest.edge import ROOT, Edge, nobody, running

PAYERS = 8
STATUS = {200: "OK", 503: "UNAVAILABLE"}
"""gRPC's names of what REST answers here."""


class Call(NamedTuple):
    """One call of the load, by the monotonic clock."""

    began: float
    status: str


@pytest.fixture
def database_url(postgres_url: str) -> str:
    return postgres_url


@pytest.fixture
async def replicas(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> AsyncIterator[list[Replica]]:
    """Two processes on one PostgreSQL."""
    settings = make_settings()
    values = {
        "database_url": settings.database_url.get_secret_value(),
        "keys": settings.keys.get_secret_value(),
        "fingerprint_key": settings.fingerprint_key.get_secret_value(),
        "jwks": settings.jwks,
        "jwt_issuer": settings.jwt_issuer,
        "grpc_listen": "127.0.0.1:0",
        "email_channels": f"inbox://{tmp_path}/inbox",
    }
    both = [
        Replica(f"replica{number}", tmp_path, values, Skew(tmp_path / f"clock{number}"))
        for number in range(2)
    ]
    try:
        yield await asyncio.gather(*(replica.ready() for replica in both))
    finally:
        for replica in both:
            replica.end()


@pytest.fixture
async def edge(
    replicas: list[Replica], tmp_path: Path, overlaid: Overlaid, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Edge]:
    """Envoy before both."""
    overlay = tmp_path / "replicas.yaml"
    text = (ROOT / "deploy/replicas.yaml").read_text("utf-8")
    for port, replica in zip(("50051", "50061"), replicas, strict=True):
        text = text.replace(f"port_value: {port}", f"port_value: {replica.target.split(':')[1]}")
    overlay.write_text(text, "utf-8")
    whole = ((ROOT / "envoy.yaml").read_text("utf-8"), overlaid(overlay))
    monkeypatch.setattr("tests.rest.edge.edge.render", render)
    async with running(tmp_path, 0, whole) as edge:
        yield edge


def render(public: int, internal: int, _: int, admin: Path, config: Path) -> str:
    """Replaces the listeners' ports and the socket: the endpoints are the replicas' already."""
    tree = yaml.safe_load(config.read_text("utf-8"))
    tree["admin"]["address"]["pipe"]["path"] = str(admin)
    for listener, port in zip(
        tree["static_resources"]["listeners"], (public, internal), strict=True
    ):
        listener["address"]["socket_address"]["port_value"] = port
    return yaml.safe_dump(tree, sort_keys=False)


@asynccontextmanager
async def load(edge: Edge, issuer: Issuer) -> AsyncIterator[list[Call]]:
    """Lets payers come as long as the block runs, each with one call at a time."""
    calls: list[Call] = []
    stop = asyncio.Event()
    admin = admin_grpc.ChallengeAdminServiceStub(edge.grpc)
    token = (("authorization", f"Bearer {issuer.token()}"),)

    async def answered(call: Awaitable[object]) -> bool:
        began, status = time.monotonic(), "OK"
        try:
            await call
        except grpc.aio.AioRpcError as error:
            status = error.code().name
        calls.append(Call(began, status))
        return status == "OK"

    async def posted(session: Session) -> None:
        began = time.monotonic()
        answer = await edge.send(session)
        calls.append(Call(began, STATUS.get(answer.status_code, str(answer.status_code))))

    async def payer(number: int) -> None:
        while not stop.is_set():
            session = nobody()
            secret_sha256 = hashlib.sha256(session.secret.encode()).digest()
            opening = admin_pb2.OpenSessionRequest(
                session_id=session.session_id, account_uid="acct_1",
                client_secret_sha256=secret_sha256, merchant_display_name="Acme",
            )  # fmt: skip
            issuing = admin_pb2.IssueChallengeRequest(session_id=session.session_id)
            issuing.email.address = f"{session.session_id}@pay.example"
            bearer = f"Bearer {session.secret}"
            if await answered(admin.OpenSession(opening, metadata=token)):
                await answered(admin.IssueChallenge(issuing, metadata=token))
                if number % 2:
                    await posted(session)
                else:
                    await answered(edge.send_natively(session.session_id, authorization=bearer))

    payers = [asyncio.create_task(payer(number)) for number in range(PAYERS)]
    try:
        yield calls
    finally:
        stop.set()
        async with asyncio.timeout(30):
            await asyncio.gather(*payers)


async def test_only_calls_under_way_fail_when_a_replica_is_killed(
    replicas: list[Replica], edge: Edge, issuer: Issuer
) -> None:
    async with load(edge, issuer) as calls:
        await until(lambda: len(calls) > 60, 30.0, "payers are served")
        assert all(replica.events("call") for replica in replicas)  # each has its share
        dying = time.monotonic()
        await replicas[0].kill()
        killed, served = time.monotonic(), len(calls)
        await until(lambda: len(calls) > served + 150, 30.0, "payers are served by the other")
    failed = [call for call in calls if call.status != "OK"]
    assert not [call for call in failed if call.began > killed]
    # Until its port is closed, a dying process may be reached and reset another call.
    assert len([call for call in failed if call.began <= dying]) <= PAYERS
    assert {call.status for call in failed} <= {"UNAVAILABLE"}
