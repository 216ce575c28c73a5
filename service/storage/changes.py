"""Changes that take several statements, and the one that most have: counting against quotas."""

from __future__ import annotations

from typing import NamedTuple


class Change(NamedTuple):
    """A statement with others: all of them take effect or none. They share their parameters.

    Attributes:
        statement: Its rows are the result.
        others: Those with `{done}` in them take effect only where the first one changed a row,
            which `{main}` is.
    """

    statement: str
    others: tuple[str, ...]


AS_ONE = {"done": "EXISTS (SELECT 1 FROM main)", "main": "main"}
"""What stands for the placeholders where a change is one statement, with `main` as its first."""
ONE_BY_ONE = {"done": "TRUE", "main": "hosted_session"}
"""What does where its statements run in turn, within a transaction."""


def spend(first: int, *takes: str) -> str:
    """Makes the statement that counts against quotas.

    One that is spent breaks the constraint quota_spent, which undoes all of the change.

    Args:
        first: Number of the parameter that is the first quota's key. Its period and limit follow,
            then the next quota's; a limit of 0 is none.
        takes: For each quota, in SQL, whether one is taken from it. Otherwise it is only looked at.
    """
    wanted = ",\n    ".join(
        f"(CAST(${n} AS text), CAST(${n + 1} AS bigint), CAST(${n + 2} AS integer), {take})"
        for n, take in zip(range(first, first + 3 * len(takes), 3), takes, strict=True)
    )
    return f"""
INSERT INTO quota (key, started_at, ends_at, used, allowed)
SELECT column1, challenge_now(), challenge_now() + column2, 1, column3 FROM (VALUES
    {wanted}
) AS wanted WHERE column3 > 0 AND {{done}} AND (column4 OR EXISTS (
    SELECT 1 FROM quota WHERE key = column1 AND ends_at > challenge_now() AND used >= column3
))
ON CONFLICT (key) DO UPDATE SET
    used = CASE WHEN quota.ends_at <= excluded.started_at THEN 1 ELSE quota.used + 1 END,
    started_at = CASE WHEN quota.ends_at <= excluded.started_at
        THEN excluded.started_at ELSE quota.started_at END,
    ends_at = CASE WHEN quota.ends_at <= excluded.started_at
        THEN excluded.ends_at ELSE quota.ends_at END,
    allowed = excluded.allowed
"""


def note(rpc: str, first: int, outcome: str) -> str:
    """Makes the statement that remembers a request, so that a repeat of it changes nothing.

    Args:
        rpc: `issue`, `verify` or `fallback`.
        first: Number of the parameter that is the request's id, empty for none; what it asked for
            follows, as a keyed hash.
        outcome: In SQL.
    """
    return f"""
INSERT INTO handled_request (
    session_id, rpc, request_id, content, outcome, wrong_code, wrong_total, handled_at
) SELECT $1, '{rpc}', CAST(${first} AS text), CAST(${first + 1} AS text), {outcome},
    wrong_code, wrong_total, challenge_now()
FROM {{main}} WHERE session_id = $1 AND CAST(${first} AS text) <> '' AND {{done}}
"""


def append(first: int) -> str:
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
