"""Fixtures of the channels' tests."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.aio.egress import certificates
from tests.channels.kits import KITS, Kit

_LEVELS = {
    **dict.fromkeys(("aiohttp.client", "apprise", "botocore", "urllib3"), logging.NOTSET),
    "mail": logging.CRITICAL,  # aiosmtpd's, which is the provider's side
}


@pytest.fixture(params=KITS, ids=lambda kit: kit.name)
def kit(request: pytest.FixtureRequest, tmp_path: Path) -> Kit:
    made: Kit = request.param(tmp_path)
    return made


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Everything that is logged, at the most talkative level."""
    before = {name: logging.getLogger(name).level for name in _LEVELS}
    for name, level in _LEVELS.items():
        logging.getLogger(name).setLevel(level)
    with caplog.at_level(logging.DEBUG):
        yield caplog
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Has the authority of `server_tls` trusted, from the call until the test's end."""

    def begin() -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
        certificates.cache_clear()

    yield begin
    certificates.cache_clear()
