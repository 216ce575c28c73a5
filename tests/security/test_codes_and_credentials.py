"""Codes and credentials: NIST SP 800-63B-4 and OWASP ASVS 6.5, 7.2.3, 11.2.4, 14.2.1."""

from __future__ import annotations

import ast
import hmac
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from service.api import credentials
from service.challenges import codes
from tests.harness.refusals import refused
from tests.harness.service import Service
from tests.rest.edge import nobody

SERVICE = Path(codes.__file__).parent


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> Callable[[ModuleType], list[tuple[bytes, bytes]]]:
    """Returns what a module hands to `hmac.compare_digest` from now on."""

    def watch(module: ModuleType) -> list[tuple[bytes, bytes]]:
        pairs: list[tuple[bytes, bytes]] = []

        class Watched:
            @staticmethod
            def compare_digest(one: bytes, other: bytes) -> bool:
                pairs.append((one, other))
                return hmac.compare_digest(one, other)

        monkeypatch.setattr(module, "hmac", Watched)
        return pairs

    return watch


def test_guessable_numbers_are_for_jitter_only() -> None:
    """ASVS 6.5.3: what must not be guessed comes from `os.urandom`, `secrets` or a key."""
    users = {
        file.name
        for file in SERVICE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Import) and any(name.name == "random" for name in node.names)
    }
    assert users <= {"backoff.py", "dispatch.py", "retention.py", "retrying.py", "sampling.py"}


@pytest.mark.parametrize(("answer", "right"), [("123456", True), ("023456", False), ("1", False)])
async def test_a_code_is_compared_in_constant_time(
    compared: Callable[[ModuleType], list[Any]], answer: str, right: bool
) -> None:
    pairs = compared(codes)
    assert codes.matches(answer, "123456") is right
    assert pairs == [(answer.encode(), b"123456")]


async def test_a_credential_is_compared_in_constant_time_and_as_a_hash(
    compared: Callable[[ModuleType], list[Any]], service: Service
) -> None:
    """Of an unknown session as of a known one."""
    known, other = await service.challenged(), nobody()
    pairs = compared(credentials)
    await service.send(known)
    await refused(service.send(known, secret=other.secret))
    await refused(service.send(other))
    assert [(len(one), len(two)) for one, two in pairs] == [(32, 32)] * 3
    assert pairs[0][0] == pairs[0][1]


@pytest.mark.parametrize(("length", "status"), [(21, "UNAUTHENTICATED"), (22, "NOT_FOUND")])
async def test_a_credential_has_at_least_128_bits(
    service: Service, length: int, status: str
) -> None:
    """22 characters of base64 hold 132; 21 hold 126."""
    session = await service.open()
    secret = f"{session.session_id}_secret_{'a' * length}"
    assert (await refused(service.send(session, secret=secret))).status == status
