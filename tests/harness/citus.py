"""A Citus cluster, where CITUS_URL names one: databases of it, made and dropped.

CITUS_URL leads to its coordinator, as a user who may create databases and extensions on each node.
"""

from __future__ import annotations

import asyncio
import os
from urllib.parse import urlsplit

import asyncpg

from service.storage.migrating import migrate

URL = os.environ.get("CITUS_URL", "")
_NODES = "SELECT nodename, nodeport FROM pg_dist_node ORDER BY groupid"


def uri(name: str, at: tuple[str, int] | None = None) -> str:
    """Returns the URL of a database, at the coordinator unless told otherwise."""
    url = urlsplit(URL)
    user, _, coordinator = url.netloc.rpartition("@")
    place = f"{at[0]}:{at[1]}" if at else coordinator
    return url._replace(netloc=f"{user}@{place}", path=f"/{name}").geturl()


async def make(name: str) -> None:
    """Makes a database on all nodes, of which Citus knows nothing yet."""
    for node in await nodes():
        await run(uri("postgres", node), f"CREATE DATABASE {name}")


async def join(name: str) -> None:
    """Has the nodes know each other by a database."""
    places = await nodes()
    for node in places:
        await run(uri(name, node), "CREATE EXTENSION citus")
    others_wait = await asyncpg.connect(URL)  # a node that is added is told of all roles
    await others_wait.execute("SELECT pg_advisory_lock(1)")
    for number, (host, port) in enumerate(places):
        add = "citus_add_node" if number else "citus_set_coordinator_host"
        await run(uri(name), f"SELECT {add}('{host}', {port})")
    await others_wait.close()


def make_migrated(name: str) -> None:
    """Makes a database, migrated."""
    asyncio.run(make(name))
    asyncio.run(join(name))
    migrate(uri(name))


async def drop(name: str) -> None:
    """Drops a database from all nodes."""
    for node in await nodes():
        await run(uri("postgres", node), f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


async def nodes() -> list[tuple[str, int]]:
    """Lists the nodes, the coordinator first."""
    connection = await asyncpg.connect(URL)
    found = [tuple(row) for row in await connection.fetch(_NODES)]
    await connection.close()
    return found


async def run(url: str, sql: str) -> None:
    """Runs statements over a connection of their own."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()
