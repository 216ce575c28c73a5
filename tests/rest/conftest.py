"""Fixtures of an edge: Envoy in front of a service, or of nothing."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.harness.ports import free_port
from tests.harness.service import Service
from tests.rest.edge import HTTP_1, HTTP_2, Edge, running

collect_ignore = [] if shutil.which("curl") and shutil.which("node") else ["test_clients.py"]
IDLE = "idle connections held at once"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """A database of this test's own; its kind has no say here."""
    return sqlite_url


@pytest.fixture
async def edge(service: Service, tmp_path: Path) -> AsyncIterator[Edge]:
    """Envoy, as configured, in front of `service`. It starts in a tenth of a second."""
    async with running(tmp_path, service.server.port) as edge:
        yield edge


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lone_edge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    """Envoy in front of nothing: what it lets through is answered 503.

    It pings nobody, and gives nobody up: a client that is busy with long headers does not answer,
    and takes most of a minute for 256 KiB where others are busy, too.

    Modules that use it run in one loop: `pytestmark = pytest.mark.asyncio(loop_scope="module")`.
    """
    unasked = ("{interval: 5s, timeout: 5s}", "{interval: 600s, timeout: 600s}")
    patient = ("idle_timeout: 30s", "idle_timeout: 600s")
    async with running(tmp_path_factory.mktemp("edge"), free_port(), unasked, patient) as edge:
        yield edge


@pytest_asyncio.fixture(loop_scope="module", params=[HTTP_1, HTTP_2])
async def client(
    request: pytest.FixtureRequest, lone_edge: Edge
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of `lone_edge`, of each protocol in turn."""
    async with lone_edge.client(request.param) as client:
        yield client
