"""What stands between us and PostgreSQL: nothing, or a pooler such as PgBouncer.

In transaction mode each statement may run over another of the pooler's connections. A statement
prepared before does not exist there, unless the pooler prepares it again under a name of its own,
as PgBouncer does from 1.21 on with `max_prepared_statements` (https://www.pgbouncer.org/config.html).
"""

from __future__ import annotations

import uuid

import asyncpg

_SEEN = "SELECT pg_backend_pid(), EXISTS (SELECT 1 FROM pg_prepared_statements WHERE name = $1)"


async def keeps_prepared(connection: asyncpg.Connection) -> bool:
    """Finds out whether what is prepared over a connection stays prepared for later calls.

    Args:
        connection: One to try it on, and close.
    """
    name = f"challenge_{uuid.uuid4().hex}"
    async with connection.transaction():  # all of it over one connection of the pooler's
        statement = await connection.prepare(_SEEN, name=name)
        backend, ours = await statement.fetchrow(name)
        if backend == connection.get_server_pid():
            return True
        if ours:  # passed on as it is; we leave nothing behind
            await connection.execute(f"DEALLOCATE {name}")
    return not ours
