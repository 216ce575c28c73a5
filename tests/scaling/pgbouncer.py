"""PgBouncer in transaction mode, where it is installed. None is ever downloaded."""

from __future__ import annotations

import os
import re
import shutil
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


@contextmanager
def running(program: str, uri: str) -> Iterator[str]:
    """Runs it before a database; gives the URL that leads through it."""
    parts = urlsplit(uri)
    name, host, port = parts.path[1:], parse_qs(parts.query)["host"][0], free_port()
    config = (
        f"[databases]\n{name} = host={host} user=postgres\n"
        "[pgbouncer]\npool_mode = transaction\nauth_type = any\nunix_socket_dir =\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\n"
        f"default_pool_size = {POOL_SIZE}\nmax_client_conn = 200\nserver_round_robin = 1\n"
        + ("max_prepared_statements = 100\n" if prepares(program) else "")
    )
    command = [program, "-q"]
    if os.geteuid() == 0:
        command += ["-u", Path(host).owner()]  # it does not run as root; PostgreSQL's user may
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as directory:
        path, log = Path(directory) / "pgbouncer.ini", Path(directory) / "log"
        path.write_text(config, "utf-8")
        with log.open("wb") as output:
            process = subprocess.Popen([*command, path], stdout=output, stderr=output)
        try:
            _until_it_listens(process, port, log)
            yield f"postgresql://postgres@127.0.0.1:{port}/{name}?sslmode=disable"
        finally:
            process.terminate()
            process.wait(timeout=10)


def _until_it_listens(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    while True:
        assert process.poll() is None, log.read_text()
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except ConnectionRefusedError:
            continue
        return
