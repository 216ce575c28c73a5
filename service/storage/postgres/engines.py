"""What the URL leads to: PostgreSQL or Citus, or what is refused."""

from __future__ import annotations

import asyncio

import asyncpg

from service.errors import BadSetting, CannotProceed, text_of
from service.storage.postgres import pooler
from service.storage.postgres.citus import Citus
from service.storage.postgres.connections import Connections
from service.storage.postgres.database import PROBE_SECONDS, UNAVAILABLE, Postgres
from service.storage.postgres.hosts import Hosts

OLDEST_POSTGRES = 15
OLDEST_CITUS = (13, 2)
"""The oldest that the tests were run on."""

_FOUND = """
SELECT version(), current_setting('server_version_num')::integer,
    (SELECT extversion FROM pg_extension WHERE extname = 'citus')
"""
_OTHERS = {"CockroachDB": "CockroachDB", "-YB-": "YugabyteDB", "Greenplum": "Greenplum"}
"""What speaks PostgreSQL's protocol and is another database, by a part of its version."""


async def connect(url: str, pool_size: int) -> Postgres:
    """Opens a first connection, to see what is there.

    Raises:
        CannotProceed: The server cannot be reached or refuses us, or is none that will do.
    """
    try:
        hosts = Hosts(url)
        async with asyncio.timeout(PROBE_SECONDS):
            probe = await hosts.open(cache=0, seconds=PROBE_SECONDS)
            try:
                engine = Citus if await is_citus(probe) else Postgres
                prepares = await pooler.keeps_prepared(probe)
            finally:
                probe.terminate()
    except ValueError:  # whose text may hold a part of the password
        raise BadSetting("CHALLENGE_DATABASE_URL", "is malformed") from None
    except (*UNAVAILABLE, asyncpg.PostgresError) as error:
        raise CannotProceed("CHALLENGE_DATABASE_URL", f"cannot connect: {text_of(error)}") from None
    return engine(Connections(hosts, pool_size, prepares=prepares))


async def is_citus(connection: asyncpg.Connection) -> bool:
    """Finds out whether a database is Citus's.

    Raises:
        CannotProceed: It is neither that nor PostgreSQL, or too old, or not the coordinator's.
    """
    version, number, citus = await connection.fetchrow(_FOUND)
    for part, name in _OTHERS.items():
        if part in version:
            raise _unfit(f"leads to {name}")
    if number < OLDEST_POSTGRES * 10_000:
        raise _unfit(f"leads to PostgreSQL {number // 10_000}")
    if citus is None:
        return False
    if tuple(int(part) for part in citus.partition("-")[0].split(".")) < OLDEST_CITUS:
        raise _unfit(f"leads to Citus {citus}")
    if not await connection.fetchval("SELECT citus_is_coordinator()"):
        raise _unfit("leads to no coordinator of a Citus cluster")
    return True


def _unfit(what: str) -> CannotProceed:
    oldest = ".".join(map(str, OLDEST_CITUS))
    return CannotProceed(
        "CHALLENGE_DATABASE_URL",
        f"{what}; needed is PostgreSQL {OLDEST_POSTGRES} or later, "
        f"or the coordinator of Citus {oldest} or later",
    )
