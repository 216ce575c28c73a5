"""The statements on what has been: evidence, its erasure, and what is past its time."""

from __future__ import annotations

from service.storage.changes import Change, append
from service.storage.session_statements import ROW

# In one statement, so that both are of one moment: the session's row, if it is still there, and
# its evidence, whose first event has the chain if it is not.
EVIDENCE = """-- EVIDENCE
SELECT account_uid, NULL, NULL, chain, challenge_now(), 0 AS seq
FROM hosted_session WHERE session_id = $1
UNION ALL
SELECT account_uid, event, personal, chain, challenge_now(), seq
FROM evidence WHERE session_id = $1
ORDER BY seq
"""

# Found by the evidence of its challenge, or as a fallback that was not taken.
HOLDERS = f"""-- HOLDERS
SELECT {ROW} FROM hosted_session WHERE fingerprint = $1 AND session_id IN (
    SELECT session_id FROM evidence
    WHERE fingerprint = $1 AND (CAST($2 AS text) IS NULL OR account_uid = $2)
)
UNION ALL
SELECT {ROW} FROM hosted_session WHERE fallback_fingerprint = $1
    AND (CAST($2 AS text) IS NULL OR account_uid = $2)
LIMIT $3
"""
_ERASE = """
UPDATE hosted_session SET
    destination = NULL, fingerprint = NULL, fallback_fingerprint = NULL, delivery_hint = '--',
    fence = fence + 1,
    challenge_state = CASE WHEN challenge_state = 'pending' THEN 'refused'
        ELSE challenge_state END,
    dispatch_state = CASE WHEN due_at IS NULL THEN dispatch_state ELSE 'expired' END,
    due_at = NULL, chain = $3
WHERE session_id = $1 AND chain = $2
RETURNING 1
"""
ERASE = Change("ERASE", _ERASE, (append(4),))
_ERASE_FALLBACK = """
UPDATE hosted_session SET destination = $2, fallback_fingerprint = NULL, chain = $4
WHERE session_id = $1 AND chain = $3
RETURNING 1
"""
ERASE_FALLBACK = Change("ERASE_FALLBACK", _ERASE_FALLBACK, (append(5),))
# All that is personal in the sessions that had it, whatever else they were challenged with.
ERASE_EVIDENCE = """-- ERASE_EVIDENCE
UPDATE evidence SET personal = NULL, fingerprint = NULL
WHERE (personal IS NOT NULL OR fingerprint IS NOT NULL) AND session_id IN (
    SELECT session_id FROM evidence
    WHERE fingerprint = $1 AND (CAST($2 AS text) IS NULL OR account_uid = $2) LIMIT $3
)
RETURNING 1
"""

# The condition stands twice, since a row may have changed after it was found.
WIPE = """-- WIPE
UPDATE hosted_session SET destination = NULL, fence = fence + 1,
    dispatch_state = CASE WHEN due_at IS NULL THEN dispatch_state ELSE 'expired' END,
    due_at = NULL
WHERE destination IS NOT NULL AND expires_at <= challenge_now() AND session_id IN (
    SELECT session_id FROM hosted_session
    WHERE destination IS NOT NULL AND expires_at <= challenge_now() LIMIT $1
)
RETURNING 1
"""

# Evidence outlives the session's row, and with it the end of the chain.
KEEP_CHAINS = """-- KEEP_CHAINS
UPDATE evidence SET chain = (
    SELECT chain FROM hosted_session WHERE hosted_session.session_id = evidence.session_id
)
WHERE seq = 1 AND chain IS NULL AND session_id IN (
    SELECT session_id FROM hosted_session
    WHERE destination IS NULL AND expires_at <= challenge_now() - $2 LIMIT $1
)
"""
# Their destinations are gone: WIPE has taken them.
PURGE_SESSIONS = """-- PURGE_SESSIONS
DELETE FROM hosted_session WHERE session_id IN (
    SELECT session_id FROM hosted_session
    WHERE destination IS NULL AND expires_at <= challenge_now() - $2 LIMIT $1
) AND NOT EXISTS (
    SELECT 1 FROM evidence
    WHERE evidence.session_id = hosted_session.session_id AND seq = 1 AND evidence.chain IS NULL
)
RETURNING 1
"""
# Whole, and a day later: no session lives for longer.
PURGE_EVIDENCE = """-- PURGE_EVIDENCE
DELETE FROM evidence WHERE session_id IN (
    SELECT session_id FROM evidence
    WHERE seq = 1 AND at <= challenge_now() - $2 - 86400000 LIMIT $1
)
RETURNING 1
"""

# Rows in no daily partition: attempt_default on PostgreSQL, all of them on SQLite.
PURGE_ATTEMPTS = """-- PURGE_ATTEMPTS
DELETE FROM {ledger} WHERE (session_id, fence, claimed_at) IN (
    SELECT session_id, fence, claimed_at FROM {ledger}
    WHERE claimed_at <= challenge_now() - $2 LIMIT $1
)
RETURNING 1
"""

# A session lives for 24 hours at most, and what was asked of it no longer.
PURGE_REQUESTS = """-- PURGE_REQUESTS
DELETE FROM handled_request WHERE (session_id, rpc, request_id) IN (
    SELECT session_id, rpc, request_id FROM handled_request
    WHERE handled_at <= challenge_now() - 172800000 LIMIT $1
)
RETURNING 1
"""

# A claim locks its quotas in their order, this takes them in any: it must wait for none of them.
FIND_ENDED_QUOTAS = """-- FIND_ENDED_QUOTAS
SELECT key FROM quota WHERE ends_at <= challenge_now() LIMIT $1
"""
PURGE_QUOTAS = f"""-- PURGE_QUOTAS
WITH ended AS MATERIALIZED ({FIND_ENDED_QUOTAS} {{skip_locked}})
DELETE FROM quota WHERE ends_at <= challenge_now() AND key IN (SELECT key FROM ended)
RETURNING 1
"""
# Where rows of several shards cannot be locked at once: of those found, one at a time.
PURGE_QUOTA = """-- PURGE_QUOTA
DELETE FROM quota WHERE key = $1 AND ends_at <= challenge_now() RETURNING 1
"""
