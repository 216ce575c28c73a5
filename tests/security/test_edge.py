"""What the edge gives nobody: OWASP ASVS 13.4.2, 14.2.1."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import yaml

from tests.harness.service import Service
from tests.rest.edge import ROOT, Edge, brief, path_of, running


@pytest.mark.parametrize("name", ["authorization", "access_token", "token", "client_secret"])
async def test_a_credential_in_the_address_is_none(service: Service, edge: Edge, name: str) -> None:
    """ASVS 14.2.1: it would stand in logs and histories, so that nobody shall get used to it."""
    session = await service.challenged()
    path = f"{path_of(session.session_id)}?{name}={session.secret}"
    assert brief(await edge.http.post(path)) == (422, "validation_error", False)
    assert service.provider.calls == []


async def test_a_credential_in_the_address_stays_out_of_the_access_log(
    service: Service, tmp_path: Path
) -> None:
    session = await service.challenged()
    async with running(tmp_path, service.server.port) as edge:
        await edge.http.post(f"{path_of(session.session_id)}?token={session.secret}")
        await edge.http.post(path_of(session.secret))
        await edge.http.get(f"/{session.secret}")
    assert len(edge.access_log()) == 3
    assert session.secret not in str(edge.access_log())


async def test_the_admin_interface_is_for_envoys_user_alone(edge: Edge, tmp_path: Path) -> None:
    """ASVS 13.4.2."""
    assert await edge.stat("server.live") == 1
    mode = (tmp_path / "admin.sock").stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


def test_no_overlay_moves_the_admin_interface() -> None:
    for file in (ROOT / "deploy").glob("*.yaml"):
        assert "admin" not in yaml.safe_load(file.read_text("utf-8"))
