"""A large table, filled by the database itself."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator

import asyncpg

from benchmarks import sessions
from benchmarks.progress import say
from benchmarks.sessions import Session
from service.keyring import KeyRing

_BATCH = 250_000
_AT_ONCE = 2
_TEMPLATE = "cs_template"
# Each row is a copy of the template, except for these columns; the destination is the same.
_OWN = {
    "session_id": "'cs_bulk' || n",
    "secret_sha256": (
        "sha256(convert_to('cs_bulk' || n || '_secret_' || md5('cs_bulk' || n), 'UTF8'))"
    ),
    "fingerprint": "md5(n::text)",
    "expires_at": "expires_at + n",
}
_QUOTAS = """
INSERT INTO quota (key, started_at, ends_at, used, allowed)
SELECT 'sms-day:old' || md5(n::text), challenge_now(), challenge_now() + 86400000 + n, 1, 10
FROM generate_series($1::bigint, $2::bigint) AS n
"""
_ATTEMPTS = """
INSERT INTO attempt (
    session_id, fence, challenge_id, dispatch_try, channel, outcome,
    claimed_at, started_at, ended_at
)
SELECT 'cs_bulk' || n, 1, md5(n::text), 1, 'null://', 'accepted',
    challenge_now(), challenge_now(), challenge_now()
FROM generate_series($1::bigint, $2::bigint) AS n
"""


async def fill(url: str, ring: KeyRing, count: int) -> None:
    """Adds so many sessions, each with a quota and an attempt; `sessions_from` names them."""
    _, template = sessions.make(ring, sent=False, session_id=_TEMPLATE)
    await sessions.write_postgres(url, [template])
    columns = ", ".join(template)
    values = ", ".join(_OWN.get(column, column) for column in template)
    rows = (
        f"INSERT INTO hosted_session ({columns}) SELECT {values} FROM hosted_session, "  # noqa: S608
        f"generate_series($1::bigint, $2::bigint) AS n WHERE session_id = '{_TEMPLATE}'"
    )
    batches = iter(range(1, count + 1, _BATCH))

    async def work() -> None:
        connection = await asyncpg.connect(url)
        try:
            for first in batches:
                last = min(first + _BATCH - 1, count)
                say(f"large table: {first:,} to {last:,} of {count:,} sessions")
                for statement in (rows, _QUOTAS, _ATTEMPTS):
                    await connection.execute(statement, first, last)
        finally:
            await connection.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(work())
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("DELETE FROM hosted_session WHERE session_id = $1", _TEMPLATE)
        await connection.execute("VACUUM ANALYZE")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


def sessions_from(first: int) -> Iterator[Session]:
    """Names the sessions of a filled table."""
    number = first
    while True:
        session_id = f"cs_bulk{number}"
        digest = hashlib.md5(session_id.encode(), usedforsecurity=False).hexdigest()
        yield Session(session_id, f"{session_id}_secret_{digest}", "")
        number += 1
