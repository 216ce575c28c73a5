"""A change: one UPDATE with what takes effect with it, all or nothing.

With it go evidence, the note of the request, and quotas: as one statement on PostgreSQL, one after
the other in a transaction on SQLite and Citus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from service.storage.rows import Rpc


class Take(NamedTuple):
    """Whether one is taken from a quota; otherwise it is only looked at.

    Attributes:
        sql: For a statement.
        of: The same, of the change's parameters.
        clears: Whether what was used is given back where none is taken.
    """

    sql: str
    of: Callable[[Sequence[object]], bool]
    clears: bool = False


ALWAYS = Take("TRUE", lambda _: True)
NEVER = Take("FALSE", lambda _: False)


def unless(number: int) -> Take:
    """Takes one unless the parameter of this number is true, which clears the quota."""
    return Take(f"NOT ${number}", lambda args: not args[number - 1], clears=True)


class Spend(NamedTuple):
    """Quotas that a change counts against, in the order in which they are locked.

    One that is spent breaks the constraint quota_spent, which undoes all of the change.

    Attributes:
        first: Number of the parameter that is the first quota's key. Its period and limit follow,
            then the next quota's; a limit of 0 is none.
        takes: For each quota, whether one is taken from it.
    """

    first: int
    takes: tuple[Take, ...]


@dataclass(frozen=True, eq=False)
class Change:
    """A statement with others: all of them take effect or none. They share their parameters.

    Attributes:
        name: In spans, and in the first line of what a database runs.
        statement: Its rows are the result.
        others: They take effect only where the first one changed a row, which `{main}` is.
        spend: What is counted, only where the first one changed a row.
    """

    name: str
    statement: str
    others: tuple[str, ...] = ()
    spend: Spend | None = None


_AS_ONE = {"done": "EXISTS (SELECT 1 FROM main)", "main": "main"}
_IN_TURN = {"done": "TRUE", "main": "hosted_session"}

_COUNT = """
ON CONFLICT (key) DO UPDATE SET
    used = CASE WHEN quota.ends_at <= excluded.started_at THEN 1 ELSE quota.used + 1 END,
    started_at = CASE WHEN quota.ends_at <= excluded.started_at
        THEN excluded.started_at ELSE quota.started_at END,
    ends_at = CASE WHEN quota.ends_at <= excluded.started_at
        THEN excluded.ends_at ELSE quota.ends_at END,
    allowed = excluded.allowed
"""

# What may be done with one quota; its limit is $2. LOOK and CLEAR raise `used` above the limit on
# purpose where it is spent: the constraint then undoes the change.
TAKE = f"""
INSERT INTO quota (key, started_at, ends_at, used, allowed)
VALUES ($1, challenge_now(), challenge_now() + $3, 1, $2) {_COUNT}
"""
LOOK = """
UPDATE quota SET used = used + 1, allowed = $2
WHERE key = $1 AND ends_at > challenge_now() AND used >= $2
"""
CLEAR = """
UPDATE quota SET used = CASE WHEN used < $2 THEN 0 ELSE used + 1 END, allowed = $2
WHERE key = $1 AND ends_at > challenge_now() AND used > 0
"""


@cache
def as_one(change: Change) -> str:
    """Writes a change as one statement."""
    others = change.others
    if change.spend is not None:
        others = (*_all_of(change.spend), *others)
    parts = [f"main AS ({change.statement})"]
    for number, other in enumerate(others):
        parts.append(f"other_{number} AS ({other.format(**_AS_ONE)})")
    return f"-- {change.name}\nWITH {', '.join(parts)} SELECT * FROM main"


def in_turn(
    change: Change, args: Sequence[object], *, done: bool
) -> Iterator[tuple[str, Sequence[object]]]:
    """Lists what follows a change's statement where its statements run in turn.

    Args:
        change: The change.
        args: Its parameters.
        done: Whether its statement changed a row.

    Returns:
        Statements, each with its parameters.
    """
    if not done:
        return
    for other in change.others:  # a repeat is known before it counts again
        yield other.format(**_IN_TURN), args
    if change.spend is not None:
        for first, take in _numbered(change.spend):
            key, period_ms, allowed = args[first - 1 : first + 2]
            if not allowed:
                continue
            if take.of(args):
                yield TAKE, (key, allowed, period_ms)
            else:
                yield CLEAR if take.clears else LOOK, (key, allowed)


def _all_of(spend: Spend) -> Iterator[str]:
    """Writes what is counted against all quotas as one statement, what clears some as another."""
    wanted = ",\n    ".join(
        f"(CAST(${n} AS text), CAST(${n + 1} AS bigint), CAST(${n + 2} AS integer), {take.sql})"
        for n, take in _numbered(spend)
    )
    yield f"""
INSERT INTO quota (key, started_at, ends_at, used, allowed)
SELECT column1, challenge_now(), challenge_now() + column2, 1, column3 FROM (VALUES
    {wanted}
) AS wanted WHERE column3 > 0 AND {{done}} AND (column4 OR EXISTS (
    SELECT 1 FROM quota WHERE key = column1 AND ends_at > challenge_now() AND used >= column3
)) {_COUNT}
"""
    cleared = " OR ".join(
        f"key = ${n} AND used < ${n + 2} AND NOT ({take.sql})"
        for n, take in _numbered(spend)
        if take.clears
    )
    if cleared:
        yield f"UPDATE quota SET used = 0 WHERE used > 0 AND ({cleared}) AND {{done}}"


def _numbered(spend: Spend) -> Iterator[tuple[int, Take]]:
    """Lists the number of each quota's first parameter, and whether one is taken."""
    return ((spend.first + 3 * place, take) for place, take in enumerate(spend.takes))


def note_request(rpc: Rpc, first: int, outcome: str) -> str:
    """Makes the statement that remembers a request, so that a repeat of it changes nothing.

    Args:
        rpc: The request's.
        first: Number of the parameter that is the request's id, empty for none; what it asked for
            follows, as a keyed hash.
        outcome: In SQL.
    """
    return f"""
INSERT INTO handled_request (
    session_id, rpc, request_id, content, outcome, wrong_code, wrong_total, handled_at
) SELECT session_id, '{rpc}', CAST(${first} AS text), CAST(${first + 1} AS text), {outcome},
    wrong_code, wrong_total, challenge_now()
FROM {{main}} WHERE session_id = $1 AND CAST(${first} AS text) <> '' AND {{done}}
"""


def append_event(first: int) -> str:
    """Makes the statement that appends an event to the evidence, if there is one.

    Args:
        first: Number of the parameter that is the session's account, as in `rows.Event`; what is
            before that is for the change's own statement, the rest follows.
    """
    account, seq, event, personal, fingerprint, at = range(first, first + 6)
    return f"""
INSERT INTO evidence (session_id, account_uid, seq, event, personal, fingerprint, at)
SELECT $1, CAST(${account} AS text), CAST(${seq} AS integer), CAST(${event} AS text),
    CAST(${personal} AS text), CAST(${fingerprint} AS text), CAST(${at} AS bigint)
WHERE CAST(${event} AS text) IS NOT NULL AND {{done}}
"""
