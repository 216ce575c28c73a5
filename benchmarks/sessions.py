"""Sessions that calls can use, written into the tables before anything is timed."""

from __future__ import annotations

import hashlib
import itertools
import secrets
import sqlite3
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg

from benchmarks.servers.peer_models import PaymentSession
from service.challenges.codes import code_for
from service.keyring import KeyRing
from service.storage.tables import HostedSession

_LIFE_MS = 24 * 3_600_000
_ORIGIN = "https://shop.example"
_TABLE = HostedSession.__table__.columns  # type: ignore[attr-defined]
_COLUMNS = list(_TABLE.keys())
_EMPTY = {c.name: None if c.nullable else c.type.python_type() for c in _TABLE}
"""What a column holds of which nothing is said: null, 0, false or no text."""
_numbers = itertools.count(2_000_000)

Row = dict[str, Any]


class Session(NamedTuple):
    """A session as its callers know it.

    Attributes:
        session_id: Its id.
        secret: Its credential.
        code: The code of its first Send.
        phone: Where the code goes.
    """

    session_id: str
    secret: str
    code: str
    phone: str = ""

    def pair(self, kind: str) -> tuple[str, str]:
        """Returns what the load process needs for a call."""
        return self.session_id, self.code if kind == "verify" else self.secret


def make(ring: KeyRing, *, sent: bool, session_id: str = "") -> tuple[Session, Row]:
    """Makes a session with an SMS challenge for a number of its own, and its row.

    Args:
        ring: The service's keys.
        sent: Whether its code has gone out, with a window that outlasts the run.
        session_id: Its id; a random one when empty.
    """
    session_id = session_id or f"cs_{secrets.token_hex(12)}"
    secret = f"{session_id}_secret_{secrets.token_urlsafe(24)}"
    phone, challenge_id, now = f"+1415{next(_numbers)}", uuid.uuid4().hex, int(time.time() * 1000)
    ends = now + _LIFE_MS
    row = _EMPTY | {
        "session_id": session_id, "account_uid": "acct_1", "scope": "payment", "locale": "en",
        "secret_sha256": hashlib.sha256(secret.encode()).digest(), "allowed_origins": _ORIGIN,
        "merchant_name": "Acme", "state": "open", "lifetime_ms": _LIFE_MS, "expires_at": ends,
        "sends": int(sent), "wrong_code": 0, "wrong_total": 0, "challenge_id": challenge_id,
        "challenge_type": "sms", "challenge_state": "pending", "key_id": ring.newest,
        "destination": ring.encrypt(ring.newest, phone, challenge_id),
        "fingerprint": hashlib.sha256(phone.encode()).hexdigest()[:32],
        "delivery_hint": f"--{phone[-4:]}",
        "code_counter": int(sent), "code_expires_at": ends * sent, "code_sent": sent,
        "fence": 1 + sent, "dispatch_state": "sent" if sent else "idle", "tries": int(sent),
        "unknowns": 0, "claimed_at": now * sent, "window_ends_at": ends * sent,
        "chain": f"{2 + sent}:{'0' * 64}:{'0' * 64}",
    }  # fmt: skip
    digits = code_for(ring, ring.newest, challenge_id, None, 1, 6)
    return Session(session_id, secret, digits, phone), row


def write_sqlite(path: Path, rows: Iterable[Row]) -> None:
    """Writes rows into a file that no service holds."""
    values = ", ".join(f":{column}" for column in _COLUMNS)
    sql = f"INSERT INTO hosted_session ({', '.join(_COLUMNS)}) VALUES ({values})"  # noqa: S608
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(sql, rows)


async def write_postgres(url: str, rows: Iterable[Row]) -> None:
    """Writes rows with COPY."""
    await _copy(url, "hosted_session", _COLUMNS, rows)


async def write_peer(url: str, made: Iterable[tuple[Session, Row]]) -> None:
    """Writes the same sessions into the peer's table."""
    columns = list(PaymentSession.__table__.columns.keys())  # type: ignore[attr-defined]
    await _copy(url, "payment_session", columns, _peer_rows(made))


def _peer_rows(made: Iterable[tuple[Session, Row]]) -> Iterator[Row]:
    ends = datetime.now(UTC) + timedelta(milliseconds=_LIFE_MS)
    for session, row in made:
        yield {
            "id": session.session_id, "secret_sha256": row["secret_sha256"].hex(),
            "allowed_origins": _ORIGIN, "expires_at": ends, "destination": session.phone,
            "delivery_hint": row["delivery_hint"], "wrong_answers": 0, "sends": row["sends"],
            "code": session.code, "code_sent": row["code_sent"], "version": 0,
            "window_ends_at": ends if row["code_sent"] else None,
        }  # fmt: skip


async def _copy(url: str, table: str, columns: list[str], rows: Iterable[Row]) -> None:
    connection = await asyncpg.connect(url)
    try:
        records = ([row[column] for column in columns] for row in rows)
        await connection.copy_records_to_table(table, records=records, columns=columns)
        await connection.execute(f"VACUUM ANALYZE {table}")
    finally:
        await connection.close()
