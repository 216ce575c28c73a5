"""What all rows of a run share: a migrated SQLite file to copy, a PostgreSQL to break."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cached_property
from pathlib import Path

from service.storage.migrating import migrate
from tests.faults import (  # noqa: F401  (they enter their rows in the table)
    rows_database,
    rows_failover,
    rows_kills,
    rows_providers,
    rows_races,
    rows_repeats,
    rows_restarts,
    rows_restores,
    rows_upgrades,
)
from tests.faults.clusters import Cluster
from tests.faults.databases import CitusDatabase, Database, PostgresDatabase, SQLiteFile
from tests.faults.lab import Lab
from tests.faults.oracle import Figures
from tests.faults.processes import Skew
from tests.faults.table import Row

SEED = int(os.environ.get("FAULTS_SEED", "1"))


class World:
    """Made once, used by one row after the other."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = itertools.count()

    @cached_property
    def migrated(self) -> Path:
        path = self._directory / "migrated.db"
        migrate(f"sqlite:///{path}")
        return path

    @cached_property
    def cluster(self) -> Cluster:
        return Cluster(self._directory / "cluster")

    def close(self) -> None:
        if "cluster" in self.__dict__:
            self.cluster.close()

    async def run(self, row: Row, kind: str, times: int, seed: int) -> Figures:
        """Runs a row in a lab of its own."""
        async with self.lab(kind, random.Random(f"{seed} {row.what}")) as lab:
            return await row.run(lab, times)

    @asynccontextmanager
    async def lab(self, kind: str, rng: random.Random) -> AsyncIterator[Lab]:
        directory = self._directory / f"{next(self._numbers)}"
        directory.mkdir()
        inner = directory / "lab"
        inner.mkdir()
        clock = Skew(directory / "clock")
        database = await asyncio.to_thread(self._database, kind, inner, clock)
        async with Lab(inner, database, clock, rng) as lab:
            yield lab

    @contextmanager
    def database(self, kind: str) -> Iterator[str]:
        """Returns the URL of a database that the block has for itself."""
        directory = self._directory / f"{next(self._numbers)}"
        directory.mkdir()
        database = self._database(kind, directory, Skew(directory / "clock"))
        asyncio.run(database.prepare())
        yield database.url
        asyncio.run(database.drop())

    def _database(self, kind: str, directory: Path, clock: Skew) -> Database:
        if kind == "sqlite":
            return SQLiteFile(directory, self.migrated, clock)
        if kind == "citus":
            return CitusDatabase()
        return PostgresDatabase(self.cluster)
