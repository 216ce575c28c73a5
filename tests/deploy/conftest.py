"""Fixtures of an edge with TLS, as the overlays make it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.deploy.authority import Authority
from tests.deploy.proxies import find
from tests.deploy.secured import Secured, TLSEdge
from tests.harness import programs
from tests.harness.service import Service
from tests.rest.edge import ROOT, running

Overlaid = Callable[..., str]
collect_ignore = programs.left_out("deploy")
if not (find("nginx") or find("haproxy")):
    collect_ignore.append("test_proxies.py")


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """A database of this test's own; its kind has no say here."""
    return sqlite_url


@pytest.fixture
def overlaid() -> Overlaid:
    """Lays overlays onto `envoy.yaml` by the command that the README names."""

    def lay(*overlays: Path) -> str:
        command = [sys.executable, "deploy/merge.py", "envoy.yaml", *map(str, overlays)]
        return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout

    return lay


@pytest.fixture
def secured(tmp_path: Path) -> Secured:
    """Certificates, and the files of deploy/ that name them, in a directory of this test's own."""
    secured = Secured(tmp_path, Authority("public"), Authority("internal"), Authority("clients"))
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    for file in (tmp_path / "deploy").rglob("*.yaml"):
        text = file.read_text("utf-8")
        for path in ("certificates/", "deploy/sds"):
            text = text.replace(f": {path}", f": {tmp_path}/{path}")
        file.write_text(text.replace("0.0.0.0", "127.0.0.1"), "utf-8")
    secured.public.server().write(tmp_path / "certificates/public")
    secured.internal.server().write(tmp_path / "certificates/internal")
    (tmp_path / "certificates/clients").mkdir()
    secured.trust(secured.clients)
    return secured


@pytest.fixture
async def start(
    service: Service, secured: Secured, overlaid: Overlaid
) -> AsyncIterator[Callable[..., Awaitable[TLSEdge]]]:
    """Starts Envoy with TLS in front of `service`; takes pieces of the overlay to replace."""
    async with AsyncExitStack() as stack:

        async def begin(*changes: tuple[str, str]) -> TLSEdge:
            overlay = secured.directory / "deploy/tls.yaml"
            text = overlay.read_text("utf-8")
            for old, new in changes:
                assert old in text, f"deploy/tls.yaml no longer has {old!r}"
                text = text.replace(old, new)
            overlay.write_text(text, "utf-8")
            whole = ((ROOT / "envoy.yaml").read_text("utf-8"), overlaid(overlay))
            edge = await stack.enter_async_context(
                running(secured.directory, service.server.port, whole)
            )
            return await stack.enter_async_context(TLSEdge(edge, secured))

        yield begin


@pytest.fixture
async def edge(start: Callable[..., Awaitable[TLSEdge]]) -> TLSEdge:
    """Envoy with TLS as configured, in front of `service`."""
    return await start()
