"""PgBouncer in transaction mode, where it is installed. None is ever downloaded."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.harness.ports import free_port

MISSING = "no PgBouncer found; install it, or name it in PGBOUNCER"
POOL_SIZE = 2
"""Connections to PostgreSQL; those of the services' pools are more."""
_PREPARES = (1, 21)
"""The first version that prepares statements again where they are needed."""


def require() -> str:
    """Finds the program. Without it the test is skipped, or fails where one must be."""
    program = shutil.which(os.environ.get("PGBOUNCER", "pgbouncer"))
    if program is None:
        if os.environ.get("CHALLENGE_DEMAND_PGBOUNCER") == "1":
            pytest.fail(MISSING, pytrace=False)
        pytest.skip(MISSING)
    return program


def prepares(program: str) -> bool:
    """Tells whether it can prepare statements again."""
    said = subprocess.run([program, "--version"], check=True, capture_output=True, text=True)
    found = re.search(r"PgBouncer (\d+)\.(\d+)", said.stdout)
    assert found, said.stdout
    return (int(found[1]), int(found[2])) >= _PREPARES


class PgBouncer:
    """One that runs before a database; `url` leads through it."""

    def __init__(self, program: str, uri: str, directory: Path, settings: str = "") -> None:
        """Starts it.

        Args:
            program: Where it is.
            uri: Of the database, by a directory of sockets.
            directory: For its own files.
            settings: More of them, in lines.
        """
        name, port = urlsplit(uri).path[1:], free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{port}/{name}?sslmode=disable"
        self._name = name
        self._settings = (
            "[pgbouncer]\npool_mode = transaction\nauth_type = any\nunix_socket_dir =\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\n"
            f"default_pool_size = {POOL_SIZE}\nmax_client_conn = 200\nserver_round_robin = 1\n"
            + ("max_prepared_statements = 100\n" if prepares(program) else "")
            + settings
        )
        self._config = directory / "pgbouncer.ini"
        self._configure(uri)
        command = [program, "-q"]
        if os.geteuid() == 0:  # it does not run as root; PostgreSQL's user may
            directory.chmod(0o755)
            command += ["-u", Path(_place(uri)[0]).owner()]
        log = directory / "log"
        with log.open("wb") as output:
            command.append(str(self._config))
            self._process = subprocess.Popen(command, stdout=output, stderr=output)
        _until_it_listens(self._process, port, log)

    def lead_to(self, uri: str) -> None:
        """Has it use another server for the database, as its operator would."""
        self._configure(uri)
        self._process.send_signal(signal.SIGHUP)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=60)

    def _configure(self, uri: str) -> None:
        host, port = _place(uri)
        database = f"[databases]\n{self._name} = host={host} port={port} user=postgres\n"
        self._config.write_text(database + self._settings, "utf-8")


@contextmanager
def running(program: str, uri: str, settings: str = "") -> Iterator[PgBouncer]:
    """Runs it before a database."""
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as directory:
        pgbouncer = PgBouncer(program, uri, Path(directory), settings)
        try:
            yield pgbouncer
        finally:
            pgbouncer.close()


def _place(uri: str) -> tuple[str, str]:
    query = parse_qs(urlsplit(uri).query)
    return query["host"][0], query.get("port", ["5432"])[0]


def _until_it_listens(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    while True:
        assert process.poll() is None, log.read_text()
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except ConnectionRefusedError:
            continue
        return
