"""A service process with a provider, and the calls of its callers."""

from __future__ import annotations

import base64
import json
import re
import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.channels.http_provider import Answer, HTTPProvider, http_provider
from tests.faults.processes import Replica, Skew
from tests.harness.clock import SQLiteClock
from tests.harness.providers import Provider
from tests.harness.service import Service
from tests.harness.tokens import ISSUER, Issuer

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Running(NamedTuple):
    """A process, its provider, and its callers."""

    replica: Replica
    provider: HTTPProvider
    service: Service

    def code(self) -> str:
        """Reads the code of the last message, as the payer would."""
        text = json.loads(self.provider.requests[-1].body)["data"]["text"]
        found = re.search(r"\b\d{8}\b", text)
        assert found
        return found[0]

    def metrics_url(self) -> str:
        (served,) = self.replica.events("metrics_served")
        return f"http://127.0.0.1:{served['port']}/metrics"


@asynccontextmanager
async def running(
    directory: Path, database: Path | str, name: str = "service", **settings: str
) -> AsyncIterator[Running]:
    """Runs `challenge serve` with a webhook for a provider.

    Args:
        directory: For its files.
        database: A migrated SQLite file to copy, or a URL.
        name: Of the process.
        settings: Beside what it needs.
    """
    issuer = Issuer(directory)
    if isinstance(database, Path):
        shutil.copy(database, directory / "challenge.db")
        database = f"sqlite:///{directory}/challenge.db"
    async with http_provider(Answer(200)) as provider:
        secret = base64.b64encode(secrets.token_bytes(32)).decode()
        webhook = f"webhook://{provider.address}?scheme=http&secret=whsec_{secret}"
        values = {
            "database_url": database,
            "keys": f"k1:{secret}",
            "fingerprint_key": secret,
            "jwks": str(issuer.jwks),
            "jwt_issuer": ISSUER,
            "grpc_listen": "127.0.0.1:0",
            "sms_channels": webhook,
            "code_digits": "8",  # so long that they stand nowhere by chance
            "drain_seconds": "0",
            **settings,
        }
        replica = Replica(name, directory, values, Skew(directory / f"{name}.clock"))
        try:
            await replica.ready()
            yield Running(replica, provider, _callers(replica, issuer))
        finally:
            replica.end()


def _callers(replica: Replica, issuer: Issuer) -> Service:
    server: Any = SimpleNamespace(port=int(replica.target.rpartition(":")[2]))
    nothing: Any = None  # of what a process keeps to itself
    return Service(server, nothing, nothing, Provider(), SQLiteClock(), issuer)


async def scraped(url: str) -> str:
    """Scrapes as Prometheus does."""
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        answer = await client.get(url)
    assert answer.status_code == 200
    return answer.text


def samples(text: str) -> Samples:
    """Reads an exposition."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float | None:
    """Finds one sample."""
    return found.get((name, frozenset(labels.items())))
